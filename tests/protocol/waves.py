"""The world of waves: two fleets that are told a phase one after the other, and an operator who pauses one of them.

What each process is told is asked of the code that answers joins and renewals. A process that was not told goes on with
the publication before; one that heard of the present one never hears of that again. Which instances are canaries is
left open: any of the first wave's fleet may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from typing import Any

from orchestrator.domain import planner
from orchestrator.domain.ladder import InStepBy, Side
from orchestrator.domain.telling import Hearer, held_fleets, is_told, pause_revision
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import Policy, View
from orchestrator.domain.waves import Canary, FleetPause, Telling, Waves
from tests.protocol.world import (
    REVISION,
    S1_RANGE,
    Change,
    Counted,
    Daemon,
    Database,
    Facts,
    Hand,
    Life,
    Member,
    Process,
    Up,
    Violation,
    World,
    widened,
)

FLEETS = ("api", "worker")
"""The fleet of the first wave and that of the second, which an operator pauses now and then."""

S1_PHASES = "S1 nobody follows a phase that is no neighbour of the present one"


class Pause(IntEnum):
    """What an operator wished of the second fleet."""

    NONE = 0
    FROM_THE_NEXT = 1  # the present publication is told to it all the same
    NOW = 2


class ToldUp(widened(Up, before=Any, wave=Any, pause=Pause)):  # type: ignore[misc]
    """The upgrade with the phase before where it leads up, the open wave, and the pause of the second fleet."""

    is_past_return = Up.is_past_return


class ToldProcess(widened(Process, fleet=str, was_current=bool, was_acked=bool)):  # type: ignore[misc]
    """A process of one fleet. `was_current` and `was_acked` say of the publication before what it follows and acked."""


class ToldMember(widened(Member, fleet=str, told=bool, was_acked=bool)):  # type: ignore[misc]
    """A process as the store knows it, with what it was told."""


class WavedWorld(World):
    """Two fleets in two waves, one of which is paused and resumed at any time."""

    waves = Waves((("api",), ("worker",)))

    def __init__(self, in_step_by: InStepBy = InStepBy.CLIENT, **options: Any) -> None:
        super().__init__(in_step_by, **options)
        self.old, self.new = replace(self.old, fleets=FLEETS), replace(self.new, fleets=FLEETS)

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        assert not any(crowd), "who runs unnoticed has no fleet here"
        return ToldUp(*up, None, None, Pause.NONE), database, crowd, hands

    # -- asking the real code ----------------------------------------------------------------------------------------

    def upgrade(self, up: Any) -> Upgrade:
        telling = None if up.before is None else Telling(up.before, REVISION - 1, up.wave, 0.0)
        return replace(super().upgrade(up), telling=telling)

    def up(self, upgrade: Upgrade) -> Any:  # type: ignore[override]
        telling = upgrade.telling
        before, wave = (None, None) if telling is None else (telling.phase_before, telling.wave)
        return ToldUp(*super().up(upgrade), before, wave, Pause.NONE)

    def pauses(self, up: Any) -> tuple[FleetPause, ...]:
        if up.pause is Pause.NONE:
            return ()
        return (FleetPause("s", FLEETS[1], REVISION - (up.pause is Pause.NOW), "alice", "a bad disk", 0.0),)

    def tells(self, up: Any, process: Any, *, joins: bool = False) -> bool:
        """Whether a process is told the present publication when it asks."""
        if up.status is not Status.RUNNING:
            return True
        upgrade = self.upgrade(up)
        told = REVISION if process.current and not joins else 0
        hearer = Hearer(process.fleet, "2" if process.is_new else "1", told, is_canary=not joins)
        return is_told(upgrade, self.waves, held_fleets(upgrade, self.pauses(up)), hearer)

    def view(self, up: Any, members: Any, facts: Facts, now: float) -> View:
        found = super().view(up, members, facts, now)
        leased = [member for member in members if member.counted is Counted.LEASED]
        instances = tuple(
            replace(
                instance,
                fleet=member.fleet,
                acked=REVISION if member.acked else REVISION - (1 if member.was_acked else 2),
                told=REVISION if member.told else 0,
            )
            for instance, member in zip(found.instances, leased, strict=True)
        )
        return replace(
            found, instances=instances, known_fleets=frozenset(FLEETS), pauses=self.pauses(up),
            policy=Policy(approve=(), waves=self.waves),
        )  # fmt: skip

    def member(self, process: Any) -> Any:
        member = super().member(process)
        return None if member is None else ToldMember(*member, process.fleet, process.current, process.was_acked)

    # -- processes ---------------------------------------------------------------------------------------------------

    def newcomers(self, up: Any) -> Iterator[tuple[str, Any]]:
        for fleet in FLEETS:
            for action, process in super().newcomers(up):
                newcomer = ToldProcess(*process, fleet, was_current=True, was_acked=True)
                if not self.tells(up, newcomer, joins=True):
                    newcomer = newcomer._replace(learned=up.before, current=False, acked=False)
                yield f"{action} {fleet} and is told {newcomer.learned.word}", newcomer

    def _lease_moves(self, up: Up, database: Database, process: Any) -> Iterator[tuple[str, Any, Database]]:
        for action, after, changed in super()._lease_moves(up, database, process):
            is_told_now = after is not None and after.current and not process.current
            if not is_told_now or self.tells(up, process):
                yield action, after, changed
        if process.counted is Counted.LEASED and process.life is Life.RUNNING and not process.current:
            yield from self._goes_on(up, database, process)

    def _goes_on(self, up: Any, database: Database, process: Any) -> Iterator[tuple[str, Any, Database]]:
        """What a process hears and acks that is not told the present publication."""
        if up.before is None or self.tells(up, process):
            return
        name = self.name(process)
        if not process.was_current:
            is_older = process.transaction >= 0
            heard = process._replace(learned=up.before, was_current=True, is_older=is_older)
            yield f"{name} hears of {up.before.word}", heard, database
        elif not process.was_acked and self.may_ack(process):
            yield f"{name} acks {up.before.word}", process._replace(was_acked=True), database

    def republished(self, process: Any) -> Any:
        after: Any = super().republished(process)
        return after._replace(was_current=process.current, was_acked=process.acked)

    @staticmethod
    def name(process: Any) -> str:
        return f"{World.name(process)} of {process.fleet}" if isinstance(process, ToldProcess) else World.name(process)

    # -- daemons and the operator ------------------------------------------------------------------------------------

    def changed(self, up: Any, decision: planner.Decision) -> Upgrade | None:
        match decision:
            case planner.Publish(_, wave, stays):
                return self.upgrade(up).published(1.0, wave=wave, stays=stays)
            case planner.OpenWave(wave, _):
                return self.upgrade(up).with_wave(wave, 1.0)
            case planner.Complete():
                return self.upgrade(up).completed(1.0)
        return super().changed(up, decision)

    def _recording(self, up: Any, database: Database, decided: Daemon) -> Any:
        """A publication is later than any pause that there is."""
        after: Any = decided.decided
        is_later = decided.publishes and up.pause is not Pause.NONE
        pause = Pause.NOW if is_later else up.pause
        return super()._recording(up, database, decided._replace(decided=after._replace(pause=pause)))

    @staticmethod
    def _words(up: Any, decided: Daemon) -> str:
        after: Any = decided.decided
        if decided.publishes or after.move is not up.move:
            return World._words(up, decided)
        return "completes the upgrade" if after.status is Status.COMPLETED else "opens the next wave"

    def daemon_moves(self, up: Any, database: Database, members: Any, daemon: Daemon) -> Iterator[Any]:
        """Also what the operator does to the second fleet: that changes no revision, so a daemon does not notice."""
        yield from super().daemon_moves(up, database, members, daemon)
        if daemon.hand is not Hand.DECIDED and up.status is Status.RUNNING:
            if up.pause is Pause.NONE:
                paused = up._replace(pause=self.pause(up))
                yield f"the operator pauses {FLEETS[1]}", daemon, paused, database, Change.NONE
            else:
                resumed = up._replace(pause=Pause.NONE)
                yield f"the operator resumes {FLEETS[1]}", daemon, resumed, database, Change.NONE

    def pause(self, up: Any) -> Pause:
        """From when on a pause holds its fleet that is made now."""
        is_later = pause_revision(self.upgrade(up), self.waves, FLEETS[1]) >= REVISION
        return Pause.FROM_THE_NEXT if is_later else Pause.NOW

    def operator_moves(self, up: Any) -> Iterator[tuple[str, Any]]:
        steered: Iterator[tuple[str, Any]] = super().operator_moves(up)
        for action, after in steered:
            yield action, after._replace(pause=up.pause)

    # -- the invariants ----------------------------------------------------------------------------------------------

    def check(self, up: Any, database: Database, processes: Any) -> None:
        super().check(up, database, processes)
        if up.status is not Status.RUNNING:
            return
        phases = self.profile.phases()
        for process in (each for each in processes if each.life is Life.RUNNING):
            if abs(phases.index(process.learned) - phases.index(up.phase)) > 1:
                raise Violation(S1_PHASES)
            if process.learned not in self.profile.support(Side.NEW if process.is_new else Side.OLD):
                raise Violation(S1_RANGE)


class CanaryWorld(WavedWorld):
    """A canary before both fleets, which are one wave."""

    waves = Waves(canary=Canary(1))


class PausedWorld(WavedWorld):
    """No waves: only the pauses of one fleet."""

    waves = Waves()
