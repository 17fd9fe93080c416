"""Intentions: what an operator wants of a data migration, apart from what it does: its ledger alone knows that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Wish(StrEnum):
    """What is wanted. Without one it is to run."""

    PAUSED = "paused"  # no further batch begins
    CANCELLED = "cancelled"  # nor that, and it goes back to its start: its cursor and its counts are forgotten


@dataclass(frozen=True, slots=True)
class Intention:
    """Who wants what of a data migration in one database, why, and since when, by the state database's time."""

    schema: str
    name: str
    database: str
    wish: Wish
    actor: str
    reason: str
    since: float


def intention_for(intentions: Iterable[Intention], name: str, database: str) -> Intention | None:
    """What is wanted of that data migration in that database, None where it is to run."""
    return next((each for each in intentions if (each.name, each.database) == (name, database)), None)
