"""Values in SQLite: how they are read."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Dialect

_ROOM = Context(prec=1000)
"""For all digits of the largest number that SQLite holds."""


class _Number(sa.TypeDecorator[Decimal]):
    """All of a number, with the places of its column at the least. SQLAlchemy would keep those, or ten, and no more."""

    impl = sa.types.NullType
    cache_ok = True

    def __init__(self, places: int | None) -> None:
        super().__init__()
        self.places = places

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise TypeError(f"{value!r} is no number")
        number = Decimal(repr(value))
        found = number.as_tuple().exponent
        if self.places is None or not isinstance(found, int) or -found >= self.places:
            return number
        return number.quantize(Decimal(1).scaleb(-self.places), context=_ROOM)


def as_read(column: Column[Any]) -> ColumnElement[Any]:
    """The column as its values are read."""
    kind = column.type
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        return sa.type_coerce(column, _Number(kind.scale))
    return column
