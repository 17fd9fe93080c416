"""Several workers at one data migration: each in a range of its own, every row once, no more batches than may be."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import ledger, ranges
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.errors import Conflict, LostCursor, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.dying import dying, when_free

from .conftest import SCHEMA, UPGRADE, Site

T = TypeVar("T")
Before = Callable[[str, Callable[[Any], None]], None]

ROWS = 400
COUNT = 'table = "things"\nexpressions = {"moved": "old"}'
"""With these triggers `new` shows how often a row was moved."""

COUNTING = {
    "sqlite": (
        "CREATE TRIGGER counting AFTER UPDATE OF moved ON things BEGIN"
        " UPDATE things SET new = new + 1 WHERE rowid = NEW.rowid; END",
    ),
    "postgresql": (
        "CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.new := OLD.new + 1; RETURN NEW; END $$",
        "CREATE TRIGGER counting BEFORE UPDATE OF moved ON things FOR EACH ROW EXECUTE FUNCTION counting()",
    ),
    "mysql": (
        "CREATE TRIGGER counting BEFORE UPDATE ON things FOR EACH ROW SET NEW.new = NEW.new + (NEW.new <=> OLD.new)",
    ),
}

ADD_ONE = 'table = "things"\nexpressions = {"new": "old + 1"}'
ADD_ONE_IN_PYTHON = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        return {"new": row["old"] + 1}
    """
MOVING = (MigrationState.PENDING, MigrationState.RUNNING)
PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three batches, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 3)
    monkeypatch.setattr(splitting, "RANGES_EACH", 1)


def worker(site: Site, workers: int = 4, **more: Any) -> DataMigrationRunner:
    """A daemon that is told so many workers."""
    return DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers, **more)


def begun(site: Site, body: str = ADD_ONE, *, rows: int = ROWS, workers: int = 4) -> Site:
    """Rows with even numbers as keys, of which none has moved."""
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER DEFAULT 0, moved INTEGER)")
    if body == COUNT:
        site.execute(*COUNTING[site.database.dialect.name])
    if rows:
        values = ", ".join(f"({2 * n}, {n}, 0)" for n in range(1, rows + 1))
        site.execute(f"INSERT INTO things (id, old, new) VALUES {values}")
    site.runner = worker(site, workers)
    site.start("walk", body)
    return site


def entry(site: Site) -> LedgerEntry:
    with site.database.reading() as connection:
        found = ledger.find(connection, SCHEMA, "walk")
    assert found is not None
    return found


def cut_off(site: Site) -> tuple[RangeEntry, ...]:
    with site.database.reading() as connection:
        return ranges.of(connection, SCHEMA, "walk")


def step(runner: DataMigrationRunner, batch_rows: int = 10) -> MigrationFacts:
    return runner.run_batch("walk", UPGRADE, batch_rows)


