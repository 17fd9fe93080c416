"""The planner refuses if and only if there is a blocker, and every decision follows from the view alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import planner
from orchestrator.domain.ladder import InStepBy, Phase, Step
from orchestrator.domain.losses import loss_in
from orchestrator.domain.lost_shapes import shape_lost
from orchestrator.domain.removals import Removal
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import MigrationFacts, MigrationState, Policy, StepRecord, StepState, View
from tests.domain.views import (
    NEW,
    NOW,
    PUBLICATION,
    a_database,
    a_report,
    a_step,
    a_view,
    an_approval,
    an_instance,
    an_upgrade,
    complete,
    with_database,
)

LADDER = an_upgrade().profile.phases()
STEPPED = {Phase.EXPANDED: Step.EXPAND, Phase.CONTRACTED: Step.CONTRACT}


# -- any view at all -------------------------------------------------------------------------------------------------


@st.composite
def upgrades(draw: st.DrawFn) -> Upgrade:
    """Any upgrade that the five moves can make: resting anywhere, or fenced or stepping at a neighbour."""
    at = draw(st.integers(0, len(LADDER) - 1))
    goal = draw(st.sampled_from(LADDER))
    neighbours = [LADDER[other] for other in (at - 1, at + 1) if 0 <= other < len(LADDER)]
    fence = draw(st.sampled_from([LADDER[at], *neighbours]))
    move = Move.RESTING
    if fence is not LADDER[at]:
        is_stepped = fence > LADDER[at] and fence in STEPPED
        move = draw(st.sampled_from([Move.FENCED, Move.STEPPING])) if is_stepped else Move.FENCED
    return an_upgrade(
        LADDER[at], fence=fence, goal=goal, move=move, paused=draw(st.sampled_from([None, "lunch"])),
        cancelling=draw(st.booleans()) and goal is Phase.BASE, old_valid=draw(st.booleans()),
        status=draw(st.sampled_from([*[Status.RUNNING] * 4, Status.COMPLETED])),
    )  # fmt: skip


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view of such an upgrade."""
    upgrade = draw(upgrades())
    databases = []
    for name in draw(st.sampled_from([("main",), ("one", "two")])):
        facts = a_database(name, upgrade=upgrade)
        revision = upgrade.revision + draw(st.sampled_from([0, 0, 0, -1, 1]))
        assert facts.copy is not None
        states = draw(st.lists(st.sampled_from(MigrationState), min_size=2, max_size=2))
        databases.append(
            replace(
                facts, error=draw(st.sampled_from([None, None, None, "no answer"])),
                copy=replace(facts.copy, revision=revision), expanded=draw(st.booleans()),
                contracted=draw(st.booleans()),
                migrations=tuple(
                    MigrationFacts(name, state, witness=draw(st.sampled_from(["i1", "i0", None])))
                    for name, state in zip(NEW.data_migrations, states, strict=True)
                ),
            )
        )  # fmt: skip
    instances = tuple(
        an_instance(
            f"a{number}", draw(st.sampled_from(["0", "1", "2", "2"])),
            acked=draw(st.sampled_from([PUBLICATION, PUBLICATION, 30])),
            expires_at=draw(st.sampled_from([NOW + 50, NOW - 50])),
        )
        for number in range(draw(st.integers(0, 2)))
    )  # fmt: skip
    steps: list[StepRecord] = []
    if upgrade.move is Move.STEPPING:
        for facts in databases:
            if draw(st.booleans()):
                steps.append(a_step(upgrade, draw(st.sampled_from(StepState)), facts.name, error="it broke"))
    return a_view(
        upgrade, instances=instances, databases=tuple(databases), steps=tuple(steps),
        reports=draw(st.sampled_from([(), (a_report("1"),), (a_report("2"),)])),
        known_fleets=draw(st.sampled_from([frozenset({"api", "worker"}), frozenset({"api"})])),
        approvals=draw(st.sampled_from([(), (an_approval(Phase.CONTRACTED),)])),
        policy=draw(st.sampled_from([Policy(()), Policy((Phase.CONTRACTED,)), Policy((), soak_seconds=500)])),
    )  # fmt: skip


