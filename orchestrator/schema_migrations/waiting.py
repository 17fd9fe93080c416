"""Waiting for locks: how long DDL waits for them, how often it tries again, and what it says of who holds them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.dialects.driver_errors import reason
from orchestrator.domain.errors import OrchestratorError, StepFailed

LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for locks. A statement that queues for a lock stops everybody behind it, so it gives up soon.

    The pause before another attempt doubles up to the longest one; each is shortened at random by up to a half, so
    that several waiters do not meet again. `outside_seconds` is for statements outside a transaction, such as CREATE
    INDEX CONCURRENTLY, which nobody queues behind.
    """

    lock_seconds: float = 2.0
    outside_seconds: float = 300.0
    attempts: int = 10
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 5.0

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds to wait after that attempt (the first is 1); `chance` is a random number from 0 to 1."""
        longest: float = min(self.longest_pause_seconds, self.first_pause_seconds * 2 ** (attempt - 1))
        return longest * (1 - chance / 2)


class Waiting:
    """Tries work that takes locks until it gets them, or its patience ends.

    `sleep` makes a pause, `chance` gives a random number from 0 to 1 for each.
    """

    def __init__(self, patience: Patience, *, sleep: Callable[[float], None], chance: Callable[[], float]) -> None:
        self._patience = patience
        self._sleep = sleep
        self._chance = chance

    def persevere(
        self,
        work: Callable[[], T],
        *,
        database: Database,
        connection: sa.Connection,
        revision: str,
        tables: Callable[[], Sequence[str]],
        failure: Callable[[Exception], OrchestratorError],
    ) -> T:
        """Do the work, which sets its own lock timeouts, again and again until it ends, and return what it returns.

        An attempt that fails is rolled back on `connection`. `tables` are those that the latest attempt wanted, so far
        as it came; `failure` makes a sentence of an error that no repetition helps. Raises `StepFailed` (code
        `lock_timeout`) after the last attempt, and whatever else it meets as `failure` says it.
        """
        for number in range(1, self._patience.attempts + 1):
            try:
                return work()
            except OrchestratorError:
                raise
            except Exception as error:  # a revision is somebody else's code: anything can come out of it
                if connection.in_transaction():
                    connection.rollback()
                if not database.dialect.is_transient(error):
                    raise failure(error) from error
                if number == self._patience.attempts:
                    raise self._gave_up(database, revision, tables(), error) from error
                wrong = error
            if number == 1:
                _say_who_holds(database, revision, tables(), wrong)
            self._sleep(self._patience.pause(number, self._chance()))
        raise AssertionError("patience has no attempt")

    def _gave_up(self, database: Database, revision: str, tables: Sequence[str], error: Exception) -> StepFailed:
        holders = _holders(database, tables, error)
        by = f"; {'; '.join(holders)}" if holders else ""
        return StepFailed(
            "lock_timeout",
            f"revision {revision} did not get its locks in database {database.name} in {self._patience.attempts} "
            f"attempts: {reason(error, database.engine.url)}{by}",
            remedy="End the session that holds the lock, or wait for a quieter time.",
            revision=revision,
            database=database.name,
            holders=list(holders),
        )


def _say_who_holds(database: Database, revision: str, tables: Sequence[str], error: Exception) -> None:
    try:
        holders = _holders(database, tables, error)
    except OrchestratorError:
        holders = ()
    why = "; ".join(holders) or reason(error, database.engine.url)
    LOG.warning(
        "revision %(revision)s waits for its locks in %(database)s: %(why)s",
        {"action": "revision.wait", "revision": revision, "database": database.name, "why": why},
    )


def _holders(database: Database, tables: Sequence[str], error: Exception) -> tuple[str, ...]:
    if database.dialect.is_disconnect(error):
        return ()
    with database.reading() as reader:  # the connection for DDL would wait for the lock once more
        return database.dialect.lock_holders(reader, tables)
