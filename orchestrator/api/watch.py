"""Watch: one thread reads where schemas stand, for everybody who waits for that to change."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import NotYet, OrchestratorError

log = logging.getLogger(__name__)

Mark = tuple[str | None, int | None, int | None]


def mark_of(standing: Standing) -> Mark:
    """What differs when a schema stands elsewhere."""
    upgrade = standing.upgrade
    return standing.release, upgrade.id if upgrade else None, upgrade.revision if upgrade else None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    seen: Mark
    news: asyncio.Future[Standing | None]


class Watch:
    """A waiter costs memory and no thread. The store is read only while somebody waits.

    Belongs to one event loop, except `close`, which any thread may call.
    """

    def __init__(
        self, read: Callable[[str], Standing], *, interval_seconds: float = 0.25, most_waiters: int = 5000
    ) -> None:
        self._read = read
        self._interval_seconds = interval_seconds
        self._most_waiters = most_waiters
        self._waiting: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def waiters(self) -> int:
        """How many wait now."""
        return sum(len(waiters) for waiters in self._waiting.values())

    async def look(self, schema: str) -> Standing:
        """Where the schema stands now."""
        return await run_in_threadpool(self._read, schema)

    async def after(self, seen: Standing, seconds: float, *, gone: Callable[[], Awaitable[None]]) -> Standing | None:
        """Where the schema stands as soon as that differs from `seen`; None when the time is over or nobody listens.

        Raises `NotYet` (code `too_many_waiting`) where one waiter more is too many.
        """
        if seconds <= 0 or self._is_closed:
            return None
        if self.waiters >= self._most_waiters:
            raise NotYet(
                "too_many_waiting",
                f"{self.waiters} requests wait for a change already",
                remedy="Ask again later, or ask without wait.",
            )
        waiter = _Waiter(mark_of(seen), asyncio.get_running_loop().create_future())
        self._waiting[seen.schema].add(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="watch")
        hangup = asyncio.ensure_future(gone())
        ends: set[asyncio.Future[Standing | None] | asyncio.Future[None]] = {waiter.news, hangup}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return waiter.news.result() if waiter.news.done() else None
        finally:
            hangup.cancel()
            self._waiting[seen.schema].discard(waiter)
            if not self._waiting[seen.schema]:
                del self._waiting[seen.schema]

    def close(self) -> None:
        """Send everybody who waits away soon, and let nobody wait any more. For the end of the daemon."""
        self._is_closed = True

    async def _poll(self) -> None:
        while self._waiting:
            if self._is_closed:
                self._send_away()
                return
            for standing in await run_in_threadpool(self._read_all, tuple(self._waiting)):
                self._tell(standing)
            await asyncio.sleep(self._interval_seconds)

    def _read_all(self, schemas: Iterable[str]) -> list[Standing]:
        found = []
        for schema in schemas:
            try:
                found.append(self._read(schema))
            except OrchestratorError as error:  # it may answer again before the waiters' time is over
                log.debug("a watched schema could not be read", extra={"schema": schema, "code": error.code})
            except Exception:  # the edge of this task: those who wait would never hear anything again
                log.exception("a watched schema could not be read", extra={"schema": schema})
        return found

    def _tell(self, standing: Standing) -> None:
        now = mark_of(standing)
        for waiter in self._waiting.get(standing.schema, ()):
            if waiter.seen != now and not waiter.news.done():
                waiter.news.set_result(standing)

    def _send_away(self) -> None:
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.news.done():
                    waiter.news.set_result(None)
