"""Rows that the program has, given to MariaDB and MySQL: in a temporary table, to be joined with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, ExceptionContext, Table, TableClause
from sqlalchemy.dialects import mysql
from sqlalchemy.types import NULLTYPE, TypeEngine

from orchestrator.dialects.mysql_server import code_of
from orchestrator.dialects.times import refuse_losses

_NAME = "orchestrator_given"

NUMBER = "orchestrator_number"

_MOST_BYTES = 1_000_000
"""A statement is no longer than that, as PyMySQL has it, except for the sake of one row."""

_BIGINT = range(-(2**63), 2**63)

_SENT_AS_THEY_ARE = frozenset(
    {NoneType, bool, int, float, Decimal, str, bytes, bytearray, date, datetime, time, timedelta, UUID}
)
"""A list becomes a part of the statement in the driver's hands, and any other object what `str` says of it."""


@contextmanager
def given_rows(
    connection: Connection, table: Table, key: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Iterator[TableClause]:
    """The rows in a temporary table, whose columns are made, and called, as those of the table are, with their order in
    the column `NUMBER`. Ends no transaction.

    Raises `TypeError` or `ValueError` for a value that the driver would send as another one, or not at all.
    """
    refuse_losses(table, columns, rows)
    for at, name in enumerate(columns, start=len(key)):
        _refuse_unsendable(name, table.c[name].type, [row[at] for row in rows])
    names = (*key, *columns)
    kinds = [NULLTYPE for _ in key] + [_transport(table.c[name].type) for name in columns]
    given = sa.table(  # no `Table`: each would be another one, for which every statement is compiled, and kept, anew
        _NAME,
        sa.column(NUMBER, sa.Integer),
        *(sa.column(name, kind) for name, kind in zip(names, kinds, strict=True)),
    )
    preparer = connection.dialect.identifier_preparer
    quoted = list(map(preparer.quote, names))
    listed = ", ".join(quoted)
    if connection.info.get(_NAME):  # by somebody whose statement failed
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE IF EXISTS {_NAME}")
    connection.info[_NAME] = table.name
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {_NAME} ({NUMBER} INT AUTO_INCREMENT PRIMARY KEY)"
        f" AS SELECT {listed} FROM {preparer.format_table(table)} LIMIT 0"
    )
    in_json = [_kind_in_json(kind, [row[i] for row in rows]) for i, kind in enumerate(kinds)]
    if all(in_json):
        described = ", ".join(
            f"{name} {kind} PATH '$[{i}]'" for i, (name, kind) in enumerate(zip(quoted, in_json, strict=True))
        )
        _insert(connection, f"({listed}) SELECT {listed}", described, rows)
    else:
        connection.execute(sa.insert(given), [dict(zip(names, row, strict=True)) for row in rows])
    yield given
    connection.exec_driver_sql(f"DROP TEMPORARY TABLE {_NAME}")
    del connection.info[_NAME]


def name_table(context: ExceptionContext) -> None:
    """Let what the server says of a column of the temporary table be said of the table that the rows are of."""
    error, connection = context.original_exception, context.connection
    if connection is None or code_of(error) is None or f"`{_NAME}`" not in str(error):  # a lost one has no `info`
        return
    code, words = error.args
    error.args = (code, words.replace(f"`{_NAME}`", f"`{connection.info.get(_NAME, _NAME)}`"))


def _refuse_unsendable(name: str, kind: TypeEngine[Any], values: Sequence[Any]) -> None:
    found = set(map(type, values))
    if not isinstance(kind, sa.JSON | mysql.SET) and (strange := found - _SENT_AS_THEY_ARE):
        for value in values:
            if type(value) in strange and not _says_itself(value):
                raise TypeError(f"column {name} takes no {type(value).__name__}: {_instead_of(value)}")
    for value in values if found & {float, Decimal} else ():
        if isinstance(value, float | Decimal) and not math.isfinite(value):
            raise ValueError(f"column {name} takes no {value}: MariaDB and MySQL have no such number")


def _says_itself(value: object) -> bool:
    """Text or a number of some other class, as an enumeration may be, of which `str` says no more than that."""
    if isinstance(value, str):
        return str(value) == str.__str__(value)
    return isinstance(value, int) and str(value) == int.__repr__(value)


def _instead_of(value: object) -> str:
    if isinstance(value, Mapping | Sequence | AbstractSet) and not isinstance(value, str):
        return "if it is of JSON, return text, as of json.dumps"
    return "return text, bytes, a number, a date, a time, or None"


def _insert(connection: Connection, columns: str, described: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert them as one document, which the driver is five times as quick with as with so many values."""
    document = msgspec.json.encode(rows)
    if len(document) > _MOST_BYTES and len(rows) > 1:
        half = len(rows) // 2
        _insert(connection, columns, described, rows[:half])
        _insert(connection, columns, described, rows[half:])
        return
    connection.exec_driver_sql(
        f"INSERT INTO {_NAME} {columns} FROM JSON_TABLE(%s, '$[*]' COLUMNS ({described})) AS sent", (document.decode(),)
    )


def _kind_in_json(kind: TypeEngine[Any], values: list[Any]) -> str | None:
    """As what such values can be read from JSON just as they are; None where they have to be sent one by one."""
    found = set(map(type, values)) - {NoneType}
    if found <= {int} and isinstance(kind, sa.Integer | sa.types.NullType):
        return "BIGINT" if all(value is None or value in _BIGINT for value in values) else None
    is_plain = kind is NULLTYPE or (isinstance(kind, sa.String) and not isinstance(kind, sa.Enum | mysql.SET))
    return "LONGTEXT CHARACTER SET utf8mb4" if found <= {str} and is_plain else None


def _transport(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """None is NULL in a column of JSON too."""
    return sa.JSON(none_as_null=True) if isinstance(kind, sa.JSON) else kind
