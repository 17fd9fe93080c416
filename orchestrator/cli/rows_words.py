"""Rows in words: how far a data migration is in one database, as people read it while they look on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.cli import cells
from orchestrator.cli.answers import DataMigration

DONE = ("complete", "assumed")
NOT_BEGUN = ("pending", "absent", "unreadable")


def line_of(each: DataMigration) -> str:
    """All of it in one line."""
    words = [f"{each.name} in {each.database}: {each.state}", str(cells.share(each.progress)), rows_of(each)]
    if each.rows_per_second is not None:
        words.append(f"{cells.rate(each.rows_per_second)} rows/s")
    return ", ".join(filter(None, [*words, says_of(each)]))


def rows_of(each: DataMigration) -> str:
    """How many rows it has moved or, once they are moved, verified."""
    if each.state in NOT_BEGUN:
        return ""
    is_moved = each.state not in ("running", "failed")
    return f"{cells.rows(each.rows_verified if is_moved else each.rows_done, each.rows_total)} " + (
        "verified" if is_moved else "moved"
    )


def says_of(each: DataMigration) -> str:
    """What goes before the time left, or else that."""
    if each.error is not None:
        return each.error
    if each.intention is not None:
        return f"{each.intention.wish} by {each.intention.by}: {each.intention.reason}"
    if each.throttled_by:
        return f"waits: {'; '.join(each.throttled_by)}"
    words = str(cells.eta(each.eta))
    return f"about {words} left" if each.eta is not None and each.eta.seconds is not None else words


def in_short(found: Sequence[DataMigration], most: int) -> tuple[tuple[DataMigration, ...], str]:
    """Those that there is room for, the ones under way before all others, and in words how the rest stands."""
    if len(found) <= most:
        return tuple(found), ""
    under_way = [each for each in found if each.state not in (*DONE, *NOT_BEGUN)]
    shown = under_way[: max(0, most - 1)]
    rest = Counter(each.state for each in found)
    rest.subtract(each.state for each in shown)
    return tuple(shown), "and " + ", ".join(f"{count} {state}" for state, count in sorted(rest.items()) if count)
