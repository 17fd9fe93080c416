"""The watch over one database: what its throttles last read, so that whoever asks between two batches need not wait.

Each signal is read on a thread of its own, at most once in `every_seconds`, while the next batch may already run. What
was read is good for a few of these; after that whoever asks waits for a new reading, up to `patience_seconds`. A signal
that does not answer then is unreadable, and is not asked once more before it has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.overlay import NOTHING_SET, Overlay
from orchestrator.domain.throttling import Reading
from orchestrator.throttles import Sample, Throttle

GOOD_FOR_TURNS = 3
"""A reading that began more of them ago tells nothing any more."""

_SILENT = "It is asked again when it has answered; [throttling] timeout_seconds is how long it may take."

Begin = Callable[[Callable[[], None]], None]


def on_a_thread(work: Callable[[], None]) -> None:
    """Let it be done beside whatever else happens. The process ends without waiting for it."""
    threading.Thread(target=work, name="throttle", daemon=True).start()


class Watch:
    """The throttles of one database. Any thread may ask. `clock` is monotonic; `begin` starts a reading."""

    def __init__(
        self,
        throttles: Sequence[Throttle],
        *,
        every_seconds: float,
        patience_seconds: float,
        clock: Callable[[], float],
        begin: Begin = on_a_thread,
    ) -> None:
        self._kept = [_Kept(each, every_seconds, patience_seconds, clock, begin) for each in throttles]

    def readings(self, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
        """What each signal reads, now or a moment ago, beside the limit in force, in the order of the throttles."""
        asked = [kept for kept in self._kept if kept.throttle.is_asked(over)]
        for kept in asked:
            kept.refresh()
        return tuple(
            replace(reading, limit=kept.throttle.limit_in(over)) for kept in asked for reading in kept.readings()
        )


class _Kept:
    """One throttle with what its signal last said, and since when it is being asked anew, if it is."""

    def __init__(
        self,
        throttle: Throttle,
        every_seconds: float,
        patience_seconds: float,
        clock: Callable[[], float],
        begin: Begin,
    ) -> None:
        self.throttle = throttle
        self._every_seconds = every_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._begin = begin
        self._news = threading.Condition()
        self._readings: tuple[Reading, ...] = ()
        self._read_at: float | None = None
        self._asked_at: float | None = None

    def refresh(self) -> None:
        """Begin to read the signal, if it is time to and nobody has begun yet."""
        now = self._clock()
        with self._news:
            if self._asked_at is not None or (self._read_at is not None and now - self._read_at < self._every_seconds):
                return
            self._asked_at = now
        try:
            self._begin(self._read)
        except BaseException:
            with self._news:
                self._asked_at = None
            raise

    def readings(self) -> tuple[Reading, ...]:
        """What was read, if that is not too long ago; else what is read now, if it comes in time."""
        with self._news:
            if not self._is_good():
                self._news.wait_for(lambda: self._asked_at is None, self._patience_left())
            if self._is_good():
                return self._readings
            silent_seconds = 0.0 if self._asked_at is None else self._clock() - self._asked_at
            return (self._unread(f"it has not answered for {silent_seconds:.1f} s", _SILENT),)

    def _patience_left(self) -> float:
        asked_at = self._clock() if self._asked_at is None else self._asked_at
        return max(0.0, asked_at + self._patience_seconds - self._clock())

    def _is_good(self) -> bool:
        longest = self._patience_seconds + GOOD_FOR_TURNS * self._every_seconds
        return self._read_at is not None and self._clock() - self._read_at <= longest

    def _read(self) -> None:
        """The edge of a thread: whatever keeps the signal from being read is what it says."""
        try:
            found = tuple(self._reading(sample) for sample in self.throttle.signal.read())
        except OrchestratorError as error:
            found = (self._unread(error.message, error.remedy),)
        except Exception as error:
            found = (self._unread(f"{type(error).__name__}: {error}"),)
        has_failed = any(reading.error is not None for reading in found)
        with self._news:
            # How old a number is counts from when it was asked for; a failure keeps rows waiting anyway.
            self._read_at = self._clock() if has_failed else self._asked_at
            self._readings, self._asked_at = found, None
            self._news.notify_all()

    def _reading(self, sample: Sample) -> Reading:
        signal, limit = self.throttle.signal, self.throttle.limit
        return Reading(
            signal.name, sample.value, limit, signal.unit, sample.of, sample.objection, sample.error, sample.remedy,
            self.throttle.option,
        )  # fmt: skip

    def _unread(self, error: str, remedy: str = "") -> Reading:
        throttle = self.throttle
        return Reading(
            throttle.signal.name, limit=throttle.limit, error=error, remedy=remedy, option=throttle.option
        )  # fmt: skip
