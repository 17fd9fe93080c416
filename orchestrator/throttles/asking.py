"""Asking: a short question to a database, in a transaction of its own that writes nothing, under a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oslo_db.exception import DBError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, reason
from orchestrator.domain.errors import Unavailable


@contextmanager
def asking(database: Database, seconds: float, remedy: str = "It is asked again.") -> Iterator[Connection]:
    """A connection for it. What the database refuses comes out as `Unavailable`, without any password."""
    try:
        with database.consulting(seconds) as connection:
            yield connection
    except Unavailable as error:
        if error.code != "database_read_only":
            raise
        raise Unavailable(
            "signal_unreadable", "its query would write, and no query of a throttle may", remedy=remedy
        ) from error
    except (SQLAlchemyError, DBError) as error:
        raise Unavailable("signal_unreadable", reason(error, database.engine.url), remedy=remedy) from error
