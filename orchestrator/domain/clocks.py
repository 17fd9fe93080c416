"""Clocks: whether the state database's clock jumped, as seen by a clock of our own that only grows."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE_SECONDS = 5.0
"""By how much two clocks may part between two readings: what is less is no jump."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The database's time, which was read between two moments of our own clock."""

    database: float
    before: float
    after: float


def jump_between(first: Reading, second: Reading) -> float:
    """By how many seconds the database's clock jumped from one reading to a later one; below 0 it went back.

    0 where the time between them can be anything that the database says: a slow answer is no jump.
    """
    progress = second.database - first.database
    least, most = second.before - first.after, second.after - first.before
    if least - TOLERANCE_SECONDS <= progress <= most + TOLERANCE_SECONDS:
        return 0.0
    return progress - (least + most) / 2
