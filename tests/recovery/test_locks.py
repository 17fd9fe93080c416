"""Locks that others hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.daemon import composition
from orchestrator.demo.example import SCHEMA
from orchestrator.dialects import Database, open_database
from orchestrator.schema_migrations.waiting import Patience
from tests.daemon.daemons import until
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place, in_the_background, number_in

HOLDS = r"session (\d+) idle in transaction"


@contextmanager
def opened(place: Place) -> Iterator[Database]:
    """The managed database, for somebody else."""
    database = open_database("main", place.site.databases["main"])
    yield database
    database.engine.dispose()


@contextmanager
def reading_customers(database: Database) -> Iterator[sa.Connection]:
    """Somebody reads a table that the next revision changes, and idles in his transaction."""
    with database.engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM customers WHERE name = 'Ada Lovelace'"))
        yield connection
        connection.invalidate()


@mends("A step waits for a lock")
def test_step_that_waits(server_place: Place, entry: Entry) -> None:
    place = server_place.open().begin().nobody_runs()
    with opened(place) as database, reading_customers(database), in_the_background(place.goes_on):
        shown = until(lambda: entry.is_shown(said := place.status()) and said, "it shows who is in the way")
        place.execute(*entry.statements(number_in(shown, HOLDS)), autocommit=True)
    assert place.phase() != "base"


@mends("A step did not get its lock")
def test_step_that_gave_up(server_place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "Patience", partial(Patience, lock_seconds=0.2, attempts=2))
    place = server_place.open().begin().nobody_runs()
    with opened(place) as database, reading_customers(database):
        place.work()
        shown = place.status()
        entry.assert_shown(shown)
        place.execute(*entry.statements(number_in(shown, HOLDS)), autocommit=True)
        place.type(entry)
        assert place.goes_on()


def test_session_that_the_policy_ends_is_in_the_audit_log(server_place: Place) -> None:
    """By the orchestrator, before it was done; the session is somebody else's."""
    place = server_place
    place.site.more["policy"] = {"end_idle_blockers_after_seconds": 0}
    place.open().begin().nobody_runs()
    engine = sa.create_engine(place.site.databases["main"], connect_args={"application_name": "nova"})
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM customers"))
        assert place.goes_on()
        connection.invalidate()
    engine.dispose()
    events = place.orchestrator("events", "--schema", SCHEMA, "-f", "json")
    assert '"session.end"' in events
    assert "idle in transaction for" in events


@mends("Another process works on the schema")
def test_another_process_that_holds_the_schema(server_place: Place, entry: Entry) -> None:
    place = server_place.open().begin().nobody_runs()
    with (
        opened(place) as database,
        database.dialect.schema_connection(database.engine) as other,
        database.dialect.session_lock(other, f"schema {SCHEMA}"),
    ):
        place.work()
        shown = place.status()
        entry.assert_shown(shown)
        place.execute(*entry.statements(number_in(shown, r"database: session (\d+)")), autocommit=True)
        until(place.goes_on, "the step goes on")
        other.invalidate()
