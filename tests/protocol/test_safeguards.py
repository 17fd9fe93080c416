"""What each safeguard is for: without it, this is the shortest way to break this invariant.

Every case takes one safeguard away, in the function that decides it, and the explorer has to find out. Run with
`pytest -s` to read the ways. A safeguard that may be missed because another one holds is on record at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from orchestrator.domain import ladder, planner
from orchestrator.domain.guards import GUARDS
from orchestrator.domain.ladder import InStepBy, Phase, Profile, Side, Step, Support
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Blocker, View
from tests.protocol import world as rules
from tests.protocol.breaks import Break, both, check_missed, nothing, removal_is_no_sign, without_guard
from tests.protocol.explorer import Counterexample, Explorer
from tests.protocol.world import Database, Member, Process, Shape, Up, Witness, World

# -- safeguards taken out of the domain ------------------------------------------------------------------------------


def blind_to_expired(name: str) -> Break:
    """This guard takes instances whose lease ran out for dead."""

    def take_away(patch: pytest.MonkeyPatch) -> None:
        guard = GUARDS[name]

        def blind(view: View, target: Phase) -> Iterable[Blocker]:
            live = tuple(instance for instance in view.instances if not instance.is_expired(view.now))
            return guard(replace(view, instances=live), target)

        patch.setitem(GUARDS, name, blind)

    return take_away


def old_release_lives_in_backfill(patch: pytest.MonkeyPatch) -> None:
    wider = {**ladder.SUPPORT[InStepBy.CLIENT], Side.OLD: Support(Phase.BASE, Phase.BACKFILL)}
    patch.setitem(ladder.SUPPORT, InStepBy.CLIENT, wider)


def write_new_keeps_old_valid(patch: pytest.MonkeyPatch) -> None:
    published = Upgrade.published
    patch.setattr(Upgrade, "published", lambda self, now: replace(published(self, now), old_valid=True))


def contract_may_be_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Upgrade, "is_past_return", property(lambda self: self.phase is Phase.CONTRACTED))
    patch.setattr(Step, "may_be_abandoned", True)


def moves_without_fence(patch: pytest.MonkeyPatch) -> None:
    decide = planner.decide

    def decide_at_once(view: View) -> planner.Decision:
        decision = decide(view)
        if not isinstance(decision, planner.SetFence):
            return decision
        target = decision.target
        step = replace(view.upgrade, fence=target).step
        return planner.Publish(target) if step is Step.NONE else planner.BeginStep(target, step)

    patch.setattr(planner, "decide", decide_at_once)


# -- safeguards taken out of the world -------------------------------------------------------------------------------


class Fenceless(World):
    """Records what `moves_without_fence` decides."""

    def changed(self, up: Up, decision: planner.Decision) -> Upgrade | None:
        if isinstance(decision, planner.Publish):
            return super().changed(up._replace(fence=decision.target), decision)
        if isinstance(decision, planner.BeginStep):
            return replace(self.upgrade(up), fence=decision.target).with_step_begun()
        return super().changed(up, decision)


class JoinsBesideTheFence(World):
    def admits(self, up: Up, is_new: bool) -> bool:
        return super().admits(up._replace(fence=up.phase), is_new)


class JoinsUnasked(World):
    def admits(self, up: Up, is_new: bool) -> bool:
        return True


class UncheckedJoins(World):
    """Does not look at S6 itself, only at what follows from breaking it."""

    def _check_join(self, up: Up, is_new: bool) -> None:
        pass


class JoinsUnaskedUnchecked(UncheckedJoins, JoinsUnasked):
    pass


class JoinsBesideTheFenceUnchecked(UncheckedJoins, JoinsBesideTheFence):
    pass


class JoinsBesideTheFenceDecidedApart(JoinsBesideTheFenceUnchecked):
    decisions_are_atomic = False


class JoinsUnserialised(World):
    joins_are_atomic = False


class AcksUndrained(World):
    def may_ack(self, process: Process) -> bool:
        return True


class LeavesUndrained(World):
    def may_leave(self, process: Process) -> bool:
        return True


class ExpiryIsDeath(World):
    leases_expire = True

    def member(self, process: Process) -> Member | None:
        member = super().member(process)
        return None if member is not None and member.expired else member


class ExpiringLeases(World):
    leases_expire = True


class EvictsTheLiving(World):
    def may_evict(self, process: Process) -> bool:
        return True


class SilentFleet(World):
    has_silent_process = True


class WithoutCompareAndSet(World):
    decisions_are_atomic = False

    def may_record(self, age: int) -> bool:
        return True


class SteersAnywhere(World):
    def may_steer(self, up: Up, to: Phase) -> bool:
        return True


class KeepsTheWitness(World):
    def keeps_proof(self, phase: Phase, *, frozen: bool = False, is_reverse: bool = False) -> bool:
        return True


class KeepsTheWitnessUnchecked(KeepsTheWitness):
    """Does not look at S4 itself, only at what follows from breaking it."""

    def _check_publication(self, up: Up, database: Database, after: Up, action: str) -> None:
        pass


class CopiesBackwards(World):
    def may_write_copy(self, age: int, database: Database) -> bool:
        return age != database.copy_age


class CopiesInPart(World):
    def with_copy(self, database: Database, phase: Phase, fence: Phase) -> Database:
        return super().with_copy(database, phase, phase)


class UnreachableDatabases(World):
    databases_fail = True


class BatchesWithoutCopy(World):
    def may_batch(self, database: Database) -> bool:
        return database.expanded


class BatchesWithoutCursor(World):
    batches_are_atomic = False

    def may_finish_batch(self, database: Database) -> bool:
        return True


class RowsUnlocked(World):
    batches_are_atomic = False
    rows_are_locked = False


class RowsUnlockedUnchecked(RowsUnlocked):
    """Does not look at the batch itself, only at what reads return in the end."""

    def _check_overtaken(self, action: str) -> None:
        pass


class MovesNothingsOnly(World):
    """The habit of `WHERE new IS NULL`."""

    def moved(self, database: Database) -> Shape:
        return database.old if database.new is Shape.NOTHING else database.new


class MovesNothingsOnlyUnverified(MovesNothingsOnly):
    """And takes the end of the pass for completion."""

    def row_moves(self, up: Up, database: Database, lowest: int) -> Iterator[tuple[str, Database]]:
        yield from super().row_moves(up, database, lowest)
        if self.may_batch(database) and database.new is not Shape.NOTHING and database.witness is Witness.NONE:
            yield "the pass ends", database._replace(witness=Witness.PROVEN)


@dataclass(frozen=True, slots=True)
class ShorterProfile(Profile):
    """Leaves out a rung that is there for the distance between neighbours."""

    left_out: Phase = Phase.READ_NEW

    def phases(self) -> tuple[Phase, ...]:
        return tuple(phase for phase in Profile.phases(self) if phase is not self.left_out)


class SkipsReadNew(World):
    left_out = Phase.READ_NEW

    def make_profile(self) -> Profile:
        profile = self.new.profile
        return ShorterProfile(
            profile.in_step_by, profile.has_data_migrations, profile.has_contract, left_out=self.left_out
        )


class SkipsBackfill(SkipsReadNew):
    left_out = Phase.BACKFILL


# -- the cases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Without:
    """One safeguard that is missing, and the invariant that breaks."""

    safeguard: str
    invariant: str
    world: type[World] = World
    in_the_domain: Break = nothing
    processes: int = 1
    daemons: int = 1
    has_data_migrations: bool = True
    has_contract: bool = True

    def explore(self, patch: pytest.MonkeyPatch) -> Counterexample | None:
        self.in_the_domain(patch)
        world = self.world(
            InStepBy.CLIENT, has_data_migrations=self.has_data_migrations, has_contract=self.has_contract
        )
        return Explorer(world, processes=self.processes, daemons=self.daemons).explore().counterexample


MISSED = (
    Without("no fence before validation", rules.S8, Fenceless, moves_without_fence),
    Without("a join does not look at the fence", rules.S6, JoinsBesideTheFence),
    Without("a stale join is not refused", rules.S6, JoinsUnasked),
    Without("a stale join is not refused, by its effect", rules.S1_RANGE, JoinsUnaskedUnchecked),
    Without("a join does not look at the fence, decided apart", rules.S1_RANGE, JoinsBesideTheFenceDecidedApart),
    Without("a join does not write the row that validation locks", rules.S1_RANGE, JoinsUnserialised),
    Without("publication without acks", rules.S1, World, without_guard("instances_acked")),
    Without("publication while the old release runs", rules.S1_RANGE, World, without_guard("instances_support")),
    Without("backfill while the old release may live", rules.S3, World, old_release_lives_in_backfill),
    Without("an ack without draining", rules.S1, AcksUndrained),
    Without("leaving without draining", rules.S1_RANGE, LeavesUndrained),
    Without("expiry is taken for death", rules.S1_RANGE, ExpiryIsDeath),
    Without("eviction without proof of death", rules.S1_RANGE, EvictsTheLiving),
    Without("silent instances do not block acks", rules.S1, ExpiringLeases, blind_to_expired("instances_acked")),
    Without("silent instances may run anything", rules.S1_RANGE, ExpiringLeases, blind_to_expired("instances_support")),
    Without("silent fleets count as empty", rules.S1_RANGE, SilentFleet, without_guard("fleets_known")),
    Without("publication without compare-and-set", rules.S1_RANGE, WithoutCompareAndSet, daemons=2),
    Without("back to backfill without old_valid", rules.S5, SteersAnywhere, without_guard("old_shape_valid")),
    Without("write_new leaves old_valid", rules.S5, World, write_new_keeps_old_valid),
    Without("the intent of contracted can be taken back, and is no sign of a loss either", rules.S10, World,
            both(contract_may_be_left, removal_is_no_sign)),
    Without("read_new without a witness", rules.S4, World, without_guard("data_migrated")),
    Without("a phase below backfill keeps the witness", rules.S4, KeepsTheWitness),
    Without("a phase below backfill keeps the witness, by its effect", rules.S5, KeepsTheWitnessUnchecked),
    Without("publication before the copies hold the fence", rules.S8, UnreachableDatabases,
            without_guard("databases_fenced")),
    Without("a copy is written backwards", rules.S8, CopiesBackwards, daemons=2),
    Without("a copy is written in part", rules.S8, CopiesInPart),
    Without("a batch does not look at the copy", rules.S8, BatchesWithoutCopy),
    Without("a batch does not check its cursor", rules.S8, BatchesWithoutCursor),
    Without("a transform is written back to rows that are not locked", rules.S5_ROWS, RowsUnlocked),
    Without("rows are moved only where NULL, and counted", rules.S5, MovesNothingsOnlyUnverified),
    Without("no read_new, with data", rules.S1, SkipsReadNew),
    Without("no read_new, without data", rules.S1, SkipsReadNew, has_data_migrations=False),
    Without("no read_new, without data or contract", rules.S1, SkipsReadNew,
            has_data_migrations=False, has_contract=False),
    Without("no backfill, without data: on the way back", rules.S1, SkipsBackfill, processes=2,
            has_data_migrations=False),
)  # fmt: skip


@pytest.mark.parametrize("case", MISSED, ids=lambda case: case.safeguard)
def test_without_the_safeguard_an_invariant_breaks(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    check_missed(case, monkeypatch)


HELD_BY_ANOTHER = (
    Without("a join beside the fence: publication validates once more under the same lock", "",
            JoinsBesideTheFenceUnchecked),
    Without("steering anywhere: the guard old_shape_valid and the point of no return hold", "", SteersAnywhere),
    Without("no guard old_shape_valid: nobody can steer there", "", World, without_guard("old_shape_valid")),
    Without("the intent of contracted can be taken back: a copy that knows of it stops everything", "", World,
            contract_may_be_left),
    Without("moving only where NULL: verification notices before anybody reads", "", MovesNothingsOnly),
    Without("rows that are not locked: verification notices before anybody reads", "", RowsUnlockedUnchecked),
)  # fmt: skip


@pytest.mark.protocol
@pytest.mark.parametrize("case", HELD_BY_ANOTHER, ids=lambda case: case.safeguard)
def test_a_second_safeguard_holds(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.explore(monkeypatch) is None
