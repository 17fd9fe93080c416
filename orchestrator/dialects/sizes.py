"""Sizes: how many bytes the values of a column take when they are read, by the database's own count."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

FLAT_BYTES = 16
"""What a number, a time or a UUID counts for."""

_MOST_BYTES_OF_A_CHARACTER = 4


class octets(GenericFunction[int]):  # named as what it is in SQL
    """How many bytes a text, or bytes, have."""

    type = sa.BigInteger()
    inherit_cache = True
    _register = False


@compiles(octets)
def _octets(element: octets, compiler: Any, **more: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **more)})"


@compiles(octets, "sqlite")
def _octets_in_sqlite(element: octets, compiler: Any, **more: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **more)} AS BLOB))"


def size_of(column: Column[Any]) -> ColumnElement[int] | int:
    """How many bytes its value takes in a row; a number where all take the same, or next to nothing."""
    kind = column.type
    if isinstance(kind, _SHORT):
        return FLAT_BYTES
    return sa.func.coalesce(octets(sa.cast(column, sa.Text()) if isinstance(kind, _STRUCTURED) else column), 0)


def longest(column: Column[Any], dialect: str) -> int | None:
    """How many bytes its value can take; None where its type sets no limit that the database keeps."""
    kind = column.type
    if isinstance(size_of(column), int):
        return FLAT_BYTES
    length = getattr(kind, "length", None)
    if length is None or dialect == "sqlite" or isinstance(kind, _STRUCTURED):
        return None
    return int(length) * _MOST_BYTES_OF_A_CHARACTER


_SHORT = (sa.Integer, sa.Numeric, sa.Boolean, sa.Date, sa.DateTime, sa.Time, sa.Interval, sa.Uuid, sa.Enum)
_STRUCTURED = (sa.JSON, sa.ARRAY, sa.types.NullType)
"""What becomes text first, so that its bytes can be counted."""
