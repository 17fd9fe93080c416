"""Whatever a data migration does with its rows, what people read of it does not fall."""

from __future__ import annotations

import pytest

from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.progress import EtaState, Track, after, progress_of
from orchestrator.domain.view import MigrationFacts, MigrationState

from .conftest import SCHEMA, UPGRADE, Site

ROWS = 200


def progress(site: Site) -> MigrationFacts:
    (found,) = site.runner.progress()
    return found


@pytest.mark.parametrize("workers", [1, 4])
def test_counts_grow_and_the_share_does_not_fall(site: Site, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ranges that are counted in, in batches of changing size, and while rows are deleted."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 3)
    monkeypatch.setattr(splitting, "RANGES_EACH", 1)
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER DEFAULT 0)")
    values = ", ".join(f"({2 * number}, {number}, 0)" for number in range(1, ROWS + 1))
    site.execute(f"INSERT INTO things (id, old, new) VALUES {values}")
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    site.start("walk", 'table = "things"\nexpressions = {"new": "old + 1"}')
    track: Track | None = None
    before, share, now = progress(site), 0.0, 0.0
    while before.state is not MigrationState.COMPLETE:
        site.runner.run_batch("walk", UPGRADE, 3 + int(now) % 7)
        if now == 10:
            site.execute("DELETE FROM things WHERE id > 300 AND id < 340")
        now += 1
        found = progress(site)
        track = after(track, found, now)
        shown = progress_of(found, track, now=now)
        assert found.rows_done >= before.rows_done and found.rows_verified >= before.rows_verified
        assert shown.share is not None and shown.share >= share
        assert (shown.share == 1) == (found.state is MigrationState.COMPLETE)
        assert shown.eta.state is not EtaState.MEASURING or now < 10
        before, share = found, shown.share
