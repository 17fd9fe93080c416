"""Recording: run a revision against no database at all and note what it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import registry
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.mock import MockConnection

from orchestrator.schema_migrations.changes import Change
from orchestrator.schema_migrations.op_context import ObservedOperations, running
from orchestrator.schema_migrations.operations import changes_of_operation, changes_of_statement
from orchestrator.schema_migrations.places import Place, line_of_error
from orchestrator.schema_migrations.tree import Revision, Tree

GUARD_DIALECT = "postgresql"
"""Revisions are judged as they run on PostgreSQL: SQLite's way of altering a table needs a database to look at."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a recording could not go on, because the revision looks at its database, and what it ran into."""

    place: Place
    sentence: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What a revision does, in its order. With `stop` set, there is more that is not known.

    `leaves_transaction` says that it has an autocommit block, so that a part of it may remain when it fails.
    """

    revision: Revision
    changes: tuple[Change, ...]
    leaves_transaction: bool = False
    stop: Stop | None = None


def record(tree: Tree, revision: Revision, *, dialect: str = GUARD_DIALECT) -> Recording:
    """Run `upgrade()` of a revision without a database, as it runs on that kind. Repeatable; touches nothing."""
    changes: list[Change] = []
    context = _OfflineContext(_dialect(dialect))
    stop: Stop | None = None

    def note(operation: MigrateOperation) -> bool:
        changes.extend(changes_of_operation(operation, context, place_in(revision)))
        return False

    def execute(statement: Any, *_: Any) -> None:
        changes.extend(changes_of_statement(statement, context, place_in(revision)))

    context.connect(MockConnection(context.dialect, execute))
    module = tree.module(revision.id)
    try:
        with running(ObservedOperations(context, note, performs=False)):
            module.upgrade()
    except Exception as error:  # whatever a revision does with a database that is not there
        line = line_of_error(revision.file, error)
        stop = Stop(
            Place(revision.file, line), f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
    return Recording(
        revision=revision,
        changes=tuple(changes),
        leaves_transaction=context.left_transaction,
        stop=stop,
    )


def place_in(revision: Revision) -> Place:
    """The line of the revision's file that is running now."""
    name = str(revision.file)
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != name:
        if frame.f_back is None:
            return revision.place
        frame = frame.f_back
    return Place(Path(name), frame.f_lineno)


class _OfflineContext(MigrationContext):
    def __init__(self, dialect: Dialect) -> None:
        self.left_transaction = False
        options = {"as_sql": True, "output_buffer": StringIO(), "transactional_ddl": True}
        super().__init__(dialect, None, options)

    def connect(self, connection: MockConnection) -> None:
        """Let statements that go around the operations end here."""
        # Alembic itself puts a mock connection there when it is offline.
        self.connection = self.impl.connection = connection  # type: ignore[assignment]

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Remember that the revision leaves its transaction."""
        self.left_transaction = True
        yield


def _dialect(name: str) -> Dialect:
    made: Dialect = registry.load(name)()
    return made
