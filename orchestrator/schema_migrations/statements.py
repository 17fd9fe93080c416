"""Statements: what one statement that a revision sends does, and what tells afterwards whether it took effect."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from alembic.ddl import base, mysql
from sqlalchemy import schema
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import dml

from orchestrator.schema_migrations.changes import Act, Change
from orchestrator.schema_migrations.operations import changes_of_constraint, changes_of_index, shape_of_column
from orchestrator.schema_migrations.places import Place
from orchestrator.schema_migrations.sql_text import changes_of_sql

TOOK_EFFECT = "orchestrator_took_effect"
"""Execution option: a query whose first value is true (not 0, not NULL, not nothing) once the statement took effect."""

REPEATABLE = "orchestrator_repeatable"
"""Execution option: the statement may run twice, whatever happened in between."""

_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?![!M]).*?\*/)*([A-Za-z]+)", re.DOTALL)
_READING = frozenset({"SELECT", "SHOW", "DESC", "DESCRIBE", "EXPLAIN", "VALUES"})
_OF_THE_SESSION = frozenset({"SET", "USE", "RESET", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"})
_WRITING = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE"})
_WRITES = re.compile(r"\b(?:INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_DIGEST_BYTES = 16


class Kind(StrEnum):
    """What becomes of a statement when its revision is run again."""

    READING = "reading"  # sent again
    SESSION = "session"  # sent again: what it did ended with its session
    ROWS = "rows"  # commits with its mark
    STRUCTURE = "structure"  # commits by itself, where structure does


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `changes` is what it does to the structure; `is_raw` says that nobody but its author knows."""

    kind: Kind
    text: str
    place: Place
    fingerprint: str = ""
    changes: tuple[Change, ...] = ()
    is_raw: bool = False
    took_effect: str | None = None
    repeatable: bool = False

    @property
    def can_be_told(self) -> bool:
        """Whether it can be told, after its sender died, if it took effect."""
        by_name = bool(self.changes) and all(
            change.act is Act.CREATE_INDEX and change.online and change.name and change.table for change in self.changes
        )
        return not self.is_raw or self.repeatable or self.took_effect is not None or by_name

    @property
    def tables(self) -> tuple[tuple[str | None, str], ...]:
        """The tables whose definition it changes."""
        names = {(change.schema, change.table) for change in self.changes}
        names |= {(change.schema, change.new_name) for change in self.changes if change.act is Act.RENAME_TABLE}
        return tuple(sorted((each for each in names if each[1]), key=lambda each: (each[0] or "", each[1])))


def read_statement(
    element: object, dialect: Dialect, place: Place, *, parameters: object = None, options: Mapping[str, Any]
) -> Statement:
    """Understand a statement as a connection is given it: text, or a construct of SQLAlchemy or Alembic.

    The fingerprint has two halves: one of the text, one of its parameters.
    """
    text, own_parameters = _text(element, dialect)
    kind = _kind(element, text)
    if kind in (Kind.READING, Kind.SESSION):
        return Statement(kind, text, place)
    changes = tuple(_changes(element, place)) if kind is Kind.STRUCTURE else ()
    is_raw = kind is Kind.STRUCTURE and not changes
    return Statement(
        kind,
        text,
        place,
        fingerprint=_digest(text) + _digest(repr((own_parameters, parameters))),
        changes=changes_of_sql(text, place, dialect=dialect.name) if is_raw else changes,
        is_raw=is_raw,
        took_effect=options.get(TOOK_EFFECT),
        repeatable=bool(options.get(REPEATABLE)),
    )


def same_text(fingerprint: str, other: str) -> bool:
    """Whether two fingerprints are of one statement, whatever its parameters."""
    return fingerprint[: 2 * _DIGEST_BYTES] == other[: 2 * _DIGEST_BYTES]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _text(element: object, dialect: Dialect) -> tuple[str, object]:
    if isinstance(element, sa.TextClause):
        return element.text, None
    if isinstance(element, sa.DDL):
        return str(element.statement), None
    if isinstance(element, sa.sql.ClauseElement):
        compiled = element.compile(dialect=dialect)
        return " ".join(str(compiled).split()), getattr(compiled, "params", None)
    return str(element), None


