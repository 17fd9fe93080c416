"""Lost commits and joins without a daemon break no invariant; and what each of their safeguards is for.

As in `test_safeguards`: a case takes safeguards away, and the explorer finds the shortest way to a violation. `pytest
-s` shows the ways. Many begin in the middle of the ladder, which the worlds that break nothing do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from orchestrator.domain import losses
from orchestrator.domain.admission import Admitted, Standing, may_join
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import DatabaseFacts
from tests.protocol import losing
from tests.protocol import world as rules
from tests.protocol.breaks import Break, both, check_missed, nothing, removal_is_no_sign, without_guard
from tests.protocol.explorer import Counterexample
from tests.protocol.going_back import LosingExplorer
from tests.protocol.joining import JoiningWorld
from tests.protocol.losing import LosingWorld, RestoredWorld
from tests.protocol.world import IDLE, Daemon

TO_BASE = (Phase.BASE,)
AROUND = (Phase.BASE, Phase.READ_NEW)


class LosesDatabase(LosingWorld):
    """Only the managed database fails over."""

    loses_state = False
    loses_database = True


class LosesBoth(LosingWorld):
    """The state and the managed database, each once."""

    loses_database = True


class LosesMore(LosingWorld):
    """Up to two commits of the state are lost."""

    depth = 2


class LosesWork(LosesDatabase):
    """The managed database goes back to before its rows were moved, while the old shape still holds every value.

    What is under way there when that happens ends with it, and what is read before everybody has heard of it is not
    claimed. A daemon has decided on what it read before, or looks anew.
    """

    database_depth = 8

    def _losses(self, up: Any, database: Any, daemon: Daemon) -> Iterator[Any]:
        for action, hand, state, managed, change in super()._losses(up, database, daemon):
            is_early = up.old_valid and up.phase < Phase.WRITE_NEW and daemon == IDLE
            if change is not losing.Change.DATABASE_LOSS or is_early:
                yield action, hand, state, managed, change

    def process_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        return iter(()) if database.has_unnoticed_loss else super().process_moves(up, database, process)

    def _committed(self, database: Any, process: Any) -> Any:
        is_rolled_back = database.has_unnoticed_loss or database.copy_frozen
        return database if is_rolled_back else super()._committed(database, process)


class JoinsAndLosesState(JoiningWorld):
    loses_state = True


class JoinsAndLosesDatabase(JoiningWorld):
    loses_database = True


class LateCopies(JoinsAndLosesDatabase):
    """A daemon may sleep between its look at a copy and its write of it."""

    writes_are_atomic = False


def explored(world: LosingWorld, *, processes: int = 1, daemons: int = 1) -> LosingExplorer:
    """The world, explored and found sound, with every phase of its ladder reached."""
    explorer = LosingExplorer(world, processes=processes, daemons=daemons)
    found = explorer.explore()
    print(f"{found.states} states, {found.transitions} transitions")
    assert found.counterexample is None, str(found.counterexample)
    assert found.published == set(world.profile.phases())
    assert found.ends == {Status.RUNNING, Status.COMPLETED, Status.CANCELLED}
    return explorer


@pytest.mark.parametrize("kind", [LosingWorld, LosesDatabase])
def test_lost_commits_on_the_way_up_break_no_invariant(kind: type[LosingWorld]) -> None:
    found = LosingExplorer(kind(has_data_migrations=False, has_contract=False, steers_to=())).explore()
    assert found.counterexample is None, str(found.counterexample)
    assert Status.COMPLETED in found.ends


def test_joins_without_a_daemon_break_no_invariant() -> None:
    explored(JoiningWorld(steers_to=TO_BASE))


@pytest.mark.protocol
@pytest.mark.parametrize("in_step_by", [InStepBy.CLIENT, InStepBy.SERVICE])
@pytest.mark.parametrize("kind", [LosingWorld, LosesDatabase, JoiningWorld, JoinsAndLosesState, JoinsAndLosesDatabase])
def test_lost_commits_on_the_whole_ladder_break_no_invariant(kind: type[LosingWorld], in_step_by: InStepBy) -> None:
    explored(kind(in_step_by, steers_to=AROUND))


@pytest.mark.protocol
def test_a_restore_that_no_identity_shows_breaks_no_invariant() -> None:
    explored(RestoredWorld(has_data_migrations=False, steers_to=AROUND))


@pytest.mark.protocol
@pytest.mark.parametrize(
    ("kind", "processes", "daemons"),
    [
        (LosingWorld, 2, 1),
        (LosesDatabase, 1, 2),
        (LosesMore, 1, 1),
        (JoiningWorld, 2, 1),
        (LateCopies, 1, 1),
    ],
)
def test_more_of_everything_breaks_no_invariant(kind: type[LosingWorld], processes: int, daemons: int) -> None:
    explored(kind(steers_to=TO_BASE), processes=processes, daemons=daemons)


@pytest.mark.protocol
def test_both_databases_that_fail_over_break_no_invariant() -> None:
    """Without contract revisions: the intent of removing may be lost in both, and a daemon begin it all the same."""
    explored(LosesBoth(has_data_migrations=False, has_contract=False, steers_to=TO_BASE))


@pytest.mark.protocol
def test_a_database_put_back_to_before_its_rows_were_moved_breaks_no_invariant() -> None:
    found = LosingExplorer(LosesWork(starts_at=Phase.EXPANDED, steers_to=AROUND), processes=1, daemons=1).explore()
    assert found.counterexample is None, str(found.counterexample)
    assert found.ends == {Status.RUNNING, Status.COMPLETED, Status.CANCELLED}


@pytest.mark.protocol
def test_two_daemons_that_sleep_through_a_failover_break_no_invariant() -> None:
    explored(LosingWorld(has_data_migrations=False, steers_to=TO_BASE), daemons=2)


# -- safeguards taken out of the domain ------------------------------------------------------------------------------


def freezing(**kept: Callable[[Upgrade], object]) -> Break:
    """An upgrade that freezes has these fields as they come from the upgrade before."""

    def take_away(patch: pytest.MonkeyPatch) -> None:
        real = Upgrade.with_lost_commits

        def with_lost_commits(self: Upgrade, why: str, **known: Any) -> Upgrade:
            changes: dict[str, Any] = {name: value(self) for name, value in kept.items()}
            return replace(real(self, why, **known), **changes)

        patch.setattr(Upgrade, "with_lost_commits", with_lost_commits)

    return take_away


keeps_acks = freezing(publication=lambda upgrade: upgrade.publication)
keeps_old_valid = freezing(old_valid=lambda upgrade: upgrade.old_valid)
goes_on_at_once = freezing(frozen=lambda upgrade: None, frozen_until=lambda upgrade: None)
waits_for_nobody = freezing(frozen_until=lambda upgrade: -1.0)


def forgets_the_removal(patch: pytest.MonkeyPatch) -> None:
    """What was being removed when the commits were lost is not taken over."""
    real = Upgrade.with_lost_commits

    def with_lost_commits(self: Upgrade, why: str, **known: Any) -> Upgrade:
        return real(self, why, **{**known, "removing": False})

    patch.setattr(Upgrade, "with_lost_commits", with_lost_commits)


def deaf_renewals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(losses, "loss_heard", lambda upgrade, follows, who: None)


def rows_count_as_moved(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether the database still has all rows in the new shape."""
    patch.setattr(DatabaseFacts, "has_moved_all", lambda facts, data_migrations: True)