@settings(max_examples=150)
@given(views())
def test_refused_if_and_only_if_there_are_blockers(view: View) -> None:
    decision = planner.decide(view)
    upgrade = view.upgrade
    if upgrade.status is not Status.RUNNING:
        assert isinstance(decision, planner.Idle)
        return
    loss = loss_in(upgrade, view.databases)
    if loss is not None:
        assert decision == planner.Freeze(loss)
        return
    if isinstance(decision, planner.RecordDoubt):
        assert decision.doubt == shape_lost(view)
        return
    target = upgrade.target
    if upgrade.move is Move.RESTING and target is not None:
        found = planner.blockers(view, target)
        assert decision == (planner.Refusal(target, found) if found else planner.SetFence(target))
    if upgrade.move is Move.FENCED:
        found = planner.blockers(view, upgrade.fence) if target == upgrade.fence else ()
        passes = isinstance(decision, planner.Publish | planner.BeginStep)
        assert passes == (target == upgrade.fence and not found)
        assert passes or decision == planner.LiftFence(found)
    if isinstance(decision, planner.Refusal):
        assert decision.blockers


@settings(max_examples=150)
@given(views())
def test_the_dry_run_says_what_the_move_says(view: View) -> None:
    decision = planner.decide(view)
    if isinstance(decision, planner.RecordDoubt):  # which is told together with what follows from it
        decision = planner.decide(replace(view, upgrade=view.upgrade.with_doubt(decision.doubt)))
    expected = decision.blockers if isinstance(decision, planner.Refusal | planner.LiftFence) else ()
    assert planner.explain(view) == expected


@settings(max_examples=150)
@given(views())
def test_every_blocker_says_what_to_do(view: View) -> None:
    for blocker in planner.explain(view):
        assert blocker.code and blocker.sentence and blocker.remedy
        assert blocker.policy == (blocker.code in {"soaking", "approval_required"})


@settings(max_examples=150)
@given(views())
def test_a_phase_is_published_only_from_its_own_fence(view: View) -> None:
    decision = planner.decide(view)
    if isinstance(decision, planner.Publish | planner.BeginStep | planner.ContinueStep):
        assert decision.target is view.upgrade.fence
        assert view.upgrade.move is not Move.RESTING


@settings(max_examples=150)
@given(views())
def test_nothing_moves_while_paused(view: View) -> None:
    paused = replace(view, upgrade=replace(view.upgrade, paused="lunch"))
    still = (
        planner.Idle, planner.Refusal, planner.LiftFence, planner.EndAtBase, planner.Freeze, planner.RecordDoubt,
    )  # fmt: skip
    assert isinstance(planner.decide(paused), still)


@settings(max_examples=150)
@given(views())
def test_expiry_decides_nothing(view: View) -> None:
    """It changes what people are told, never what is done."""
    renewed = replace(view, instances=tuple(replace(each, expires_at=NOW + 99) for each in view.instances))
    assert type(planner.decide(view)) is type(planner.decide(renewed))


# -- the moves, one by one -------------------------------------------------------------------------------------------


def test_at_rest_with_nothing_in_the_way_the_fence_is_set() -> None:
    assert planner.decide(a_view()) == planner.SetFence(Phase.EXPANDED)


def test_a_fence_is_lifted_when_validation_finds_a_blocker() -> None:
    fenced = an_upgrade(Phase.EXPANDED, fence=Phase.BACKFILL)
    decision = planner.decide(a_view(fenced, instances=(an_instance("a1", "1"),)))
    assert isinstance(decision, planner.LiftFence)
    assert [blocker.code for blocker in decision.blockers] == ["instance_unsupported"]


