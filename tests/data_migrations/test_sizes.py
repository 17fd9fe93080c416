"""Batches take as many rows as they can hold locked in time, and fewer where they do not get through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState

from .conftest import SCHEMA, UPGRADE, Site

SIZES = BatchSizes(10, 400, 0.2)
ROWS = 1000
ADD_ONE = 'table = "things"\nexpressions = {"new": "old + 1"}'


class Stopwatch:
    """A clock of which every batch takes as long as it is told."""

    def __init__(self) -> None:
        self.batch_seconds = 0.0
        self._now = 0.0
        self._ends = False

    def __call__(self) -> float:
        if self._ends:
            self._now += self.batch_seconds
        self._ends = not self._ends
        return self._now


@pytest.fixture
def things(site: Site) -> Site:
    """A thousand rows of which each is to be one more."""
    add_things(site)
    return site


def add_things(site: Site) -> None:
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES " + ", ".join(f"({n}, {n}, NULL)" for n in range(1, ROWS + 1)),
    )


def entry(site: Site) -> LedgerEntry:
    with site.database.reading() as connection:
        found = ledger.find(connection, SCHEMA, "walk")
    assert found is not None
    return found


def moved(site: Site, runner: DataMigrationRunner, sizes: BatchSizes = SIZES) -> int:
    """How many rows the next batch moves."""
    before = entry(site).rows_done
    return runner.run_batch("walk", UPGRADE, sizes).rows_done - before


def test_batches_grow_while_they_are_quick_and_shrink_when_one_is_not(things: Site) -> None:
    things.start("walk", ADD_ONE)
    watch = Stopwatch()
    runner = DataMigrationRunner(things.database, SCHEMA, things.directory, clock=watch)
    sizes = []
    for seconds in (0.01, 0.1, 0.16, 2.0, 0.01):
        watch.batch_seconds = seconds
        sizes.append(moved(things, runner))
    assert sizes == [100, 200, 300, 300, 22]
    # Another daemon, or the same after a restart, goes on with the size that was reached.
    assert moved(things, things.another_runner()) == 44
    assert runner.run_batch("walk", UPGRADE, SIZES).state is MigrationState.VERIFYING


def test_rows_are_compared_at_the_same_pace(things: Site) -> None:
    things.start("walk", ADD_ONE)
    watch = Stopwatch()
    runner = DataMigrationRunner(things.database, SCHEMA, things.directory, clock=watch)
    while runner.run_batch("walk", UPGRADE, SIZES).state is MigrationState.RUNNING:
        pass
    assert entry(things).batch_rows == 400
    watch.batch_seconds = 0.4
    assert [runner.run_batch("walk", UPGRADE, SIZES).rows_verified for _ in range(3)] == [400, 550, 606]
    assert things.run("walk").state is MigrationState.COMPLETE


def test_fixed_size_is_fixed_and_new_bounds_hold_at_once(things: Site) -> None:
    things.start("walk", ADD_ONE)
    watch = Stopwatch()
    watch.batch_seconds = 9.0
    runner = DataMigrationRunner(things.database, SCHEMA, things.directory, clock=watch)
    fixed = BatchSizes(50, 50, 0.2)
    assert [moved(things, runner, fixed) for _ in range(3)] == [50, 50, 50]
    assert moved(things, runner, BatchSizes(200, 400, 0.2)) == 200


def test_retry_begins_small_again(things: Site) -> None:
    things.start("walk", ADD_ONE)
    assert things.run("walk", batch_rows=400).state is MigrationState.COMPLETE
    assert entry(things).batch_rows == 400
    things.runner.retry("walk")
    assert entry(things).batch_rows is None


REFUSE_MANY = """
CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM written) > 4 OR EXISTS (SELECT FROM written WHERE id = {refused}) THEN
        RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'too many';
    END IF;
    RETURN NULL;
END $$
"""
ON_UPDATE = """
CREATE TRIGGER refuse_many AFTER UPDATE ON things REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION refuse_many()
"""


@pytest.fixture
def limited(postgresql_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A statement there that writes more than four rows of this table is refused; with 55P03 at first."""
    monkeypatch.setattr("orchestrator.data_migrations.runner.PAUSE_SECONDS", 0)
    add_things(postgresql_site)
    yield postgresql_site


@pytest.mark.parametrize("code", ["57014", "55P03", "40P01"], ids=["cut off", "no lock in time", "deadlock"])
def test_batch_that_does_not_get_through_is_made_smaller_until_it_does(limited: Site, code: str) -> None:
    limited.start("walk", ADD_ONE)
    limited.execute(REFUSE_MANY.format(code=code, refused=-1), ON_UPDATE)
    sizes = [moved(limited, limited.runner, BatchSizes.fixed(20)) for _ in range(4)]
    assert sizes == [0, 0, 0, 2]  # 20, 10 and 5 rows are too many
    limited.execute("DROP TRIGGER refuse_many ON things")
    sizes = [moved(limited, limited.runner, BatchSizes.fixed(20)) for _ in range(4)]
    assert sizes == [1, 1, 1, 20]  # the rest of the five, then as before
    assert limited.run("walk", batch_rows=400).state is MigrationState.COMPLETE


def test_single_row_that_is_cut_off_ends_the_data_migration(limited: Site) -> None:
    limited.start("walk", ADD_ONE)
    limited.execute(REFUSE_MANY.format(code="57014", refused=3), ON_UPDATE)
    facts = limited.run("walk")
    assert (facts.state, facts.rows_done) == (MigrationState.FAILED, 2)
    assert facts.error is not None
    assert "the row id=3: too many" in facts.error


def test_batch_waits_for_its_pause_after_one_that_did_not_get_through(limited: Site) -> None:
    limited.start("walk", ADD_ONE)
    limited.execute(REFUSE_MANY.format(code="57014", refused=3), ON_UPDATE)
    limited.runner.pause_seconds = 1e6
    limited.runner.run_batch("walk", UPGRADE, 20)
    assert entry(limited).batch_at is not None
