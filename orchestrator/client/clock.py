"""The only place of the client that knows what time it is, or that waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds on a clock that only grows and runs while the machine is suspended."""

Pause = Callable[[threading.Condition, float], object]
"""Wait that many seconds, or less when the condition, whose lock the caller holds, is notified."""


def _suspend_aware_clock() -> Clock:
    number: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None:  # not Linux: the monotonic clock is the best there is
        return time.monotonic
    boottime = number
    try:
        time.clock_gettime(boottime)
    except OSError:  # a sandbox that does not offer it
        return time.monotonic
    return lambda: time.clock_gettime(boottime)


boottime: Clock = _suspend_aware_clock()


def pause(condition: threading.Condition, seconds: float) -> None:
    """Wait on the condition. The caller holds its lock and looks again at what it waits for."""
    condition.wait(max(seconds, 0.0))
