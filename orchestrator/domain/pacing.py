"""Pacing: how many rows a batch takes, and how long rows rest after it. Arithmetic only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.domain.overlay import Overlay

FIRST_ROWS = 100
"""So many rows the first batch takes, of which nobody knows yet what they cost: 2 ms each still end in time."""

_AIM = 0.75
"""The share of its time that a batch is meant to take: the rest is room for rows that cost more than the last ones."""


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """A batch takes `least` to `most` rows: as many as it can hold locked for no longer than `seconds`.

    One that a transform reads ends, however few rows it has, with the row that takes it beyond `most_bytes`, where
    there is such a bound.
    """

    least: int
    most: int
    seconds: float
    most_bytes: int | None = None

    @classmethod
    def fixed(cls, rows: int) -> BatchSizes:
        """Always so many rows, however long they take."""
        return cls(rows, rows, math.inf)

    def under(self, over: Overlay) -> BatchSizes:
        """These sizes, with what was set over them. What is the most goes before what is the least."""
        most = int(over.value("batch_rows", self.most))
        seconds, most_bytes = over.value("batch_seconds", self.seconds), self.most_bytes
        if most_bytes is not None:
            most_bytes = int(over.value("batch_bytes", most_bytes))
        return BatchSizes(min(self.least, most), most, seconds, most_bytes)

    def within(self, rows: int | None) -> int:
        """That many rows, or what comes nearest to it; of the first batch, where None was taken before."""
        return min(max(FIRST_ROWS if rows is None else rows, self.least), self.most)

    def next_rows(self, rows: int | None, suspect_rows: int) -> int:
        """How many rows the next batch takes where that is the size that they have come to; as `within`.

        Of rows that did not get through together, half at the most.
        """
        paced = self.within(rows)
        return min(paced, max(1, suspect_rows // 2)) if suspect_rows else paced

    def after(self, rows: int, seconds: float) -> int:
        """How many rows the next batch takes, after one of that many rows that held its locks for `seconds`.

        One that took longer than it may is followed by as many as would have been well in time, in one step: what
        slowed it down is felt by everybody. One that had time left is followed by at most twice as many, so that a
        batch that happened to be quick cannot make the next one hold everybody up. In between nothing changes.
        """
        aim = _AIM * self.seconds
        if aim <= seconds <= self.seconds:
            return self.within(rows)
        factor = 2.0 if seconds <= aim / 2 else aim / seconds
        return self.within(int(rows * factor))


USUAL_SIZES = BatchSizes(10, 100_000, 0.2, 16 * 1024 * 1024)
"""Where nobody says otherwise. It is the time that bounds a batch: no server that we know moves more rows in it. The
least of them lets a table whose rows are slow come to its end. 20,000 rows of 800 bytes are within the bound of
bytes."""


LOCK_TIMEOUT_SECONDS = 2.0
"""No statement of a batch waits longer for a lock: who waits in a queue for one stops everybody behind it."""

LONGEST_REST_SECONDS = 600.0
"""Rows rest no longer after a batch, however long it took and however nice it is meant to be."""


def rest_seconds(batch_seconds: float, nice_ratio: float, pause_seconds: float) -> float:
    """How long rows rest after a batch of so many seconds: so many times as long as it took, and no less than a pause.

    With a ratio of 1 a data migration works half of the time at the most.
    """
    return max(pause_seconds, min(nice_ratio * batch_seconds, LONGEST_REST_SECONDS))


def known_total(counted: int | None, done: int) -> int | None:
    """Of how many rows to speak when so many are done; None until they are counted.

    They are counted once, when a data migration begins, and those that are inserted later are moved and verified too.
    """
    return None if counted is None else max(counted, done)
