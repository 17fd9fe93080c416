"""Sharing: what is read once for everybody who asks at the same time, or a moment later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

T = TypeVar("T")

REST = 4.0
"""A reading that takes long is good for so many times as long, so that readings leave the machine its time."""


@dataclass(frozen=True, slots=True)
class _Reading(Generic[T]):
    begun_at: float
    task: asyncio.Task[T]


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    """`good_until` is when a request may come at the latest, to be answered with this.

    `value` stays the same object as long as it is equal; `newest` is what was read.
    """

    value: T
    newest: T
    begun_at: float
    good_until: float


class Shared(Generic[T]):
    """At most one reading of each key is under way, and whoever asks meanwhile waits for it, or for the next one.

    An answer was read no longer than `fresh_seconds` before it was asked for, or `REST` times what reading takes; with
    0 after it was asked for. Nothing is read while nobody asks. Belongs to one event loop; readings run in threads.
    """

    def __init__(self, read: Callable[[str], T], *, fresh_seconds: float) -> None:
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._readings: dict[str, _Reading[T]] = {}
        self._found: dict[str, _Found[T]] = {}
        self._forgotten_at: dict[str, float] = {}

    def latest(self, key: str) -> T | None:
        """What was read last, however long ago; None before the first time."""
        found = self._found.get(key)
        return None if found is None else found.value

    def newest(self, key: str) -> T:
        """As `latest`, of what was read at some time: with all in which equal values differ as it was read last."""
        return self._found[key].newest

    def forget(self, key: str) -> None:
        """Something has changed by now: answer nobody any more with what was read before."""
        if key in self._found or key in self._readings:
            self._forgotten_at[key] = time.monotonic()

    async def get(self, key: str) -> T:
        """What stands there. Equal values are the same object. Raises what reading raises."""
        now = time.monotonic()
        found = self._found.get(key)
        if found is not None and now <= found.good_until and found.begun_at >= self._forgotten_at.get(key, 0.0):
            return found.value
        earliest = max(now - self._fresh_seconds, self._forgotten_at.get(key, 0.0))
        while True:
            reading = self._readings.get(key) or self._begin(key)
            await asyncio.wait([reading.task])
            if reading.begun_at >= earliest:
                return reading.task.result()

    def _begin(self, key: str) -> _Reading[T]:
        begun_at = time.monotonic()
        task = asyncio.create_task(self._keep(key, begun_at), name=f"read {key}")
        reading = self._readings[key] = _Reading(begun_at, task)
        task.add_done_callback(lambda _: self._end(key, reading))
        return reading

    async def _keep(self, key: str, begun_at: float) -> T:
        value = newest = await run_in_threadpool(self._read, key)
        before = self._found.get(key)
        if before is not None and before.value == value:
            value = before.value
        took = time.monotonic() - begun_at
        lasts = max(self._fresh_seconds, REST * took) if self._fresh_seconds else 0.0
        self._found[key] = _Found(value, newest, begun_at, begun_at + lasts)
        return value

    def _end(self, key: str, reading: _Reading[T]) -> None:
        if self._readings.get(key) is reading:
            del self._readings[key]
        if not reading.task.cancelled():
            reading.task.exception()  # whoever waited for it raises it
