"""Values in MariaDB and MySQL: how they are read, what a column makes of one, and whether two are the same."""

from __future__ import annotations

import struct
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Dialect
from sqlalchemy.dialects import mysql
from sqlalchemy.types import NULLTYPE, TypeEngine

_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
"""The server refuses a number beyond, also one that rounds to it."""


class _Single(sa.TypeDecorator[float]):
    """What the server shows of a FLOAT once it is a DOUBLE, as the shortest number that is the same FLOAT."""

    impl = sa.Double
    cache_ok = True

    def process_result_value(self, value: float | None, _dialect: Dialect) -> float | None:
        if value is None:
            return None
        for digits in range(6, 10):
            short = float(f"{value:.{digits}g}")
            if abs(short) <= _LARGEST_FLOAT and struct.pack("f", short) == struct.pack("f", value):
                return short
        return value


def as_read(column: Column[Any]) -> ColumnElement[Any]:
    """The column as its values are read. SQLAlchemy takes a TIME for one of a day, and ten places of a DOUBLE.

    The server itself shows six digits of a FLOAT.
    """
    kind = column.type
    if isinstance(kind, sa.Float) and not isinstance(kind, sa.Double) and kind.scale is None:
        return sa.type_coerce(sa.type_coerce(column, NULLTYPE) * sa.literal_column("1e0"), _Single())
    return sa.type_coerce(column, NULLTYPE) if isinstance(kind, sa.Float | sa.Time) else column


def differ(stored: Column[Any], given: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether two columns of one type hold different values, byte by byte whatever their collation says."""
    if isinstance(stored.type, sa.String) and not isinstance(stored.type, sa.Enum | mysql.SET):
        return sa.cast(stored, sa.LargeBinary).is_distinct_from(sa.cast(given, sa.LargeBinary))
    return sa.type_coerce(stored, NULLTYPE).is_distinct_from(sa.type_coerce(given, NULLTYPE))


def differs(column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a column holds something else than what it makes of a value."""
    kind = column.type
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum | mysql.SET):
        if isinstance(kind, sa.CHAR):  # it keeps no spaces at its end
            value = sa.func.rtrim(value)
        return as_bytes(column).is_distinct_from(as_bytes(value))
    return sa.type_coerce(column, NULLTYPE).is_distinct_from(as_stored(value, kind))


def as_bytes(text_value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text as its bytes, in one character set: collations take letters, and spaces at the end, for equal."""
    return sa.cast(sa.func.convert(text_value.op("USING")(sa.literal_column("utf8mb4"))), sa.LargeBinary)


def as_stored(value: ColumnElement[Any], kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """What a column of that type makes of a value. Types that make nothing else of it are left alone."""
    match kind:
        case sa.Integer():
            return sa.cast(value, mysql.DECIMAL(65, 0))
        case sa.Numeric():
            return sa.cast(value, mysql.DECIMAL(kind.precision, kind.scale))
        case sa.Float():
            number = value if kind.scale is None else sa.func.round(value + sa.literal_column("0e0"), kind.scale)
            return number if isinstance(kind, sa.Double) else sa.cast(number, mysql.FLOAT())
        case sa.DateTime():
            return sa.cast(value, mysql.DATETIME(fsp=getattr(kind, "fsp", None)))
        case sa.Time():
            return sa.cast(value, mysql.TIME(fsp=getattr(kind, "fsp", None)))
        case sa.Date():
            return sa.cast(value, sa.Date())
        case sa.BINARY():
            return sa.func.convert(value, sa.literal_column(f"BINARY({kind.length or 1})"))
    return value