def numbers_alone(patch: pytest.MonkeyPatch) -> None:
    """A copy shows a loss only by a revision that the state does not have."""
    patch.setattr(losses, "_says_otherwise", lambda copy, upgrade: False)


# -- safeguards taken out of the world -------------------------------------------------------------------------------


class WithoutIncarnation(LosingWorld):
    """Nobody can tell that the state is another one."""

    changes_identity = False


class AdmitsBeforeAnybodyNoticed(LosingWorld):
    def standing(self, release: str, upgrade: Upgrade | None) -> Standing:
        return replace(super().standing(release, upgrade), incarnation=None)


class AdmitsWhileFrozen(LosingWorld):
    def admits(self, up: Any, is_new: bool) -> bool:
        release = "2" if up.status is Status.COMPLETED else "1"
        upgrade = replace(self.upgrade(up), frozen=None) if up.status is Status.RUNNING else None
        return may_join(self.standing(release, upgrade), "2" if is_new else "1")


class KeepsTheWitness(LosingWorld):
    def keeps_proof(self, phase: Phase, *, frozen: bool = False, is_reverse: bool = False) -> bool:
        return super().keeps_proof(phase)


class AdmitsByAnotherIncarnation(JoinsAndLosesDatabase):
    def copy_is_usable(self, database: Any) -> bool:
        return True


class CopiesIntoAnotherDatabase(LateCopies):
    def may_arrive(self, read: Any, database: Any) -> bool:
        return True


class JoinsInTheCopyBesideItsFence(JoiningWorld):
    def joins_by_copy(self, told: Admitted | None) -> bool:
        return told is not None


class RenewsInTheCopyBesideItsFence(JoinsAndLosesDatabase):
    def renews_by_copy(self, told: Admitted | None, process: Any) -> bool:
        return told is not None


class ImportsNobody(JoiningWorld):
    imports = False


class GivesEverybodyItsLeaseBack(JoinsAndLosesState):
    def may_live(self, up: Any, process: Any) -> bool:
        return True


