"""Intervals of PostgreSQL as Python gets them: those that it has a value for, and no others.

Imported once the driver is, which takes its time.
"""

from __future__ import annotations

from datetime import timedelta

from psycopg import DataError
from psycopg.types.datetime import IntervalLoader


class ExactIntervals(IntervalLoader):
    """Refuses months and years, of which the driver makes 30 and 365 days each."""

    def load(self, data: bytes | bytearray | memoryview) -> timedelta:
        text = bytes(data)
        if b"mon" in text or b"year" in text:
            raise DataError(
                f"the interval {text.decode()!r} has months, of which Python knows no number of days: use an expression"
            )
        return super().load(data)
