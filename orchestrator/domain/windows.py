"""Windows: when rows of a database may be moved, and when so much work will be done. It looks at no clock.

Moments are seconds since the epoch, UTC. A window is open for so many seconds that pass, whatever the clocks on the
walls are set to meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Protocol

from orchestrator.domain.pacing import LOCK_TIMEOUT_SECONDS
from orchestrator.domain.throttling import Reason

SIGNAL = "maintenance windows"
"""The name of the reason, as that of a throttle's signal is."""

BATCH_MARGIN = 2.0
"""So many times as long as it is meant to, or as the last one did, a batch may take: it has other rows."""

MOST_OPENINGS = 5000
"""So many times that windows open are looked at, at the most: some open every minute, and are never closed."""

FURTHEST_SECONDS = 366 * 86_400.0
"""No ETA is told that is further away: what is said today of the pace is no word on next year."""


@dataclass(frozen=True, slots=True)
class Opening:
    """From `opens_at` on rows may be moved, and before `closes_at`."""

    opens_at: float
    closes_at: float

    @property
    def seconds(self) -> float:
        """How long it is open."""
        return self.closes_at - self.opens_at

    def holds(self, now: float) -> bool:
        """Whether it is open at that moment."""
        return self.opens_at <= now < self.closes_at


class Window(Protocol):
    """One window of the configuration, which opens again and again."""

    @property
    def name(self) -> str: ...

    def openings(self, since: float) -> Iterator[Opening]:
        """Those that close after this moment, in the order in which they open, without end."""
        ...

    def told(self, moment: float) -> str:
        """The moment for people, in the time zone of the window, which it names."""
        ...


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one database. While any of them is open it is open; without any it always is."""

    each: tuple[Window, ...] = ()

    def openings(self, since: float) -> Iterator[Opening]:
        """Those that close after this moment, in order. Where windows overlap or adjoin they are one opening.

        As far as `MOST_OPENINGS` reach: the last one may close later than it says.
        """
        held: Opening | None = None
        found_by_each = merge(*(window.openings(since) for window in self.each), key=lambda each: each.opens_at)
        for found in islice(found_by_each, MOST_OPENINGS):
            if held is None:
                held = found
            elif found.opens_at <= held.closes_at:
                held = Opening(held.opens_at, max(held.closes_at, found.closes_at))
            else:
                yield held
                held = found
        if held is not None:
            yield held

    def opening(self, now: float) -> Opening | None:
        """The one that is open now, or else the next; None where there are no windows."""
        return next(self.openings(now), None)

    def after(self, now: float, work_seconds: float) -> float | None:
        """The moment at which it will have been open for so many seconds more.

        None where that is further away than `FURTHEST_SECONDS`, or than `MOST_OPENINGS` reach.
        """
        if not self.each or work_seconds <= 0:
            return now + max(0.0, work_seconds)
        left = work_seconds
        for opening in self.openings(now):
            begins = max(now, opening.opens_at)
            if begins + left - now > FURTHEST_SECONDS:
                return None
            if begins + left <= opening.closes_at:
                return begins + left
            left -= opening.closes_at - begins
        return None

    def told(self, moment: float) -> str:
        """The moment for people, in the time zone of the first window. There has to be one."""
        return self.each[0].told(moment)


ALWAYS = Windows()
"""No windows: rows may be moved at any time."""


def batch_needs_seconds(batch_seconds: float, took_seconds: float = 0.0) -> float:
    """How long a batch has to be reckoned with that is meant to take so long, where the last one took so long.

    With a margin for other rows, and the time that it may wait for their locks.
    """
    return BATCH_MARGIN * max(batch_seconds, took_seconds) + LOCK_TIMEOUT_SECONDS


def reasons_to_wait(windows: Windows, opening: Opening, now: float, needs_seconds: float) -> tuple[Reason, ...]:
    """Why no batch that needs so long begins now, where that opening is the present one or the next; none means go."""
    if not opening.holds(now):
        sentence = f"outside its {SIGNAL}; the next opens {windows.told(opening.opens_at)}"
        return (
            _because("closed", sentence, "To move rows before that, give it another window, and restart the daemon."),
        )
    left = opening.closes_at - now
    if left >= needs_seconds:
        return ()
    if opening.seconds < needs_seconds:
        said = f"is open for {_said(opening.seconds)} and no batch fits in it: one may take {_said(needs_seconds)}"
        remedy = "Set batch_seconds to less; or let it be open for longer, and restart the daemon."
        return (_because("too short", f"its maintenance window {said}", remedy),)
    sentence = f"its maintenance window closes in {_said(left)}, too soon for another batch, which may take "
    return (_because("closing", sentence + _said(needs_seconds)),)


def eta_seconds(of_databases: Iterable[Windows], now: float, work_seconds: float | None) -> float | None:
    """In how many seconds so much work will be done that goes on in all these databases at once, in their windows.

    None as `work_seconds`, and where one of them will not be done within a time that can be told.
    """
    if work_seconds is None:
        return None
    ends = [windows.after(now, work_seconds) for windows in of_databases] or [now + work_seconds]
    known = [end for end in ends if end is not None]
    return max(known) - now if len(known) == len(ends) else None


def _because(of: str, sentence: str, remedy: str = "") -> Reason:
    return Reason(SIGNAL, of, False, sentence, remedy)


def _said(seconds: float) -> str:
    """So many seconds for people."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
