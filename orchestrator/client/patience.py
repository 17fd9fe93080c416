"""Repeating a request until it works or the time for it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orchestrator.client.clock import Clock, Pause
from orchestrator.client.errors import ClientError, Refused
from orchestrator.client.lease import SPREAD, jittered


class Patience:
    """A limited time for repeating, with growing and jittered pauses."""

    def __init__(self, wait_seconds: float, *, clock: Clock, pause: Pause, chance: Callable[[], float]) -> None:
        self._clock = clock
        self._pause = pause
        self._chance = chance
        self._give_up_at = clock() + wait_seconds
        self._backoff = 0.5
        self._condition = threading.Condition()

    def remaining(self) -> float:
        """Seconds that are left."""
        return max(self._give_up_at - self._clock(), 0.0)

    def wait_after(self, error: ClientError) -> None:
        """Pause before the next try, as long as the daemon wishes. Raises `error` when no time is left."""
        remaining = self.remaining()
        if remaining <= 0:
            raise error
        wish = error.retry_after if isinstance(error, Refused) else None
        if wish is None:
            seconds = jittered(self._backoff, self._chance())
        else:  # never sooner than asked for
            seconds = max(wish, 0.1) * (1 + SPREAD * self._chance())
        self._backoff = min(self._backoff * 2, 5.0)
        with self._condition:
            self._pause(self._condition, min(seconds, remaining))
