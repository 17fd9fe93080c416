"""Steps of the database's clock: pauses end, and no batch is taken for one of another run."""

from __future__ import annotations

import pytest

from orchestrator.bookkeeping import ranges
from orchestrator.data_migrations import DataMigrationRunner, splitting
from orchestrator.domain.errors import LostCursor
from orchestrator.domain.pacing import LONGEST_REST_SECONDS
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.data_migrations.counting import ENDED, Persistent, counted, cut_off, entry


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 1)


class Clock:
    """The database's, which somebody sets."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self, _connection: object) -> float:
        return self.now


@pytest.fixture
def clock(site: Site, monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(type(site.database.dialect), "now", found)
    return found


STEPS = {"forwards": 86_400.0, "backwards": -86_400.0, "a little back": -30.0, "to nothing": -1_000_000_000.0}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_clock_of_the_database_steps_between_batches(site: Site, clock: Clock, step: str, workers: int) -> None:
    """After each batch the pause is over in time, and no pause is longer than the longest rest."""
    counted(site, "expression", rows=25)
    runner = DataMigrationRunner(
        site.database, SCHEMA, site.directory, workers=workers, pause_seconds=5.0, nice_ratio=1.0
    )
    persistent = Persistent(site, runner)
    waited = 0.0
    while persistent.step().state not in ENDED:
        if persistent.refusals and persistent.refusals.pop() == "batch_too_soon":
            clock.now += 5.0
            waited += 5.0
            assert waited <= LONGEST_REST_SECONDS + 5.0, "it never goes on"
        else:
            clock.now += STEPS[step]
            waited = 0.0
    persistent.to_the_end()


@pytest.mark.parametrize("workers", [1, 2])
def test_run_that_begins_at_the_very_time_of_the_one_before_is_another_one(
    site: Site, clock: Clock, workers: int
) -> None:
    counted(site, "expression")
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
    for _ in range(3):
        site.runner.run_batch("walk", UPGRADE, 10)
    started_at = entry(site).started_at
    late = list(cut_off(site))
    site.runner.give_up("walk")
    site.execute("UPDATE things SET times = 0, note = 1")
    persistent = Persistent(site)
    persistent.step()
    persistent.step()
    assert entry(site).started_at == started_at
    for each in late:
        with pytest.raises(LostCursor), site.database.writing() as connection:
            ranges.save(connection, each)
    persistent.to_the_end()
