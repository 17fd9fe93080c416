"""The seal, the triggers, the way back from write_new, and those who linger break no invariant; and what for each
safeguard of them is.

As in `test_safeguards`: a case takes safeguards away, and the explorer finds the shortest way to a violation. `pytest
-s` shows the ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.domain import planner
from orchestrator.domain.guards import GUARDS, old_shape_valid
from orchestrator.domain.ladder import RUNG_OF, InStepBy, Phase, Profile, Step
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import Blocker, View
from tests.protocol import lingering, reversing, sealing
from tests.protocol import world as rules
from tests.protocol.breaks import Break, both, check_missed, nothing, without_guard
from tests.protocol.explorer import Counterexample, Explorer
from tests.protocol.lingering import CutOffWorld, ForgottenWorld, RolesWorld, UnclaimedWorld
from tests.protocol.reversing import ReversingWorld
from tests.protocol.sealing import SealingWorld
from tests.protocol.test_explorer import explored
from tests.protocol.world import Daemon, Up

CLIENT, TRIGGERS, SERVICE = InStepBy.CLIENT, InStepBy.TRIGGERS, InStepBy.SERVICE
TO_BASE = (Phase.BASE,)
BACK = (Phase.BASE, Phase.READ_NEW, Phase.WRITE_NEW)
TO_READ_NEW = (Phase.READ_NEW,)


class LongReverseBatches(ReversingWorld):
    """Batches that look at the copy long before they write, and rely on their cursor."""

    batches_are_atomic = False


class Uncounted(ForgottenWorld):
    """Refusals are not counted, as on SQLite."""

    counts_refusals = False


class ContractsByStatements(SealingWorld):
    """What denies writes is dropped in a transaction of its own before the old shape is, as on MariaDB and MySQL."""

    def performed(self, database: Any, step: Step) -> Iterator[tuple[str, Any, bool]]:
        if step is Step.CONTRACT and database.sealed:
            yield "makes way", database._replace(sealed=False), False
        else:
            yield from super().performed(database, step)


class ForgottenByStatements(ForgottenWorld, ContractsByStatements):
    """And a process of which nobody knows."""


def completes(world: SealingWorld, *, processes: int = 1, daemons: int = 1) -> None:
    """The world is sound, and from everywhere a way leads to the end that is wanted."""
    explorer = explored(world, processes=processes, daemons=daemons)
    assert explorer.unreachable(Status.COMPLETED, among=lambda up: not up.cancelling) is None
    may_be_cancelled = world.profile.reverses
    assert (
        explorer.unreachable(
            Status.CANCELLED, among=lambda up: (up.old_valid or may_be_cancelled) and not up.is_past_return
        )
        is None
    )


@pytest.mark.parametrize("in_step_by", InStepBy)
@pytest.mark.parametrize("seals", [True, False], ids=["sealing", "unsealed"])
def test_what_keeps_the_shapes_in_step_and_the_seal_break_no_invariant(in_step_by: InStepBy, seals: bool) -> None:
    completes(SealingWorld(in_step_by, seals=seals, steers_to=BACK))


def test_an_old_process_beside_a_new_one_and_triggers_break_no_invariant() -> None:
    explored(SealingWorld(TRIGGERS, steers_to=(Phase.BASE, Phase.WRITE_NEW)), processes=2, daemons=1)


def test_the_way_back_from_write_new_breaks_no_invariant_and_leads_to_base() -> None:
    completes(ReversingWorld(seals=False, steers_to=(Phase.BASE, Phase.BACKFILL)))


def test_who_lingers_breaks_no_invariant() -> None:
    explored(CutOffWorld(TRIGGERS, steers_to=TO_BASE), processes=1, daemons=1)
    completes(RolesWorld(seals=False, steers_to=TO_BASE))


@pytest.mark.protocol
@pytest.mark.parametrize("in_step_by", InStepBy)
def test_two_processes_and_two_daemons_beside_the_seal_break_no_invariant(in_step_by: InStepBy) -> None:
    explored(SealingWorld(in_step_by, steers_to=(Phase.BASE, Phase.EXPANDED, *BACK[1:])), processes=2, daemons=2)


@pytest.mark.protocol
@pytest.mark.parametrize("kind", [ReversingWorld, LongReverseBatches])
@pytest.mark.parametrize(("processes", "daemons"), [(1, 2), (2, 1)])
def test_the_way_back_in_wide_bounds(kind: type[ReversingWorld], processes: int, daemons: int) -> None:
    completes(kind(steers_to=(Phase.BASE, Phase.EXPANDED, *BACK[1:])), processes=processes, daemons=daemons)


@pytest.mark.protocol
@pytest.mark.parametrize("in_step_by", InStepBy)
@pytest.mark.parametrize("kind", [CutOffWorld, ForgottenWorld, Uncounted, RolesWorld])
def test_who_lingers_in_wide_bounds(kind: type[SealingWorld], in_step_by: InStepBy) -> None:
    explored(kind(in_step_by, steers_to=BACK), processes=2, daemons=1)
    explored(kind(in_step_by, steers_to=BACK), processes=1, daemons=2)


@pytest.mark.protocol
@pytest.mark.parametrize("in_step_by", [CLIENT, TRIGGERS])
@pytest.mark.parametrize("rough", ["databases_fail", "leases_expire", "decisions_are_atomic", "batches_are_atomic"])
def test_a_rougher_world_beside_the_seal_breaks_no_invariant(rough: str, in_step_by: InStepBy) -> None:
    world = SealingWorld(in_step_by, steers_to=BACK)
    setattr(world, rough, not getattr(world, rough))
    explored(world, processes=1, daemons=2)


@pytest.mark.protocol
def test_where_each_statement_commits_by_itself_contract_leaves_a_moment_to_the_forgotten_alone() -> None:
    explored(ContractsByStatements(steers_to=BACK), processes=1, daemons=2)
    found = Explorer(ForgottenByStatements(), processes=1, daemons=1).explore().counterexample
    assert found is not None
    assert found.invariant == sealing.S2_COMMITS
    assert found.actions[-2:] == ("a daemon makes way", "an old process commits (reads old, writes old)")


# -- safeguards taken out of the domain ------------------------------------------------------------------------------


def with_rung(phase: Phase, **changes: Any) -> Break:
    """This line of the ladder says something else."""
    return lambda patch: patch.setitem(RUNG_OF, phase, replace(RUNG_OF[phase], **changes))


def sealing_keeps_old_valid(patch: pytest.MonkeyPatch) -> None:
    begun = Upgrade.with_step_begun
    patch.setattr(Upgrade, "with_step_begun", lambda self: replace(begun(self), old_valid=self.old_valid))


def sealed_is_left_out(patch: pytest.MonkeyPatch) -> None:
    phases = Profile.phases
    patch.setattr(Profile, "phases", lambda self: tuple(each for each in phases(self) if each is not Phase.SEALED))


def rows_need_not_be_moved_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Upgrade, "needs_rows_moved_back", lambda self, target: False)


def proofs_are_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "unproven_reverses", lambda view: ())
    patch.setattr(old_shape_valid, "unproven_reverses", lambda view: ())


def rows_are_moved_back_at_once(patch: pytest.MonkeyPatch) -> None:
    """Before everybody has acked read_new."""
    decide = planner._decide_moving_back

    def decide_at_once(view: View, target: Phase, found: tuple[Blocker, ...]) -> planner.Decision:
        return decide(view, target, found) if view.upgrade.reversing else planner.MoveRowsBack()

    patch.setattr(planner, "_decide_moving_back", decide_at_once)


def steering_keeps_reversing(patch: pytest.MonkeyPatch) -> None:
    steered = Upgrade.with_goal
    patch.setattr(
        Upgrade,
        "with_goal",
        lambda self, goal, cancelling=False: replace(
            steered(self, goal, cancelling=cancelling), reversing=self.reversing
        ),
    )


def fences_keep_reversing(patch: pytest.MonkeyPatch) -> None:
    fenced = Upgrade.with_fence
    patch.setattr(Upgrade, "with_fence", lambda self, target: replace(fenced(self, target), reversing=self.reversing))


def locks_are_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    """The guard looks at the sessions that there are, not at those that there may be."""
    guard = GUARDS["roles_settled"]

    def look(view: View, target: Phase) -> Any:
        facts = tuple(
            replace(each, roles=tuple(replace(role, is_locked=True) for role in each.roles)) for each in view.databases
        )
        return guard(replace(view, databases=facts), target)

    patch.setitem(GUARDS, "roles_settled", look)


def roles_are_not_locked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lingering, "must_be_locked", lambda upgrade, role: None)


# -- safeguards taken out of the world -------------------------------------------------------------------------------


class DeniesFirst(SealingWorld):
    """Denies writes to the old shape while triggers still write it."""

    def performed(self, database: Any, step: Step) -> Iterator[tuple[str, Any, bool]]:
        if step is Step.SEAL and not database.sealed:
            yield "denies writes to the old shape", database._replace(sealed=True, refused=False), False
        elif step is Step.SEAL:
            yield "drops the sync triggers", database._replace(in_step=False), True
        else:
            yield from super().performed(database, step)


class DropsAtWriteNew(SealingWorld):
    """Takes the sync triggers away as soon as the old release is gone."""

    def _recording(self, up: Up, database: Any, decided: Daemon) -> Any:
        assert decided.decided is not None
        if decided.publishes and decided.decided.phase is Phase.WRITE_NEW:
            database = database._replace(in_step=False)
        return super()._recording(up, database, decided)


class LosesTriggers(SealingWorld):
    """Somebody drops the sync triggers by hand, where nobody of the other release can live yet, or any more."""

    def row_moves(self, up: Up, database: Any, lowest: int) -> Iterator[tuple[str, Any]]:
        yield from super().row_moves(up, database, lowest)
        is_at_rest = up.phase is up.fence and up.phase in (Phase.EXPANDED, Phase.WRITE_NEW)
        if is_at_rest and database.in_step:
            yield "somebody drops the sync triggers", database._replace(in_step=False)


class LateSteps(SealingWorld):
    """The journal does not know who took up a step last."""

    def is_passed(self, daemon: Daemon, database: Any) -> bool:
        return False


class LateStepsUnchecked(LateSteps):
    """Does not look at S8 itself, only at what follows from breaking it."""

    def _check_owner(self, daemon: Daemon, database: Any, action: str) -> None:
        pass


class TrustsUnchecked(ReversingWorld):
    """Does not look at S4 itself, only at what follows from breaking it."""

    def _check_trust(self, database: Any, action: str) -> None:
        pass


class KeepsTheProofBack(ReversingWorld):
    def keeps_proof(self, phase: Phase, *, frozen: bool = False, is_reverse: bool = False) -> bool:
        return is_reverse or super().keeps_proof(phase, frozen=frozen)


class KeepsTheProofBackUnchecked(KeepsTheProofBack, TrustsUnchecked):
    pass


class MovesBackWithoutCopy(ReversingWorld):
    def may_move_back(self, database: Any) -> bool:
        return bool(database.expanded)


class MovesBackWithoutCursor(LongReverseBatches):
    def may_finish_back(self, database: Any) -> bool:
        return True


class MovesBackWithoutCursorUnchecked(MovesBackWithoutCursor):
    """Does not look at S8 itself, only at what follows from breaking it."""

    def _check_back(self, up: Up, database: Any, action: str) -> None:
        pass


class MovesBackUnlocked(LongReverseBatches):
    """Of the batches that move rows forward it is on record elsewhere what that does."""

    rows_are_locked = False

    def _check_overtaken(self, action: str) -> None:
        pass


class EvictsByWord(CutOffWorld):
    """Evicts without ending sessions."""

    def ends_sessions(self) -> bool:
        return False


class EvictsByWordUnchecked(EvictsByWord):
    """Does not look at S9 itself, only at what follows from breaking it."""

    def _check_evicted(self, action: str) -> None:
        pass


class EvictsByWordUnclaimed(UnclaimedWorld, EvictsByWordUnchecked):
    """And claims nothing of rows beside who comes back."""


# -- the cases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Without:
    """Safeguards that are missing, and the invariant that breaks, if one does."""

    safeguard: str
    invariant: str
    world: type[SealingWorld] = SealingWorld
    in_the_domain: Break = nothing
    in_step_by: InStepBy = CLIENT
    seals: bool = True
    steers_to: tuple[Phase, ...] = ()
    daemons: int = 1
    is_wide: bool = False

    def explore(self, patch: pytest.MonkeyPatch) -> Counterexample | None:
        self.in_the_domain(patch)
        world = self.world(self.in_step_by, seals=self.seals, steers_to=self.steers_to)
        return Explorer(world, processes=1, daemons=self.daemons).explore().counterexample


def reverse(
    safeguard: str,
    invariant: str,
    world: type[ReversingWorld] = ReversingWorld,
    in_the_domain: Break = nothing,
    *,
    is_wide: bool = False,
) -> Without:
    """A case of the way back from write_new."""
    steers_to = (Phase.BACKFILL,)
    return Without(safeguard, invariant, world, in_the_domain, seals=False, steers_to=steers_to, is_wide=is_wide)


def each_of(cases: tuple[Without, ...]) -> list[Any]:
    """Every case under its name; those of wide bounds only where these are searched."""
    wide = pytest.mark.protocol
    return [pytest.param(case, id=case.safeguard, marks=wide if case.is_wide else ()) for case in cases]


NO_UNSEAL = both(with_rung(Phase.WRITE_NEW, step_down=Step.NONE), with_rung(Phase.READ_NEW, step_down=Step.NONE))
BACK_UNSEEN = with_rung(Phase.READ_NEW, down=("old_shape_valid",))
NO_SEAL = both(sealed_is_left_out, without_guard("databases_sealed"))

MISSED = (
    Without("sync triggers are dropped before sealed, and nobody looks on the way back", rules.S5, DropsAtWriteNew,
            BACK_UNSEEN, TRIGGERS, steers_to=TO_READ_NEW),
    Without("sealing drops the sync triggers and leaves old_valid, and nobody looks on the way back", rules.S5,
            SealingWorld, both(sealing_keeps_old_valid, BACK_UNSEEN), TRIGGERS, steers_to=TO_READ_NEW),
    Without("the seal is set on the way into write_new already", sealing.S6A, SealingWorld,
            with_rung(Phase.WRITE_NEW, step=Step.SEAL), TRIGGERS, steers_to=TO_READ_NEW),
    Without("writes are denied before the sync triggers are dropped", sealing.S6A, DeniesFirst, in_step_by=TRIGGERS),
    Without("nobody looks whether the sync triggers stand", rules.S3, LosesTriggers,
            without_guard("databases_in_step"), TRIGGERS),
    Without("unseal is skipped on the way back", sealing.S6A, SealingWorld, NO_UNSEAL, steers_to=TO_READ_NEW),
    Without("an abandoned seal is not taken back", sealing.S6A, SealingWorld,
            with_rung(Phase.READ_NEW, step_down=Step.NONE), steers_to=TO_READ_NEW),
    Without("a step that somebody else has taken over goes on", sealing.S8_STEP, LateSteps, steers_to=TO_READ_NEW,
            daemons=2),
    Without("a step that somebody else has taken over goes on, by its effect", rules.S11, LateStepsUnchecked,
            steers_to=TO_READ_NEW, daemons=2, is_wide=True),
    Without("no seal before contract, and somebody was forgotten", sealing.S2_COMMITS, ForgottenWorld, NO_SEAL),
    Without("no seal before contract, and sessions of the evicted were not ended", sealing.S2_COMMITS,
            EvictsByWordUnclaimed, NO_SEAL),
    reverse("read_new to backfill without old_valid, where rows could be moved back", rules.S5, ReversingWorld,
            both(rows_need_not_be_moved_back, without_guard("old_shape_valid"))),
    reverse("old_valid is trusted without proof", reversing.S4_BACK, ReversingWorld, proofs_are_not_asked_for),
    reverse("old_valid is trusted without proof, by its effect", rules.S5, TrustsUnchecked, proofs_are_not_asked_for,
            is_wide=True),
    reverse("write_new keeps the proof that rows were moved back", reversing.S4_BACK, KeepsTheProofBack),
    reverse("write_new keeps the proof that rows were moved back, by its effect", rules.S5,
            KeepsTheProofBackUnchecked, is_wide=True),
    reverse("rows are moved back before everybody has acked read_new", rules.S5, ReversingWorld,
            rows_are_moved_back_at_once),
    reverse("rows go on being moved back after steering on", rules.S5, ReversingWorld,
            both(steering_keeps_reversing, fences_keep_reversing), is_wide=True),
    reverse("a reverse batch does not look at the copy", reversing.S8_BACK, MovesBackWithoutCopy),
    reverse("a reverse batch does not check its cursor", reversing.S8_BACK, MovesBackWithoutCursor),
    reverse("a reverse transform is written back to rows that are not locked", rules.S5_ROWS, MovesBackUnlocked),
    Without("eviction without ending sessions", lingering.S9, EvictsByWord),
    Without("eviction without ending sessions, by its effect", rules.S1_RANGE, EvictsByWordUnchecked),
    Without("sessions of the old release's role are not looked at", rules.S1_RANGE, RolesWorld,
            without_guard("roles_settled")),
    Without("the old release's role is not locked", rules.S1_RANGE, RolesWorld,
            both(roles_are_not_locked, locks_are_not_asked_for)),
)  # fmt: skip


@pytest.mark.parametrize("case", each_of(MISSED))
def test_without_the_safeguards_an_invariant_breaks(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    check_missed(case, monkeypatch)


HELD_BY_ANOTHER = (
    Without("the sync triggers are dropped by hand: the guard databases_in_step looks once more behind the fence", "",
            LosesTriggers, in_step_by=TRIGGERS, steers_to=TO_READ_NEW),
    Without("sync triggers are dropped before sealed: the guard databases_in_step lets nobody go back", "",
            DropsAtWriteNew, in_step_by=TRIGGERS, steers_to=TO_READ_NEW),
    Without("sealing leaves old_valid: the guard databases_in_step lets nobody go back", "", SealingWorld,
            sealing_keeps_old_valid, TRIGGERS, steers_to=TO_READ_NEW),
    Without("unseal is skipped into write_new: the way into read_new unseals too", "", SealingWorld,
            with_rung(Phase.WRITE_NEW, step_down=Step.NONE), steers_to=TO_READ_NEW, is_wide=True),
    Without("sealed is left out: the guard databases_sealed keeps contract back", "", ForgottenWorld,
            sealed_is_left_out),
    Without("no guard databases_sealed: sealed is entered only with the seal in the catalog", "", ForgottenWorld,
            without_guard("databases_sealed")),
    Without("eviction without ending sessions, at sealed: the database refuses who comes back", "",
            EvictsByWordUnclaimed),
    reverse("rows need not be moved back: the guard old_shape_valid keeps everybody at read_new", "", ReversingWorld,
            rows_need_not_be_moved_back, is_wide=True),
    reverse("no guard old_shape_valid: the planner asks for the proofs itself", "", ReversingWorld,
            without_guard("old_shape_valid"), is_wide=True),
    reverse("steering on goes on moving rows back: the next fence ends it", "", ReversingWorld,
            steering_keeps_reversing, is_wide=True),
    reverse("a reverse batch does not check its cursor: nobody trusts the old shape before it has ended, and what it "
            "writes is what its rows hold", "", MovesBackWithoutCursorUnchecked, is_wide=True),
    Without("the old release's role is not locked: the guard roles_settled waits for that", "", RolesWorld,
            roles_are_not_locked),
)  # fmt: skip


@pytest.mark.protocol
@pytest.mark.parametrize("case", each_of(HELD_BY_ANOTHER))
def test_a_second_safeguard_holds(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.explore(monkeypatch) is None
