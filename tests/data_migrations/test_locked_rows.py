"""Rows that services have locked: batches wait shortly, become smaller, or begin anew, and every row is moved once."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.dialects import Database, mysql, sqlite
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.view import MigrationState
from tests.daemon.daemons import until
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.data_migrations.counting import KINDS, Persistent, counted, entry


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 1)


def waits_for_lock(site: Site) -> bool:
    """Whether somebody in this database waits for a row.

    InnoDB's table of transactions is no help: as long as somebody looks at it every 0.1 s, it stays as it is.
    """
    if site.database.dialect.name == "mysql":
        here = {row[0] for row in site.rows("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")}
        transactions = str(site.rows("SHOW ENGINE INNODB STATUS")[0][2]).split("---TRANSACTION ")
        waiting = {
            int(found[1])
            for each in transactions
            if "LOCK WAIT" in each and (found := re.search(r"(?:MySQL|MariaDB) thread id (\d+)", each))
        }
        return bool(here & waiting)
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(site.rows(query)[0][0])


@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        ("expression", "the batch"),
        ("transform", "the batch"),
        ("transform", "the service"),
        pytest.param("expression", "the service", marks=pytest.mark.kill),
    ],
)
def test_deadlock_with_a_service(
    served_site: Site, kind: str, victim: str, open_database: Callable[[str, str], Database]
) -> None:
    """The service has the last row of the batch and then wants the first one, which the batch has."""
    site = counted(served_site, kind)
    first, last = 3, 30
    is_mysql = site.database.dialect.name == "mysql"
    others = open_database("others", site.database.engine.url.render_as_string(hide_password=False))
    if not is_mysql:  # whoever looks first is the victim
        name = site.database.engine.url.database
        site.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '{'0.4s' if victim == 'the batch' else '1min'}'")
        site.database.engine.dispose()
    persistent = Persistent(site)
    batch = threading.Thread(target=persistent.step)
    service_lost = False
    try:
        with others.writing() as service:
            if not is_mysql:
                service.exec_driver_sql(f"SET deadlock_timeout = '{'1min' if victim == 'the batch' else '10ms'}'")
            elif victim == "the batch":  # whoever has written less is the victim
                service.exec_driver_sql(f"UPDATE things SET note = 1 WHERE id > {last}")
            service.exec_driver_sql(f"UPDATE things SET note = 1 WHERE id = {last}")
            batch.start()
            until(lambda: waits_for_lock(site), "the batch waits for the service")
            service.exec_driver_sql(f"UPDATE things SET note = 1 WHERE id = {first}")
    except Exception as error:
        explained = others.explain(error)
        assert explained is None or explained.code == "database_busy"
        service_lost = True
    batch.join()
    assert service_lost == (victim == "the service")
    assert persistent.refusals == []
    assert entry(site).rows_done == 10, "the batch got through: at once, or when it was tried again"
    persistent.to_the_end()


@contextmanager
def held(site: Site, others: Database) -> Iterator[None]:
    """Somebody has a row, in SQLite all of them, for as long as the block lasts."""
    with others.writing() as service:
        service.exec_driver_sql("UPDATE things SET note = note + 1 WHERE id = 60")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches wait as short a time for their locks as the databases can."""
    monkeypatch.setattr("orchestrator.data_migrations.runner.LOCK_TIMEOUT_SECONDS", 0.02)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.02)
    at_once = "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 0"
    monkeypatch.setattr(mysql, "_set_lock_timeout", lambda seconds: at_once)


@pytest.fixture
def others(site: Site, open_database: Callable[[str, str], Database]) -> Database:
    """The same database, as a service has it."""
    return open_database("others", site.database.engine.url.render_as_string(hide_password=False))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_row_is_locked_for_longer_than_batches_wait(site: Site, others: Database, kind: str, workers: int) -> None:
    """All rows before it are moved meanwhile, by one worker; batches become smaller, and the one row is left."""
    counted(site, kind)
    site.database.engine.dispose()
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    persistent = Persistent(site)
    with held(site, others):
        if site.database.dialect.many_writers:
            persistent.until(lambda facts: facts.rows_done >= 19)
        for _ in range(3):
            facts = persistent.step()
        assert set(persistent.refusals) == {"database_busy"}
        assert facts.rows_done == (19 if site.database.dialect.many_writers else 0)
        assert facts.state is MigrationState.RUNNING
    persistent.to_the_end()


@pytest.mark.kill
@pytest.mark.parametrize("kind", KINDS)
def test_row_is_locked_for_half_a_minute(site: Site, others: Database, kind: str) -> None:
    counted(site, kind)
    persistent = Persistent(site)
    with held(site, others):
        over = time.monotonic() + 30
        while time.monotonic() < over:
            facts = persistent.step()
    assert facts.state is MigrationState.RUNNING
    assert set(persistent.refusals) == {"database_busy"}
    persistent.to_the_end()


@pytest.mark.parametrize("fixture", ["postgresql_site", "mysql_site"])
def test_lock_is_told_from_a_statement_that_takes_too_long(
    fixture: str, request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]
) -> None:
    """Where the server lets a statement run for a second, and a batch would wait for longer than that."""
    site: Site = request.getfixturevalue(fixture)
    limit = "statement_timeout = '1s'" if site.database.dialect.name == "postgresql" else "max_statement_time = 1"

    @sa.event.listens_for(site.database.engine, "checkout")
    def limited(connection: Any, *_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {limit}")

    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)")
    site.execute("INSERT INTO things VALUES (1, 7, 0)")
    site.start("walk", 'table = "things"\nexpressions = {"new": "old"}')
    others = open_database("others", site.database.engine.url.render_as_string(hide_password=False))
    with others.reading() as service:
        service.exec_driver_sql("SELECT * FROM things FOR UPDATE")
        number = others.dialect.session_number(service)
        with pytest.raises(Unavailable) as refusal:
            site.runner.run_batch("walk", UPGRADE, 1)
    assert refusal.value.code == "database_busy"
    assert "data migration walk waits for locks on things, the row id=1: " in refusal.value.message
    assert f"in the way may be session {number} " in refusal.value.message
    assert str(number) in refusal.value.remedy
    assert site.run("walk").state is MigrationState.COMPLETE