def _kind(element: object, text: str) -> Kind:
    if isinstance(element, dml.UpdateBase):
        return Kind.ROWS
    if isinstance(element, sa.sql.expression.SelectBase):
        return Kind.READING
    if isinstance(element, ExecutableDDLElement):
        return Kind.STRUCTURE
    found = _FIRST_WORD.match(text)
    word = found.group(1).upper() if found is not None else ""
    if word in _READING or (word == "WITH" and not _WRITES.search(text)):
        return Kind.READING
    if word in _OF_THE_SESSION:
        return Kind.SESSION
    return Kind.ROWS if word in _WRITING or word == "WITH" else Kind.STRUCTURE


def _changes(element: object, place: Place) -> Iterator[Change]:  # noqa: PLR0912  # one case per kind of statement
    """What a construct does. None at all for one that nobody here knows."""
    match element:
        case schema.CreateTable(element=table):
            shapes = tuple(shape_of_column(column) for column in table.columns)
            yield Change(Act.CREATE_TABLE, place, table=table.name, schema=table.schema, shapes=shapes)
        case schema.DropTable(element=table):
            yield Change(Act.DROP_TABLE, place, table=table.name, schema=table.schema)
        case schema.CreateIndex(element=index):
            yield changes_of_index(index, place)
        case schema.DropIndex(element=index):
            of = index.table
            known = of is not None and of.name != _NO_TABLE
            yield Change(
                Act.DROP_INDEX,
                place,
                table=of.name if of is not None and known else "",
                schema=of.schema if of is not None else None,
                name=str(index.name or ""),
            )
        case schema.AddConstraint(element=constraint):
            yield changes_of_constraint(constraint, place)
        case schema.DropConstraint(element=constraint):
            table = constraint.table
            yield Change(
                Act.DROP_CONSTRAINT,
                place,
                table=table.name,
                schema=table.schema,
                name=str(constraint.name or ""),
            )
        case base.AddColumn():
            shape = shape_of_column(element.column, alone=True)
            yield _of_column(Act.ADD_COLUMN, element, place, name=shape.name, shapes=(shape,))
        case base.DropColumn():
            yield _of_column(Act.DROP_COLUMN, element, place, name=element.column.name)
        case base.RenameTable():
            yield _of_column(Act.RENAME_TABLE, element, place, new_name=str(element.new_table_name))
        case mysql.MySQLChangeColumn():
            yield from _change_column(element, place)
        case mysql.MySQLAlterDefault() | base.ColumnDefault():
            act = Act.DROP_DEFAULT if element.default is None else Act.SET_DEFAULT
            yield _of_column(act, element, place, name=element.column_name)
        case base.ColumnNullable():
            act = Act.SET_NULLABLE if element.nullable else Act.SET_NOT_NULL
            yield _of_column(act, element, place, name=element.column_name)
        case base.ColumnType():
            yield _of_column(Act.CHANGE_TYPE, element, place, name=element.column_name, type=element.type_)
        case base.ColumnName():
            new_name = str(element.newname)
            yield _of_column(Act.RENAME_COLUMN, element, place, name=element.column_name, new_name=new_name)
        case base.ColumnComment():
            yield _of_column(Act.DESCRIBE, element, place)
        case schema.SetTableComment(element=table) | schema.DropTableComment(element=table):
            yield Change(Act.DESCRIBE, place, table=table.name, schema=table.schema)
        case schema.SetColumnComment(element=column) | schema.DropColumnComment(element=column):
            yield Change(Act.DESCRIBE, place, table=column.table.name, schema=column.table.schema)


_NO_TABLE = "no_table"
"""What Alembic calls the table of an index whose table it was not told."""


def _change_column(element: mysql.MySQLChangeColumn, place: Place) -> Iterator[Change]:
    """CHANGE and MODIFY state everything about a column."""
    name = str(element.column_name)
    if element.newname is not None and element.newname != name:
        yield _of_column(Act.RENAME_COLUMN, element, place, name=name, new_name=str(element.newname))
        name = str(element.newname)
    yield _of_column(Act.CHANGE_TYPE, element, place, name=name, type=element.type_)
    yield _of_column(Act.SET_NULLABLE if element.nullable else Act.SET_NOT_NULL, element, place, name=name)
    if element.default not in (False, None):
        yield _of_column(Act.SET_DEFAULT, element, place, name=name)


def _of_column(act: Act, element: base.AlterTable, place: Place, **details: Any) -> Change:
    return Change(act, place, table=str(element.table_name), schema=element.schema, **details)