@dataclass(frozen=True)
class Without:
    """Safeguards that are missing, and the invariant that breaks, if one does."""

    safeguard: str
    invariant: str
    world: type[LosingWorld] = LosingWorld
    in_the_domain: Break = nothing
    starts_at: Phase = Phase.EXPANDED
    steers_to: tuple[Phase, ...] = ()
    processes: int = 1
    has_data_migrations: bool = True
    is_slow: bool = False

    def explore(self, patch: pytest.MonkeyPatch) -> Counterexample | None:
        self.in_the_domain(patch)
        world = self.world(
            starts_at=self.starts_at, steers_to=self.steers_to, has_data_migrations=self.has_data_migrations
        )
        return LosingExplorer(world, processes=self.processes, daemons=1).explore().counterexample


MISSED = (
    Without("failover without incarnation", losing.S6_LOST, WithoutIncarnation),
    Without("a state that failed over admits before anybody has noticed", losing.S6_LOST, AdmitsBeforeAnybodyNoticed),
    Without("failover without freeze", rules.S1_RANGE, LosingWorld, goes_on_at_once),
    Without("failover without the wait for forgotten leases", rules.S1_RANGE, LosingWorld, waits_for_nobody),
    Without("failover without re-ack", rules.S1, LosingWorld, keeps_acks, Phase.BACKFILL),
    Without("failover without resetting old_valid", rules.S5, LosingWorld, keeps_old_valid, Phase.READ_NEW,
            steers_to=TO_BASE, is_slow=True),
    Without("failover without resetting new_valid", rules.S4, KeepsTheWitness, nothing, Phase.BACKFILL,
            steers_to=(Phase.EXPANDED,), is_slow=True),
    Without("a database that lost its moved rows is read as before", rules.S5, LosesWork, rows_count_as_moved,
            is_slow=True),
    Without("renewals do not repair forward", rules.S1, RestoredWorld, deaf_renewals, Phase.BACKFILL, TO_BASE,
            has_data_migrations=False, is_slow=True),
    Without("neither another revision under a number given again is a sign, nor the intent of contracted",
            losing.S10_LOST, RestoredWorld, both(numbers_alone, removal_is_no_sign),
            Phase.WRITE_NEW, (Phase.READ_NEW,), has_data_migrations=False, is_slow=True),
    Without("the intent of contracted is not taken over, and no sign once it is older than what was decided since",
            losing.S10_LOST, LosingWorld, both(forgets_the_removal, removal_is_no_sign), Phase.WRITE_NEW),
    Without("a copy of another incarnation admits", rules.S6, AdmitsByAnotherIncarnation),
    Without("a copy is written into a database that took over since it was looked at", rules.S1_RANGE,
            CopiesIntoAnotherDatabase),
    Without("a join in the copy does not look at its fence", rules.S6, JoinsInTheCopyBesideItsFence),
    Without("a lease that lapsed comes back in the copy beside its fence", rules.S1_RANGE,
            RenewsInTheCopyBesideItsFence, is_slow=True),
    Without("who joined in the copy is not counted", rules.S1_RANGE, ImportsNobody,
            without_guard("instances_imported")),
    Without("who was forgotten gets its lease back where it cannot live", rules.S1_RANGE, GivesEverybodyItsLeaseBack,
            is_slow=True),
)  # fmt: skip


def cases(*chosen: Without) -> Iterator[ParameterSet]:
    """As parameters; those that take long are left to `make check-protocol`."""
    for case in chosen:
        yield pytest.param(case, id=case.safeguard, marks=[pytest.mark.protocol] * case.is_slow)


@pytest.mark.parametrize("case", tuple(cases(*MISSED)))
def test_without_the_safeguards_an_invariant_breaks(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    check_missed(case, monkeypatch)


HELD_BY_ANOTHER = (
    Without("no guard instances_imported: everybody is imported before anything is decided", "", JoiningWorld,
            without_guard("instances_imported")),
    Without("a frozen upgrade admits: the copies know the phase but for one rung, and who joins is counted", "",
            AdmitsWhileFrozen, is_slow=True),
    Without("renewals do not repair forward: with another incarnation everybody acks anew", "", LosingWorld,
            deaf_renewals, Phase.BACKFILL, is_slow=True),
    Without("nobody is imported: the guard instances_imported closes", "", ImportsNobody),
    Without("the intent of contracted is not taken over: the copy that shows it stays, and nothing goes on", "",
            LosingWorld, forgets_the_removal, Phase.WRITE_NEW),
    Without("another revision under a number given again is no sign: the intent of contracted is", "",
            RestoredWorld, numbers_alone, Phase.WRITE_NEW, (Phase.READ_NEW,), has_data_migrations=False, is_slow=True),
)  # fmt: skip


@pytest.mark.protocol
@pytest.mark.parametrize("case", tuple(cases(*HELD_BY_ANOTHER)))
def test_a_second_safeguard_holds(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.explore(monkeypatch) is None