def test_a_fence_is_lifted_without_blockers_when_the_operator_steers_elsewhere() -> None:
    fenced = an_upgrade(Phase.EXPANDED, fence=Phase.BACKFILL, goal=Phase.BASE)
    assert planner.decide(a_view(fenced)) == planner.LiftFence(())


@pytest.mark.parametrize(("phase", "fence"), [(Phase.BASE, Phase.EXPANDED), (Phase.WRITE_NEW, Phase.CONTRACTED)])
def test_a_phase_with_a_step_is_validated_into_the_step(phase: Phase, fence: Phase) -> None:
    assert planner.decide(a_view(an_upgrade(phase, fence=fence))) == planner.BeginStep(fence, STEPPED[fence])


@pytest.mark.parametrize("phase", [Phase.EXPANDED, Phase.BACKFILL, Phase.READ_NEW])
def test_a_phase_without_a_step_is_published_by_its_validation(phase: Phase) -> None:
    fence = LADDER[LADDER.index(phase) + 1]
    assert planner.decide(a_view(an_upgrade(phase, fence=fence))) == planner.Publish(fence)


@pytest.mark.parametrize(("phase", "back"), [(Phase.BACKFILL, Phase.EXPANDED), (Phase.EXPANDED, Phase.BASE)])
def test_going_back_takes_no_step(phase: Phase, back: Phase) -> None:
    going_back = an_upgrade(phase, goal=Phase.BASE)
    assert planner.decide(a_view(going_back)) == planner.SetFence(back)
    assert planner.decide(a_view(going_back.with_fence(back))) == planner.Publish(back)


def stepping(states: dict[str, StepState | None], **upgrade: object) -> View:
    """The expand step in several databases, each with its record, or none."""
    under_way = replace(an_upgrade(Phase.BASE, fence=Phase.EXPANDED, move=Move.STEPPING), **upgrade)  # type: ignore[arg-type]
    return a_view(
        under_way,
        databases=tuple(a_database(name, upgrade=under_way) for name in states),
        steps=tuple(
            a_step(under_way, state, name, error="it broke") for name, state in states.items() if state is not None
        ),
    )


PENDING, RUNNING, DONE, FAILED = StepState


@pytest.mark.parametrize(
    ("states", "runs"),
    [
        ({"one": PENDING, "two": PENDING, "three": PENDING}, ("one",)),
        ({"one": RUNNING, "two": PENDING, "three": PENDING}, ("one",)),
        ({"one": None, "two": None, "three": None}, ("one",)),
        ({"one": DONE, "two": PENDING, "three": PENDING}, ("two", "three")),
        ({"one": DONE, "two": FAILED, "three": PENDING}, ("three",)),
        ({"one": DONE, "two": RUNNING, "three": DONE}, ("two",)),
    ],
)
def test_the_first_database_takes_a_step_alone_and_a_failed_one_stops_only_itself(
    states: dict[str, StepState | None], runs: tuple[str, ...]
) -> None:
    assert planner.decide(stepping(states)) == planner.ContinueStep(Phase.EXPANDED, Step.EXPAND, runs)


@pytest.mark.parametrize(
    ("states", "culprits"),
    [
        ({"one": FAILED, "two": PENDING}, ["one"]),
        ({"one": DONE, "two": FAILED, "three": DONE}, ["two"]),
        ({"one": DONE, "two": FAILED, "three": FAILED}, ["two", "three"]),
    ],
)
def test_failed_databases_are_named_with_the_command_that_repeats_the_step(
    states: dict[str, StepState | None], culprits: list[str]
) -> None:
    decision = planner.decide(stepping(states))
    assert isinstance(decision, planner.Refusal)
    assert [blocker.culprits for blocker in decision.blockers] == [(name,) for name in culprits]
    for blocker, name in zip(decision.blockers, culprits, strict=True):
        assert blocker.code == "step_failed"
        assert "it broke" in blocker.sentence
        assert f"orchestrator upgrade retry inventory --database {name}" in blocker.remedy


