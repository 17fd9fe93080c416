"""What a blocker tells people holds: who waits for whom, and what goes on by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.guards import GUARDS
from orchestrator.domain.ladder import Phase
from orchestrator.domain.throttling import Reason
from orchestrator.domain.view import Blocker, MigrationFacts, MigrationState, View
from tests.domain.views import NEW, a_view, an_upgrade, complete, with_database


def of_rows(phase: Phase, target: Phase, *migrations: MigrationFacts) -> tuple[Blocker, ...]:
    view = with_database(a_view(an_upgrade(phase)), migrations=migrations)
    return tuple(GUARDS["data_migrated"](view, target))


def left_out(phase: Phase, goal: Phase, target: Phase) -> tuple[Blocker, ...]:
    view: View = replace(a_view(an_upgrade(phase, goal=goal)), left_out=("cell3",))
    return tuple(GUARDS["databases_fenced"](view, target))


def test_a_data_migration_that_follows_one_that_stopped_does_not_go_on_by_itself() -> None:
    stopped = MigrationFacts("split_name", MigrationState.FAILED, error="no")
    _, follower = of_rows(Phase.BACKFILL, Phase.READ_NEW, stopped, MigrationFacts("fill_kind", MigrationState.PENDING))
    assert follower.code == "data_migration_pending"
    assert "waits for split_name" in follower.sentence
    assert follower.remedy == "It starts by itself when split_name is complete."


def test_rows_that_differ_lead_to_whoever_writes_only_the_old_shape() -> None:
    differing = MigrationFacts("split_name", MigrationState.FAILED, differences=3, error="3 rows differ")
    (blocker,) = of_rows(Phase.BACKFILL, Phase.READ_NEW, differing, complete("fill_kind"))
    assert "whatever writes only the old shape" in blocker.remedy
    assert "orchestrator data-migration retry inventory split_name" in blocker.remedy


def test_rows_are_not_said_to_move_after_backfill() -> None:
    waiting = MigrationFacts("split_name", MigrationState.PENDING)
    for phase, target in ((Phase.READ_NEW, Phase.WRITE_NEW), (Phase.WRITE_NEW, Phase.CONTRACTED)):
        (blocker,) = of_rows(phase, target, waiting, complete("fill_kind"))
        assert "by itself" not in blocker.remedy
        assert ("rollback" in blocker.remedy) is (phase is Phase.READ_NEW)


HIGH = Reason("replica lag", "", False, "replica lag is 9 s, more than 5 s", option="max_replica_lag_seconds")
BROKEN = Reason("throttle gate", "", True, "throttle gate cannot be read: NULL", "Mend it.", "throttle:gate")
LOCKED = Reason("locks", "", False, "split_name waits for locks")
SHOW = "It goes on by itself: orchestrator data-migration show inventory split_name"
SET = "Not to wait for it: orchestrator data-migration set inventory {} --database main --reason ..."


@pytest.mark.parametrize(
    ("reasons", "remedy"),
    [
        ((), SHOW),
        ((LOCKED,), SHOW),
        ((HIGH,), f"{SHOW}. {SET.format('max_replica_lag_seconds=off')}"),
        ((BROKEN,), f"Mend it. {SET.format('throttle:gate=off')}"),
        ((HIGH, BROKEN), f"Mend it. {SET.format('max_replica_lag_seconds=off throttle:gate=off')}"),
    ],
)
def test_what_rows_wait_for_is_told_with_what_ends_it(reasons: tuple[Reason, ...], remedy: str) -> None:
    running = MigrationFacts("split_name", MigrationState.RUNNING, rows_done=1)
    view = with_database(a_view(an_upgrade(Phase.BACKFILL)), migrations=(running, complete("fill_kind")))
    (blocker,) = GUARDS["data_migrated"](replace(view, waits={"main": reasons, "two": (BROKEN,)}), Phase.READ_NEW)
    assert (blocker.code, blocker.remedy) == ("data_migration_running", remedy)


def test_a_database_that_was_taken_out_of_the_configuration_holds_the_upgrade_up() -> None:
    """Its rows would never be moved, and nobody would say so."""
    (blocker,) = left_out(Phase.EXPANDED, Phase.CONTRACTED, Phase.BACKFILL)
    assert (blocker.code, blocker.culprits) == ("database_left_out", ("cell3",))
    assert "orchestrator database evict inventory cell3 --attest-gone --reason ..." in blocker.remedy


def test_an_upgrade_can_be_taken_back_without_a_database_that_is_gone() -> None:
    assert left_out(Phase.EXPANDED, Phase.BASE, Phase.BASE) == ()


BEFORE_AND_AFTER = ((Phase.BACKFILL, Phase.READ_NEW), (Phase.WRITE_NEW, Phase.CONTRACTED))


@pytest.mark.parametrize(("phase", "target"), BEFORE_AND_AFTER)
def test_no_remedy_leads_back_where_no_way_leads(phase: Phase, target: Phase) -> None:
    """From write_new on the old shape is stale: `cancel`, and `rollback` below read_new, are refused."""
    upgrade = replace(an_upgrade(phase), manifest=NEW.recorded())
    view = replace(a_view(upgrade, new=replace(NEW, data_migrations=("split_name",))), left_out=("cell3",))
    troubled = with_database(view, expanded=False, migrations=())
    remedies = {
        blocker.code: blocker.remedy
        for name in ("manifest_unchanged", "databases_fenced", "databases_expanded", "data_migrated")
        for blocker in GUARDS[name](troubled, target)
    }
    assert remedies.keys() == {
        "manifest_changed", "database_left_out", "database_not_expanded", "data_migration_pending",
    }  # fmt: skip
    leads_back = {code for code, remedy in remedies.items() if "upgrade cancel" in remedy or "rollback" in remedy}
    assert leads_back == (remedies.keys() - {"database_left_out"} if phase < Phase.WRITE_NEW else set())
