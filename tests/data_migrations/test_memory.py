"""What a worker keeps in memory does not grow with the rows that it has moved or compared."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.data_migrations.counting import IN_PYTHON

ROWS, BATCHES, BATCH_ROWS = 2000, 12, 100
A_ROW = 32
"""Bytes: less than whatever could be kept of a row."""

BODIES = {"expression": 'table = "things"\nexpressions = {"new": "old + 1"}', "transform": IN_PYTHON}


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two batches, so that all that is done with ranges was done before."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 2)
    monkeypatch.setattr(splitting, "RANGES_EACH", 1)


class Worker:
    """A daemon's runner."""

    def __init__(self, site: Site, workers: int) -> None:
        self._runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
        self._batches = 0

    def until(self, state: MigrationState) -> None:
        """To the next pass, and on until all that is needed once is loaded and compiled."""
        while self._runner.run_batch("walk", UPGRADE, BATCH_ROWS).state is not state:
            pass
        self.batches(4, state)

    def batches(self, count: int, state: MigrationState) -> None:
        """So many, no two of one size."""
        for _ in range(count):
            self._batches += 1
            assert self._runner.run_batch("walk", UPGRADE, BATCH_ROWS - self._batches).state is state

    def keeps(self, count: int, state: MigrationState) -> int:
        """The bytes that so many batches leave behind."""
        tracemalloc.start()
        try:
            self.batches(count, state)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(("kind", "workers"), [("expression", 1), ("transform", 2)])
def test_batches_leave_nothing_behind(site: Site, kind: str, workers: int) -> None:
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)")
    site.execute("INSERT INTO things VALUES " + ", ".join(f"({n}, {n}, NULL)" for n in range(ROWS)))
    site.start("walk", BODIES[kind])
    worker = Worker(site, workers)
    for state in (MigrationState.RUNNING, MigrationState.VERIFYING):
        worker.until(state)
        assert worker.keeps(BATCHES, state) < A_ROW * BATCHES * BATCH_ROWS
