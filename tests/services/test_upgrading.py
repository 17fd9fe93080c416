"""An upgrade from its begin to its end, with several databases; the main ways on every store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.domain.errors import (
    Conflict,
    Invalid,
    MigrationRefused,
    NotFound,
    OrchestratorError,
    StaleRevision,
    StepFailed,
    Unavailable,
)
from orchestrator.domain.ladder import InStepBy, Phase, Step
from orchestrator.domain.releases import Releases
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import MigrationState, Policy, StepState
from orchestrator.domain.waves import Waves
from tests.fakes import FLEETS, three_releases
from tests.services.conftest import MakeSite
from tests.services.site import LEADERSHIP_SECONDS, SCHEMA, WORKER, Process, Site, is_over

BROKEN = StepFailed("lock_timeout", "no lock in time", remedy="End the session that holds it.")


def test_release_1_becomes_release_2_in_every_database(stored_site: Site) -> None:
    old = Process(stored_site, "old", "1")
    daemon = stored_site.nobody_runs(WORKER).daemon()
    stored_site.begin()
    old.follow()
    daemon.work()
    assert stored_site.phase() is Phase.EXPANDED
    assert stored_site.codes == ["instance_unsupported"]

    new = Process(stored_site, "new", "2")
    assert new.lease.stance.behaviour.words == "reads old, writes both"
    old.leave()
    words = []
    for _ in range(8):
        daemon.work()
        words.append(new.follow().stance.behaviour.words)
    assert list(dict.fromkeys(words)) == ["reads old, writes both", "reads new, writes both", "reads new, writes new"]

    assert is_over(stored_site)
    assert stored_site.release == "2"
    assert stored_site.upgrade.status is Status.COMPLETED
    for database in stored_site.managed.on.values():
        assert (database.expanded_to, database.contracted_to) == ("2", "2")
        assert database.migrations["split_name"].state is MigrationState.COMPLETE
    assert stored_site.copies() == [(Phase.CONTRACTED, Phase.CONTRACTED, stored_site.upgrade.revision)] * 3
    assert [action for action in stored_site.actions() if action.startswith(("phase", "upgrade"))] == [
        "upgrade.begin", *["phase.publish"] * 6, "upgrade.completed",
    ]  # fmt: skip


def test_each_move_is_logged_once_by_the_daemon_that_made_it(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site = make_site(policy=Policy((Phase.CONTRACTED,))).nobody_runs().begin()
    first = site.daemon()
    first.work()
    assert [record.getMessage() for record in caplog.records] == [
        "the expand step of 2 begins", "inventory entered expanded", "inventory entered backfill",
        "inventory entered read_new", "inventory entered write_new",
        "writes to the old shape of inventory are about to be denied", "inventory entered sealed",
    ]  # fmt: skip
    caplog.clear()
    site.clock.advance(LEADERSHIP_SECONDS + 1)
    second = site.daemon("second")
    site.upgrades.approve(SCHEMA, phase=None, actor="alice", reason="checked")
    with pytest.raises(Conflict, match="another daemon leads"):
        first.work()
    assert caplog.records == []
    second.work()
    second.work()
    assert [record.getMessage() for record in caplog.records] == [
        "the old shape of inventory is about to be removed; there is no way back from here",
        "inventory entered contracted", "inventory is at release 2",
    ]  # fmt: skip


@pytest.mark.parametrize("phase", [Phase.BACKFILL, Phase.READ_NEW])
def test_each_phase_waits_for_the_acks_of_the_one_before(make_site: MakeSite, phase: Phase) -> None:
    site = make_site(databases=("one",), policy=Policy((Phase.CONTRACTED,))).nobody_runs().begin()
    site.rest_at(Phase.EXPANDED)
    new = Process(site, "new", "2")
    daemon = site.go_on().daemon()
    daemon.work()
    while site.phase() < phase:
        new.follow()
        daemon.work()
    assert site.phase() is phase
    assert (site.codes, site.culprits) == (["instance_not_acked"], ["new"])
    new.hear()
    daemon.work()
    assert site.phase() is phase, "hearing is not draining"
    new.hear()
    daemon.work()
    assert site.phase() > phase


# -- several databases -----------------------------------------------------------------------------------------------


def steps_run(site: Site, step: Step) -> list[str]:
    return [call[1] for call in site.managed.calls if call[0] == "run_step" and call[2] == step.value]


def test_the_first_database_takes_each_step_alone(make_site: MakeSite) -> None:
    site = make_site().nobody_runs()
    site.managed.on["one"].fails[Step.EXPAND] = BROKEN
    daemon = site.begin().daemon()
    daemon.work()
    assert steps_run(site, Step.EXPAND) == ["one"], "the others wait for the canary"
    assert site.codes == ["step_failed"]
    assert site.culprits == ["one"]


def test_a_database_that_fails_stops_only_itself_and_retry_goes_on(stored_site: Site) -> None:
    stored_site.nobody_runs().managed.on["two"].fails[Step.EXPAND] = BROKEN
    daemon = stored_site.begin().daemon()
    daemon.work()
    assert steps_run(stored_site, Step.EXPAND) == ["one", "two", "three"]
    assert stored_site.phase() is Phase.BASE
    assert (stored_site.codes, stored_site.culprits) == (["step_failed"], ["two"])
    (blocker,) = stored_site.board.plan(SCHEMA).status.blockers
    assert "no lock in time" in blocker.sentence
    assert "orchestrator upgrade retry inventory --database two" in blocker.remedy

    del stored_site.managed.on["two"].fails[Step.EXPAND]
    daemon.work()
    assert stored_site.phase() is Phase.BASE, "a failed step is not repeated before somebody says so"
    stored_site.upgrades.retry(SCHEMA, "two", actor="test", reason=None)
    daemon.work()
    assert stored_site.release == "2"
    assert steps_run(stored_site, Step.EXPAND) == ["one", "two", "three", "two"]


def test_retry_needs_a_step_that_has_ended(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    with pytest.raises(Conflict) as refusal:
        site.upgrades.retry(SCHEMA, None, actor="test", reason=None)
    assert refusal.value.code == "no_step"
    site.managed.on["one"].fails[Step.EXPAND] = BROKEN
    daemon.work()
    with pytest.raises(NotFound) as missing:
        site.upgrades.retry(SCHEMA, "two", actor="test", reason=None)
    assert missing.value.code == "nothing_to_retry"


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("database_unreachable", "no answer", remedy="Start it."),
        Conflict("lock_busy", "somebody else migrates", remedy="Wait."),
    ],
    ids=lambda error: error.code,
)
def test_a_database_that_is_away_or_busy_is_tried_again_by_itself(site: Site, error: OrchestratorError) -> None:
    site.nobody_runs().managed.on["three"].fails[Step.EXPAND] = error
    daemon = site.begin().daemon()
    daemon.work()
    assert site.phase() is Phase.BASE
    states = {
        record.database: record for record in site.store.read(lambda tx: tx.steps(site.upgrade.id, Phase.EXPANDED))
    }
    assert (states["three"].state, states["three"].code) == (StepState.PENDING, error.code)
    del site.managed.on["three"].fails[Step.EXPAND]
    daemon.work()
    assert site.release == "2"


def test_an_unreachable_database_holds_up_the_next_move_and_is_named(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    site.managed.on["two"].error = "connection refused"
    daemon.work()
    assert site.phase() is Phase.BASE
    assert (site.codes, site.culprits) == (["database_unreachable"], ["two"])
    site.managed.on["two"].error = None
    daemon.work()
    assert site.release == "2"


def test_a_step_that_leaves_no_effect_is_not_published(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.managed, "run_step", lambda *args, **more: ())
        daemon.work()
    assert site.phase() is Phase.BASE
    assert set(site.codes) == {"step_unverified"}
    site.upgrades.retry(SCHEMA, "one", actor="test", reason=None)
    for name in ("two", "three"):
        site.upgrades.retry(SCHEMA, name, actor="test", reason=None)
    daemon.work()
    assert site.release == "2"


def test_a_failed_data_migration_is_named_and_goes_on_after_retry(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    daemon.cycle()
    facts = site.managed.on["two"].migrations["split_name"]
    site.managed.on["two"].migrations["split_name"] = replace(facts, state=MigrationState.FAILED, error="3 rows differ")
    daemon.work()
    assert site.phase() is Phase.BACKFILL
    assert (site.codes, site.culprits) == (["data_migration_failed"], ["two/split_name"])
    daemon._data_migrations.retry(SCHEMA, "split_name", None, actor="test", reason=None)
    daemon.work()
    assert site.release == "2"


# -- pausing, approving, soaking -------------------------------------------------------------------------------------


def test_a_paused_upgrade_makes_no_move_and_moves_no_row(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    daemon.cycle()
    assert site.phase() is Phase.BACKFILL
    site.upgrades.pause(SCHEMA, actor="test", reason="lunch")
    daemon.work()
    assert site.phase() is Phase.BACKFILL
    assert site.managed.on["one"].migrations["split_name"].state is MigrationState.PENDING
    assert "paused" in site.codes
    site.upgrades.resume(SCHEMA, actor="test", reason=None)
    daemon.work()
    assert site.release == "2"


def test_a_step_under_way_waits_while_paused(site: Site) -> None:
    site.nobody_runs().managed.on["one"].fails[Step.EXPAND] = Unavailable("away", "no answer", remedy="Start it.")
    daemon = site.begin().daemon()
    daemon.cycle()
    assert site.upgrade.move is Move.STEPPING
    site.upgrades.pause(SCHEMA, actor="test", reason="lunch")
    site.managed.on["one"].fails.clear()
    daemon.work()
    assert site.managed.on["one"].expanded_to == "1"
    assert site.codes == ["paused"]


def test_contract_waits_for_an_approval(make_site: MakeSite) -> None:
    site = make_site(policy=Policy((Phase.CONTRACTED,))).nobody_runs().begin()
    daemon = site.daemon()
    daemon.work()
    assert site.phase() is Phase.SEALED
    assert site.codes == ["approval_required"]
    assert site.managed.on["one"].contracted_to == "1"
    site.upgrades.approve(SCHEMA, phase=None, actor="alice", reason="checked")
    daemon.work()
    assert site.release == "2"


def test_an_approval_may_come_early_and_counts_for_its_upgrade_only(make_site: MakeSite) -> None:
    site = make_site(policy=Policy((Phase.WRITE_NEW,))).nobody_runs().begin()
    site.upgrades.approve(SCHEMA, phase=Phase.WRITE_NEW, actor="alice", reason="early")
    site.upgrades.cancel(SCHEMA, actor="test", reason="again")
    daemon = site.daemon()
    daemon.work()
    site.begin()
    daemon.work()
    assert site.phase() is Phase.READ_NEW
    assert site.codes == ["approval_required"]


def test_the_plan_tells_what_the_way_back_does_in_the_databases(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.SEALED)
    assert site.board.plan(SCHEMA).statements == ()
    site.upgrades.rollback(SCHEMA, Phase.WRITE_NEW, actor="test", reason="somebody writes the old shape")
    assert [line.split()[1] for line in site.board.plan(SCHEMA).statements] == ["unseal"] * 3


def test_soak_time_passes_or_is_forced(make_site: MakeSite) -> None:
    site = make_site(policy=Policy((), soak_seconds=3600)).nobody_runs().begin()
    daemon = site.daemon()
    daemon.work()
    assert (site.phase(), site.codes) == (Phase.SEALED, ["soaking"])
    site.clock.advance(3599)
    daemon.work()
    assert site.codes == ["soaking"]
    site.clock.advance(1)
    daemon.work()
    assert site.release == "2"

    forced = make_site(policy=Policy((), soak_seconds=3600)).nobody_runs().begin()
    daemon = forced.daemon()
    daemon.work()
    forced.upgrades.approve(SCHEMA, phase=Phase.CONTRACTED, actor="a", reason="calm", force=("soaked",))
    daemon.work()
    assert forced.release == "2"


@pytest.mark.parametrize("guard", ["instances_acked", "data_migrated", "instances_support", "old_shape_valid", "x"])
def test_safety_is_never_forced(site: Site, guard: str) -> None:
    site.nobody_runs().begin()
    with pytest.raises(Invalid) as refusal:
        site.upgrades.approve(SCHEMA, phase=Phase.CONTRACTED, actor="a", reason="now", force=(guard,))
    assert refusal.value.code == "guard_not_forcible"
    assert "Evict" in refusal.value.remedy


def test_a_phase_that_was_passed_cannot_be_approved(site: Site) -> None:
    site.nobody_runs().begin().daemon().cycle()
    with pytest.raises(Conflict) as refusal:
        site.upgrades.approve(SCHEMA, phase=Phase.EXPANDED, actor="a", reason="late")
    assert refusal.value.code == "nothing_to_approve"


@pytest.mark.parametrize("phase", list(Phase)[:-1])
def test_only_what_was_named_is_approved(make_site: MakeSite, phase: Phase) -> None:
    site = make_site(policy=Policy(approve=(Phase.CONTRACTED,))).nobody_runs().begin()
    with pytest.raises(Conflict) as refusal:
        site.upgrades.approve(SCHEMA, phase=phase, actor="a", reason="only this one")
    assert refusal.value.code == "nothing_to_approve"
    status = site.board.schema(SCHEMA).upgrade
    assert status is not None
    assert status.approvals == ()


ASKS = Policy((Phase.CONTRACTED,), soak_seconds=60)
HAS_WAVES = Policy((), waves=Waves((("inventory-worker",),), soak_seconds=60))


@pytest.mark.parametrize(
    ("policy", "phase", "force", "sentence", "asked"),
    [
        (ASKS, Phase.WRITE_NEW, (), "entering write_new asks for no approval", "asked for: contracted."),
        (ASKS, Phase.WRITE_NEW, ("soaked",), "and soaked cannot hold it up", "asked for: contracted."),
        (ASKS, Phase.WRITE_NEW, ("waves_open",), "and waves_open cannot hold it up", "asked for: contracted."),
        (Policy(()), Phase.CONTRACTED, (), "entering contracted asks for no approval", "asked for: no phase."),
        (Policy(()), Phase.CONTRACTED, ("soaked",), "and soaked cannot hold it up", "asked for: no phase."),
    ],
)
def test_an_approval_that_nothing_asks_for_is_refused(
    make_site: MakeSite, policy: Policy, phase: Phase, force: tuple[str, ...], sentence: str, asked: str
) -> None:
    site = make_site(policy=policy).nobody_runs().begin()
    with pytest.raises(Conflict, match=sentence) as refusal:
        site.upgrades.approve(SCHEMA, phase=phase, actor="a", reason="just in case", force=force)
    assert refusal.value.code == "nothing_to_approve"
    assert asked in refusal.value.remedy
    status = site.board.schema(SCHEMA).upgrade
    assert status is not None
    assert status.approvals == ()


@pytest.mark.parametrize(
    ("policy", "phase", "force"),
    [
        (ASKS, Phase.CONTRACTED, ()),
        (ASKS, Phase.CONTRACTED, ("waves_open",)),
        (Policy((), soak_seconds=60), Phase.CONTRACTED, ("soaked",)),
        (HAS_WAVES, Phase.BACKFILL, ("waves_open",)),
    ],
)
def test_an_approval_that_something_may_ask_for_is_kept(
    make_site: MakeSite, policy: Policy, phase: Phase, force: tuple[str, ...]
) -> None:
    site = make_site(policy=policy).nobody_runs().begin()
    site.upgrades.approve(SCHEMA, phase=phase, actor="a", reason="early", force=force)
    status = site.board.schema(SCHEMA).upgrade
    assert status is not None
    assert [(each.phase, each.forced) for each in status.approvals] == [(phase, force)]


# -- going back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [Phase.BASE, Phase.EXPANDED])
def test_backfill_goes_back_and_forward_again_with_a_new_proof(stored_site: Site, rest: Phase) -> None:
    daemon = stored_site.nobody_runs().begin().daemon()
    daemon.cycle()
    daemon.move_rows()
    assert stored_site.phase() is Phase.BACKFILL
    stored_site.upgrades.rollback(SCHEMA, rest, actor="test", reason="not yet")
    daemon.work()
    assert stored_site.phase() is rest
    assert stored_site.managed.on["one"].migrations["split_name"].state is MigrationState.PENDING, "the proof is void"
    old = Process(stored_site, "old", "1")
    stored_site.upgrades.resume(SCHEMA, actor="test", reason=None)
    daemon.work()
    assert stored_site.phase() is Phase.EXPANDED, "the old release runs again"
    old.leave()
    daemon.work()
    assert stored_site.release == "2"


def test_expanded_goes_back_once_the_last_new_instance_has_left(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    daemon = site.daemon()
    new = Process(site, "new", "2")
    site.upgrades.rollback(SCHEMA, Phase.BASE, actor="test", reason="broken")
    daemon.work()
    assert (site.phase(), site.codes) == (Phase.EXPANDED, ["instance_unsupported"])
    new.leave()
    daemon.work()
    assert site.phase() is Phase.BASE
    assert site.upgrade.status is Status.RUNNING, "a rollback is no cancellation"


@pytest.mark.parametrize("phase", [Phase.BASE, Phase.EXPANDED, Phase.BACKFILL, Phase.READ_NEW])
def test_cancel_ends_at_base_from_every_phase_with_a_way_back(site: Site, phase: Phase) -> None:
    site.nobody_runs().begin().rest_at(phase).go_on()
    daemon = site.daemon()
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    daemon.work()
    assert site.upgrade.status is Status.CANCELLED
    assert site.release == "1"
    assert Process(site, "old", "1").instance.is_possibly_alive
    site.begin()
    daemon.work()
    assert site.phase() is Phase.BASE, "the new upgrade waits for the old instance's ack"


@pytest.mark.parametrize("phase", [Phase.EXPANDED, Phase.BACKFILL, Phase.READ_NEW])
def test_cancel_lifts_a_fence_that_stands(site: Site, phase: Phase) -> None:
    """A daemon died right after it had set the fence."""
    site.nobody_runs().begin().rest_at(Phase(phase - 1)).go_on()
    upgrade = site.upgrade
    site.store.run(lambda tx: tx.save_upgrade(upgrade.with_fence(phase), expected_revision=upgrade.revision))
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    site.daemon().work()
    assert site.upgrade.status is Status.CANCELLED


def test_cancel_abandons_an_expand_step(site: Site) -> None:
    site.nobody_runs().managed.on["two"].fails[Step.EXPAND] = BROKEN
    daemon = site.begin().daemon()
    daemon.work()
    assert site.upgrade.move is Move.STEPPING
    site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    daemon.work()
    assert site.upgrade.status is Status.CANCELLED
    site.managed.on["two"].fails.clear()
    site.begin()
    daemon.work()
    assert site.release == "2"


def test_nothing_goes_back_below_read_new_once_write_new_was_published(make_site: MakeSite) -> None:
    site = make_site(policy=Policy((Phase.SEALED,))).nobody_runs().begin()
    daemon = site.daemon()
    daemon.work()
    assert site.phase() is Phase.WRITE_NEW
    steers: tuple[Callable[[], Upgrade], ...] = (
        lambda: site.upgrades.cancel(SCHEMA, actor="test", reason="no"),
        lambda: site.upgrades.rollback(SCHEMA, Phase.BACKFILL, actor="test", reason="no"),
    )
    for steer in steers:
        with pytest.raises(Conflict) as refusal:
            steer()
        assert refusal.value.code == "old_shape_stale"
    site.upgrades.rollback(SCHEMA, Phase.READ_NEW, actor="test", reason="slow")
    daemon.work()
    assert site.phase() is Phase.READ_NEW
    with pytest.raises(Conflict) as refusal:
        site.upgrades.cancel(SCHEMA, actor="test", reason="no")
    assert refusal.value.code == "old_shape_stale"


def test_nothing_goes_back_after_the_intent_of_contracted(site: Site) -> None:
    site.nobody_runs().managed.on["one"].fails[Step.CONTRACT] = BROKEN
    daemon = site.begin().daemon()
    daemon.work()
    assert site.upgrade.fence is Phase.CONTRACTED
    steers: tuple[Callable[[], Upgrade], ...] = (
        lambda: site.upgrades.cancel(SCHEMA, actor="test", reason="no"),
        lambda: site.upgrades.rollback(SCHEMA, Phase.WRITE_NEW, actor="test", reason="no"),
        lambda: site.upgrades.rollback(SCHEMA, Phase.READ_NEW, actor="test", reason="no"),
    )
    for steer in steers:
        with pytest.raises(Conflict) as refusal:
            steer()
        assert refusal.value.code == "no_way_back"
    site.managed.on["one"].fails.clear()
    site.upgrades.retry(SCHEMA, None, actor="test", reason=None)
    daemon.work()
    assert site.release == "2"
    for steer in steers:
        with pytest.raises(Conflict, match="to 2 is complete: no way leads back") as refusal:
            steer()
        assert refusal.value.code == "no_way_back"
        assert "next release: orchestrator upgrade begin inventory" in refusal.value.remedy
    with pytest.raises(Conflict) as forward:
        site.upgrades.pause(SCHEMA, actor="test", reason="no")
    assert forward.value.code == "no_upgrade"


def test_after_a_cancelled_upgrade_nothing_is_said_of_the_one_before(site: Site) -> None:
    daemon = site.nobody_runs().begin().daemon()
    daemon.work()
    site.begin("3").upgrades.cancel(SCHEMA, actor="test", reason="no")
    daemon.work()
    with pytest.raises(Conflict) as refusal:
        site.upgrades.rollback(SCHEMA, Phase.BASE, actor="test", reason="no")
    assert refusal.value.code == "no_upgrade"


# -- beginning, and shorter ladders ----------------------------------------------------------------------------------


def test_begin_is_repeatable_and_another_target_is_refused(site: Site) -> None:
    first = site.upgrades.begin(SCHEMA, "2", actor="test")
    assert site.upgrades.begin(SCHEMA, "2", actor="test") == first
    with pytest.raises(Conflict) as refusal:
        site.upgrades.begin(SCHEMA, "3", actor="test")
    assert refusal.value.code == "upgrade_running"
    assert site.actions().count("upgrade.begin") == 1


def test_only_the_next_release_may_be_begun(site: Site) -> None:
    for release, kind, code in (
        ("3", Conflict, "release_not_next"),
        ("1", Conflict, "already_there"),
        ("9", NotFound, "release_unknown"),
    ):
        with pytest.raises(kind) as refusal:
            site.upgrades.begin(SCHEMA, release, actor="test")
        assert refusal.value.code == code


def test_a_migration_that_breaks_a_rule_begins_nothing(site: Site) -> None:
    site.managed.check_fails = MigrationRefused("drop_in_expand", "e002 drops a column", remedy="Move it to contract.")
    with pytest.raises(MigrationRefused):
        site.begin()
    assert site.board.schema(SCHEMA).upgrade is None


def test_whose_turn_it_is_not_is_told_that_and_not_what_its_migrations_break(site: Site) -> None:
    """Where nothing is installed, a manifest names tables that are not there: that is no mistake in it."""
    site.managed.check_fails = MigrationRefused("old_shape_missing", "there is no such table", remedy="Remove it.")
    state = site.store.read(lambda tx: tx.schema(SCHEMA))
    assert state is not None
    site.store.run(lambda tx: tx.save_schema(replace(state, release=None)))
    with pytest.raises(Conflict) as refusal:
        site.begin()
    assert refusal.value.code == "schema_uninitialised"


def test_a_schema_gets_its_first_release_once(site: Site) -> None:
    assert "already" in site.upgrades.initialise(SCHEMA, "1", actor="test")[0]
    with pytest.raises(Conflict) as refusal:
        site.upgrades.initialise(SCHEMA, "2", actor="test")
    assert refusal.value.code == "schema_initialised"
    assert refusal.value.remedy == f"orchestrator upgrade begin {SCHEMA} --release 2"
    site.nobody_runs().begin().daemon().work()
    with pytest.raises(Conflict) as refusal:
        site.upgrades.initialise(SCHEMA, "1", actor="test")
    assert "upgrade begin" not in str(refusal.value.remedy)


def test_a_verb_decided_on_an_older_revision_changes_nothing(stored_site: Site) -> None:
    daemon = stored_site.nobody_runs().begin().daemon()
    seen = stored_site.upgrade.revision
    daemon.cycle()
    before = stored_site.upgrade
    with pytest.raises(StaleRevision):
        stored_site.upgrades.pause(SCHEMA, actor="test", reason="lunch", if_revision=seen)
    assert stored_site.upgrade == before
    assert "upgrade.pause" not in stored_site.actions()


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_steering_needs_a_reason_and_an_upgrade(site: Site, verb: str) -> None:
    with pytest.raises(Conflict) as refusal:
        getattr(site.upgrades, verb)(SCHEMA, actor="test", reason="because")
    assert refusal.value.code == "no_upgrade"
    site.begin()
    with pytest.raises(Invalid) as invalid:
        getattr(site.upgrades, verb)(SCHEMA, actor="test", reason=" ")
    assert invalid.value.code == "reason_required"


def test_two_upgrades_follow_each_other_and_revisions_never_repeat(stored_site: Site) -> None:
    daemon = stored_site.nobody_runs().begin().daemon()
    daemon.work()
    first = stored_site.upgrade
    new = Process(stored_site, "new", "2")
    assert new.lease.stance.publication >= first.publication
    stored_site.begin("3")
    assert stored_site.upgrade.publication > first.revision
    daemon.work()
    assert stored_site.phase() is Phase.BASE, "an ack names its upgrade"
    new.follow()
    daemon.work()
    assert stored_site.phase() is Phase.EXPANDED
    new.leave()
    daemon.work()
    assert stored_site.release == "3"


def by_service() -> Releases:
    return three_releases(in_step_by=InStepBy.SERVICE)


def test_a_service_that_vouches_for_itself_goes_the_short_way(make_site: MakeSite) -> None:
    site = make_site(releases=by_service())
    daemon = site.daemon()
    for fleet in FLEETS:
        site.leases.report(SCHEMA, fleet, release="1", instances=3, actor="test", reason=None)
    site.begin()
    daemon.work()
    assert (site.phase(), set(site.codes)) == (Phase.EXPANDED, {"fleet_reported_unsupported"})
    assert "values are not" in " ".join(site.board.plan(SCHEMA).status.notes)
    for fleet in FLEETS:
        site.leases.report(SCHEMA, fleet, release="2", instances=3, actor="test", reason=None)
    daemon.work()
    assert site.release == "2"
    assert site.actions().count("phase.publish") == 5
