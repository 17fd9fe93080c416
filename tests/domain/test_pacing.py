"""Progress comes from our own counts and never says 100 % before the proof."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.pacing import eta_seconds, known_total, progress
from orchestrator.domain.view import MigrationFacts, MigrationState

PENDING, RUNNING, VERIFYING, COMPLETE, ASSUMED, FAILED = MigrationState


def facts(state: MigrationState, done: int = 0, total: int | None = 100, verified: int = 0) -> MigrationFacts:
    return MigrationFacts("split_name", state, rows_done=done, rows_total=total, rows_verified=verified)


@pytest.mark.parametrize(
    ("migrations", "share"),
    [
        ([facts(RUNNING)], 0.0),
        ([facts(RUNNING, 50)], 0.25),
        ([facts(VERIFYING, 100)], 0.5),
        ([facts(VERIFYING, 100, verified=50)], 0.75),
        ([facts(VERIFYING, 100, verified=100)], 0.99),
        ([facts(VERIFYING, 140, verified=140)], 0.99),
        ([facts(COMPLETE, 100, verified=100)], 1.0),
        ([facts(COMPLETE, 100, verified=100), facts(RUNNING)], 0.5),
        ([facts(ASSUMED, total=None)], 1.0),
        ([facts(PENDING, total=None)], None),
        ([facts(COMPLETE, 100, verified=100), facts(PENDING, total=None)], None),
        ([facts(RUNNING, total=0)], 0.99),
        ([], 1.0),
    ],
)
def test_moving_and_verifying_a_row_count_the_same(migrations: list[MigrationFacts], share: float | None) -> None:
    assert progress(migrations) == share


counts = st.integers(0, 10**9)


@given(st.lists(st.builds(facts, st.sampled_from(MigrationState), counts, st.none() | counts, counts), max_size=5))
def test_progress_is_a_share_and_one_means_proven(migrations: list[MigrationFacts]) -> None:
    share = progress(migrations)
    is_proven = all(each.state in (COMPLETE, ASSUMED) for each in migrations)
    assert share is None or 0 <= share <= 1
    assert (share == 1) == is_proven


@given(st.none() | counts, counts)
def test_no_more_rows_are_done_than_there_are(counted: int | None, done: int) -> None:
    total = known_total(counted, done)
    assert (total is None) == (counted is None)
    assert total is None or (total >= done and total in (counted, done))


@pytest.mark.parametrize(
    ("share", "elapsed", "eta"),
    [
        (0.5, 60.0, 60.0),
        (0.25, 60.0, 180.0),
        (1.0, 60.0, 0.0),
        (None, 60.0, None),
        (0.005, 60.0, None),
        (0.5, 0.0, None),
    ],
)
def test_the_rest_takes_as_long_as_the_pace_so_far_says(share: float | None, elapsed: float, eta: float | None) -> None:
    assert eta_seconds(share, elapsed) == eta
