"""Waves: in which order, how carefully and to whom a published phase is told. Values only.

Publishing makes a phase true; waves decide when each instance hears of it. Whoever has not been told yet goes on with
the publication before and its phase, which is a neighbour of the present one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.domain.errors import Invalid
from orchestrator.domain.fleets import Instance
from orchestrator.domain.ladder import Phase

CANARY = 0
"""The number of the wave before the first: a few instances of the first wave's fleets."""


@dataclass(frozen=True, slots=True)
class Canary:
    """How many instances of each fleet of the first wave are told before the others: a number or a percentage."""

    instances: int = 0
    percent: float = 0.0

    def of(self, total: int) -> int:
        """How many that are of so many, at least one of any."""
        wanted = self.instances or math.ceil(total * self.percent / 100)
        return min(total, max(1, wanted))


@dataclass(frozen=True, slots=True)
class Waves:
    """What the site asks for. `order` lists the fleets of each wave; those that it does not name are in the last one.

    A wave follows when everybody who was told has drained into the phase, `soak_seconds` after the one before at the
    earliest. Without an order and a canary everybody is told at once.
    """

    order: tuple[tuple[str, ...], ...] = ()
    canary: Canary | None = None
    soak_seconds: float = 0.0

    @property
    def last(self) -> int:
        """The number of the last wave; the first is 1."""
        return max(1, len(self.order))

    @property
    def first(self) -> int | None:
        """The wave that a publication opens, or None where it tells everybody at once."""
        if self.canary is not None:
            return CANARY
        return 1 if self.last > 1 else None

    def after(self, wave: int) -> int | None:
        """The wave that follows, or None where that is the last one: everybody is told then."""
        return wave + 1 if wave + 1 < self.last else None

    def number_of(self, fleet: str) -> int:
        """The wave that a fleet is in."""
        return next((number for number, fleets in enumerate(self.order, 1) if fleet in fleets), self.last)

    def among(self, fleets: Iterable[str]) -> Waves:
        """The same without the fleets of other schemas, and without the waves that are empty then."""
        known = frozenset(fleets)
        kept = (tuple(fleet for fleet in wave if fleet in known) for wave in self.order)
        return replace(self, order=tuple(wave for wave in kept if wave))

    def word(self, wave: int | None) -> str:
        """How an open wave is named to people."""
        return "the canary" if wave == CANARY else f"wave {self.last if wave is None else wave} of {self.last}"


EVERYBODY_AT_ONCE = Waves()


@dataclass(frozen=True, slots=True)
class Telling:
    """How far the present publication was told, where it took the upgrade to a higher phase.

    `wave` is the newest one that was opened, at `since`; None once there is no other. `phase_before` and
    `publication_before` are what everybody follows who was not told.
    """

    phase_before: Phase
    publication_before: int
    wave: int | None
    since: float


@dataclass(frozen=True, slots=True)
class FleetPause:
    """Somebody's wish that a fleet goes no further. What was published by `revision` is told to it all the same."""

    schema: str
    fleet: str
    revision: int
    actor: str
    reason: str
    paused_at: float


def canaries(canary: Canary, publication: int, fleet: Iterable[Instance]) -> frozenset[str]:
    """The ids of those possibly-alive instances of one fleet that are told first, drawn for each publication anew.

    Others come in their place when they go; who was told stays told.
    """
    drawn = sorted(fleet, key=lambda instance: _lot(publication, instance))
    return frozenset(instance.id for instance in drawn[: canary.of(len(drawn))])


def _lot(publication: int, instance: Instance) -> bytes:
    return hashlib.sha256(f"{publication}/{instance.fleet}/{instance.id}".encode()).digest()


def parse_order(text: str) -> tuple[tuple[str, ...], ...]:
    """Read `conductor; scheduler, api; compute`. Raises `Invalid` for an empty wave or a fleet that stands twice."""
    waves = tuple(tuple(fleet.strip() for fleet in wave.split(",")) for wave in text.split(";"))
    fleets = [fleet for wave in waves for fleet in wave]
    if not all(fleets):
        raise Invalid("waves_invalid", f"{text!r} has a wave or a fleet without a name", remedy=_ORDER_REMEDY)
    twice = next((fleet for fleet in fleets if fleets.count(fleet) > 1), None)
    if twice is not None:
        raise Invalid("waves_invalid", f"the fleet {twice} stands in it twice", remedy="Name each fleet once.")
    return waves


def parse_canary(text: str) -> Canary:
    """Read `2` or `10%`. Raises `Invalid`."""
    found = re.fullmatch(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<percent>%?)", text.strip(), re.ASCII)
    number = float(found["number"]) if found else 0.0
    if found and found["percent"] and 0 < number <= 100:
        return Canary(percent=number)
    if found and not found["percent"] and number >= 1 and number.is_integer():
        return Canary(instances=int(number))
    raise Invalid("canary_invalid", f"{text!r} is no number of instances, and no percentage", remedy=_CANARY_REMEDY)


_ORDER_REMEDY = "Write the fleets of a wave with commas and the waves with semicolons between them: a; b, c; d."
_CANARY_REMEDY = "Write e.g. 2, or 10%."
