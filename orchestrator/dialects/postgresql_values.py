"""Values in PostgreSQL: whether a column holds what it would make of one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN, INTERVAL, JSONB
from sqlalchemy.types import TypeEngine

_NO_TEXT = "\\u0000"
"""What JSON may spell, and neither text nor jsonb can hold."""


def underlying(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type that a domain is made of; any other type as it is."""
    while isinstance(kind, DOMAIN):
        kind = kind.data_type
    return kind


def differ(column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """As `Dialect.differs`."""
    kind = underlying(column.type)
    stored = sa.type_coerce(column, kind)
    if isinstance(kind, sa.JSON) and not isinstance(kind, JSONB):
        return _documents_differ(stored, value)
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        # Byte by byte, whatever collation or type (citext) say; not cut to length, as a cast to varchar(n) would.
        text = kind if isinstance(kind, sa.CHAR) else sa.Text()
        return sa.cast(stored, text).collate("C").is_distinct_from(sa.cast(value, text).collate("C"))
    if kind._isnull:
        return column.is_distinct_from(value)
    new = sa.cast(value, kind)
    if isinstance(kind, INTERVAL):  # equal are to PostgreSQL 1 month and 30 days
        return sa.func.interval_send(stored).is_distinct_from(sa.func.interval_send(new))
    if isinstance(kind, ARRAY) and isinstance(kind.item_type, INTERVAL):
        return sa.func.array_send(stored).is_distinct_from(sa.func.array_send(new))
    return stored.is_distinct_from(new)


def _documents_differ(stored: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """json has no equality; jsonb has one, and cannot be made of each document."""
    new = sa.cast(value, sa.JSON)
    old_text, new_text = sa.cast(stored, sa.Text), sa.cast(new, sa.Text)
    return sa.case(
        (old_text.is_not_distinct_from(new_text), sa.false()),
        (sa.func.strpos(sa.func.concat(old_text, new_text), _NO_TEXT) > 0, sa.true()),
        else_=sa.cast(stored, JSONB).is_distinct_from(sa.cast(new, JSONB)),
    )
