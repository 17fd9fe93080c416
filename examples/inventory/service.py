"""One process of the service: it connects, joins its fleet, works until it is told to stop, and leaves.

Nothing here differs between the releases. The loop stands where a real service has its web server or its queue.
"""

from __future__ import annotations

import functools
import random
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, Protocol, TypeVar

import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

P = ParamSpec("P")
T = TypeVar("T")

MOST_ATTEMPTS = 20


class Behaviour(Protocol):
    """What the orchestrator tells a process about the two shapes of the data, for one transaction."""

    @property
    def reads_new(self) -> bool:
        """Read the new shape, not the old one."""

    @property
    def writes_old(self) -> bool:
        """Write the old shape too, not only the new one."""


class Membership(Protocol):
    """The part of `orchestrator.client.Member` that the service uses."""

    def join(self, *, wait_seconds: float) -> object:
        """Register with the orchestrator, before the first statement."""

    def transaction(self) -> AbstractContextManager[Behaviour]:
        """How to behave until the end of this block. Raises when the process lost its lease."""

    def leave(self) -> None:
        """Wait for the open transactions, then say good-bye."""


def connect(url: str) -> Engine:
    """The engine of the service. SQLite waits for its turn, as several processes write."""
    engine = sqlalchemy.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sqlalchemy.event.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")

    return engine


def repeated(work: Callable[P, T]) -> Callable[P, T]:
    """Repeat a transaction that the database gave up in favour of another one.

    Any database may do that. Galera always does, when a table is changed that a transaction is using.
    """

    @functools.wraps(work)
    def repeat(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(MOST_ATTEMPTS - 1):
            try:
                return work(*args, **kwargs)
            except DBAPIError as error:
                if not asks_to_repeat(error):
                    raise
            time.sleep(random.uniform(0.01, 0.1))
        return work(*args, **kwargs)

    return repeat


def asks_to_repeat(error: DBAPIError) -> bool:
    """Whether it says: deadlock, on PostgreSQL also serialization failure, on Galera also failed certification."""
    is_mariadb = error.orig is not None and error.orig.args[:1] == (1213,)
    return is_mariadb or getattr(error.orig, "sqlstate", None) in {"40001", "40P01"}


class Stop:
    """Whether SIGTERM or SIGINT came. A plain flag: a signal handler that takes a lock may meet itself."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True


def serve(engine: Engine, member: Membership, work: Callable[[], float]) -> None:
    """Join, call `work` again and again until asked to stop, and leave. `work` returns how many seconds to pause."""
    stop = Stop()
    member.join(wait_seconds=60)
    try:
        while not stop.asked:
            time.sleep(work())
    finally:
        member.leave()
        engine.dispose()
