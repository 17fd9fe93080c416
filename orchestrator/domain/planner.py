"""The planner: what the next move of an upgrade is, or what blocks it. It decides and does nothing.

A refusal and its explanation are one thing: a phase is refused if and only if `blockers` is not empty, and the dry
run asks the same function as the move itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.domain.guards import GUARDS
from orchestrator.domain.guards.databases_expanded import missing
from orchestrator.domain.guards.databases_fenced import unfit
from orchestrator.domain.guards.databases_unsealed import still_sealed
from orchestrator.domain.guards.old_shape_valid import unproven_reverses
from orchestrator.domain.guards.waves_open import may_open_next, wave_after
from orchestrator.domain.ladder import EVERY_MOVE, POINT_OF_NO_RETURN, RUNG_OF, InStepBy, Phase, Side, Step
from orchestrator.domain.losses import Loss, loss_in
from orchestrator.domain.lost_shapes import shape_lost
from orchestrator.domain.sightings import harm
from orchestrator.domain.upgrades import Move, Status
from orchestrator.domain.view import Blocker, DatabaseFacts, StepState, View


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do: the upgrade is where it was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The target cannot be entered now, for these reasons. Never empty."""

    target: Phase
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class SetFence:
    """Move 1: nothing blocks; set the fence at `target`."""

    target: Phase


@dataclass(frozen=True, slots=True)
class LiftFence:
    """Move 2 found blockers, or the operator steered elsewhere: back to rest."""

    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class BeginStep:
    """Move 2 passed: record the intent of the step."""

    target: Phase
    step: Step


@dataclass(frozen=True, slots=True)
class UnsealAgain:
    """A database lost the step that let writes to the old shape through again: record the intent to repeat it."""

    target: Phase
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContinueStep:
    """Move 3: run the step where it is not done yet."""

    target: Phase
    step: Step
    databases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Move 4: the phase may be entered.

    `wave` is told first, None: everybody. With `stays` the last rung does not end the upgrade before all are told.
    """

    target: Phase
    wave: int | None = None
    stays: bool = False


@dataclass(frozen=True, slots=True)
class OpenWave:
    """Everybody who was told the phase has drained into it: tell this wave, or everybody where it is None.

    `whom` says in words who hears of it now.
    """

    wave: int | None
    whom: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Everybody is told the last rung."""


@dataclass(frozen=True, slots=True)
class EndAtBase:
    """A cancelled upgrade that never left its base."""


@dataclass(frozen=True, slots=True)
class MoveRowsBack:
    """On the way back everybody writes both shapes: let the reverse data migrations run."""


@dataclass(frozen=True, slots=True)
class TrustOldShape:
    """Every row is proven to carry the old shape again."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Commits are lost: nothing goes on as if they were not."""

    loss: Loss


@dataclass(frozen=True, slots=True)
class Thaw:
    """Commits were lost, and everybody who may be alive was heard of since."""


@dataclass(frozen=True, slots=True)
class RecordDoubt:
    """Rows may be out of step, as somebody was seen, or something was not: what was proven of them counts no more."""

    doubt: str


Decision = (
    Idle
    | Refusal
    | SetFence
    | LiftFence
    | BeginStep
    | UnsealAgain
    | ContinueStep
    | Publish
    | OpenWave
    | Complete
    | EndAtBase
    | MoveRowsBack
    | TrustOldShape
    | Freeze
    | Thaw
    | RecordDoubt
)


def blockers(view: View, target: Phase) -> tuple[Blocker, ...]:
    """Every reason why `target` cannot be entered from the present phase now; empty means that it may."""
    rung = RUNG_OF[target]
    going_up = target > view.upgrade.phase
    names = rung.up if going_up else rung.down
    if names is None or view.upgrade.phase is POINT_OF_NO_RETURN:
        return (
            Blocker(
                "no_way_back",
                f"there is no way back from {view.upgrade.phase.word}: the old shape is gone",
                "Go on to the next release instead.",
            ),
        )
    return tuple(blocker for name in (*EVERY_MOVE, *names) for blocker in GUARDS[name](view, target))


