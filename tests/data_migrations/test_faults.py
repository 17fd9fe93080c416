"""Whatever breaks in the middle of a batch: nothing is lost, nothing is done twice, and the run ends proven."""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import ledger
from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.view import MigrationState
from tests.daemon.daemons import loaded, until
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site, new_site
from tests.data_migrations.counting import KINDS, ROWS, Persistent, counted, entry, work
from tests.faults.points import PausePoint, Then
from tests.faults.proxy import Proxy

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 1)


# -- the worker is killed ----------------------------------------------------------------------------------------------


class Processes:
    """Workers in processes of their own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._url = site.database.engine.url.render_as_string(hide_password=False)

    def start(self, *, workers: int = 1, batch_rows: int = 10, point: PausePoint | None = None) -> Any:
        environment = {} if point is None else dict(point.environment)
        arguments = (self._url, str(self._site.directory), workers, batch_rows, environment)
        process = loaded().Process(target=work, args=arguments)
        process.start()
        return process


@pytest.mark.parametrize("kind", ["expression", pytest.param("transform", marks=pytest.mark.kill)])
def test_worker_is_killed_before_and_after_its_commits(site: Site, kind: str, tmp_path: Path) -> None:
    """One after the other; the second one is told to work in ranges."""
    counted(site, kind)
    processes = Processes(site)
    for number, text in enumerate(("before commit 3", "after commit 2")):
        point = PausePoint(tmp_path / f"point{number}", f"{text} of 'things'", Then.KILL)
        process = processes.start(workers=1 + number % 2, point=point)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert 0 < site.facts("walk").rows_done < ROWS
    Persistent(site).to_the_end()


@pytest.mark.kill
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_workers_are_killed_at_random_moments(site: Site, kind: str, workers: int) -> None:
    print(f"seed {SEED}; to repeat: SEED={SEED}")
    chance = random.Random(SEED)
    rows = 20_000  # enough for a quick machine, too
    counted(site, kind, rows=rows)
    processes = Processes(site)

    def done() -> int:
        facts = site.facts("walk")
        return facts.rows_done + facts.rows_verified

    def reaches(rows: int) -> Callable[[], bool]:
        return lambda: done() >= rows

    crew = [processes.start(workers=workers, batch_rows=7) for _ in range(workers)]
    for _ in range(20):
        until(reaches(done() + chance.randint(1, 150)), "they get on")
        victim = chance.randrange(workers)
        crew[victim].kill()
        crew[victim].join()
        crew[victim] = processes.start(workers=workers, batch_rows=7)
    assert done() < 2 * rows
    for each in crew:
        each.join()
        assert each.exitcode == 0
    Persistent(site).to_the_end()


# -- the connection is lost --------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(served_site: Site, open_database: Callable[[str, str], Database]) -> Iterator[tuple[Proxy, Database]]:
    """The way to the database, and the database at its other end."""
    url = served_site.database.engine.url
    with Proxy.before(url) as proxy:
        yield proxy, open_database("main", proxy.url(url))


def end_session(site: Site, connection: sa.Connection) -> None:
    """As somebody does who looks for sessions that are in the way."""
    number = site.database.dialect.session_number(connection)
    is_mysql = site.database.dialect.name == "mysql"
    site.execute(f"KILL {number}" if is_mysql else f"SELECT pg_terminate_backend({number})")


QUICK = {
    ("cursor", "transform", 1),
    ("commit", "expression", 2),
    ("during commit", "transform", 2),
    ("during commit", "expression", 1),
    ("ended", "transform", 1),
}
MOMENTS = [
    pytest.param(*each, marks=[] if each in QUICK else pytest.mark.kill)
    for each in itertools.product(("cursor", "commit", "during commit", "ended"), KINDS, (1, 2))
]


@contextmanager
def every_second_time(database: Database, moment: str, act: Callable[[sa.Connection], None]) -> Iterator[list[str]]:
    """Act at that moment of every second transaction that moves a cursor, and say so: before its commit, or before the
    cursor moves."""
    acted: list[str] = []
    times = 0

    def cross(connection: sa.Connection) -> None:
        nonlocal times
        times += 1
        if times % 2:
            acted.append(moment)
            act(connection)

    def before_execute(connection: sa.Connection, _cursor: object, statement: str, *_others: object) -> None:
        if statement.startswith(("UPDATE orchestrator_data_migrations", "UPDATE orchestrator_ranges")):
            connection.info["moves a cursor"] = True
            if moment == "cursor":
                cross(connection)

    def commit(connection: sa.Connection) -> None:
        if connection.info.pop("moves a cursor", False) and moment == "commit":
            cross(connection)

    sa.event.listen(database.engine, "before_cursor_execute", before_execute)
    sa.event.listen(database.engine, "commit", commit)
    yield acted
    sa.event.remove(database.engine, "before_cursor_execute", before_execute)
    sa.event.remove(database.engine, "commit", commit)


@pytest.mark.parametrize(("moment", "kind", "workers"), MOMENTS)
def test_every_second_batch_loses_its_connection(
    served_site: Site, proxied: tuple[Proxy, Database], moment: str, kind: str, workers: int
) -> None:
    """During commit: the server has it, and its answer gets lost, so that nobody knows."""
    proxy, database = proxied
    site = counted(served_site, kind, rows=25)
    runner = DataMigrationRunner(database, SCHEMA, site.directory, workers=workers)
    persistent = Persistent(site, runner)

    def lose(connection: sa.Connection) -> None:
        if moment == "during commit":
            proxy.half_close()
        elif moment == "ended":
            end_session(site, connection)
        else:
            proxy.cut()

    with every_second_time(database, "cursor" if moment in ("cursor", "ended") else "commit", lose) as acted:
        persistent.to_the_end()
    assert persistent.refusals.count("database_unreachable") == len(acted) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_batch_whose_commit_was_not_answered_is_known_by_its_cursor(
    served_site: Site, proxied: tuple[Proxy, Database], kind: str
) -> None:
    proxy, database = proxied
    site = counted(served_site, kind)
    persistent = Persistent(site, DataMigrationRunner(database, SCHEMA, site.directory))
    before = entry(site).revision
    with every_second_time(database, "commit", lambda _: proxy.half_close()):
        persistent.step()
    assert persistent.refusals == ["database_unreachable"]
    until(lambda: entry(site).revision > before, "the server commits what it was sent")
    assert entry(site).rows_done == 10
    persistent.to_the_end()


def test_batch_that_commits_its_rows_before_its_cursor_is_found_out(
    served_site: Site, proxied: tuple[Proxy, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all these tests look at would show it."""
    proxy, database = proxied
    site = counted(served_site, "expression", rows=25)
    usual = ledger.save

    def save(connection: sa.Connection, changed: ledger.LedgerEntry) -> ledger.LedgerEntry:
        driver: Any = connection.connection.dbapi_connection
        driver.commit()
        return usual(connection, changed)

    monkeypatch.setattr(ledger, "save", save)
    persistent = Persistent(site, DataMigrationRunner(database, SCHEMA, site.directory))
    with every_second_time(database, "cursor", lambda _: proxy.cut()), pytest.raises(AssertionError):
        persistent.to_the_end()
    assert site.rows("SELECT max(times) FROM things") == [(2,)]


def test_full_disk_is_no_fault_of_the_data_migration(
    open_database: Callable[[str, str], Database], sqlite_url: str, tmp_path: Path
) -> None:
    """Rows are moved until there is no room, and go on from there when there is."""
    site, is_full = new_site(open_database("main", sqlite_url), tmp_path), False
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new TEXT)")
    site.execute("INSERT INTO things VALUES " + ", ".join(f"({n}, {n}, NULL)" for n in range(1, 31)))
    site.start("walk", 'table = "things"\nexpressions = {"new": "hex(zeroblob(2000))"}')
    assert site.runner.run_batch("walk", UPGRADE, 10).rows_done == 10

    @sa.event.listens_for(site.database.engine, "connect")
    def limited(connection: Any, _record: object) -> None:
        if is_full:
            connection.execute("PRAGMA max_page_count = 1")

    is_full = True
    for _ in range(2):
        with pytest.raises(Unavailable) as refusal:
            site.runner.run_batch("walk", UPGRADE, 10)
        assert refusal.value.code == "disk_full"
        assert "data migration walk finds no room for things, after id=10 up to id=20: " in refusal.value.message
    is_full = False
    facts = site.run("walk")
    assert (facts.state, facts.rows_done) == (MigrationState.COMPLETE, 30)
