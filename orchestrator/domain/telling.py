"""Telling: who is told the present publication, and who goes on with the one before.

One function decides it for joins, for renewals, and for whoever waits for acks. It is safe whatever it answers for
somebody who supports both phases, except while a fence stands above the phase: a move away from the phase counts on
nobody being left in the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.domain.admission import Stance, Standing, stance
from orchestrator.domain.fleets import Instance
from orchestrator.domain.upgrades import Move, Upgrade
from orchestrator.domain.view import View
from orchestrator.domain.waves import CANARY, FleetPause, Waves, canaries


@dataclass(frozen=True, slots=True)
class Hearer:
    """Who asks. `told` is the last publication that it was told, 0 for a newcomer; `is_canary` that it goes first."""

    fleet: str
    release: str
    told: int = 0
    is_canary: bool = False


def is_held(upgrade: Upgrade, pause: FleetPause) -> bool:
    """Whether the pause keeps its fleet from the present publication: it was made before that, and that leads up.

    One that was made since takes effect with the next: its fleet was told, and moves may count on that already.
    """
    return upgrade.telling is not None and pause.revision < upgrade.publication


def is_told(upgrade: Upgrade, waves: Waves, held: Iterable[str], hearer: Hearer) -> bool:
    """Whether somebody is told the present publication; `held` are the fleets that a pause keeps from it.

    Nobody is told less than before, or a phase that its release does not support.
    """
    telling = upgrade.telling
    if telling is None or upgrade.fence > upgrade.phase or hearer.told >= upgrade.publication:
        return True
    side = upgrade.side_of(hearer.release)
    if side is None or telling.phase_before not in upgrade.profile.support(side):
        return True
    if hearer.is_canary and telling.wave == CANARY and waves.number_of(hearer.fleet) == 1:
        return hearer.fleet not in held
    return fleet_is_told(upgrade, waves, held, hearer.fleet)


def fleet_is_told(upgrade: Upgrade, waves: Waves, held: Iterable[str], fleet: str) -> bool:
    """Whether a whole fleet is told the present publication: no pause holds it, and its wave is open."""
    telling = upgrade.telling
    if telling is None:
        return True
    return fleet not in held and (telling.wave is None or waves.number_of(fleet) <= telling.wave)


def pause_revision(upgrade: Upgrade, waves: Waves, fleet: str) -> int:
    """The revision of a pause that is made now: publications up to it are told to the fleet all the same.

    Where its wave was not opened yet, the fleet need not hear of the present phase either: no move up is under way.
    """
    telling = upgrade.telling
    is_to_come = telling is not None and telling.wave is not None and waves.number_of(fleet) > telling.wave
    return upgrade.publication - 1 if is_to_come and upgrade.move is Move.RESTING else upgrade.revision


def held_fleets(upgrade: Upgrade, pauses: Iterable[FleetPause]) -> frozenset[str]:
    """The fleets that a pause keeps from the present publication."""
    return frozenset(pause.fleet for pause in pauses if is_held(upgrade, pause))


def asks_for_canaries(upgrade: Upgrade | None, waves: Waves, hearer: Hearer) -> bool:
    """Whether it depends on the draw of the canaries what somebody is told."""
    telling = upgrade.telling if upgrade is not None else None
    is_open = telling is not None and telling.wave == CANARY and waves.canary is not None
    return is_open and waves.number_of(hearer.fleet) == 1


def stance_of(standing: Standing, waves: Waves, held: Iterable[str], hearer: Hearer) -> Stance:
    """What an admitted instance follows now."""
    upgrade = standing.upgrade
    told = upgrade is None or is_told(upgrade, waves, held, hearer)
    return stance(standing, hearer.release, is_told=told)


def teller(view: View) -> Callable[[Instance], bool]:
    """Tells of each instance whether it is told the present publication, as this view has it."""
    upgrade, waves = view.upgrade, view.policy.waves
    held = held_fleets(upgrade, view.pauses)
    drawn: dict[str, frozenset[str]] = {}

    def draw(fleet: str) -> frozenset[str]:
        if fleet not in drawn and waves.canary is not None:
            members = (instance for instance in view.instances if instance.fleet == fleet)
            drawn[fleet] = canaries(waves.canary, upgrade.publication, members)
        return drawn.get(fleet, frozenset())

    def tells(instance: Instance) -> bool:
        hearer = Hearer(instance.fleet, instance.release, max(instance.told, instance.acked))
        if asks_for_canaries(upgrade, waves, hearer) and instance.id in draw(instance.fleet):
            hearer = Hearer(hearer.fleet, hearer.release, hearer.told, is_canary=True)
        return is_told(upgrade, waves, held, hearer)

    return tells


def has_acked(upgrade: Upgrade, instance: Instance, *, told: bool) -> bool:
    """Whether the instance has drained into what it was told."""
    if instance.acked == upgrade.publication:
        return True
    telling = upgrade.telling
    return not told and telling is not None and instance.acked == telling.publication_before
