"""Waiting for locks: how long DDL waits for them, how often it tries again, and what it says of who holds them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, reason
from orchestrator.dialects.holders import Holder
from orchestrator.domain.errors import OrchestratorError, StepFailed, Unavailable
from orchestrator.ports import StepWatch

LOG = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 1.0
"""How often it is looked who is in the way while a statement waits."""

TELL_SECONDS = 10.0
"""How often those who watch are told the same again, with what has become of it."""

_MOST_HOLDERS = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for locks. A statement that queues for a lock stops everybody behind it, so it gives up soon.

    The pause before another attempt doubles up to the longest one; each is shortened at random by up to a half, so
    that several waiters do not meet again. `outside_seconds` is for statements outside a transaction, such as CREATE
    INDEX CONCURRENTLY, which nobody queues behind. Sessions in the way that have done nothing in an open transaction
    for `end_idle_blockers_after_seconds` are ended; none where it is None.
    """

    lock_seconds: float = 2.0
    outside_seconds: float = 300.0
    attempts: int = 10
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 5.0
    end_idle_blockers_after_seconds: float | None = None

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
        watch: StepWatch | None = None,
        subject: str | None = None,
    ) -> T:
        """Do the work, which sets its own lock timeouts, again and again until it ends, and return what it returns.

        An attempt that fails is rolled back on `connection`, which has no transaction when this is called. `tables`
        are those that the latest attempt wanted, so far as it came; `failure` makes a sentence of an error that no
        repetition helps; `subject` is what people call the work where it is no revision; `watch` is told who is in the
        way while that lasts. Raises `StepFailed` (code `lock_timeout`) after the last attempt, and whatever else it
        meets as `failure` says it.
        """
        with Lookout(database, connection, revision, tables, self._patience, watch, subject=subject) as lookout:
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
                    lookout.look(error)
                    if number == self._patience.attempts:
                        raise lookout.gave_up() from error
                self._sleep(self._patience.pause(number, self._chance()))
        raise AssertionError("patience has no attempt")


class Lookout:
    """Looks, from another connection, who keeps one revision waiting in one database, for as long as it is entered.

    The server is asked while the statement waits, when it knows best; whoever is found then is remembered.
    """

    def __init__(
        self,
        database: Database,
        connection: sa.Connection,
        revision: str,
        tables: Callable[[], Sequence[str]],
        patience: Patience,
        watch: StepWatch | None,
        clock: Callable[[], float] = time.monotonic,
        subject: str | None = None,
    ) -> None:
        self._database = database
        self._session = database.dialect.session_number(connection)
        self._revision = revision
        self._subject = f"revision {revision}" if subject is None else subject
        self._tables = tables
        self._patience = patience
        self._watch = watch
        self._clock = clock
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._holders: tuple[Holder, ...] = ()
        self._reason = ""
        self._kept: dict[int, OrchestratorError] = {}
        self._told: tuple[frozenset[int], float] | None = None

    def __enter__(self) -> Self:
        if self._session is not None:
            self._thread = threading.Thread(target=self._look_again_and_again, name="lookout", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self, wrong: Exception | None = None) -> None:
        """Look once, tell who watches, and end whom the site's policy ends. Failing to is no failure.

        `wrong` is what the statement that waited came to, if it has ended.
        """
        with self._looking:
            if wrong is not None:
                self._reason = reason(wrong, self._database.engine.url)
            try:
                self._look()
            except (OrchestratorError, SQLAlchemyError, DBError) as error:
                LOG.debug("nobody could be asked who holds the locks: %s", reason(error, self._database.engine.url))

    def gave_up(self) -> StepFailed:
        """The error of a revision that did not get its locks."""
        name, attempts = self._database.name, self._patience.attempts
        return StepFailed(
            "lock_timeout",
            f"lock timeout in {self._subject}, in {attempts} attempts: {self._why()}",
            remedy=self._remedy("Or wait for a quieter time."),
            revision=self._revision,
            database=name,
            holders=[holder.sentence for holder in self._holders],
        )

    def _look_again_and_again(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def _look(self) -> None:
        with self._database.reading() as reader:  # the connection for DDL would wait for the lock once more
            found = self._database.dialect.lock_holders(reader, self._tables(), waiting=self._session)
            if not found and not self._reason:
                return
            ended = {holder.session for holder in found if self._is_ended(reader, holder)}
        if found:
            self._holders = tuple(holder for holder in found if holder.session not in ended) or found
        sessions, now = frozenset(holder.session for holder in self._holders), self._clock()
        if self._told is not None and self._told[0] == sessions and now - self._told[1] < TELL_SECONDS:
            return
        is_news = self._told is None or self._told[0] != sessions
        self._told = sessions, now
        self._tell(is_news)

    def _is_ended(self, reader: sa.Connection, holder: Holder) -> bool:
        """End the session if it is in the way, idle for longer than the site's policy lets it, and nobody of ours."""
        limit = self._patience.end_idle_blockers_after_seconds
        idle = holder.idle_seconds
        if limit is None or idle is None or idle < limit or holder.is_own or not holder.certain:
            return False
        if holder.session in self._kept:
            return False
        self._record("session.end", f"ends {holder.sentence}, which keeps {self._subject} waiting")
        try:
            ended = self._database.dialect.end_idle_session(reader, holder, limit)
        except OrchestratorError as error:
            self._kept[holder.session] = error
            self._record("session.stays", f"session {holder.session} stays: {error.message}")
            return False
        if not ended:
            self._record("session.stays", f"session {holder.session} stays: it went on by itself")
        return ended

    def _record(self, action: str, sentence: str) -> None:
        if self._watch is not None:
            self._watch.interferes(action, f"{self._database.name}: {sentence}")
        LOG.warning(
            "%(database)s: %(sentence)s", {"action": action, "database": self._database.name, "sentence": sentence}
        )

    def _tell(self, is_news: bool) -> None:
        sentence = self._why()
        if is_news:
            LOG.warning(
                "%(subject)s waits for its locks in %(database)s: %(why)s",
                {
                    "action": "revision.wait",
                    "subject": self._subject,
                    "revision": self._revision,
                    "database": self._database.name,
                    "why": sentence,
                },
            )
        if self._watch is not None:
            self._watch.waits(
                Unavailable(
                    "lock_wait",
                    f"{self._subject} waits for its locks: {sentence}",
                    remedy=self._remedy("It tries again by itself."),
                )
            )

    def _why(self) -> str:
        if not self._holders:
            return self._reason
        shown = [
            f"{holder.sentence}{f', which stays: {kept.message}' if (kept := self._kept.get(holder.session)) else ''}"
            for holder in self._holders[:_MOST_HOLDERS]
        ]
        more = len(self._holders) - len(shown)
        return "; ".join([*shown, f"and {more} more"] if more else shown)

    def _remedy(self, otherwise: str) -> str:
        if not self._holders:
            return "End the session that holds the lock, or wait for a quieter time."
        first = self._holders[0]
        words = [f"To end it, in database {self._database.name}: {first.end}", otherwise, first.hint]
        kept = self._kept.get(first.session)
        return " ".join(word for word in [*words, kept.remedy if kept else ""] if word)