def test_a_step_done_everywhere_is_published() -> None:
    assert planner.decide(stepping({"one": DONE, "two": DONE})) == planner.Publish(Phase.EXPANDED)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"expanded": False}, "step_unverified"), ({"error": "no answer"}, "database_unreachable")],
)
def test_a_step_that_the_catalog_does_not_show_is_not_published(changes: dict[str, object], code: str) -> None:
    decision = planner.decide(with_database(stepping({"one": DONE}), **changes))
    assert isinstance(decision, planner.Refusal)
    assert [blocker.code for blocker in decision.blockers] == [code]


REMOVED = Removal(("c2",), ("customers.name",))


@pytest.mark.parametrize("phase", [phase for phase in LADDER if phase is not Phase.CONTRACTED])
@pytest.mark.parametrize("goal", [Phase.BASE, Phase.CONTRACTED])
def test_nothing_moves_where_the_old_shape_was_removed_by_hand(phase: Phase, goal: Phase) -> None:
    decision = planner.decide(with_database(a_view(an_upgrade(phase, goal=goal)), removal=REMOVED))
    assert isinstance(decision, planner.Refusal)
    assert "contracted_by_hand" in [blocker.code for blocker in decision.blockers]


def test_a_step_does_not_go_on_where_the_old_shape_was_removed_by_hand() -> None:
    decision = planner.decide(with_database(stepping({"one": PENDING}), removal=REMOVED))
    assert isinstance(decision, planner.Refusal)
    assert [blocker.code for blocker in decision.blockers] == ["contracted_by_hand"]


def ended(looked_at: float | None) -> View:
    """The step has ended 2 s ago, the catalog does not show it, and that was looked at then."""
    view = with_database(stepping({"one": DONE}), expanded=False, verified_at=looked_at)
    return replace(view, steps=tuple(replace(each, finished_at=NOW - 2) for each in view.steps))


@pytest.mark.parametrize("looked_at", [None, NOW - 3])
def test_what_was_seen_before_a_step_ended_says_nothing_of_its_effect(looked_at: float | None) -> None:
    assert isinstance(planner.decide(ended(looked_at)), planner.Idle)
    assert planner.explain(ended(looked_at)) == ()
    later = replace(ended(looked_at), now=NOW + planner.LOOKED_AT_WITHIN_SECONDS)
    assert [blocker.code for blocker in planner.explain(later)] == ["step_unverified"]


def test_an_effect_that_was_looked_for_since_the_step_ended_and_is_not_there_is_told() -> None:
    assert [blocker.code for blocker in planner.explain(ended(NOW - 1))] == ["step_unverified"]


def test_a_paused_step_waits() -> None:
    decision = planner.decide(stepping({"one": PENDING}, paused="lunch"))
    assert isinstance(decision, planner.Refusal)
    assert [blocker.code for blocker in decision.blockers] == ["paused"]


def test_an_expand_step_is_abandoned_when_the_operator_turns_round() -> None:
    assert planner.decide(stepping({"one": PENDING}, goal=Phase.BASE)) == planner.LiftFence(())


def test_a_contract_step_is_never_abandoned() -> None:
    """Not even by a goal that something wrote past the point of no return."""
    begun = an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED, move=Move.STEPPING, goal=Phase.BASE)
    view = a_view(begun, steps=(a_step(begun, StepState.PENDING),))
    assert planner.decide(view) == planner.ContinueStep(Phase.CONTRACTED, Step.CONTRACT, ("main",))


@pytest.mark.parametrize("target", LADDER[:-1])
def test_there_is_no_way_back_from_contracted(target: Phase) -> None:
    (blocker,) = planner.blockers(a_view(an_upgrade(Phase.CONTRACTED, goal=target)), target)
    assert blocker.code == "no_way_back"


