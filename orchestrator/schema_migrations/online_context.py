"""Alembic's context on a real connection: lock timeouts in force, and known whether statements commit by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

from orchestrator.dialects import Database, Dialect
from orchestrator.schema_migrations.waiting import Patience


def commits_alone(dialect: Dialect, *, in_block: bool) -> bool:
    """Whether a statement of DDL commits by itself; `in_block` if it stands in an autocommit block."""
    return not dialect.transactional_ddl or (in_block and dialect.name != "sqlite")


class OnlineContext(MigrationContext):
    """Lock timeouts hold in its autocommit blocks and after them.

    `outside` says that every statement commits by itself now. `block` is entered for each autocommit block. `speaks`
    says that what is sent now comes from the runner, and is no statement of the revision.
    """

    def __init__(self, connection: sa.Connection, database: Database, version_table: str, patience: Patience) -> None:
        options = {
            "version_table": version_table,
            "transaction_per_migration": True,
            "transactional_ddl": database.dialect.transactional_ddl,
        }
        super().__init__(connection.dialect, connection, options)
        self.outside = False
        self.speaks = False
        self.block: Callable[[], AbstractContextManager[None]] = nullcontext
        self._database = database
        self._patience = patience

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Leave the transaction where the database has statements that cannot run in one. SQLite has none."""
        if self.outside or not commits_alone(self._database.dialect, in_block=True):
            yield
            return
        with self.autocommit(self._patience.outside_seconds), self.block():
            yield
        assert self.connection is not None
        with self.speaking():
            self._database.dialect.lock_timeout(self.connection, self._patience.lock_seconds)

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """What is sent in the block is no statement of the revision."""
        before, self.speaks = self.speaks, True
        try:
            yield
        finally:
            self.speaks = before

    @contextmanager
    def together(self) -> Iterator[None]:
        """Statements that commit together, also where each commits by itself otherwise."""
        assert self.connection is not None
        if self.outside:
            self.connection.exec_driver_sql("BEGIN")
        yield
        if self.outside:
            self.connection.exec_driver_sql("COMMIT")

    @contextmanager
    def autocommit(self, lock_seconds: float) -> Iterator[None]:
        """Commit what was done, and let every statement of the block commit by itself."""
        connection = self.connection
        assert connection is not None
        in_transaction = self._transaction is not None
        with self.speaking():
            if self._transaction is not None:
                self._transaction.commit()
                self._transaction = None
            level = connection.get_isolation_level()
            connection.execution_options(isolation_level="AUTOCOMMIT")
        self.outside = True
        try:
            with self.speaking():
                self._database.dialect.lock_timeout(connection, lock_seconds)
            yield
        finally:
            self.outside = False
            with self.speaking():
                _leave_autocommit(connection, level)
        if in_transaction:
            self._transaction = connection.begin()


def _leave_autocommit(connection: sa.Connection, level: str) -> None:
    """Also when the connection is broken: then nobody uses it again, and nothing is said of it here."""
    if connection.closed or connection.invalidated:
        return
    try:
        if connection.in_transaction():
            connection.rollback()
        connection.execution_options(isolation_level=level)
    except Exception:  # whatever a driver makes of a connection that is gone; its first error tells more
        connection.invalidate()
