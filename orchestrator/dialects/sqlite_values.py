"""Values in SQLite: how they are read, and which of them it would not keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ColumnElement, Dialect, Table

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


def refuse_lost_digits(table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Raise `ValueError` for a number that a column of NUMERIC would keep as another one: numbers go there as floats.

    The rows end with values of these columns.
    """
    for at, name in enumerate(columns, start=-len(columns)):
        kind = table.c[name].type
        if not isinstance(kind, sa.Numeric | sa.Float):
            continue
        for value in (row[at] for row in rows):
            if isinstance(value, float | Decimal) and math.isnan(value):
                raise ValueError(f"column {name} takes no {value}: SQLite has no such number")
            if isinstance(value, int | Decimal) and not isinstance(kind, sa.Float) and not _is_kept(value):
                raise ValueError(f"column {name} would not keep all digits of {value}: use an expression")


def _is_kept(number: int | Decimal) -> bool:
    try:
        kept = float(number)
    except OverflowError:
        return False
    return not Decimal(number).is_finite() or Decimal(repr(kept)) == number