def elsewhere(work: Callable[[], T]) -> T:
    """What another worker does: each is a thread."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    if failed:
        raise failed[0]
    return done[0]


def times_moved(site: Site) -> set[tuple[int, int]]:
    """How often rows were moved, each number with how many rows there are of it."""
    return {(times, count) for times, count in site.rows("SELECT new, count(*) FROM things GROUP BY new")}


@contextmanager
def at_work(site: Site, *, daemons: int = 2, threads: int = 2, workers: int = 4) -> Iterator[list[BaseException]]:
    """Workers of several daemons until no row is left to be moved; what went wrong in one is raised at the end."""
    wrong: list[BaseException] = []

    def run(runner: DataMigrationRunner) -> None:
        try:
            while True:
                try:
                    if step(runner, 5).state not in MOVING:
                        return
                except (Conflict, LostCursor, Unavailable):
                    continue
        except BaseException as error:
            wrong.append(error)

    runners = [worker(site, workers) for _ in range(daemons)]
    crew = [threading.Thread(target=run, args=(runner,)) for runner in runners for _ in range(threads)]
    for each in crew:
        each.start()
    try:
        yield wrong
    finally:
        for each in crew:
            each.join(PATIENCE_SECONDS)
    assert not any(each.is_alive() for each in crew)
    assert wrong == []


# -- every row once --------------------------------------------------------------------------------------------------


def test_workers_of_several_daemons_move_every_row_once_while_others_come_and_go(served_site: Site) -> None:
    site = begun(served_site, COUNT)
    with at_work(site):
        for n in range(1, 60):
            site.execute(f"INSERT INTO things (id, old, new) VALUES ({2 * n * 6 + 1}, 1, 100), ({-n}, 1, 100)")
            site.execute(f"INSERT INTO things (id, old, new) VALUES ({2 * ROWS + n}, 1, 100)")
            site.execute(f"DELETE FROM things WHERE id IN ({-n + 1}, {2 * n * 6 - 11})")
    assert site.rows("SELECT DISTINCT new FROM things WHERE new < 100") == [(1,)]
    assert site.rows(f"SELECT count(*) FROM things WHERE new = 1 AND id <= {2 * ROWS}") == [(ROWS,)]
    assert set(site.rows("SELECT DISTINCT new FROM things WHERE new >= 100")) <= {(100,), (101,)}
    assert entry(site).state is MigrationState.VERIFYING
    left = [each for each in cut_off(site) if each.state is MigrationState.RUNNING]
    assert left == []  # of the proof there may be one: whoever came last began it


def test_fences_in_the_middle_let_no_batch_through_and_no_row_be_moved_twice(served_site: Site) -> None:
    site = begun(served_site, COUNT)
    with at_work(site):
        for _ in range(5):
            with site.database.writing() as connection:
                ledger.fence(connection, SCHEMA)
                set_fence(connection, Phase.READ_NEW)
            found = times_moved(site)
            assert times_moved(site) == found
            with site.database.writing() as connection:
                set_fence(connection, Phase.BACKFILL)
    assert times_moved(site) == {(1, ROWS)}
    assert entry(site).rows_done == ROWS


def set_fence(connection: sa.Connection, fence: Phase) -> None:
    connection.exec_driver_sql(f"UPDATE orchestrator_copies SET fence = '{fence.word}'")


def test_reset_in_the_middle_begins_anew_and_nothing_of_before_is_counted(served_site: Site) -> None:
    site = begun(served_site)
    with at_work(site):
        for _ in range(3):
            with site.database.writing() as connection:
                ledger.fence(connection, SCHEMA)
                ledger.reset(connection, SCHEMA, UPGRADE)
    assert entry(site).rows_done == ROWS
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 1") == [(0,)]
    assert site.run("walk").state is MigrationState.COMPLETE


@pytest.mark.parametrize("body", [ADD_ONE, ADD_ONE_IN_PYTHON], ids=["expression", "transform"])
def test_two_workers_are_inside_their_transactions_at_the_same_time(served_site: Site, body: str) -> None:
    """They meet after they have written their rows, before either commits: in each pass."""
    site = begun(served_site, body)
    for state in (MigrationState.RUNNING, MigrationState.VERIFYING):
        meeting = threading.Barrier(2, timeout=PATIENCE_SECONDS)
        first = threading.local()

        def meet(_connection: Any, _cursor: Any, statement: str, *_rest: Any, met: Any = (meeting, first)) -> None:
            barrier, mine = met
            if statement.startswith("UPDATE orchestrator_ranges") and not hasattr(mine, "met"):
                mine.met = True
                barrier.wait()

        sa.event.listen(site.database.engine, "before_cursor_execute", meet)
        crew = [threading.Thread(target=lambda: site.runner.run_batch("walk", UPGRADE, 10)) for _ in range(2)]
        for each in crew:
            each.start()
        for each in crew:
            each.join(PATIENCE_SECONDS)
        sa.event.remove(site.database.engine, "before_cursor_execute", meet)
        assert not meeting.broken
        assert sorted(each.rows_done for each in cut_off(site)) == [10, 10]
        while (facts := step(site.runner, 50)).state is state:
            pass
    assert facts.state is MigrationState.COMPLETE


@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_killed_at_any_moment_every_row_is_moved_and_counted_once(site: Site, kind: str) -> None:
    body = ADD_ONE if kind == "expression" else ADD_ONE_IN_PYTHON
    begun(site, body, rows=25)

    def go_on() -> MigrationFacts:
        site.runner = worker(site)
        site.runner.enrol(site.release("walk"), UPGRADE)
        facts: MigrationFacts = when_free(lambda: site.run("walk", batch_rows=4))
        return facts

    for moment in itertools.count(1, step=7):
        site.execute("DELETE FROM orchestrator_data_migrations", "UPDATE things SET new = 0")
        with dying(site.database, moment, every=False) as life:
            go_on()
        facts = go_on()
        assert facts.state is MigrationState.COMPLETE, (moment, life.died)
        assert (facts.rows_done, facts.rows_verified, facts.differences) == (25, 25, 0), (moment, life.died)
        assert cut_off(site) == ()
        if life.died is None:
            assert moment > 20
            break


@pytest.mark.parametrize("batch_rows", [1, 4, 1000])
@pytest.mark.parametrize("rows", [0, 1, 3, 25])
def test_ranges_of_few_rows_and_of_none(site: Site, rows: int, batch_rows: int) -> None:
    begun(site, rows=rows)
    facts = site.run("walk", batch_rows=batch_rows)
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, rows, rows)
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 1") == [(0,)]
    assert (entry(site).is_split, cut_off(site)) == (False, ())


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("columns", "keys"),
    [
        ("a INTEGER NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b)", [(n % 3, n) for n in range(30)]),
        ("a VARCHAR(20) NOT NULL, b INTEGER, PRIMARY KEY (a)", [(f"k'{n}\u00e9", 0) for n in range(30)]),
        ("a VARCHAR(20) NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (b, a)", [(f"{n}", n % 2) for n in range(30)]),
    ],
    ids=["composite", "text", "mixed"],
)
def test_every_key_that_can_be_walked_can_be_cut(site: Site, columns: str, keys: list[Any], workers: int) -> None:
    site.execute(f"CREATE TABLE things (old INTEGER, new INTEGER, moved INTEGER, {columns})")
    site.execute(*COUNTING[site.database.dialect.name])
    with site.database.writing() as connection:
        rows = [{"a": a, "b": b, "old": n} for n, (a, b) in enumerate(keys)]
        connection.execute(sa.text("INSERT INTO things (a, b, old, new) VALUES (:a, :b, :old, 0)"), rows)
    site.runner = worker(site, workers)
    site.start("walk", COUNT)
    while step(site.runner, 2).state is MigrationState.RUNNING:
        pass
    assert times_moved(site) == {(1, 30)}


def test_rows_that_come_and_go_at_the_ends_of_a_range_are_in_one_range_only(site: Site) -> None:
    begun(site, COUNT)
    step(site.runner)
    elsewhere(lambda: step(site.runner))
    first, second = cut_off(site)
    assert (first.high, second.low, second.high) == ("[60]", "[60]", "[120]")
    site.execute("DELETE FROM things WHERE id IN (60, 62, 120)", "INSERT INTO things (id, new) VALUES (59, 0), (61, 0)")
    site.execute("INSERT INTO things (id, new) VALUES (119, 0), (121, 0), (1001, 0)", "DELETE FROM things WHERE id < 9")
    while step(site.runner).state is MigrationState.RUNNING:
        pass
    assert site.rows("SELECT count(*) FROM things WHERE new = 0 AND id <> 61") == [(0,)]  # behind that cursor
    assert site.rows("SELECT count(*) FROM things WHERE new > 1") == [(0,)]


KILLED_IN_ITS_RANGE = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import open_database

url, directory, schema = sys.argv[1:]
database = open_database("main", url)

def kill(_connection, _cursor, statement, *_rest):
    if statement.startswith("UPDATE orchestrator_ranges"):
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(database.engine, "after_cursor_execute", kill)
runner = DataMigrationRunner(database, schema, Path(directory), workers=4)
while True:
    runner.run_batch("walk", 7, 5)
"""


