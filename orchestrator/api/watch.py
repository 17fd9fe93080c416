"""Watch: where schemas stand, read once for everybody who asks, and for everybody who waits for that to change."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from orchestrator.api.sharing import Shared
from orchestrator.domain.errors import NotYet, OrchestratorError
from orchestrator.services.status import SchemaStatus, Whereabouts

log = logging.getLogger(__name__)

T = TypeVar("T")
Gone = Callable[[], Awaitable[None]]

DOCUMENT_SECONDS = 1.0
"""How often upgrades are looked at for those who watch all that changes in them."""


@dataclass(frozen=True, slots=True)
class Document:
    """The newest upgrade of a schema as it is shown: `body` is JSON. Documents with the same `mark` are equal: they
    differ only in seconds and counts that grow."""

    mark: Hashable
    revision: int = field(compare=False)
    status: SchemaStatus = field(compare=False)
    body: bytes = field(compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter(Generic[T]):
    """Somebody who has seen these values of these schemas. `news` is None when nobody waits any more."""

    seen: Mapping[str, T]
    news: asyncio.Future[Mapping[str, T] | None]


class Waiting(Generic[T]):
    """Those who wait for another value. A waiter costs memory, and neither a thread nor a reading of its own."""

    def __init__(self, values: Shared[T], *, interval_seconds: float) -> None:
        self._values = values
        self._interval_seconds = interval_seconds
        self._waiting: defaultdict[str, set[_Waiter[T]]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self.count = 0

    async def after(self, seen: Mapping[str, T], seconds: float, *, gone: Gone | None = None) -> Mapping[str, T] | None:
        """What is other than `seen`, as soon as anything is; None when the time is over or nobody listens."""
        known = self._changed(seen)
        if known:
            return known
        waiter = _Waiter(seen, asyncio.get_running_loop().create_future())
        for key in seen:
            self._waiting[key].add(waiter)
        self.count += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="watch")
        hangup = None if gone is None else asyncio.ensure_future(gone())
        try:
            ends: set[asyncio.Future[Any]] = {waiter.news} if hangup is None else {waiter.news, hangup}
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return waiter.news.result() if waiter.news.done() else None
        finally:
            if hangup is not None:
                hangup.cancel()
            self.count -= 1
            for key in seen:
                self._waiting[key].discard(waiter)
                if not self._waiting[key]:
                    del self._waiting[key]

    def send_away(self) -> None:
        """Let nobody wait any longer."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.news.done():
                    waiter.news.set_result(None)

    async def _poll(self) -> None:
        while self._waiting:
            for key in tuple(self._waiting):
                try:
                    value = await self._values.get(key)
                except OrchestratorError as error:  # it may answer again before the waiters' time is over
                    log.debug("a watched schema could not be read", extra={"schema": key, "code": error.code})
                except Exception:  # the edge of this task: those who wait would never hear anything again
                    log.exception("a watched schema could not be read", extra={"schema": key})
                else:
                    self._tell(key, value)
            await asyncio.sleep(self._interval_seconds)

    def _tell(self, key: str, value: T) -> None:
        for waiter in self._waiting.get(key, ()):
            if waiter.seen[key] is not value and not waiter.news.done():
                waiter.news.set_result(self._changed(waiter.seen))

    def _changed(self, seen: Mapping[str, T]) -> Mapping[str, T]:
        """Equal values are the same object, and none is older than one that anybody has seen."""
        latest = {key: self._values.latest(key) for key in seen}
        return {key: value for key, value in latest.items() if value is not None and value is not seen[key]}


class Watch:
    """What requests are answered with, and wait on. `close` may be called by any thread, all else by one event loop."""

    def __init__(
        self,
        look: Callable[[str], Whereabouts],
        show: Callable[[str], Document],
        *,
        fresh_seconds: float = 0.25,
        interval_seconds: float = 0.25,
        most_waiters: int = 5000,
    ) -> None:
        self._looks = Shared(look, fresh_seconds=fresh_seconds)
        self._documents = Shared(show, fresh_seconds=fresh_seconds)
        self._waiting_looks = Waiting(self._looks, interval_seconds=interval_seconds)
        self._waiting_documents = Waiting(self._documents, interval_seconds=min(DOCUMENT_SECONDS, 4 * interval_seconds))
        self._most_waiters = most_waiters
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiters(self) -> int:
        """How many wait now."""
        return self._waiting_looks.count + self._waiting_documents.count

    @property
    def is_closed(self) -> bool:
        """Whether the daemon is ending: nobody waits any more."""
        return self._is_closed

    async def look(self, schema: str) -> Whereabouts:
        """Where the schema stands. Raises `NotFound`, `Unavailable`."""
        return await self._looks.get(schema)

    async def document(self, schema: str, *, revision: int = 0) -> Document:
        """The newest upgrade as it is shown, at this revision or a later one. Raises `NotFound`, `Unavailable`."""
        found = await self._documents.get(schema)
        if found.revision < revision:
            self._documents.forget(schema)
            found = await self._documents.get(schema)
        return found

    async def newest(self, schema: str, *, revision: int = 0) -> Document:
        """As `document`, with seconds and counts as they were read last. Not to wait with: equal ones are several."""
        await self.document(schema, revision=revision)
        return self._documents.newest(schema)

    def forget(self, schema: str) -> None:
        """Somebody has just steered it: whoever asks from now on is answered with what stands there then."""
        self._looks.forget(schema)
        self._documents.forget(schema)

    def check_room(self) -> None:
        """Raise `NotYet` (code `too_many_waiting`) where one waiter more is too many."""
        if self.waiters >= self._most_waiters:
            raise NotYet(
                "too_many_waiting",
                f"{self.waiters} requests wait for a change already",
                remedy="Ask again later, or ask without wait.",
            )

    async def after(self, seen: Whereabouts, seconds: float, *, gone: Gone) -> Whereabouts | None:
        """Where the schema stands as soon as that differs from `seen`; None when the time is over or nobody listens.

        Raises `NotYet` (code `too_many_waiting`) where one waiter more is too many.
        """
        if not self._may_wait(seconds):
            return None
        schema = seen.standing.schema
        changed = await self._waiting_looks.after({schema: seen}, seconds, gone=gone)
        return None if changed is None else changed[schema]

    async def changes(self, seen: Mapping[str, Document], seconds: float) -> Mapping[str, Document] | None:
        """As `after`, for all that changes in the upgrades of some schemas."""
        return await self._waiting_documents.after(seen, seconds) if self._may_wait(seconds) else None

    def close(self) -> None:
        """Send everybody who waits away, and let nobody wait any more. For the end of the daemon."""
        self._is_closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send_away)

    def _may_wait(self, seconds: float) -> bool:
        if seconds <= 0 or self._is_closed:
            return False
        self.check_room()
        self._loop = asyncio.get_running_loop()
        return True

    def _send_away(self) -> None:
        self._waiting_looks.send_away()
        self._waiting_documents.send_away()
