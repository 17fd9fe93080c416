"""Values in MariaDB and MySQL: what a column makes of one, and whether two are the same."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement
from sqlalchemy.dialects import mysql
from sqlalchemy.types import NULLTYPE, TypeEngine


def differ(stored: Column[Any], given: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether two columns of one type hold different values, byte by byte whatever their collation says."""
    if isinstance(stored.type, sa.String) and not isinstance(stored.type, sa.Enum | mysql.SET):
        return sa.cast(stored, sa.LargeBinary).is_distinct_from(sa.cast(given, sa.LargeBinary))
    return sa.type_coerce(stored, NULLTYPE).is_distinct_from(sa.type_coerce(given, NULLTYPE))


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
