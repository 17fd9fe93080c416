"""Waves and pauses of one fleet break no invariant; and what each of their safeguards is for.

As in `test_safeguards`: a case takes safeguards away, and the explorer finds the shortest way to a violation. `pytest
-s` shows the ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.domain import telling
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.telling import Hearer
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.waves import Telling, Waves
from tests.protocol import waves
from tests.protocol import world as rules
from tests.protocol.breaks import Break, both, check_missed, nothing, without_guard
from tests.protocol.explorer import Counterexample, Explorer
from tests.protocol.test_explorer import explored
from tests.protocol.waves import CanaryWorld, Pause, PausedWorld, WavedWorld

TO_BASE = (Phase.BASE,)
BACK = (Phase.BACKFILL,)


@pytest.mark.parametrize(
    ("kind", "in_step_by"), [(WavedWorld, InStepBy.CLIENT), (CanaryWorld, InStepBy.SERVICE)], ids=["waves", "canary"]
)
def test_one_process_and_going_back_break_no_invariant(kind: type[WavedWorld], in_step_by: InStepBy) -> None:
    found = Explorer(kind(in_step_by, steers_to=BACK), processes=1, daemons=1).explore()
    assert found.counterexample is None, str(found.counterexample)
    assert found.ends == {Status.RUNNING, Status.COMPLETED}


@pytest.mark.protocol
def test_two_fleets_in_two_waves_break_no_invariant() -> None:
    explored(WavedWorld(steers_to=TO_BASE), processes=2, daemons=1)


@pytest.mark.protocol
def test_the_last_rung_is_told_in_waves_where_it_ends_an_upgrade() -> None:
    explorer = explored(WavedWorld(has_contract=False, steers_to=TO_BASE), processes=1, daemons=1)
    assert explorer.unreachable(Status.COMPLETED, among=lambda up: not up.cancelling) is None


@pytest.mark.protocol
def test_completion_and_cancellation_stay_reachable() -> None:
    explorer = explored(WavedWorld(steers_to=TO_BASE), processes=1, daemons=1)
    assert explorer.unreachable(Status.COMPLETED, among=lambda up: not up.cancelling) is None
    assert explorer.unreachable(Status.CANCELLED, among=lambda up: up.old_valid and not up.is_past_return) is None


# -- safeguards taken away -------------------------------------------------------------------------------------------


def told_whatever_fence_stands(patch: pytest.MonkeyPatch) -> None:
    """Whoever was not told goes on with the phase before while the next one is about to be entered."""
    real = telling.is_told

    def is_told(upgrade: Upgrade, planned: Waves, held: Iterable[str], hearer: Hearer) -> bool:
        return real(replace(upgrade, fence=upgrade.phase), planned, held, hearer)

    patch.setattr(telling, "is_told", is_told)
    patch.setattr(waves, "is_told", is_told)


def steps_keep_the_telling(patch: pytest.MonkeyPatch) -> None:
    """A step that begins leaves those untold who were not told yet."""
    begun = Upgrade.with_step_begun
    patch.setattr(Upgrade, "with_step_begun", lambda self: replace(begun(self), telling=self.telling))


def told_whatever_it_supports(patch: pytest.MonkeyPatch) -> None:
    """A newcomer is told the phase before although its release cannot live there."""
    real = telling.is_told

    def is_told(upgrade: Upgrade, planned: Waves, held: Iterable[str], hearer: Hearer) -> bool:
        return real(upgrade, planned, held, replace(hearer, release=upgrade.from_release))

    patch.setattr(telling, "is_told", is_told)
    patch.setattr(waves, "is_told", is_told)


def the_way_back_is_told_in_waves(patch: pytest.MonkeyPatch) -> None:
    published = Upgrade.published

    def publish(self: Upgrade, now: float, *, wave: int | None = None, stays: bool = False) -> Upgrade:
        after = published(self, now, wave=wave, stays=stays)
        is_back = after.phase < self.phase and after.status is Status.RUNNING
        return replace(after, telling=Telling(self.phase, self.publication, 1, now)) if is_back else after

    patch.setattr(Upgrade, "published", publish)


class SoakingWorld(WavedWorld):
    """The first wave soaks for ever, so that nothing but its guard keeps a move back."""

    leases_expire = True  # decisions depend on the time here, but on nothing else
    waves = replace(WavedWorld.waves, soak_seconds=1.0)


class PausesAtOnce(WavedWorld):
    """A pause holds its fleet at once, whatever was published and counted on before."""

    def pause(self, up: Any) -> Pause:
        return Pause.NOW


class PausesAtOnceWithoutWaves(PausesAtOnce, PausedWorld):
    pass


@dataclass(frozen=True)
class Without:
    """Safeguards that are missing, and the invariant that breaks, if one does."""

    safeguard: str
    invariant: str
    world: type[WavedWorld] = WavedWorld
    in_the_domain: Break = nothing
    processes: int = 1
    steers_to: tuple[Phase, ...] = ()

    def explore(self, patch: pytest.MonkeyPatch) -> Counterexample | None:
        self.in_the_domain(patch)
        world = self.world(steers_to=self.steers_to)
        return Explorer(world, processes=self.processes, daemons=1).explore().counterexample


MISSED = (
    Without("a move begins before the last wave is open", waves.S1_PHASES, SoakingWorld,
            both(without_guard("waves_open"), told_whatever_fence_stands)),
    Without("a move begins while a paused fleet is held", waves.S1_PHASES, PausedWorld,
            both(without_guard("fleets_not_paused"), told_whatever_fence_stands)),
    Without("a pause splits a move under way: a join at the fence is told the phase before", rules.S2,
            PausesAtOnceWithoutWaves, both(told_whatever_fence_stands, steps_keep_the_telling)),
    Without("a newcomer is told a phase that it does not support", rules.S1_RANGE, WavedWorld,
            told_whatever_it_supports),
    Without("the way back is told in waves too", waves.S1_PHASES, WavedWorld, the_way_back_is_told_in_waves,
            steers_to=TO_BASE),
)  # fmt: skip


@pytest.mark.parametrize("case", MISSED, ids=lambda case: case.safeguard)
def test_without_the_safeguards_an_invariant_breaks(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    check_missed(case, monkeypatch)


HELD_BY_ANOTHER = (
    Without("no guard waves_open: at the fence everybody has to have acked the present phase", "", SoakingWorld,
            without_guard("waves_open")),
    Without("no guard fleets_not_paused: the same", "", PausedWorld, without_guard("fleets_not_paused")),
    Without("a join at the fence is told the phase before: both guards were asked before it stood", "", WavedWorld,
            told_whatever_fence_stands),
    Without("a join at the fence is told the phase before, and a pause holds at once: a step ends the telling", "",
            PausesAtOnceWithoutWaves, told_whatever_fence_stands),
    Without("a pause holds at once: while the fence stands everybody is told", "", PausesAtOnceWithoutWaves),
)  # fmt: skip


@pytest.mark.protocol
@pytest.mark.parametrize("case", HELD_BY_ANOTHER, ids=lambda case: case.safeguard)
def test_a_second_safeguard_holds(case: Without, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.explore(monkeypatch) is None
