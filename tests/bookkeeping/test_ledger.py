"""The ledger and the copy: forward only, and only by whoever holds the newest revision."""

from dataclasses import fields, replace

import pytest

from orchestrator.bookkeeping import ledger, ranges
from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.bookkeeping.tables import data_migrations as table
from orchestrator.bookkeeping.tables import metadata
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import Conflict, LostCursor
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Copy, MigrationState

SCHEMA = "inventory"
FULL = LedgerEntry(
    SCHEMA,
    "split_name",
    "2",
    7,
    "ab" * 32,
    state=MigrationState.FAILED,
    revision=4,
    cursor="[17]",
    rows_total=2**40,
    rows_done=30,
    verify_cursor="[9]",
    rows_verified=20,
    differences=2,
    first_differences="id=1; id=2",
    witness_incarnation="w",
    error="a sentence",
    batch_rows=250,
    suspect_rows=3,
    rows_quarantined=2,
    started_at=1_763_773_200.123457,
    finished_at=1_763_773_201.1,
)


SINCE_RELEASE_2 = ("batch_rows", "suspect_rows", "rows_quarantined", "is_split")
IN_RELEASE_1 = tuple(field.name for field in fields(LedgerEntry) if field.name not in SINCE_RELEASE_2)
"""The columns that an older daemon knows."""


@pytest.fixture
def books(database: Database) -> Database:
    with database.writing() as connection:
        metadata.create_all(connection)
    return database


def test_entry_comes_back_as_it_was_stored(books: Database) -> None:
    with books.writing() as connection:
        ledger.add(connection, FULL)
    with books.reading() as connection:
        assert ledger.find(connection, SCHEMA, "split_name") == FULL
        assert ledger.entries(connection, SCHEMA) == (FULL,)
        assert ledger.entries(connection, "another") == ()
        assert ledger.find(connection, SCHEMA, "unknown") is None


def test_older_daemon_adds_and_changes_entries(books: Database) -> None:
    older = {name: getattr(FULL, name) for name in IN_RELEASE_1}
    with books.writing() as connection:
        connection.execute(table.insert().values(older))
        found = ledger.find(connection, SCHEMA, "split_name")
        assert found == LedgerEntry(**older)
        ledger.save(connection, replace(found, batch_rows=250, suspect_rows=3, rows_quarantined=2))
        connection.execute(table.update().values({**older, "revision": 6}))
        assert ledger.find(connection, SCHEMA, "split_name") == replace(FULL, revision=6)


def test_every_change_has_the_next_revision(books: Database) -> None:
    with books.writing() as connection:
        ledger.add(connection, FULL)
        changed = ledger.save(connection, replace(FULL, rows_done=31))
        assert changed == replace(FULL, rows_done=31, revision=5)
        assert ledger.find(connection, SCHEMA, "split_name") == changed


def test_change_decided_on_an_old_revision_is_refused(books: Database) -> None:
    with books.writing() as connection:
        ledger.add(connection, FULL)
        assert ledger.fence(connection, SCHEMA) == 1
    with pytest.raises(LostCursor) as caught, books.writing() as connection:
        ledger.save(connection, replace(FULL, rows_done=31))
    assert caught.value.code == "lost_cursor"
    with books.reading() as connection:
        assert ledger.find(connection, SCHEMA, "split_name") == replace(FULL, revision=5)


def test_reset_forgets_everything_of_its_upgrade_but_never_a_revision(books: Database) -> None:
    other = replace(FULL, name="other", upgrade_id=8)
    with books.writing() as connection:
        ledger.add(connection, FULL)
        ledger.add(connection, other)
        ledger.reset(connection, SCHEMA, 7)
        assert ledger.find(connection, SCHEMA, "split_name") == LedgerEntry(
            SCHEMA, "split_name", "2", 7, FULL.file_hash, revision=5
        )
        assert ledger.find(connection, SCHEMA, "other") == other


