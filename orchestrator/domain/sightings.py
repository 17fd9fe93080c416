"""Sightings: who of those that inventory sources list has to be counted, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from orchestrator.domain.fleets import EXPIRY_MARGIN_SECONDS, Instance
from orchestrator.domain.inventories import Inventory, Sighting
from orchestrator.domain.view import View


@dataclass(frozen=True, slots=True)
class Seen:
    """One instance that a source lists as possibly alive, in that database. `is_evicted`: it was counted out before."""

    sighting: Sighting
    inventory: Inventory
    database: str
    label: str
    is_evicted: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether it gave no sign of life for longer than it should."""
        return self.inventory.is_silent(self.sighting)


def seen(view: View) -> Iterator[Seen]:
    """Everybody whom a source lists and nothing else accounts for.

    Not the ones that are marked as down in the service's own records, nor those that hold a lease for the same
    release: these count by their lease. An evicted one is left out until it gives a sign of life.
    """
    registers = _Registers(view.instances), _Registers(view.evicted)
    several = len(view.databases) > 1
    for facts in view.databases:
        for inventory in facts.inventories:
            for sighting in inventory.sightings:
                found = _count(view, inventory, sighting, *registers)
                if found is not None:
                    label = f"{sighting.id} in {facts.name}" if several else sighting.id
                    yield Seen(sighting, inventory, facts.name, label, is_evicted=found)


def harm(view: View) -> str | None:
    """Why what was proven of the rows counts no more: somebody runs who may have written them out of step."""
    upgrade = view.upgrade
    for each in seen(view):
        if each.inventory.observed_at >= upgrade.phase_since and upgrade.is_harmed_by(each.sighting.release):
            return (
                f"instance {each.label} of fleet {each.inventory.fleet} was seen to run {each.sighting.release} in "
                f"{upgrade.phase.word}"
            )
    for facts in view.databases:
        for role in facts.roles:
            if role.sessions and upgrade.is_harmed_by(role.release):
                return (
                    f"role {role.name} of release {role.release} was in use in database {facts.name} in "
                    f"{upgrade.phase.word}"
                )
    return None


def _count(view: View, inventory: Inventory, sighting: Sighting, alive: _Registers, evicted: _Registers) -> bool | None:
    """None: not to be counted; else whether it is one that was evicted."""
    if sighting.is_down or alive.find(inventory.fleet, sighting):
        return None
    gone = evicted.find(inventory.fleet, sighting)
    if not gone:
        return False
    ended_at = max(instance.ended_at or 0.0 for instance in gone)
    return True if inventory.heard_at(sighting) > ended_at + EXPIRY_MARGIN_SECONDS else None


class _Registers:
    """Registered instances, found by what a source calls them: their id, or their host where it lists hosts."""

    def __init__(self, instances: tuple[Instance, ...]) -> None:
        self._instances = instances

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], list[Instance]]:
        found: dict[tuple[str, str, str], list[Instance]] = {}
        for instance in self._instances:
            for name in {instance.id, instance.host}:
                if name is not None:
                    found.setdefault((instance.fleet, name, instance.release), []).append(instance)
        return found

    def find(self, fleet: str, sighting: Sighting) -> list[Instance]:
        return self._by_name.get((fleet, sighting.id, sighting.release), [])
