"""Repairing: a retry moves only those parts of the table again in which rows differed, and proves every row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.bookkeeping import ledger, repairs
from orchestrator.bookkeeping.repairs import MOST_PARTS, Part
from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.dying import dying, when_free

from .conftest import SCHEMA, UPGRADE, Site
from .test_ranges import ADD_ONE, ADD_ONE_IN_PYTHON

ROWS = 60
BATCH = 5
KINDS = pytest.mark.parametrize("body", [ADD_ONE, ADD_ONE_IN_PYTHON], ids=["expression", "transform"])


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two batches, so that there are several."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 2)
    monkeypatch.setattr(splitting, "RANGES_EACH", 1)


def moved(site: Site, body: str = ADD_ONE, *, workers: int = 1) -> Site:
    """All rows are moved, and none is verified."""
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)")
    site.execute("INSERT INTO things (id, old) VALUES " + ", ".join(f"({n}, {n})" for n in range(1, ROWS + 1)))
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start("walk", body)
    until(site, MigrationState.VERIFYING)
    return site


def until(site: Site, *states: MigrationState) -> MigrationFacts:
    for _ in range(200):
        facts = site.runner.run_batch("walk", UPGRADE, BATCH)
        if facts.state in states:
            return facts
    raise AssertionError(f"it does not come to {states}: {site.facts('walk')}")


def damaged(site: Site, *ids: int) -> None:
    site.execute(f"UPDATE things SET new = -1 WHERE id IN ({', '.join(map(str, ids))})")


def failed(site: Site, *ids: int) -> MigrationFacts:
    """Its proof has found that these rows differ."""
    damaged(site, *ids)
    facts = until(site, MigrationState.FAILED)
    assert facts.differences == len(ids)
    return facts


@KINDS
@pytest.mark.parametrize("workers", [1, 3])
def test_only_parts_with_differences_are_moved_again_and_every_row_is_proven(
    site: Site, body: str, workers: int
) -> None:
    facts = failed(moved(site, body, workers=workers), 12, 31, 33)
    assert facts.rows_to_repair == 2 * BATCH
    damaged(site, 3, 50)  # beside the parts that the proof has named
    facts = site.runner.retry("walk")
    assert (facts.state, facts.rows_done, facts.differences) == (MigrationState.RUNNING, ROWS - 2 * BATCH, 0)
    facts = until(site, MigrationState.FAILED)
    assert (facts.first_differences, facts.rows_done, facts.rows_verified) == ("id=3; id=50", ROWS, ROWS)
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 1") == [(2,)]
    site.runner.retry("walk")
    facts = until(site, MigrationState.COMPLETE)
    assert (facts.rows_done, facts.rows_verified, facts.differences) == (ROWS, ROWS, 0)
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 1") == [(0,)]


def test_last_part_of_the_table_is_one_like_the_others(site: Site) -> None:
    moved(site).execute("DELETE FROM things WHERE id = 1")  # so that it is the last batch that has an open end
    failed(site, ROWS)
    site.execute(f"INSERT INTO things VALUES ({ROWS + 1}, 1, -1)")
    site.runner.retry("walk")
    assert until(site, MigrationState.COMPLETE).rows_verified == ROWS


def test_parts_are_moved_in_backfill_only(site: Site) -> None:
    failed(moved(site), 12)
    site.runner.retry("walk")
    site.enter(Phase.READ_NEW)
    with pytest.raises(Conflict) as refused:
        site.runner.run_batch("walk", UPGRADE, BATCH)
    assert refused.value.code == "not_in_backfill"
    assert site.rows("SELECT new FROM things WHERE id = 12") == [(-1,)]


def test_where_rows_are_not_moved_any_more_a_retry_only_proves(site: Site) -> None:
    failed(moved(site), 12)
    site.enter(Phase.READ_NEW)
    assert site.runner.retry("walk").state is MigrationState.VERIFYING
    assert until(site, MigrationState.FAILED).differences == 1


def test_with_another_file_every_row_is_moved(site: Site) -> None:
    failed(moved(site), 12)
    site.write("walk", ADD_ONE.replace("old + 1", "old + 2"))
    facts = site.runner.retry("walk")
    assert (facts.state, facts.rows_done) == (MigrationState.PENDING, 0)
    until(site, MigrationState.COMPLETE)
    assert site.rows("SELECT count(*) FROM things WHERE new <> old + 2") == [(0,)]


def test_differences_that_an_older_daemon_found_beside_ours_let_every_row_be_moved(site: Site) -> None:
    moved(site)
    damaged(site, 2, 12)
    until(site, MigrationState.VERIFYING)
    with site.database.writing() as connection:
        entry = ledger.find(connection, SCHEMA, "walk")
        assert entry is not None
        ledger.save(connection, replace(entry, differences=entry.differences + 1))
    facts = until(site, MigrationState.FAILED)
    assert (facts.differences, facts.rows_to_repair) == (3, None)
    assert site.runner.retry("walk").state is MigrationState.PENDING


def test_parts_of_an_earlier_run_say_nothing(site: Site) -> None:
    """As an older daemon leaves them, whose retry begins at the first row."""
    moved(site)
    with site.database.writing() as connection:
        entry = ledger.find(connection, SCHEMA, "walk")
        assert entry is not None
        old = repairs.to_move([Part("[1]", "[2]", 1)], 1.0)
        ledger.save(connection, replace(entry, state=MigrationState.RUNNING, cursor=None, rows_done=0, repairs=old))
    site.execute("UPDATE things SET new = NULL")
    assert until(site, MigrationState.COMPLETE).rows_done == ROWS


def test_proof_that_was_broken_off_lets_every_row_be_moved(site: Site) -> None:
    raising = ADD_ONE_IN_PYTHON.replace('row["old"] + 1', '1 + 1 / row["old"] * row["old"] ** 2')
    moved(site, raising)
    damaged(site, 2)
    site.execute("UPDATE things SET old = 0 WHERE id = 33")
    facts = until(site, MigrationState.FAILED)
    assert facts.differences
    assert facts.rows_to_repair is None
    assert site.runner.retry("walk").state is MigrationState.PENDING


def test_row_that_cannot_be_moved_again_goes_into_quarantine(site: Site) -> None:
    raising = ADD_ONE_IN_PYTHON.replace('row["old"] + 1', '1 + int(row["old"] / row["old"] * row["old"])')
    failed(moved(site, raising), 12)
    site.runner.retry("walk")
    site.execute("UPDATE things SET old = 0 WHERE id = 12")
    facts = until(site, MigrationState.FAILED)
    assert (facts.rows_quarantined, facts.rows_done) == (1, ROWS - 1)
    site.execute("UPDATE things SET old = 12 WHERE id = 12")
    site.runner.retry("walk")
    facts = until(site, MigrationState.COMPLETE)
    assert (facts.rows_done, facts.rows_verified) == (ROWS, ROWS)


@pytest.mark.parametrize("workers", [1, 3])
def test_daemon_that_is_killed_at_any_moment_leaves_the_rest_to_another(site: Site, workers: int) -> None:
    failed(moved(site, workers=workers), 12, 31)
    with site.database.reading() as connection:
        before = ledger.find(connection, SCHEMA, "walk")
    assert before is not None
    for moment in range(1, 60, 6):
        site.execute("DELETE FROM orchestrator_data_migrations", "DELETE FROM orchestrator_ranges")
        with site.database.writing() as connection:
            ledger.add(connection, before)
        damaged(site, 12, 31)
        site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
        with dying(site.database, moment) as life:
            when_free(lambda: site.runner.retry("walk"))
            when_free(lambda: until(site, MigrationState.COMPLETE))
        if site.facts("walk").state is MigrationState.FAILED:
            when_free(lambda: site.runner.retry("walk"))
        facts = when_free(lambda: until(site, MigrationState.COMPLETE))
        assert (facts.rows_done, facts.rows_verified) == (ROWS, ROWS), (moment, life.died)
        if life.died is None:
            break


# -- what is known of parts --------------------------------------------------------------------------------------------


def part(n: int, *, rows: int = 10) -> Part:
    return Part(f"[{n}]", f"[{n + 1}]", rows)


def test_adjoining_parts_are_one() -> None:
    text = repairs.noted(None, 1.0, 0, part(1), 1)
    text = repairs.noted(text, 1.0, 1, part(2), 2)
    text = repairs.noted(text, 1.0, 3, part(4), 1)
    assert repairs.found(text, 1.0, 4) == (Part("[1]", "[3]", 20), part(4))


def test_more_parts_than_there_may_be_are_the_whole_table_from_then_on() -> None:
    text, known = None, 0
    for n in range(MOST_PARTS + 2):
        text = repairs.noted(text, 1.0, known, part(2 * n), 1)
        known += 1
        if known == MOST_PARTS:
            assert len(repairs.found(text, 1.0, known)) == MOST_PARTS
    assert repairs.found(text, 1.0, known) == (Part(None, None, known * 10),)


def test_keys_of_any_length_fit_into_a_column() -> None:
    text, known = None, 0
    for n in range(MOST_PARTS):
        low, high = f'["{n:0700}"]', f'["{n:0699}x"]'
        text = repairs.noted(text, 1.0, known, Part(low, high, 1), 1)
        known += 1
    assert len(text or "") < 64 * 1024
    assert repairs.found(text, 1.0, known) == (Part(None, None, known),)


def test_text_of_another_run_or_of_fewer_differences_is_worth_nothing() -> None:
    text = repairs.noted(None, 1.0, 0, part(1), 1)
    assert repairs.found(text, 2.0, 1) == ()
    assert repairs.found(text, 1.0, 2) == ()
    assert repairs.left(text, 1.0) == ()
    assert repairs.found(repairs.noted(text, 1.0, 5, part(9), 1), 1.0, 6) == (Part(None, None, 10),)
