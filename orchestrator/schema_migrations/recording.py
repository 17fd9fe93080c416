"""Recording: run a revision against no database at all and note what it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.operations.ops import ExecuteSQLOp, MigrateOperation
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import registry
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.mock import MockConnection

from orchestrator.domain.errors import Invalid, MigrationRefused
from orchestrator.schema_migrations import transaction_control
from orchestrator.schema_migrations.changes import Change
from orchestrator.schema_migrations.op_context import ObservedOperations, running
from orchestrator.schema_migrations.operations import changes_of_operation, changes_of_statement
from orchestrator.schema_migrations.places import Place, line_of_error, refused
from orchestrator.schema_migrations.statements import REPEATABLE, TOOK_EFFECT, Kind, Statement, read_statement
from orchestrator.schema_migrations.tree import Revision, Tree

GUARD_DIALECT = "postgresql"
"""Revisions are judged as they run on PostgreSQL: SQLite's way of altering a table needs a database to look at."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a recording could not go on, because the revision looks at its database, and what it ran into."""

    place: Place
    sentence: str


@dataclass(frozen=True, slots=True)
class Raw:
    """A statement of which nobody could tell whether it took effect, and whether it stands in an autocommit block."""

    statement: Statement
    in_block: bool


@dataclass(frozen=True, slots=True)
class Performed:
    """One operation, and what it does."""

    operation: MigrateOperation
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a revision does, in its order. With `stop` set, there is more that is not known.

    `leaves_transaction` says that it has an autocommit block, so that a part of it may remain when it fails; `untold`
    are the statements that must not be sent where they commit by themselves. `control` is the refusal of the first one
    that must not be sent at all, since the transaction is not the revision's. `performed` are its operations.
    """

    revision: Revision
    changes: tuple[Change, ...]
    leaves_transaction: bool = False
    stop: Stop | None = None
    untold: tuple[Raw, ...] = ()
    control: MigrationRefused | None = None
    performed: tuple[Performed, ...] = ()


def record(tree: Tree, revision: Revision, *, dialect: str = GUARD_DIALECT) -> Recording:
    """Run `upgrade()` of a revision without a database, as it runs on that kind. Repeatable; touches nothing."""
    changes: list[Change] = []
    context = _OfflineContext(_dialect(dialect))
    untold: list[Raw] = []
    stop: Stop | None = None
    control: list[MigrationRefused] = []
    performed: list[Performed] = []

    def look(statement: object, options: Mapping[str, Any] | None) -> None:
        read = read_statement(statement, context.dialect, place_in(revision), options=options or {})
        alone = dialect == "mysql" or (context.in_block and dialect != "sqlite")
        found = transaction_control.refusal(revision.id, read.place, read.text, alone=alone)
        control.extend([found] if found is not None else [])
        if read.kind is Kind.STRUCTURE and not read.can_be_told:
            untold.append(Raw(read, context.in_block))

    def note(operation: MigrateOperation) -> bool:
        if isinstance(operation, ExecuteSQLOp):
            look(operation.sqltext, operation.execution_options)
        place = place_in(revision)
        try:
            made = changes_of_operation(operation, context, place)
        except Invalid as invalid:
            raise refused(invalid.code, place, invalid.message, remedy=invalid.remedy) from invalid
        performed.append(Performed(operation, made))
        changes.extend(made)
        return False

    def execute(statement: Any, options: Mapping[str, Any] | None) -> None:
        look(statement, options)
        changes.extend(changes_of_statement(statement, context, place_in(revision)))

    def end(how: str) -> None:
        control.append(transaction_control.ends(revision.id, place_in(revision), how))

    context.connect(_NoConnection(context.dialect, execute, end))
    module = tree.module(revision.id)
    try:
        with running(ObservedOperations(context, note, performs=False)):
            module.upgrade()
    except MigrationRefused:
        raise
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
        untold=tuple(untold),
        control=control[0] if control else None,
        performed=tuple(performed),
    )


class Recordings:
    """The recordings of a tree's revisions, each made once for each kind of database."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._made: dict[tuple[str, str], Recording] = {}

    def of(self, revision: Revision, dialect: str = GUARD_DIALECT) -> Recording:
        """What this revision does on that kind."""
        key = (revision.id, dialect)
        if key not in self._made:
            self._made[key] = record(self._tree, revision, dialect=dialect)
        return self._made[key]


def untold(revision: Revision, place: Place, text: str) -> MigrationRefused:
    """The refusal of a statement of which nobody could tell whether it took effect, if its sender died."""
    return refused(
        "took_effect_needed",
        place,
        f"revision {revision.id} sends SQL that commits by itself, and after a crash nobody could tell whether it took "
        f"effect: {' '.join(text.split())[:200]}",
        remedy="Write it as operations, or give it a query that is true once it took effect: op.execute(..., "
        f'execution_options={{"{TOOK_EFFECT}": "SELECT ..."}}). If it may run twice: {{"{REPEATABLE}": True}}.',
        revision=revision.id,
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
        self.in_block = False
        options = {"as_sql": True, "output_buffer": StringIO(), "transactional_ddl": True}
        super().__init__(dialect, None, options)

    def connect(self, connection: MockConnection) -> None:
        """Let statements that go around the operations end here."""
        # Alembic itself puts a mock connection there when it is offline.
        self.connection = self.impl.connection = connection  # type: ignore[assignment]

    @contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Remember that the revision leaves its transaction."""
        self.left_transaction = self.in_block = True
        try:
            yield
        finally:
            self.in_block = False


class _NoConnection(MockConnection):
    """Where statements end that go around the operations, with the options that they were given."""

    def __init__(
        self, dialect: Dialect, execute: Callable[[Any, Mapping[str, Any] | None], None], end: Callable[[str], None]
    ) -> None:
        super().__init__(dialect, lambda statement, *_, **__: execute(statement, self._options))
        self._options: Mapping[str, Any] | None = None
        self._end = end

    def commit(self) -> None:
        """Note it."""
        self._end("commit()")

    def rollback(self) -> None:
        """Note it."""
        self._end("rollback()")

    def execute(self, obj: Any, parameters: Any = None, execution_options: Any = None) -> Any:
        """Note the statement."""
        self._options = execution_options
        return super().execute(obj, parameters)


def _dialect(name: str) -> Dialect:
    made: Dialect = registry.load(name)()
    return made
