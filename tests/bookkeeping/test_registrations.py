"""What instances write of themselves in a managed database, and what a daemon makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import registrations
from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.bookkeeping.tables import instances, metadata
from orchestrator.dialects import Database
from orchestrator.domain.admission import Admitted, Stance
from orchestrator.domain.fleets import Instance, InstanceState, Sessions
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.view import Copy

SCHEMA, FLEET = "inventory", "inventory-api"
RENEWED_AT = 1795332696.9229908  # with as many digits as a time has


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    metadata.create_all(database.engine)


def written(database: Database, name: str, **changes: object) -> None:
    """What a client writes."""
    row = {
        "schema_name": SCHEMA, "fleet": FLEET, "instance_id": name, "tag": f"tag of {name}", "nonce": "n",
        "release": "1", "host": "rack7", "state": "alive", "sessions": "tagged", "news": True, "acked": 3,
        "joined_at": 1.0, "renewed_at": RENEWED_AT, "expires_at": 61.0,
    }  # fmt: skip
    with database.writing() as connection:
        connection.execute(sa.insert(instances).values(row | changes))


def states(database: Database) -> dict[str, tuple[str, bool]]:
    with database.reading() as connection:
        return {row.instance_id: (row.state, bool(row.news)) for row in connection.execute(sa.select(instances))}


def test_a_copy_is_read_as_it_was_written(database: Database) -> None:
    told = (
        Admitted("1", Stance(7, 3, Phase.EXPANDED, Behaviour.A3), joins=False),
        Admitted("2", Stance(7, 3, Phase.EXPANDED, Behaviour.A1), joins=True),
        Admitted("at rest", Stance(None, 3, Phase.BASE, Behaviour.A3), joins=True),
    )
    copy = Copy(7, Phase.EXPANDED, Phase.BACKFILL, 4, "i", admits=told, ttl_seconds=30.0, renew_seconds=10.0)
    with database.writing() as connection:
        write_copy(connection, SCHEMA, copy, now=1.0)
        assert read_copy(connection, SCHEMA) == copy


def test_news_are_read_until_they_are_settled_and_no_newer_ones_are_lost(database: Database) -> None:
    for name in ("stays", "renews", "left"):
        written(database, name, state="left" if name == "left" else "alive")
    written(database, "known", news=False)
    written(database, "elsewhere", schema_name="another")
    with database.reading() as connection:
        found = registrations.news(connection, SCHEMA)
        assert [each.id for each in found] == ["left", "renews", "stays"]
        assert found[2] == registrations.find(connection, SCHEMA, FLEET, "stays")
        assert (found[2].renewed_at, found[2].sessions) == (RENEWED_AT, Sessions.TAGGED)
        assert registrations.find(connection, SCHEMA, FLEET, "nobody") is None
    with database.writing() as connection:
        connection.execute(sa.update(instances).where(instances.c.instance_id == "renews").values(acked=4))
    with database.writing() as connection:
        registrations.settle(connection, SCHEMA, found)
    assert states(database) == {
        "stays": ("alive", False), "renews": ("alive", True), "known": ("alive", False), "elsewhere": ("alive", True),
    }  # fmt: skip


def test_an_eviction_is_written_whether_the_instance_was_there_or_not(database: Database) -> None:
    written(database, "here")
    here = Instance(SCHEMA, FLEET, "here", "tag", "n", "1", None, InstanceState.EVICTING, 3, 1.0, 1.0, 1.0)
    for _ in range(2):
        with database.writing() as connection:
            registrations.evict(connection, here, now=5.0)
            registrations.evict(connection, replace(here, id="never here"), now=5.0)
    assert states(database) == {"here": ("evicted", False), "never here": ("evicted", False)}
