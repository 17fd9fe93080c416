"""Killing: the connection of a runner lost at a chosen commit, as when its process or its host dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event

from orchestrator.dialects import Database


class _Killed(BaseException):
    """The process ends here. Nothing in the program catches it."""


@dataclass
class Life:
    """What became of the block: whether it was killed, or ended before the moment came."""

    was_killed: bool = False


@contextmanager
def killed_before_commit(database: Database, number: int) -> Iterator[Life]:
    """End the block, and its session, before its commit of that number, counted from 1."""
    life = Life()
    commits = 0

    def commit(connection: Connection) -> None:
        nonlocal commits
        commits += 1
        if commits == number:
            life.was_killed = True
            _break(connection.connection.dbapi_connection)
            raise _Killed

    event.listen(database.engine, "commit", commit)
    try:
        yield life
    except BaseException:
        if not life.was_killed:
            raise  # else nobody is left who could mind
    finally:
        event.remove(database.engine, "commit", commit)


def _break(connection: Any) -> None:
    """End the session without a word, as the system does with the sockets of a dead process."""
    if isinstance(connection, sqlite3.Connection):
        connection.rollback()  # as whoever opens the file next does
    elif hasattr(connection, "_force_close"):
        connection._force_close()
    else:
        connection.close()