def test_range_of_a_worker_that_was_killed_is_given_back_at_once(served_site: Site) -> None:
    site = begun(served_site, COUNT)
    step(site.runner)
    url = site.database.engine.url.render_as_string(hide_password=False)
    arguments = [sys.executable, "-c", KILLED_IN_ITS_RANGE, url, str(site.directory), SCHEMA]
    killed = subprocess.run(arguments, capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    _, left = cut_off(site)
    assert (left.rows_done, left.is_done) == (0, False)
    with at_work(site):
        pass
    assert times_moved(site) == {(1, ROWS)}
    assert entry(site).rows_done == ROWS


# -- no more than may be -----------------------------------------------------------------------------------------------


def test_no_more_batches_run_at_once_than_workers_whichever_daemons_run_them(served_site: Site) -> None:
    site = begun(served_site, workers=2)
    step(site.runner)
    elsewhere(lambda: step(worker(site, 2)))
    first, second = cut_off(site)
    assert (first.high, first.rows_done, second.rows_done) == (second.low, 10, 10)
    with site.database.writing() as busy:
        assert ranges.claim(busy, first) is not None
        other = worker(site, 2)
        assert elsewhere(lambda: step(other)).rows_done == 30  # in the one that nobody is at
        with site.database.writing() as busy_too:
            (changed,) = (each for each in cut_off(site) if each.number == second.number)
            assert ranges.claim(busy_too, changed) is not None
            with pytest.raises(Conflict) as caught:
                elsewhere(lambda: step(other))
            assert caught.value.code == "batch_claimed"
    assert [each.number for each in cut_off(site)] == [first.number, second.number]


def test_daemon_that_is_told_fewer_workers_stays_in_the_first_ranges_and_cuts_no_more(served_site: Site) -> None:
    site = begun(served_site, workers=3)
    for _ in range(3):
        elsewhere(lambda: step(site.runner))
    first = cut_off(site)[0]
    assert len(cut_off(site)) == 3
    one = worker(site, 1)
    with site.database.writing() as busy:
        assert ranges.claim(busy, first) is not None
        with pytest.raises(Conflict):
            step(one)
    while entry(site).is_split:
        assert step(one).state is MigrationState.RUNNING
    assert (entry(site).rows_done, cut_off(site)) == (90, ())
    assert step(one).rows_done == 100  # with one cursor again, after what was cut off
    site.runner = one
    assert site.run("walk").rows_done == ROWS


def test_one_worker_has_one_cursor_and_asks_for_no_ranges(site: Site) -> None:
    begun(site, workers=1)
    asked: list[str] = []
    sa.event.listen(site.database.engine, "before_cursor_execute", lambda _c, _u, text, *_: asked.append(text))
    assert step(site.runner).rows_done == 10
    assert not any("orchestrator_ranges" in text for text in asked)


def test_batch_in_a_range_costs_no_more_than_one_statement_more(site: Site) -> None:
    begun(site)
    counts: list[int] = []
    for workers in (1, 4):
        site.runner = worker(site, workers)
        step(site.runner)  # cuts a range off where there are ranges
        asked: list[str] = []

        def listener(_c: Any, _u: Any, text: str, *_: Any, asked: list[str] = asked) -> None:
            asked.append(text)

        sa.event.listen(site.database.engine, "before_cursor_execute", listener)
        step(site.runner)
        sa.event.remove(site.database.engine, "before_cursor_execute", listener)
        counts.append(len(asked))
    assert counts[1] <= counts[0] + 1


def test_while_an_older_daemon_may_be_alive_there_is_one_cursor(site: Site) -> None:
    begun(site)
    site.runner = worker(site, may_split=lambda: False)
    assert (step(site.runner).rows_done, cut_off(site)) == (10, ())
    site.runner = worker(site)
    assert step(site.runner).rows_done == 20
    assert [each.low for each in cut_off(site)] == ["[20]"]


def test_worker_rests_after_its_batch_in_another_range_too(served_site: Site) -> None:
    site = begun(served_site, workers=2)
    site.runner.pause_seconds = 1e6
    elsewhere(lambda: step(worker(site, 2)))  # without a pause
    step(site.runner)
    mine = cut_off(site)[1]
    with site.database.writing() as busy:
        assert ranges.claim(busy, mine) is not None
        with pytest.raises(Conflict) as caught:
            step(site.runner)
        assert caught.value.code == "batch_too_soon"
    with pytest.raises(Conflict) as caught:
        step(site.runner)  # and in its own
    assert caught.value.code == "batch_too_soon"
    assert entry(site).facts().rows_done == 0
    assert site.facts("walk").rows_done == 20


# -- whatever takes the cursor takes the ranges ------------------------------------------------------------------------


def everything(site: Site) -> list[object]:
    return [
        site.rows("SELECT * FROM things ORDER BY id"),
        site.rows("SELECT * FROM orchestrator_data_migrations"),
        site.rows("SELECT * FROM orchestrator_ranges"),
    ]


@pytest.mark.parametrize("state", [MigrationState.RUNNING, MigrationState.VERIFYING])
@pytest.mark.parametrize("body", [ADD_ONE, ADD_ONE_IN_PYTHON], ids=["expression", "transform"])
def test_batch_whose_range_was_taken_is_rolled_back_whole(
    site: Site, before: Before, state: MigrationState, body: str
) -> None:
    begun(site, body)
    while step(site.runner).state is not state:
        pass
    step(site.runner)
    found = everything(site)
    take = "UPDATE orchestrator_ranges SET revision = revision + 1"
    before("UPDATE orchestrator_ranges", lambda cursor: cursor.execute(take))
    with pytest.raises(LostCursor):
        step(site.runner)
    assert everything(site) == found
    assert site.run("walk").state is MigrationState.COMPLETE


def test_fence_waits_for_the_batch_of_every_range(served_site: Site) -> None:
    site = begun(served_site)
    step(site.runner)
    (mine,) = cut_off(site)
    fenced = threading.Event()

    def fence() -> None:
        with site.database.writing() as connection:
            ledger.fence(connection, SCHEMA)
            fenced.set()

    with site.database.writing() as batch:
        assert ranges.claim(batch, mine) is not None
        thread = threading.Thread(target=fence)
        thread.start()
        assert not fenced.wait(0.2)
    thread.join(PATIENCE_SECONDS)
    assert fenced.is_set()
    with pytest.raises(LostCursor), site.database.writing() as late:
        ranges.save(late, mine)


def test_no_range_is_worked_on_or_cut_off_outside_backfill(site: Site) -> None:
    begun(site)
    step(site.runner)
    site.enter(Phase.BACKFILL, fence=Phase.READ_NEW)
    found = everything(site)
    with pytest.raises(Conflict) as caught:
        step(site.runner)
    assert caught.value.code == "not_in_backfill"
    with pytest.raises(Conflict) as caught:
        elsewhere(lambda: step(site.runner))
    assert caught.value.code == "not_in_backfill"
    assert everything(site) == found


def test_what_begins_anew_leaves_no_range(site: Site) -> None:
    begun(site)
    take_back: list[Callable[[sa.Connection, LedgerEntry], object]] = [
        lambda connection, _: ledger.reset(connection, SCHEMA, UPGRADE),
        lambda connection, found: ledger.begin_anew(connection, found.at_start(upgrade_id=UPGRADE, file_hash="x")),
        lambda connection, found: ledger.begin_anew(connection, found.before_its_proof()),
    ]
    for act in take_back:
        step(site.runner)
        assert entry(site).is_split
        with site.database.writing() as connection:
            found = ledger.find(connection, SCHEMA, "walk")
            assert found is not None
            act(connection, found)
            ledger.reset(connection, SCHEMA, UPGRADE)
        assert (entry(site).is_split, cut_off(site)) == (False, ())
        assert step(site.runner).state is MigrationState.RUNNING


def test_proof_that_is_doubted_begins_at_the_first_row_without_ranges(site: Site) -> None:
    begun(site)
    while step(site.runner).state is not MigrationState.VERIFYING:
        pass
    step(site.runner)
    assert [each.state for each in cut_off(site)] == [MigrationState.VERIFYING]
    with site.database.writing() as connection:
        ledger.doubt(connection, SCHEMA, UPGRADE)
    assert (entry(site).is_split, entry(site).verify_cursor, cut_off(site)) == (False, None, ())
    assert site.run("walk").rows_verified == ROWS


def test_failure_takes_the_ranges_of_all_workers(site: Site) -> None:
    begun(site, ADD_ONE_IN_PYTHON.replace('row["old"] + 1}', 'row["old"] + 1} if row["old"] != 15 else None'))
    step(site.runner)
    elsewhere(lambda: step(site.runner))
    _, other = cut_off(site)
    assert step(site.runner).state is MigrationState.FAILED
    with pytest.raises(LostCursor), site.database.writing() as late:
        ranges.save(late, other)
    assert elsewhere(lambda: step(site.runner)).state is MigrationState.FAILED
    site.write("walk", ADD_ONE)
    assert site.runner.retry("walk").state is MigrationState.PENDING
    assert (cut_off(site), site.run("walk").rows_done) == ((), ROWS)


# -- an older daemon, in spite of all ----------------------------------------------------------------------------------


def test_rows_of_ranges_that_an_older_daemon_passed_by_are_moved(site: Site) -> None:
    begun(site, COUNT)
    step(site.runner)
    elsewhere(lambda: step(site.runner))
    with site.database.writing() as connection:  # as one that sees only the cursor, and the end of the table
        found = ledger.find(connection, SCHEMA, "walk")
        assert found is not None
        connection.exec_driver_sql("UPDATE things SET new = new + 1 WHERE id > 120")
        ledger.save(connection, replace(found, cursor=f"[{2 * ROWS}]", state=MigrationState.VERIFYING))
    while step(site.runner).state is not MigrationState.VERIFYING:
        pass
    assert times_moved(site) == {(1, ROWS)}


def test_ranges_of_an_earlier_run_are_forgotten(site: Site) -> None:
    begun(site)
    step(site.runner)
    left = cut_off(site)
    with site.database.writing() as connection:  # as one that knows no ranges begins anew
        found = ledger.find(connection, SCHEMA, "walk")
        assert found is not None
        began = found.at_start(upgrade_id=UPGRADE, file_hash=found.file_hash)
        ledger.save(connection, replace(began, state=MigrationState.RUNNING, started_at=1.0, is_split=True))
    assert site.facts("walk").rows_done == 0
    assert site.run("walk").rows_done == ROWS
    assert left and cut_off(site) == ()


# -- what people see ---------------------------------------------------------------------------------------------------


def test_rows_done_are_those_of_all_ranges(site: Site) -> None:
    begun(site)
    assert step(site.runner).rows_done == 10
    assert elsewhere(lambda: step(site.runner)).rows_done == 20
    assert (site.facts("walk").rows_done, entry(site).rows_done) == (20, 0)


def test_first_differences_are_the_first_by_key(site: Site) -> None:
    begun(site, rows=200)
    while step(site.runner).state is not MigrationState.VERIFYING:
        pass
    site.execute("UPDATE things SET new = 0 WHERE id IN (4, 70, 130, 390)")
    step(site.runner)
    other = worker(site)

    def all_but_the_first() -> None:
        for _ in range(2 * 200 // 10):
            try:
                step(other)
            except Conflict:
                return

    with site.database.writing() as busy:
        if site.database.dialect.many_writers:
            assert ranges.claim(busy, cut_off(site)[0]) is not None
            elsewhere(all_but_the_first)
    facts = site.run("walk")
    assert (facts.state, facts.differences, facts.rows_verified) == (MigrationState.FAILED, 4, 200)
    assert facts.first_differences == "id=4; id=70; id=130; id=390"


BAD = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        return {"new": row["old"] + 1 + 0 // (row["old"] not in (5, 33, 34, 120))}
    """


@pytest.mark.parametrize(("batch_rows", "rows"), [(1, 40), (10, 130)])
def test_rows_that_cannot_be_moved_are_passed_in_their_ranges(site: Site, batch_rows: int, rows: int) -> None:
    begun(site, BAD, rows=rows)
    facts = site.run("walk", batch_rows=batch_rows, batches=2000)
    bad = [f"id={key}" for key in (10, 66, 68, 240) if key <= 2 * rows]
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.FAILED, rows - len(bad), len(bad))
    assert [row.key for row in site.runner.quarantined("walk")] == bad
    site.execute("UPDATE things SET old = 1000 WHERE id IN (10, 66, 68, 240)")
    site.runner.retry("walk")
    facts = site.run("walk", batch_rows=batch_rows, batches=2000)
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.COMPLETE, rows, 0)
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 1") == [(0,)]


def test_workers_that_meet_bad_rows_at_the_same_time_count_each_once(served_site: Site) -> None:
    site = begun(served_site, BAD, rows=130)
    with at_work(site):
        pass
    assert (entry(site).state, entry(site).rows_quarantined, entry(site).rows_done) == (MigrationState.FAILED, 4, 126)
    assert sorted(row.key for row in site.runner.quarantined("walk")) == ["id=10", "id=240", "id=66", "id=68"]


def test_more_bad_rows_than_may_be_stop_it_and_a_retry_goes_on_in_the_ranges(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(site, BAD, rows=130)
    monkeypatch.setattr("orchestrator.bookkeeping.quarantine.MOST_ROWS", 2)
    facts = site.run("walk", batches=2000)
    assert (facts.state, entry(site).is_split) == (MigrationState.FAILED, True)
    assert "more than 2 rows of things" in (facts.error or "")
    with site.database.reading() as connection:
        (told,) = ledger.facts(connection, SCHEMA)
    assert [(told.rows_done,)] == site.rows("SELECT COUNT(*) FROM things WHERE new = old + 1"), "in all ranges"
    site.execute("UPDATE things SET old = 1000 WHERE id IN (10, 66, 68, 240)")
    site.runner.retry("walk")
    facts = site.run("walk", batches=2000)
    assert (facts.state, facts.rows_done) == (MigrationState.COMPLETE, 130)