def decide(view: View) -> Decision:
    """The next thing to do for this upgrade. Pure: the same view gives the same decision."""
    upgrade = view.upgrade
    if upgrade.status is not Status.RUNNING:
        return Idle(f"the upgrade is {upgrade.status.value}")
    loss = loss_in(upgrade, view.databases, view.incarnation, view.new.data_migrations)
    if loss is not None:
        return Freeze(loss)
    doubt = harm(view) or shape_lost(view) if upgrade.doubt is None else None
    if doubt is not None:
        return RecordDoubt(doubt)
    if upgrade.frozen is not None:
        found = tuple(GUARDS["not_frozen"](view, upgrade.fence))
        return Refusal(upgrade.fence, found) if found else Thaw()
    if upgrade.move is Move.STEPPING:
        return _decide_stepping(view)
    target = upgrade.target
    if upgrade.move is Move.FENCED:
        return _decide_fenced(view, target)
    sealed = still_sealed(view)
    if sealed and upgrade.paused is None:
        return UnsealAgain(upgrade.phase, sealed)
    if sealed:
        names = ("not_paused", "databases_unsealed")
        return Refusal(upgrade.phase, tuple(each for name in names for each in GUARDS[name](view, upgrade.phase)))
    if may_open_next(view):
        return OpenWave(*wave_after(view))
    if target is None:
        if upgrade.cancelling and upgrade.phase is Phase.BASE:
            return EndAtBase()
        return _decide_at_goal(view)
    found = blockers(view, target)
    if upgrade.needs_rows_moved_back(target):
        return _decide_moving_back(view, target, found)
    return Refusal(target, found) if found else SetFence(target)


def _decide_at_goal(view: View) -> Decision:
    """The upgrade is where it was sent, which not everybody may have been told yet. At its last rung it ends then."""
    upgrade = view.upgrade
    is_end = upgrade.phase is upgrade.profile.last()
    names = ("not_paused", "waves_open", "fleets_not_paused") if is_end else ("old_shape_there", "waves_open")
    found = tuple(blocker for name in names for blocker in GUARDS[name](view, upgrade.phase))
    if found:
        return Refusal(upgrade.phase, found)
    return Complete() if is_end else Idle(f"the upgrade rests at {upgrade.phase.word}, where it was sent")


def _decide_moving_back(view: View, target: Phase, found: tuple[Blocker, ...]) -> Decision:
    """The way back needs the old shape, which is stale: rows are moved back once everybody writes it again."""
    rows = tuple(GUARDS["old_shape_valid"](view, target))
    others = tuple(blocker for blocker in found if blocker not in rows)
    if others:
        return Refusal(target, others)
    if not view.upgrade.reversing:
        unmoved = tuple(GUARDS["data_migrated"](view, target)) if _lacks_rows(view) else ()
        return Refusal(target, unmoved) if unmoved else MoveRowsBack()
    unproven = tuple(unproven_reverses(view))
    return Refusal(target, unproven) if unproven else TrustOldShape()


def _lacks_rows(view: View) -> bool:
    """Whether a database was put back to before all its rows were moved: the new shape has nothing to move back."""
    read = (facts for facts in view.databases if facts.error is None)
    return not all(facts.has_moved_all(view.new.data_migrations) for facts in read)


def _decide_fenced(view: View, target: Phase | None) -> Decision:
    upgrade = view.upgrade
    if target != upgrade.fence:
        return LiftFence(())
    found = blockers(view, upgrade.fence)
    if found:
        return LiftFence(found)
    if upgrade.step is not Step.NONE:
        return BeginStep(upgrade.fence, upgrade.step)
    return _publication(view)


def _publication(view: View) -> Publish:
    """The fenced phase as it is to be told: in waves on the way up, to everybody at once on the way back.

    The end of an upgrade is told at once, unless its last rung changes what somebody does: then all are told first.
    """
    upgrade, profile = view.upgrade, view.upgrade.profile
    target = upgrade.fence
    if target < upgrade.phase:
        return Publish(target)
    is_end = target is profile.last()
    if is_end and profile.behaviour(Side.NEW, target) is profile.behaviour(Side.NEW, upgrade.phase):
        return Publish(target)
    wave = view.policy.waves.first
    return Publish(target, wave, stays=is_end and (wave is not None or bool(view.pauses)))


