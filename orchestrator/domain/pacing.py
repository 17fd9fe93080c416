"""Pacing: how far the rows are, and how long it may still take. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.view import MigrationFacts, MigrationState

_DONE = (MigrationState.COMPLETE, MigrationState.ASSUMED)


def progress(migrations: Iterable[MigrationFacts]) -> float | None:
    """The share of the work done, 0 to 1, from our own counts; at most 0.99 before all is verified.

    None while a total is still unknown. Moving a row and verifying it count the same.
    """
    done = total = 0
    complete = True
    for facts in migrations:
        if facts.state in _DONE:
            rows = facts.rows_total or 0
            done, total = done + 2 * rows, total + 2 * rows
            continue
        complete = False
        if facts.rows_total is None:
            return None
        done += min(facts.rows_done, facts.rows_total) + min(facts.rows_verified, facts.rows_total)
        total += 2 * facts.rows_total
    if complete:
        return 1.0
    return min(0.99, done / total) if total else 0.99


def known_total(counted: int | None, done: int) -> int | None:
    """Of how many rows to speak when so many are done; None until they are counted.

    They are counted once, when a data migration begins, and those that are inserted later are moved and verified too.
    """
    return None if counted is None else max(counted, done)


def eta_seconds(share: float | None, elapsed_seconds: float) -> float | None:
    """How long the rest takes at the pace so far; None while that cannot be said yet ("measuring")."""
    if share is None or share < 0.01 or elapsed_seconds <= 0:
        return None
    return elapsed_seconds * (1 - share) / share
