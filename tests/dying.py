"""Connections that die at a chosen moment, as they do when their process is killed."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, Unavailable

_READS = re.compile(r"\s*(?:SELECT (?!RELEASE_LOCK|GET_LOCK)|SHOW|DESC|PRAGMA|SET )", re.IGNORECASE)
_DDL = ("CREATE", "ALTER", "DROP")
_PATIENCE_SECONDS = 60.0


class Killed(BaseException):
    """The process ends here. Nothing in the program catches it."""


@dataclass
class Life:
    """What a database saw of one process. `died` at the statement that was the last one, None if it lived on."""

    sent: list[str] = field(default_factory=list)
    died: str | None = None


@contextmanager
def dying(database: Database, moment: int | None, *, every: bool = True) -> Iterator[Life]:
    """Let the connection die at the moment of that number, counted from 1; None: never.

    The moments lie before each commit and after each statement that is no mere reading: between two of them no
    database can tell one from another. Without `every` the moments within a transaction count as one.
    """
    life = Life()
    crossed = 0
    is_open = False

    def cross(connection: sa.Connection, what: str) -> None:
        nonlocal crossed, is_open
        within = is_open and what.upper() != "COMMIT" and not what.startswith(_DDL)
        is_open = what == "BEGIN" or (is_open and what.upper() != "COMMIT")
        if within and not every:
            return
        crossed += 1
        if crossed == moment:
            life.died = what
            _break(connection.connection.dbapi_connection)
            raise Killed

    def before(connection: sa.Connection, cursor: object, statement: str, *others: object) -> None:
        life.sent.append(" ".join(statement.split()))

    def after(connection: sa.Connection, cursor: object, statement: str, *others: object) -> None:
        if not _READS.match(statement):
            cross(connection, " ".join(statement.split()))

    def commit(connection: sa.Connection) -> None:
        cross(connection, "commit")

    def begin(connection: sa.Connection) -> None:
        nonlocal is_open
        is_open = True

    event.listen(database.engine, "begin", begin)
    event.listen(database.engine, "before_cursor_execute", before)
    event.listen(database.engine, "after_cursor_execute", after)
    event.listen(database.engine, "commit", commit)
    try:
        yield life
    except BaseException:
        if life.died is None:
            raise  # else nobody is left who could mind
    finally:
        event.remove(database.engine, "begin", begin)
        event.remove(database.engine, "before_cursor_execute", before)
        event.remove(database.engine, "after_cursor_execute", after)
        event.remove(database.engine, "commit", commit)


def _break(connection: Any) -> None:
    """End the session without a word, as the system does with the sockets of a dead process."""
    if isinstance(connection, sqlite3.Connection):
        connection.rollback()  # as whoever opens the file next does
    elif hasattr(connection, "_force_close"):
        connection._force_close()
    else:
        connection.close()


def when_free(work: Callable[[], Any]) -> Any:
    """Do the work as soon as the session of a dead owner has let go of its locks, and again if the server dropped ours.

    That is what a daemon does. MariaDB ended a session by itself twice in five runs of all tests, for no reason that
    was found; what was begun in it is then continued like any other.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return work()
        except (Conflict, Unavailable) as error:
            if error.code not in {"lock_busy", "batch_claimed", "database_unreachable"} or time.monotonic() > deadline:
                raise
