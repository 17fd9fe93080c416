"""Rows that the program has, given to PostgreSQL: as something to join with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time
from decimal import Decimal
from types import NoneType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from orchestrator.dialects.postgresql_values import underlying
from orchestrator.dialects.times import refuse_losses

_MAX_PARAMETERS = 30_000  # the protocol's limit is 65535

Columns = Sequence[list[Any]]
"""The values of each column, row by row."""


def given_rows(
    table: Table, key: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Iterator[sa.FromClause]:
    """The rows in as many parts as it takes: one array per column, or VALUES where a column is itself an array.

    What the database takes for a value does not depend on the other rows. Raises `TypeError` or `ValueError` for one
    that would be stored as something else.
    """
    refuse_losses(table, columns, rows, keeps_offsets=True)
    names = [f"key_{i}" for i in range(len(key))] + [f"new_{i}" for i in range(len(columns))]
    kinds = [table.c[name].type for name in key] + [_transport(table.c[name].type) for name in columns]
    has_arrays = any(isinstance(kind, sa.ARRAY) for kind in kinds)
    at_once = max(1, _MAX_PARAMETERS // len(names)) if has_arrays else len(rows)
    for columns_alike in _alike(kinds, rows):
        for start in range(0, len(columns_alike[0]), at_once):
            part = [values[start : start + at_once] for values in columns_alike]
            yield _values(names, kinds, part) if has_arrays else _arrays(names, kinds, part)


def same_key(table: Table, key: Sequence[str], given: sa.FromClause) -> list[ColumnElement[bool]]:
    """The conditions that pair a row of the table with the one that is given for it."""
    return [table.c[name] == given.c[f"key_{i}"] for i, name in enumerate(key)]


def _alike(kinds: Sequence[TypeEngine[Any]], rows: Sequence[Sequence[Any]]) -> Iterable[Columns]:
    """The rows in parts in which each column has values of one sort: the driver sends no array of several.

    Raises TypeError for a value that would be stored as something else.
    """
    if not rows:
        return ()
    columns = [_uniform([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    for values, kind in zip(columns, kinds, strict=True):
        _refuse_shape(values, kind)
    mixed = [values for values, kind in zip(columns, kinds, strict=True) if _is_mixed(values, kind)]
    if not mixed:
        return (columns,)
    parts: dict[tuple[object, ...], list[tuple[Any, ...]]] = {}
    for row, telling in zip(zip(*columns, strict=True), zip(*mixed, strict=True), strict=True):
        parts.setdefault(tuple(map(_sort, telling)), []).append(row)
    return ([list(values) for values in zip(*part, strict=True)] for part in parts.values())


def _refuse_shape(values: Sequence[Any], kind: TypeEngine[Any]) -> None:
    """Raise TypeError for a list where one value belongs, and for text where a list does.

    Of an array of lists the database would make other rows, and the driver a list of letters of a text.
    """
    strange = str | bytes if isinstance(kind, sa.ARRAY) else list | tuple
    if isinstance(kind, sa.JSON):
        return
    for each in set(map(type, values)):
        if issubclass(each, strange):
            raise TypeError(f"a value of type {each.__name__} does not belong in a column of type {kind}")


def _is_mixed(values: Sequence[Any], kind: TypeEngine[Any]) -> bool:
    if isinstance(kind, sa.JSON):  # all of it travels as text
        return False
    types = set(map(type, values)) - {NoneType}
    if len(types) == 1 and types <= {datetime, time}:
        return len({_sort(value) for value in values if value is not None}) > 1
    return len(types) > 1


def _sort(value: Any) -> object:
    """What the driver decides by how it sends a value: an offset among times without one would be lost."""
    return type(value), getattr(value, "tzinfo", None) is None


def _arrays(names: Sequence[str], kinds: Sequence[TypeEngine[Any]], columns: Columns) -> sa.FromClause:
    return (
        sa.func.unnest(*map(_array, names, columns, kinds))
        .table_valued(*map(sa.column, names, kinds))
        .render_derived(name="given")
    )


def _values(names: Sequence[str], kinds: Sequence[TypeEngine[Any]], columns: Columns) -> sa.FromClause:
    first, *others = zip(*columns, strict=True)
    # The first row says of what types they are: a column of NULLs alone would be text.
    typed = tuple(sa.cast(sa.bindparam(None, value, kind), kind) for value, kind in zip(first, kinds, strict=True))
    return sa.values(*map(sa.column, names, kinds), name="given").data([typed, *others]).alias("given")


def _array(name: str, values: list[Any], kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """The values as a parameter that is an array. Numbers and text are written out here: the driver is slow at it."""
    found = set(map(type, values))
    written: list[str] | None = None
    if isinstance(kind, sa.Integer) and found <= {int, NoneType}:
        written = ["NULL" if value is None else str(value) for value in values]
    elif type(kind) is sa.Text and found <= {str, NoneType}:
        written = [
            "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
        ]
    if written is None:
        return sa.bindparam(name, values, type_=ARRAY(kind, dimensions=1))
    return sa.cast(sa.bindparam(name, "{" + ",".join(written) + "}", type_=sa.Text()), ARRAY(kind))


def _transport(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type in which new values travel. A cast to varchar(n) would cut them silently; assigning text does not."""
    kind = underlying(kind)
    if isinstance(kind, JSONB):
        return JSONB(none_as_null=True)
    if isinstance(kind, sa.JSON):
        return sa.JSON(none_as_null=True)
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        return sa.Text()
    return kind


def _uniform(values: list[Any], kind: TypeEngine[Any]) -> list[Any]:
    """The values as one Python type where they are all numbers: 1 beside 1.5 is easily written."""
    if isinstance(kind, sa.Float):
        return [float(value) if isinstance(value, int | Decimal) else value for value in values]
    if isinstance(kind, sa.Numeric):
        return [_decimal(value) if isinstance(value, int | float) else value for value in values]
    return values


def _decimal(number: int | float) -> Decimal:
    return Decimal(number) if isinstance(number, int) else Decimal(str(number))
