"""Cells of tables: one thing for people, another for scripts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cliff.columns import FormattableColumn

from orchestrator.cli.answers import Eta, plain
from orchestrator.domain.pacing import known_total

ETA_WORDS = {"uncounted": "nobody counts them", "throttled": "waits", "complete": "", "estimated": "far away"}
"""What people read of a state of an ETA, where that is not its own word."""


class Cell(FormattableColumn[Any]):
    """Shows `words` to people and `value`, as plain lists and mappings, to scripts."""

    def __init__(self, value: object, words: str) -> None:
        super().__init__(plain(value))
        self._words = words

    def human_readable(self) -> str:
        return self._words


def lines(value: Iterable[object], words: Iterable[str]) -> Cell:
    """Several lines in one cell."""
    return Cell(tuple(value), "\n".join(words))


def moment(at: float | None) -> Cell:
    """A time: in UTC for people, in seconds since the epoch for scripts."""
    return Cell(at, "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"))


def share(of_one: float | None) -> Cell:
    """Progress: in percent for people. It is 100 % only when it is 1."""
    return Cell(of_one, "" if of_one is None else f"{int(of_one * 100)} %")


def duration(seconds: float | None, unknown: str = "") -> Cell:
    """A duration in its largest two units, e.g. `3 min 20 s`."""
    if seconds is None:
        return Cell(None, unknown)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return Cell(seconds, words)


def rate(rows_per_second: float | None) -> Cell:
    """A speed; empty for people where it is not known."""
    if rows_per_second is None:
        return Cell(None, "")
    return Cell(rows_per_second, f"{rows_per_second:.{0 if rows_per_second >= 10 or not rows_per_second else 1}f}")


def eta(found: Eta | None, seconds: float | None = None) -> Cell:
    """How much is left, or why nobody can tell. `seconds` from now go before those of work."""
    known = seconds if seconds is not None or found is None else found.seconds
    if known is not None or found is None:
        return duration(known)
    return Cell(None, ETA_WORDS.get(found.state, found.state))


def maybe(value: object) -> Cell:
    """A value that may be absent: empty for people, null for scripts."""
    return Cell(value, "" if value is None else str(value))


def rows(done: int, total: int | None) -> Cell:
    """Rows done of a total that may not be counted yet, or was before some of them were inserted."""
    known = known_total(total, done)
    return Cell(done, f"{done}/{known}" if known is not None else f"{done}")
