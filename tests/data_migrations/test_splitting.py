"""How long the ranges of several workers are."""

import pytest

from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations.splitting import RANGE_BATCHES, RANGES_EACH, range_rows


def entry(rows_total: int | None) -> LedgerEntry:
    return LedgerEntry("inventory", "split_name", "2", 7, "", rows_total=rows_total)


@pytest.mark.parametrize("rows_total", [None, 10**9])
def test_ranges_of_large_tables_have_many_batches(rows_total: int | None) -> None:
    assert range_rows(entry(rows_total), 100, workers=2) == RANGE_BATCHES * 100


def test_every_worker_gets_ranges_of_a_table_that_has_few_batches() -> None:
    assert range_rows(entry(1_600_000), 50_000, workers=2) == 1_600_000 // (2 * RANGES_EACH)


@pytest.mark.parametrize("rows_total", [0, 1, 70_000])
def test_no_range_is_shorter_than_a_batch(rows_total: int) -> None:
    assert range_rows(entry(rows_total), 50_000, workers=3) == 50_000