def _decide_stepping(view: View) -> Decision:
    """A step under way is abandoned only where what it has done by then is in nobody's way.

    The first listed database takes the step alone before the others. One that cannot be read is not asked to take it
    just now: it might take the others' place for as long as it does not answer.
    """
    upgrade = view.upgrade
    if upgrade.target != upgrade.fence and upgrade.step.may_be_abandoned:
        return LiftFence(())
    if upgrade.paused is not None:
        return Refusal(upgrade.fence, tuple(GUARDS["not_paused"](view, upgrade.fence)))
    removed = tuple(GUARDS["old_shape_there"](view, upgrade.fence))
    if removed:
        return Refusal(upgrade.fence, removed)
    state = {record.database: record.state for record in view.steps}
    left = [facts.name for facts in view.databases if state.get(facts.name) is not StepState.DONE]
    if not left:
        unverified = tuple(_unverified(view))
        if unverified:
            return Refusal(upgrade.fence, unverified)
        if not all(_carries(view, facts) for facts in view.databases):
            return Idle(f"the {upgrade.step.value} step is done, and the catalogs are about to be looked at")
        return LiftFence(()) if upgrade.fence is upgrade.phase else _publication(view)
    canary = view.databases[0].name
    allowed = [canary] if canary in left else left
    pending = tuple(name for name in allowed if state.get(name) is not StepState.FAILED)
    unread = tuple(facts for facts in view.databases if facts.error is not None and facts.name in pending)
    runnable = tuple(name for name in pending if name not in {facts.name for facts in unread})
    if runnable:
        return ContinueStep(upgrade.fence, upgrade.step, runnable)
    failed = [record for record in view.steps if record.state is StepState.FAILED]
    return Refusal(
        upgrade.fence,
        (
            *(unfit(facts) for facts in unread),
            *(
                Blocker(
                    "step_failed",
                    f"the {upgrade.step.value} step failed in {record.database}: {record.error}",
                    f"{record.remedy or 'Mend what it names.'} Then: "
                    f"orchestrator upgrade retry {upgrade.schema} --database {record.database}",
                    (record.database,),
                )
                for record in failed
            ),
        ),
    )


def _unverified(view: View) -> Iterator[Blocker]:
    """The databases in which the step is done by the books, but its effect was not just seen in the catalog.

    Not yet those whose catalog was looked at last before the step ended.
    """
    ended = {record.database: record.finished_at for record in view.steps}
    for facts in view.databases:
        seen = _carries(view, facts)
        if facts.error is not None:
            yield unfit(facts)
        elif not seen and not _is_to_be_looked_at(facts, ended.get(facts.name), view.now):
            yield Blocker(
                "step_unverified",
                f"the {view.upgrade.step.value} step is recorded as done in {facts.name}, but its catalog lacks the "
                f"effect{missing(facts) if view.upgrade.step is Step.EXPAND else ''}",
                "Somebody changed the schema by hand, or a revision's file? Mend it, then: orchestrator upgrade retry "
                f"{view.upgrade.schema} --database {facts.name}",
                (facts.name,),
            )


LOOKED_AT_WITHIN_SECONDS = 60.0
"""For so long after a step's end nothing is said of an effect that was not looked for since."""


def _is_to_be_looked_at(facts: DatabaseFacts, ended_at: float | None, now: float) -> bool:
    """Whether the last look at its catalog for a step began before this one's end, which was just now."""
    if ended_at is None or not 0 <= now - ended_at < LOOKED_AT_WITHIN_SECONDS:
        return False
    return facts.verified_at is None or facts.verified_at < ended_at


def _carries(view: View, facts: DatabaseFacts) -> bool:
    """Whether the database's catalog carries the effect of the step under way."""
    match view.upgrade.step:
        case Step.EXPAND:
            return facts.expanded and (facts.in_step or view.upgrade.profile.in_step_by is not InStepBy.TRIGGERS)
        case Step.SEAL:
            return facts.sealed
        case Step.UNSEAL:
            return facts.unsealed
        case _:
            return facts.contracted


def explain(view: View) -> tuple[Blocker, ...]:
    """What stands between the upgrade and its next phase, for people; the answer of the dry run."""
    decision = decide(view)
    if isinstance(decision, RecordDoubt):
        decision = decide(replace(view, upgrade=view.upgrade.with_doubt(decision.doubt)))
    if isinstance(decision, UnsealAgain):
        return tuple(GUARDS["databases_unsealed"](view, decision.target))
    return decision.blockers if isinstance(decision, Refusal | LiftFence) else ()
