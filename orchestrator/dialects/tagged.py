"""Tagged sessions: those of one instance, told by its lease's epoch, and how all of them are ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from orchestrator.domain.errors import Forbidden, OrchestratorError, Unavailable

if TYPE_CHECKING:
    from orchestrator.dialects.database import Database

MARK_LENGTH = 32
"""So many digits of a tag tell its sessions: as many as an epoch has bits, and few enough for a session's name."""


class Tagged(Protocol):
    """What one kind of database knows of tagged sessions. Each connection commits every statement."""

    def member(self, connection: Connection) -> str | None:
        """By what name sessions of this server are on record; None where they need no record."""
        ...

    def other_servers(self, connection: Connection) -> tuple[tuple[str, int], ...]:
        """Host and port of each server of the cluster, as far as it tells them; maybe this one's too."""
        ...

    def find(self, connection: Connection, tag: str) -> tuple[TaggedSession, ...]:
        """All sessions of this database with the tag, on every server of a cluster; maybe some that have ended."""
        ...

    def end(self, connection: Connection, session: TaggedSession) -> bool:
        """Tell a session to end, on a connection to its own server. Returns whether it may be there still.

        Raises `Forbidden` (code `session_stays`) where we may not.
        """
        ...


class NoSessions:
    """A database without sessions."""

    def member(self, connection: Connection) -> None:
        return None

    def other_servers(self, connection: Connection) -> tuple[tuple[str, int], ...]:
        return ()

    def find(self, connection: Connection, tag: str) -> tuple[TaggedSession, ...]:
        return ()

    def end(self, connection: Connection, session: TaggedSession) -> bool:
        return False


PATIENCE_SECONDS = 5.0
"""How long sessions that were told to end are waited for: each rolls its transaction back first."""

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TaggedSession:
    """A session that carries a tag. `member` is the server it lives on, as recorded; None where there is only one.

    `started_at` is when it was recorded, by that server's clock.
    """

    tag: str
    number: int
    member: str | None = None
    started_at: float | None = None

    def __str__(self) -> str:
        return f"session {self.number}" + (f" on {self.member}" if self.member else "")


def end_tagged(
    database: Database,
    tag: str,
    members: Sequence[Database] = (),
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """End every session of the tag, and return when none is left. Repeatable.

    That proves something if, before, it was committed that this tag may work no more. `members` are the other servers
    of a cluster: a session is ended on the one that it lives on. Raises `Unavailable`, also where that one cannot be
    reached (code `member_unreachable`) or a session is still ending (code `session_ending`), and `Forbidden` where we
    may not end one.
    """
    deadline = clock() + patience_seconds
    while True:
        left = _end_once(database, tag, members)
        if not left:
            return
        if clock() >= deadline:
            raise Unavailable(
                "session_ending",
                f"{left[0]} of database {database.name} was told to end and has not yet",
                remedy="It rolls back what it began, which may take a while; it is looked at again by itself.",
                database=database.name,
            )
        sleep(POLL_SECONDS)


def _end_once(database: Database, tag: str, members: Sequence[Database]) -> tuple[TaggedSession, ...]:
    """Tell every session to end. Returns those that may not have ended yet. Raises when all that can be told were."""
    left: list[TaggedSession] = []
    wrong: list[OrchestratorError] = []
    with database.autocommitting() as connection:
        found = database.dialect.tagged.find(connection, tag)
        here = database.dialect.tagged.member(connection) if found else None
        for session in found:
            if session.member in (None, here):
                _end(database, connection, session, left, wrong)
    elsewhere = [session for session in found if session.member not in (None, here)]
    for name in dict.fromkeys(str(session.member) for session in elsewhere):
        there = [session for session in elsewhere if session.member == name]
        try:
            with _connected(database, there[0], members) as connection:
                for session in there:
                    _end(database, connection, session, left, wrong)
        except Unavailable as error:
            wrong.append(error)
    if wrong:
        raise wrong[0]
    return tuple(left)


def _end(
    database: Database,
    connection: Connection,
    session: TaggedSession,
    left: list[TaggedSession],
    wrong: list[OrchestratorError],
) -> None:
    try:
        if database.dialect.tagged.end(connection, session):
            left.append(session)
    except Forbidden as error:
        message = f"{session} of database {database.name} stays: {error.message}"
        wrong.append(Forbidden(error.code, message, remedy=error.remedy, **error.fields))


@contextmanager
def _connected(database: Database, session: TaggedSession, members: Sequence[Database]) -> Iterator[Connection]:
    """A connection to the member of the cluster on which that session lives."""
    silent: list[str] = []
    with ExitStack() as stack:
        for member in (*members, *_discovered(database, stack)):
            try:
                connection = stack.enter_context(member.autocommitting())
                if member.dialect.tagged.member(connection) == session.member:
                    break
            except Unavailable as error:
                silent.append(error.message)
        else:
            because = f" ({'; '.join(silent)})" if silent else ""
            raise Unavailable(
                "member_unreachable",
                f"{session} of database {database.name} lives on a server that cannot be reached{because}",
                remedy=f"Bring {session.member} back, or name it in the option members of that database.",
                database=database.name,
            )
        yield connection


def _discovered(database: Database, stack: ExitStack) -> Iterator[Database]:
    """The servers of the cluster that it names itself."""
    with database.autocommitting() as connection:
        found = database.dialect.tagged.other_servers(connection)
    for host, port in found:
        server = database.on_server(host, port)
        stack.callback(server.engine.dispose)
        yield server
