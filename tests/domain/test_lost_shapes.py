"""The new shape that is taken away by hand takes the proof of the rows with it, once, and only where that can help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain import planner
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Move, Upgrade
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.domain.views import a_database, a_view, an_upgrade, with_database

ROWS_PHASES = (Phase.BACKFILL, Phase.READ_NEW)


def decision(upgrade: Upgrade, **changes: object) -> planner.Decision:
    return planner.decide(with_database(a_view(upgrade), expanded=False, **changes))


@pytest.mark.parametrize("phase", ROWS_PHASES)
def test_rows_are_doubtful_when_the_shape_was_lost_that_they_had_been_moved_into(phase: Phase) -> None:
    view = with_database(a_view(an_upgrade(phase)), expanded=False)
    found = planner.decide(view)
    assert found == planner.RecordDoubt(
        f"database main lacked in {phase.word} what expand to 2 makes, after rows had been moved into it"
    )
    assert {"proof_doubtful", "database_not_expanded"} <= {blocker.code for blocker in planner.explain(view)}
    recorded = replace(view, upgrade=view.upgrade.with_doubt(found.doubt))
    assert not isinstance(planner.decide(recorded), planner.RecordDoubt)


@pytest.mark.parametrize("state", MigrationState)
def test_one_row_that_was_moved_is_enough(state: MigrationState) -> None:
    for rows in (0, 1):
        moved = MigrationFacts("split_name", state, rows)
        found = decision(an_upgrade(Phase.BACKFILL), migrations=(moved,))
        assert isinstance(found, planner.RecordDoubt) == (rows > 0 or state is MigrationState.COMPLETE)


def test_a_fenced_move_is_no_exception() -> None:
    assert isinstance(decision(an_upgrade(Phase.BACKFILL, fence=Phase.READ_NEW)), planner.RecordDoubt)


def test_a_database_of_several_is_enough() -> None:
    upgrade = an_upgrade(Phase.BACKFILL)
    databases = (a_database("one", upgrade=upgrade), replace(a_database("two", upgrade=upgrade), expanded=False))
    found = planner.decide(a_view(upgrade, databases=databases))
    assert isinstance(found, planner.RecordDoubt) and "database two" in found.doubt


@pytest.mark.parametrize(
    "upgrade",
    [
        an_upgrade(Phase.BASE, goal=Phase.CONTRACTED),
        an_upgrade(Phase.EXPANDED),
        an_upgrade(Phase.BACKFILL, goal=Phase.BASE),
        an_upgrade(Phase.READ_NEW, goal=Phase.EXPANDED),
        an_upgrade(Phase.WRITE_NEW),
        an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED, move=Move.STEPPING, old_valid=True),
        an_upgrade(Phase.CONTRACTED, old_valid=True),
    ],
    ids=["base", "expanded", "on the way to base", "on the way to expanded", "stale", "removing", "removed"],
)
def test_where_rows_are_moved_again_or_cannot_be_nothing_is_doubted(upgrade: Upgrade) -> None:
    assert not isinstance(decision(upgrade), planner.RecordDoubt)


def test_where_the_old_shape_still_holds_all_it_matters_until_it_is_removed() -> None:
    assert isinstance(decision(an_upgrade(Phase.WRITE_NEW, old_valid=True)), planner.RecordDoubt)


def test_a_database_that_cannot_be_read_says_nothing() -> None:
    assert not isinstance(decision(an_upgrade(Phase.BACKFILL), error="it is away"), planner.RecordDoubt)


def test_a_database_without_any_row_moved_says_nothing() -> None:
    assert not isinstance(decision(an_upgrade(Phase.BACKFILL), migrations=()), planner.RecordDoubt)
