"""Inventories: what a source other than leases sees of one fleet in one database."""

from __future__ import annotations

from dataclasses import dataclass

REMEMBERED_SECONDS = 10.0
"""How often a source is asked; before a move is validated it is asked in any case."""

GOOD_FOR_SECONDS = 60.0
"""Facts older than this tell nothing any more."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One instance as the source lists it. `age_seconds` is how long ago it last gave a sign of life, None where the
    source does not say. `is_down` is somebody's word in the service's own records that it is gone."""

    id: str
    release: str
    age_seconds: float | None = None
    is_down: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one source saw. `source` is how people find it. `error` says why it saw nothing, or not all.

    `observed_at` is the state database's time before it was asked. A sign of life older than `max_age_seconds` makes
    an instance silent, which proves nothing: it may be alive all the same.
    """

    fleet: str
    source: str
    sightings: tuple[Sighting, ...] = ()
    error: str | None = None
    remedy: str | None = None
    max_age_seconds: float | None = None
    observed_at: float = 0.0

    def is_fresh(self, now: float) -> bool:
        """Whether this still tells something. Facts from the future do not: a clock has jumped."""
        return abs(now - self.observed_at) <= GOOD_FOR_SECONDS

    def is_silent(self, sighting: Sighting) -> bool:
        """Whether the instance gave no sign of life for longer than it should."""
        longest, age = self.max_age_seconds, sighting.age_seconds
        return longest is not None and age is not None and age > longest

    def heard_at(self, sighting: Sighting) -> float:
        """When the instance gave its last sign of life, on the state database's clock; listed at all counts as one."""
        return self.observed_at - (sighting.age_seconds or 0.0)