def test_the_goal_is_a_place_to_rest() -> None:
    assert isinstance(planner.decide(a_view(an_upgrade(Phase.EXPANDED, goal=Phase.EXPANDED))), planner.Idle)


def test_a_cancelled_upgrade_ends_at_base() -> None:
    assert planner.decide(a_view(an_upgrade(goal=Phase.BASE, cancelling=True))) == planner.EndAtBase()
    assert isinstance(planner.decide(a_view(an_upgrade(goal=Phase.BASE))), planner.Idle)


def test_a_database_that_cannot_be_read_is_not_asked_to_take_the_step() -> None:
    view = stepping({"one": DONE, "two": PENDING, "three": PENDING})
    silent = replace(view.databases[1], error="no answer")
    view = replace(view, databases=(view.databases[0], silent, view.databases[2]))
    assert planner.decide(view) == planner.ContinueStep(Phase.EXPANDED, Step.EXPAND, ("three",))
    ended = tuple(replace(step, state=DONE if step.database == "three" else step.state) for step in view.steps)
    decision = planner.decide(replace(view, steps=ended))
    assert isinstance(decision, planner.Refusal)
    assert [(each.code, each.culprits) for each in decision.blockers] == [("database_unreachable", ("two",))]


# -- lost commits ----------------------------------------------------------------------------------------------------


def held(upgrade: Upgrade, **changes: object) -> View:
    """The upgrade, and one database whose copy is not the upgrade's."""
    facts = a_database(upgrade=upgrade)
    assert facts.copy is not None
    return a_view(upgrade, databases=(replace(facts, copy=replace(facts.copy, **changes)),))  # type: ignore[arg-type]


def test_a_copy_that_knows_more_than_the_state_freezes_the_upgrade_where_the_copy_has_it() -> None:
    upgrade = an_upgrade(Phase.BACKFILL)
    view = held(upgrade, revision=upgrade.revision + 5, phase=Phase.READ_NEW, fence=Phase.READ_NEW)
    decision = planner.decide(view)
    assert isinstance(decision, planner.Freeze)
    loss = decision.loss
    assert (loss.phase, loss.revision, loss.removing) == (Phase.READ_NEW, upgrade.revision + 5, False)
    frozen = upgrade.with_lost_commits(loss.why, now=NOW, until=NOW + 70, revision=loss.revision, phase=loss.phase)
    assert (frozen.phase, frozen.fence, frozen.move) == (Phase.READ_NEW, Phase.READ_NEW, Move.RESTING)
    assert frozen.revision == frozen.publication == upgrade.revision + 6
    assert not frozen.old_valid


def test_the_intent_of_contracted_is_not_lost() -> None:
    upgrade = an_upgrade(Phase.WRITE_NEW)
    copy = {"phase": Phase.SEALED, "fence": Phase.CONTRACTED, "move": Move.STEPPING}
    decision = planner.decide(held(upgrade, revision=upgrade.revision + 1, **copy))
    assert isinstance(decision, planner.Freeze) and decision.loss.removing
    frozen = upgrade.with_lost_commits(
        "", now=NOW, until=NOW, revision=upgrade.revision + 1, phase=Phase.SEALED, removing=True
    )
    assert frozen.is_past_return and frozen.goal is Phase.CONTRACTED


def test_a_fence_before_contracted_is_no_intent() -> None:
    upgrade = an_upgrade(Phase.WRITE_NEW)
    copy = {"phase": Phase.SEALED, "fence": Phase.CONTRACTED, "move": Move.FENCED}
    decision = planner.decide(held(upgrade, revision=upgrade.revision + 1, **copy))
    assert isinstance(decision, planner.Freeze) and not decision.loss.removing


def test_another_incarnation_freezes_the_upgrade_once() -> None:
    upgrade = an_upgrade(Phase.BACKFILL)
    assert isinstance(planner.decide(held(upgrade, incarnation="i0")), planner.Freeze)
    frozen = upgrade.with_lost_commits("main was restored", now=NOW, until=NOW + 70, revision=0)
    assert isinstance(planner.decide(held(frozen, incarnation="i0")), planner.Refusal)


