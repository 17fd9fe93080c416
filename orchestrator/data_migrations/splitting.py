"""Splitting: which range a worker takes, and when ranges are cut off and counted in. Decides only.

A data migration has no more open ranges than workers may be at it, and where it has (fewer are allowed than before),
only the first of them are worked on. So no more batches than that run at once, whichever daemons run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.domain.view import MigrationState

RANGE_BATCHES = 32
"""So many batches, of the size that they have come to, a range has: cutting it off costs next to nothing then, and at
the end of the table nobody is left alone with it for long."""

RANGES_EACH = 8
"""So many ranges each worker gets at the least, where a table has fewer batches than that would take: a range that is
cut off when batches have grown would be all that is left of it."""


def candidates(
    entry: LedgerEntry, ranges: Sequence[RangeEntry], *, workers: int, mine: int | None, may_cut: bool
) -> tuple[RangeEntry, ...]:
    """The ranges that a worker tries to get, the best first; none where the ledger's entry is to be tended first.

    A worker goes on with its own (`mine`). Without one it takes one that nobody is at, if no more may be cut off.
    """
    if not entry.is_split or any(not entry.holds(each) for each in ranges):
        return ()
    workable = _open(ranges)[:workers]
    own = [each for each in workable if each.number == mine]
    if own:
        return tuple(own)
    if countable(ranges) or (may_cut and has_room(ranges, workers)):
        return ()
    return tuple(workable)


def countable(ranges: Sequence[RangeEntry]) -> tuple[RangeEntry, ...]:
    """The ranges that are done and can be counted into the ledger's entry, in the order of their keys.

    One that is open at its end stays to the last: it says that nothing is left to be cut off. One with differences
    waits for those before it, so that the first differences that people see are the first by key.
    """
    found: list[RangeEntry] = []
    for each in ranges:
        is_first = len(found) == ranges.index(each)
        if each.is_done and (is_first or (each.high is not None and not each.differences)):
            found.append(each)
    return tuple(found)


def has_room(ranges: Sequence[RangeEntry], workers: int) -> bool:
    """Whether one more range may be cut off, and something is left to be."""
    return len(_open(ranges)) < workers and all(each.high is not None for each in ranges)


def range_rows(entry: LedgerEntry, batch_rows: int, workers: int) -> int:
    """How many rows the next range has, of batches of so many."""
    rows = RANGE_BATCHES * batch_rows
    if entry.rows_total is None:
        return rows
    return min(rows, max(batch_rows, entry.rows_total // (RANGES_EACH * workers)))


def counted(entry: LedgerEntry, range_: RangeEntry) -> LedgerEntry:
    """The entry with a range that is done counted in. What its batches came to is where the next ones begin."""
    return replace(
        entry.counting(range_),
        batch_rows=entry.batch_rows if range_.batch_rows is None else range_.batch_rows,
        batch_at=later(entry.batch_at, range_.batch_at),
    )


def cut(entry: LedgerEntry, high: str | None) -> tuple[LedgerEntry, RangeEntry]:
    """The entry with its cursor moved to `high`, and the range of the keys between; None is the open end."""
    is_moving = entry.state is MigrationState.RUNNING
    low = entry.cursor if is_moving else entry.verify_cursor
    new = RangeEntry(
        schema_name=entry.schema_name,
        name=entry.name,
        number=entry.revision,
        state=entry.state,
        run_at=entry.started_at,
        low=low,
        high=high,
        cursor=low,
        batch_at=entry.batch_at,
        batch_rows=entry.batch_rows,
        suspect_rows=entry.suspect_rows,
    )
    reached = low if high is None else high
    moved = replace(entry, cursor=reached) if is_moving else replace(entry, verify_cursor=reached)
    return replace(moved, is_split=True, suspect_rows=0), new


def later(one: float | None, other: float | None) -> float | None:
    """The later of two times, where there are any."""
    return max((each for each in (one, other) if each is not None), default=None)


def _open(ranges: Sequence[RangeEntry]) -> list[RangeEntry]:
    return [each for each in ranges if not each.is_done]