RANGE = RangeEntry(
    SCHEMA,
    "split_name",
    2**40,
    MigrationState.VERIFYING,
    1_763_773_200.123457,
    "[1]",
    "[9]",
    cursor="[4]",
    rows_done=20,
    differences=1,
    first_differences="id=3",
    batch_at=1_763_773_201.25,
    batch_rows=250,
    suspect_rows=3,
)


def test_range_comes_back_as_it_was_stored_and_changes_only_at_its_own_revision(books: Database) -> None:
    with books.writing() as connection:
        ranges.add(connection, RANGE)
    with books.writing() as connection:
        assert ranges.of(connection, SCHEMA, "split_name") == (RANGE,)
        assert ranges.claim(connection, RANGE) == RANGE
        changed = ranges.save(connection, replace(RANGE, rows_done=21))
        assert changed == replace(RANGE, rows_done=21, revision=2)
        assert ranges.find(connection, SCHEMA, "split_name", 2**40) == changed
        assert ranges.claim(connection, RANGE) is None
    for late in (ranges.save, ranges.remove):
        with pytest.raises(LostCursor) as caught, books.writing() as connection:
            late(connection, RANGE)
        assert caught.value.code == "lost_cursor"


def test_fence_reset_and_doubt_take_ranges_in_the_same_transaction(books: Database) -> None:
    proven = replace(FULL, state=MigrationState.VERIFYING, is_split=True, started_at=RANGE.run_at)
    other = replace(RANGE, name="other")
    with books.writing() as connection:
        ledger.add(connection, proven)
        ledger.add(connection, replace(proven, name="other", upgrade_id=8))
        ranges.add(connection, RANGE)
        ranges.add(connection, other)
        assert [each.rows_verified for each in ledger.facts(connection, SCHEMA)] == [40, 40]
        ledger.fence(connection, SCHEMA)
        assert ranges.of(connection, SCHEMA, "split_name") == (replace(RANGE, revision=2),)
        assert ranges.of(connection, SCHEMA, "other") == (replace(other, revision=2),)
        ledger.doubt(connection, SCHEMA, 7)
        assert ranges.of(connection, SCHEMA, "split_name") == ()
        ledger.reset(connection, SCHEMA, 7)
        assert ranges.of(connection, SCHEMA, "other") == (replace(other, revision=2),)
        ledger.reset(connection, SCHEMA, 8, ["other"])
        assert ranges.of(connection, SCHEMA, "other") == ()
        assert [each.rows_verified for each in ledger.facts(connection, SCHEMA)] == [0, 0]


@pytest.mark.parametrize("kind", ["postgresql_url", "mysql_url"])
def test_claim_passes_over_an_entry_that_another_session_holds(kind: str, request: pytest.FixtureRequest) -> None:
    books = open_database("main", request.getfixturevalue(kind))
    with books.writing() as connection:
        metadata.create_all(connection)
        ledger.add(connection, FULL)
    with books.writing() as first:
        assert ledger.claim(first, SCHEMA, "split_name") == FULL
        with books.writing() as second:
            assert ledger.claim(second, SCHEMA, "split_name") is None
    with books.writing() as third:
        assert ledger.claim(third, SCHEMA, "split_name") == FULL
    books.engine.dispose()


def test_copy_is_written_whole_and_only_forward(books: Database) -> None:
    first = Copy(7, Phase.EXPANDED, Phase.BACKFILL, 3, "i")
    second = Copy(None, Phase.BASE, Phase.BASE, 4, "j")
    with books.writing() as connection:
        assert read_copy(connection, SCHEMA) is None
        write_copy(connection, SCHEMA, first, now=1.0)
        write_copy(connection, SCHEMA, first, now=1.0)
        assert read_copy(connection, SCHEMA) == first
        write_copy(connection, SCHEMA, second, now=2.0)
        with pytest.raises(Conflict) as caught:
            write_copy(connection, SCHEMA, first, now=3.0)
        assert caught.value.code == "copy_ahead"
        found = read_copy(connection, SCHEMA)
        assert found == second
        assert found is not None and found.written_at == 2.0
        assert read_copy(connection, "another") is None
