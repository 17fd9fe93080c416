"""The lock of a command: one command of a schema at a time in each database, even when a daemon was killed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, OrchestratorError


@contextmanager
def command_lock(database: Database, schema: str) -> Iterator[tuple[int, ...]]:
    """Hold the schema's lock in that database. Yields the descriptors that keep it.

    A server ends a session, and frees its locks, when the last process that holds the connection's socket closes it;
    the operating system does the same for the lock on a file. A command whose keeper inherits these descriptors is
    therefore never run beside another one, not even by the next daemon after this one was killed. Raises `Conflict`
    (code `lock_busy`), `Unavailable`.
    """
    try:
        with (
            database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
            database.dialect.session_lock(connection, f"schema {schema}"),
        ):
            socket = _socket(connection)
            if socket is not None:
                yield (socket,)
                return
            with _file_lock(database, schema) as descriptors:
                yield descriptors
    except OrchestratorError:
        raise
    except Exception as error:  # whatever the driver makes of a connection that fails
        explained = database.explain(error)
        if explained is None:
            raise
        raise explained from error


def _socket(connection: sa.Connection) -> int | None:
    """The descriptor of the connection to a server; None where there is no server."""
    driver = connection.connection.driver_connection
    channel = driver if hasattr(driver, "fileno") else getattr(driver, "_sock", None)
    return None if channel is None else int(channel.fileno())


@contextmanager
def _file_lock(database: Database, schema: str) -> Iterator[tuple[int, ...]]:
    """A lock on a file beside the database's own. The file stays: one that is removed could be locked twice."""
    path = database.engine.url.database
    if not path or path == ":memory:":
        yield ()
        return
    digest = hashlib.blake2b(schema.encode(), digest_size=6).hexdigest()
    lock_path = f"{os.path.abspath(path)}-orchestrator-{digest}.command"
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, database, schema)
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, database: Database, schema: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            "lock_busy",
            f"a command of {schema} still runs in database {database.name}; whoever started it is gone",
            remedy="It is free as soon as that command has ended; repeat then.",
            database=database.name,
        ) from None