@pytest.mark.parametrize(
    ("in_step_by", "phase", "of_state", "stays"),
    [
        (InStepBy.CLIENT, Phase.BASE, True, True),
        (InStepBy.CLIENT, Phase.BACKFILL, True, True),
        (InStepBy.CLIENT, Phase.READ_NEW, True, False),  # write_new may have been published, and forgotten
        (InStepBy.CLIENT, Phase.READ_NEW, False, True),
        (InStepBy.TRIGGERS, Phase.READ_NEW, True, True),
        (InStepBy.TRIGGERS, Phase.WRITE_NEW, True, False),  # they may have been dropped
    ],
)
def test_the_old_shape_stays_valid_where_nothing_that_was_lost_can_have_let_it_go_stale(
    in_step_by: InStepBy, phase: Phase, of_state: bool, stays: bool
) -> None:
    upgrade = an_upgrade(phase)
    upgrade = replace(upgrade, profile=replace(upgrade.profile, in_step_by=in_step_by, seals=True))
    assert upgrade.with_lost_commits("", now=NOW, until=NOW, revision=0, of_state=of_state).old_valid is stays
    moved_back = replace(upgrade, profile=replace(upgrade.profile, reverses=True))
    assert not moved_back.with_lost_commits("", now=NOW, until=NOW, revision=0, of_state=of_state).old_valid


def test_rows_are_not_moved_back_from_where_they_never_were() -> None:
    release = replace(NEW, reverse_data_migrations=("join_name",))
    upgrade = replace(an_upgrade(Phase.READ_NEW, goal=Phase.BASE, old_valid=False), profile=replace(release.profile))
    view = a_view(upgrade, new=release)
    running = tuple(MigrationFacts(name, MigrationState.RUNNING, 5, 9) for name in NEW.data_migrations)
    decision = planner.decide(replace(view, databases=(replace(view.databases[0], migrations=running),)))
    assert isinstance(decision, planner.Refusal)
    assert {each.code for each in decision.blockers} == {"data_migration_running"}


def test_what_is_frozen_goes_on_when_the_time_is_over_and_everybody_was_heard_of() -> None:
    frozen = an_upgrade(Phase.BACKFILL).with_lost_commits("main was restored", now=NOW, until=NOW + 70, revision=0)
    assert isinstance(planner.decide(a_view(frozen)), planner.Refusal)
    silent = a_view(replace(frozen, frozen_until=NOW), instances=(an_instance(),))
    assert isinstance(planner.decide(silent), planner.Refusal)
    heard = a_view(replace(frozen, frozen_until=NOW), instances=(an_instance(acked=frozen.publication),))
    assert planner.decide(heard) == planner.Thaw()


def test_rows_are_moved_back_once_everybody_writes_both_shapes_again() -> None:
    release = replace(NEW, reverse_data_migrations=("join_name",))
    upgrade = replace(an_upgrade(Phase.READ_NEW, goal=Phase.BASE, old_valid=False), profile=replace(release.profile))
    late = a_view(upgrade, new=release, instances=(an_instance(acked=PUBLICATION - 1),))
    assert isinstance(planner.decide(late), planner.Refusal)
    assert planner.decide(a_view(upgrade, new=release)) == planner.MoveRowsBack()
    moving = a_view(upgrade.with_reversing(), new=release)
    assert isinstance(planner.decide(moving), planner.Refusal)
    moved = replace(moving.databases[0], migrations=(*moving.databases[0].migrations, complete("join_name")))
    assert planner.decide(replace(moving, databases=(moved,))) == planner.TrustOldShape()
    assert planner.decide(a_view(upgrade.with_old_restored(), new=release)) == planner.SetFence(Phase.BACKFILL)
