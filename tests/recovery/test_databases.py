"""Databases that are away, read-only, behind a pooler, closed to us, or forgotten."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from orchestrator.daemon import live_schema
from orchestrator.demo.example import SCHEMA
from orchestrator.dialects import sqlite
from tests.daemon.daemons import until
from tests.faults.proxy import Proxy
from tests.poolers import pooling
from tests.recovery.entries import Entry, mends
from tests.recovery.place import END_OTHERS, Place, execute


@mends("A database does not answer")
def test_database_that_does_not_answer(server_place: Place, entry: Entry) -> None:
    place = server_place
    url = sa.make_url(place.site.databases["main"])
    with Proxy.before(url) as proxy:
        place.site.databases["main"] = proxy.url(url)
        place.open().begin().nobody_runs()
        proxy.refuse()
        place.work()
        entry.assert_shown(place.status())
        proxy.accept()
        assert place.goes_on()
        place.close()


@mends("A database takes no writes")
def test_database_that_takes_no_writes(server_place: Place, entry: Entry) -> None:
    """It is noticed between two looks at it, without a restart."""
    place = server_place.open().begin().nobody_runs()
    name = sa.make_url(place.site.databases["main"]).database
    place.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on", END_OTHERS)
    place.work()
    entry.assert_shown(place.status())
    assert '"database_read_only"' in place.orchestrator("upgrade", "plan", SCHEMA, "-f", "json", code=None)
    (statement,) = entry.statements()
    place.execute("SET default_transaction_read_only = off", statement.replace("inventory", str(name)), autocommit=True)
    place.execute("SET default_transaction_read_only = off", END_OTHERS, autocommit=True)
    assert place.goes_on()


@mends("A database is behind a pooler")
def test_database_behind_a_pooler(server_place: Place, entry: Entry) -> None:
    place = server_place.open().begin().nobody_runs()
    direct = place.site.databases["main"]
    with pooling(direct, "transaction") as pooled:
        place.site.databases["main"] = pooled
        place.reopen().work()
        entry.assert_shown(place.status())
        place.close()
    place.site.databases["main"] = direct
    assert place.open().goes_on()


@mends("A database refuses what the orchestrator needs")
def test_database_that_refuses_us(server_place: Place, entry: Entry) -> None:
    place = server_place.open().begin().nobody_runs()
    owner = place.site.databases["main"]
    url = sa.make_url(owner)
    role = f"plain_{url.database}"
    place.execute(f"CREATE ROLE {role} LOGIN")
    try:
        place.site.databases["main"] = url.set(username=role).render_as_string(hide_password=False)
        place.reopen().work()
        entry.assert_shown(place.status())
        (statement,) = entry.statements()
        execute(owner, statement.replace("TO orchestrator", f"TO {role}"))
        place.work()
        assert not entry.is_shown(place.status())
    finally:
        place.close()
        execute(owner, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@mends("A file of SQLite is locked")
def test_file_that_stays_locked(place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than a look is waited for; the look itself goes on."""
    place.begun().nobody_runs()
    monkeypatch.setattr(place.services.advancing, "_patience_seconds", 1.0)
    engine = sa.create_engine(place.site.databases["main"], isolation_level="AUTOCOMMIT")
    with engine.connect() as somebody:
        somebody.exec_driver_sql("BEGIN IMMEDIATE")
        place.turn()
        entry.assert_shown(place.status())
        assert f"fuser -v {place.site.directory}/main.sqlite`" in place.status()
        somebody.exec_driver_sql("ROLLBACK")
    engine.dispose()
    until(place.goes_on, "it is read again, as soon as it has answered")


@mends("A disk is full")
def test_disk_that_is_full(place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_room(connection: sa.Connection, schema: str) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE more (id INTEGER)")

    place.begun().nobody_runs()
    monkeypatch.setattr(live_schema, "read_copy", without_room)
    place.work()
    entry.assert_shown(place.status())
    monkeypatch.undo()
    assert place.reopen().goes_on()


@mends("A database was taken out of the configuration")
def test_database_that_was_taken_out(place: Place, entry: Entry) -> None:
    place.site.databases["cell02"] = f"sqlite:///{place.site.directory}/cell02.sqlite"
    place.open().begin().nobody_runs().work_until("backfill")
    del place.site.databases["cell02"]
    place.reopen().work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A database was added to the configuration")
def test_database_that_was_added(place: Place, entry: Entry) -> None:
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.site.databases["cell02"] = f"sqlite:///{place.site.directory}/cell02.sqlite"
    place.reopen()
    entry.assert_shown(place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=3))
    place.type(entry)
    place.nobody_runs().work()
    assert place.phase() == "sealed"


@mends("A database was added in the middle of an upgrade")
def test_database_that_was_added_in_the_middle(place: Place, entry: Entry) -> None:
    place.without_a_way_back().open().begin().nobody_runs().work()
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.site.databases["cell02"] = f"sqlite:///{place.site.directory}/cell02.sqlite"
    place.reopen().work()
    entry.assert_shown(place.status())
    del place.site.databases["cell02"]
    assert place.reopen().goes_on()


@mends("A database is busy")
def test_database_that_is_busy(place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.05)
    place.begun().nobody_runs()
    engine = sa.create_engine(place.site.databases["main"], isolation_level="AUTOCOMMIT")
    with engine.connect() as somebody:
        somebody.exec_driver_sql("BEGIN IMMEDIATE")
        place.work()
        entry.assert_shown(place.status())
        somebody.exec_driver_sql("ROLLBACK")
    engine.dispose()
    assert place.goes_on()
