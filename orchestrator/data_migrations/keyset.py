"""Keyset: walking a table in the order of a unique key, so that a batch costs the same wherever it is.

The database's own ordering rules: positions are compared by the database only, with the collation of the column. A
batch is a range, open below and closed above; the ranges of a walk leave no gap, so every row is in exactly one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import ColumnElement, Connection, Select, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NULLTYPE

from orchestrator.data_migrations.faults import CutOff
from orchestrator.dialects import Dialect, reason
from orchestrator.domain.errors import MigrationRefused, StepFailed
from orchestrator.domain.visible import visible

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Rows with `after` < key <= `last`. None is the open end. With `is_one`, only the row whose key is `last`."""

    after: Key | None
    last: Key | None
    is_one: bool = False

    def its_last(self) -> Range:
        """Only its last row; the same range where it is open above."""
        return self if self.last is None else Range(None, self.last, is_one=True)


class Keyset:
    """The key of one table."""

    def __init__(self, table: Table, names: tuple[str, ...], dialect: Dialect) -> None:
        self.table = table
        self.dialect = dialect
        self.names = names
        # Keys travel as the driver has them: what SQLAlchemy makes of a type need not come back as the same value.
        self.columns: tuple[ColumnElement[Any], ...] = tuple(sa.type_coerce(table.c[name], NULLTYPE) for name in names)

    def next_range(self, connection: Connection, after: Key | None, rows: int, up_to: Key | None = None) -> Range:
        """The range of the next `rows` rows, or up to that key; open above when it reaches the end of the table.

        Raises `StepFailed` where a key cannot be read, `CutOff` where finding it took longer than the server lets it.
        """
        query = sa.select(*self.columns).where(*self.within(Range(after, up_to)))
        last = self._read(connection, query.order_by(*self.columns).limit(1).offset(rows - 1), Range(after, up_to))
        return Range(after, up_to if last is None else last)

    def last(self, connection: Connection) -> Key | None:
        """The last key of the table, None where it is empty."""
        query = sa.select(*self.columns).order_by(*(column.desc() for column in self.columns))
        return self._read(connection, query.limit(1), Range(None, None))

    def some_key(self, connection: Connection) -> Key | None:
        """A key of the table, whichever is at hand; None where it is empty. Raises `StepFailed`."""
        return self._read(connection, sa.select(*self.columns).limit(1), Range(None, None))

    def within(self, range_: Range) -> tuple[ColumnElement[bool], ...]:
        """The conditions of being in a range."""
        if range_.is_one and range_.last is not None:
            return tuple(column == value for column, value in zip(self.columns, _given(range_.last), strict=True))
        upper = () if range_.last is None else (self.dialect.row_up_to(self.columns, _given(range_.last)),)
        return (*self._after(range_.after), *upper)

    def describe(self, key: Key) -> str:
        """A key as people may look it up, e.g. `id=42`."""
        return ", ".join(f"{name}={visible(str(value))}" for name, value in zip(self.names, key, strict=True))

    def describe_range(self, range_: Range) -> str:
        """A range in words."""
        if range_.is_one and range_.last is not None:
            return f"the row {self.describe(range_.last)}"
        start = "from the first row" if range_.after is None else f"after {self.describe(range_.after)}"
        end = "to the last row" if range_.last is None else f"up to {self.describe(range_.last)}"
        return f"{start} {end}"

    def _read(self, connection: Connection, query: Select[Any], range_: Range) -> Key | None:
        try:
            row = connection.execute(query).first()
        except (SQLAlchemyError, DBError, ValueError) as error:
            words = f"of {self.table.name}, {self.describe_range(range_)}: {reason(error, connection.engine.url)}"
            if self.dialect.is_cut_off(error):
                raise CutOff(
                    "batch_cut_off",
                    f"the next rows were not found in time {words}",
                    remedy="Give the user a longer time for its statements.",
                    table=self.table.name,
                ) from error
            if self.dialect.refuses_value(error) or isinstance(error, ValueError):
                raise StepFailed(
                    "row_unreadable",
                    f"cannot read a key {words}",
                    remedy="Mend the stored key, or declare another one.",
                    table=self.table.name,
                ) from error
            raise
        return None if row is None else tuple(row)

    def _after(self, key: Key | None) -> tuple[ColumnElement[bool], ...]:
        return () if key is None else (self.dialect.row_after(self.columns, _given(key)),)


def _given(key: Key) -> tuple[ColumnElement[Any], ...]:
    return tuple(sa.bindparam(None, value, type_=NULLTYPE) for value in key)


def encode(key: Key) -> str:
    """A key as text for the ledger; `decode` gives the same values back.

    Raises `MigrationRefused` (code `key_type_unsupported`).
    """
    return json.dumps([_encoded(value) for value in key])


def decode(text: str) -> Key:
    """The key that `encode` wrote."""
    return tuple(_decoded(value) for value in json.loads(text))


_DECODERS: dict[str, Any] = {
    "uuid": UUID,
    "decimal": Decimal,
    "bytes": bytes.fromhex,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
}


def _encoded(value: object) -> object:
    match value:
        case int() | str() | float():
            return value
        case UUID():
            return {"uuid": str(value)}
        case Decimal():
            return {"decimal": str(value)}
        case bytes() | memoryview():
            return {"bytes": bytes(value).hex()}
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
    raise MigrationRefused(
        "key_type_unsupported",
        f"a key with values of type {type(value).__name__} cannot be walked",
        remedy="Declare another unique key: integers, text, UUIDs, numbers, times and bytes can be walked.",
    )


def _decoded(value: object) -> object:
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        return _DECODERS[kind](text)
    return value
