"""The old shape, to which writes are denied before it is removed."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place


@mends("Something still writes the old shape", "A database denies writes to the old shape no more")
def test_old_shape_that_is_not_left_alone(server_place: Place, entries: tuple[Entry, ...]) -> None:
    written, not_sealed = entries
    place = server_place.open().begin().nobody_runs()
    place.execute("INSERT INTO customers (name) VALUES ('Ada Lovelace')")
    place.work()
    assert place.phase() == "sealed"
    with pytest.raises(sa.exc.DBAPIError):
        place.execute("UPDATE customers SET name = 'Ada King'")
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.work()
    written.assert_shown(place.status())
    seal_again(place, written)
    place.execute("ALTER TABLE customers DISABLE TRIGGER USER")
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.work()
    not_sealed.assert_shown(place.status())
    seal_again(place, not_sealed)
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.work()
    assert "upgraded to 2" in place.status()


def seal_again(place: Place, entry: Entry) -> None:
    """Back to write_new, and forward."""
    rollback, resume = entry.commands()
    place.type_one(rollback)
    place.work()
    assert place.phase() == "write_new"
    place.type_one(resume)
    place.work()
