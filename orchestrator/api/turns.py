"""Turns: who may ask managed databases now. One that does not answer must not take every thread of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.domain.errors import NotYet

MOST_OF_ONE_SCHEMA = 4
MOST = 12
"""Of the 40 threads that requests have, for those who look, and as many for those who steer."""


@dataclass(slots=True, eq=False)
class _Queue:
    """Those who ask for the databases of one schema, or wait for their turn."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_OF_ONE_SCHEMA))
    people: int = 0


class Turns:
    """A request that waits for its turn holds no thread. Belongs to one event loop.

    Who steers does not wait for those who only look, however many there are.
    """

    def __init__(self, *, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._turns = {steers: asyncio.Semaphore(MOST) for steers in (False, True)}
        self._queues: dict[tuple[str, bool], _Queue] = {}

    @asynccontextmanager
    async def take(self, schema: str, *, steers: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it as long as the block runs. Raises `NotYet` (code `too_many_asking`)."""
        queue = self._queues.setdefault((schema, steers), _Queue())
        seconds = self._wait_seconds
        queue.people += 1
        try:
            async with _turn(queue.turns, schema, seconds), _turn(self._turns[steers], schema, seconds):
                yield
        finally:
            queue.people -= 1
            if not queue.people:
                del self._queues[schema, steers]


@asynccontextmanager
async def _turn(turns: asyncio.Semaphore, schema: str, wait_seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(wait_seconds):
            await turns.acquire()
    except TimeoutError:
        raise NotYet(
            "too_many_asking",
            f"other requests still wait for the databases of {schema} to answer",
            remedy=f"Try again later. orchestrator database list {schema}",
            schema=schema,
        ) from None
    try:
        yield
    finally:
        turns.release()
