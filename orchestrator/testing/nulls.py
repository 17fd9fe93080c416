"""NULLs and types: what becomes of a row whose old columns are NULL, and whether answers are of their column's type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import Column, Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.data_migrations.batches import compare, move
from orchestrator.data_migrations.expressions import columns_of
from orchestrator.data_migrations.faults import RowFault
from orchestrator.data_migrations.keyset import Key, Range
from orchestrator.domain.errors import StepFailed
from orchestrator.testing.faults import Fault, told
from orchestrator.testing.ground import Ground
from orchestrator.testing.values import Rows, Values, shown


class _TakenBack(Exception):
    """Ends a transaction of which nothing is to stay."""


def faults_of_nulls(ground: Ground, never_null: tuple[str, ...]) -> Iterator[Fault]:
    """Let each old column that may be NULL be NULL in one row, move that row, compare it, and take all of it back."""
    with ground.database.reading() as connection:
        columns = [
            name
            for name in _old_columns(ground)
            if name not in never_null and not ground.database.dialect.never_null(connection, ground.target.table, name)
        ]
        key = connection.execute(sa.select(*ground.target.keyset.columns).limit(1)).first()
    for name in columns:
        if key is not None and (wrong := _moved_with_null(ground, name, tuple(key))):
            yield Fault(
                "trial_null",
                f"{ground.definition.table}.{name} may be NULL, and then: {wrong}",
                f"Let it give a value for NULL too. If no row holds NULL there while rows are moved, say so: "
                f'never_null=("{name}",).',
            )


def _old_columns(ground: Ground) -> tuple[str, ...]:
    definition, table = ground.definition, ground.target.table
    if definition.transform is not None:
        return tuple(name for name in definition.reads if name not in ground.target.keyset.names)
    dialect = ground.database.dialect.name
    named = {name for _, sql in definition.expressions for name in columns_of(sql, dialect)}
    left_out = {*definition.writes, *ground.target.keyset.names}
    return tuple(column.name for column in table.c if column.name in named and column.name not in left_out)


def _moved_with_null(ground: Ground, name: str, key: Key) -> str | None:
    """What went wrong, or None; also where the database keeps NULL out by something else than the column.

    A row that is not moved as it is says nothing of NULLs: what is wrong with it is for the run to tell.
    """
    database, definition, target = ground.database, ground.definition, ground.target
    one = Range(None, key, is_one=True)
    wrong: str | None = None

    def is_moved(connection: Connection) -> bool:
        move(database, connection, definition, target, one)
        return not compare(database, connection, definition, target, one).differences

    try:
        with database.writing() as connection, database.dialect.triggers.bypassing(connection):
            try:
                if not is_moved(connection):
                    raise _TakenBack
                with connection.begin_nested():
                    statement = sa.update(target.table).where(*target.keyset.within(one)).values({name: sa.null()})
                    connection.execute(statement)
            except (SQLAlchemyError, DBError, StepFailed):
                raise _TakenBack from None
            try:
                if not is_moved(connection):
                    wrong = f"{definition.place} does not find the row {target.keyset.describe(key)} as it wrote it"
            except StepFailed as fault:
                wrong = fault.message
            raise _TakenBack
    except _TakenBack:
        return wrong


def faults_of_types(ground: Ground, rows: Rows) -> tuple[Fault, ...]:
    """Answers of a transform that are of another type than their column, or too long for it; SQLite would take them."""
    if ground.definition.transform is None:
        return ()
    try:
        with ground.database.reading() as connection:
            computed = rows.computed(connection)
    except (RowFault, SQLAlchemyError, DBError):  # the run tells it, with its line or its key
        return ()
    except StepFailed as fault:
        return (Fault.of(fault),)
    return told(list(_faults_of_types(ground, computed)))


def _faults_of_types(ground: Ground, computed: Values) -> Iterator[Fault]:
    definition = ground.definition
    for key, row in computed.items():
        for name, value in zip(definition.writes, row, strict=True):
            wrong = _wrong_type(ground.target.table.c[name], value)
            if wrong is not None:
                yield Fault(
                    "trial_type",
                    f"{definition.place} returns {name} = {shown(value)} for the row "
                    f"{ground.target.keyset.describe(key)}, {wrong}",
                    "Return a value of the column's type, or make the column another one in its expand revision.",
                )


_TAKES: dict[type, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bytes: (bytes, bytearray, memoryview),
    float: (float, int),
    Decimal: (Decimal, int, float),
    date: (date,),
    datetime: (date,),
    UUID: (UUID,),
}
"""What a column takes on every database, of the types on which databases are not of one mind."""


def _wrong_type(column: Column[Any], value: object) -> str | None:
    if value is None:
        return None
    try:
        takes = _TAKES.get(column.type.python_type)
    except NotImplementedError:
        return None
    if takes is not None and not isinstance(value, takes):
        return f"which is {type(value).__name__}, where the column is {column.type}"
    length = getattr(column.type, "length", None)
    if isinstance(value, str) and isinstance(length, int) and len(value) > length:
        return f"which is {len(value)} characters long, where the column is {column.type}"
    return None
