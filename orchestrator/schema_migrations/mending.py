"""Mending: what a database has lost of revisions that its version table has, and what to type to make it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations, ops
from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import MigrationContext

from orchestrator.domain.errors import StepFailed
from orchestrator.schema_migrations.catalog import differences
from orchestrator.schema_migrations.expectations import Expectation, Thing
from orchestrator.schema_migrations.recording import Performed, Recording
from orchestrator.schema_migrations.tree import Revision

_NOT_ON_SQLITE = (ops.AlterColumnOp, ops.AddConstraintOp, ops.DropConstraintOp)
"""There it makes the table anew."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What the catalog does not show, the sentence that says so, and what makes it; nothing where only a file tells."""

    expected: Expectation
    sentence: str
    statements: tuple[str, ...]


def losses(
    connection: sa.Connection, expectations: Iterable[Expectation], recordings: Callable[[str], Recording]
) -> tuple[Loss, ...]:
    """What of these expectations is not met. Reads only."""
    expected = tuple(expectations)
    if not differences(connection, expected):
        return ()
    gone = {
        (each.schema, each.table)
        for each in expected
        if each.thing is Thing.TABLE and each.present and differences(connection, (each,))
    }
    found: list[Loss] = []
    for each in expected:
        if (each.schema, each.table) in gone and each.thing is not Thing.TABLE:
            continue  # it comes with its table
        for sentence in differences(connection, (each,)):
            found.append(Loss(each, sentence, tuple(_statements(each, recordings(each.revision), connection.dialect))))
    return tuple(found)


def gone(database: str, found: tuple[Loss, ...], revisions: Callable[[str], Revision]) -> StepFailed:
    """The error of a step whose revisions ran before, and whose effect somebody has taken away since."""
    first = revisions(found[0].expected.revision)
    names = list(dict.fromkeys(each.expected.revision for each in found))
    statements = list(dict.fromkeys(statement for each in found for statement in each.statements))
    places = list(dict.fromkeys(str(each.expected.place) for each in found if not each.statements))
    told = [f"Type there: {' '.join(statements)}"] if statements else []
    told += [f"Do by hand what it does at {', '.join(places)}."] if places else []
    return StepFailed(
        "effect_gone",
        f"{first.place}: database {database} has {' and '.join(names)} in its version table, which is not run again, "
        f"but {'; '.join(dict.fromkeys(each.sentence for each in found))}",
        remedy=" ".join(told),
        file=str(first.file),
        line=first.line,
        revision=names[0],
        database=database,
        missing=[each.sentence for each in found],
        commands=statements,
    )


def _statements(expected: Expectation, recording: Recording, dialect: sa.Dialect) -> Iterator[str]:
    """What the revision sent for it, as far as that can be written without the database."""
    for performed in recording.performed:
        operation = _part(expected, performed)
        if operation is not None:
            yield from _written(operation, dialect)
            return


def _part(expected: Expectation, performed: Performed) -> MigrateOperation | None:
    """The operation that makes what is expected, or that part of it; None where it is another one."""
    operation = performed.operation
    if not any(change.place == expected.place and change.table == expected.table for change in performed.changes):
        return None
    columns = _columns(operation)
    if columns is None or not expected.present or expected.thing is Thing.TABLE:
        return operation
    table = sa.Table(expected.table, sa.MetaData(), *(each._copy() for each in columns), schema=expected.schema)
    if expected.thing is Thing.COLUMN and expected.name in table.columns:
        column = next(each for each in columns if each.name == expected.name)
        return ops.AddColumnOp(expected.table, column._copy(), schema=expected.schema)
    for index in table.indexes:
        if index.name == expected.name or (not expected.name and _covers(index) == expected.columns):
            return ops.CreateIndexOp.from_index(index)
    return None


def _columns(operation: MigrateOperation) -> list[sa.Column[Any]] | None:
    """Those that it makes; None where it makes none."""
    match operation:
        case ops.AddColumnOp():
            return [operation.column]
        case ops.CreateTableOp():
            return [each for each in operation.columns if isinstance(each, sa.Column)]
        case _:
            return None


def _covers(index: sa.Index) -> tuple[str, ...]:
    return tuple(column.name for column in index.columns)


def _written(operation: MigrateOperation, dialect: sa.Dialect) -> tuple[str, ...]:
    if dialect.name == "sqlite" and isinstance(operation, _NOT_ON_SQLITE):
        return ()
    text = StringIO()
    context = MigrationContext(dialect, None, {"as_sql": True, "output_buffer": text, "transactional_ddl": True})
    with suppress(Exception):  # whatever an operation does that needs its database: then the place is named
        Operations(context).invoke(operation)
        return tuple(" ".join(each.split()) for each in _split(text.getvalue()))
    return ()


def _split(text: str) -> Iterator[str]:
    """Alembic ends each statement with a semicolon and an empty line."""
    for each in text.split(";\n\n"):
        if each.strip():
            yield f"{each.strip()};"
