"""Values: what the written columns hold, row by row, what they should hold, and putting other ones there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import INTERVAL

from orchestrator.data_migrations.keyset import Key, Range
from orchestrator.data_migrations.loading import Definition
from orchestrator.data_migrations.target import Target
from orchestrator.data_migrations.transforming import read_and_transform
from orchestrator.dialects import Database

EVERY = Range(None, None)
Values = Mapping[Key, tuple[Any, ...]]
"""Key of a row: the values of the written columns, in the order of `Definition.writes`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row whose column holds something else than it should. `key` is in words, e.g. `id=42`."""

    key: str
    column: str
    found: Any
    expected: Any

    def __str__(self) -> str:
        return f"row {self.key} holds {self.column} = {shown(self.found)} in place of {shown(self.expected)}"


class Rows:
    """The rows of the table under trial."""

    def __init__(self, database: Database, definition: Definition, target: Target) -> None:
        self._database = database
        self._definition = definition
        self._target = target
        self._written = tuple(database.dialect.as_read(target.table.c[name]) for name in definition.writes)

    def values(self) -> Values:
        """What the written columns hold now. A null of JSON that is no NULL is `sa.JSON.NULL`."""
        at_json = [at for at, column in enumerate(self._written) if isinstance(column.type, sa.JSON)]
        absent = tuple(self._written[at].is_(sa.null()) for at in at_json)
        with self._database.reading() as connection:
            found = self._select(connection, (*self._written, *absent))
        if not at_json:
            return found
        return {
            key: _with_json_nulls(row[: -len(at_json)], at_json, row[-len(at_json) :]) for key, row in found.items()
        }

    def put(self, values: Values) -> None:
        """Let the written columns hold these values; sync triggers are passed, as by the data migration itself."""
        keyset, writes = self._target.keyset, self._definition.writes
        with self._database.writing() as connection, self._database.dialect.triggers.bypassing(connection):
            for key, row in values.items():
                one = keyset.within(Range(None, key, is_one=True))
                new = {name: sa.null() if value is None else value for name, value in zip(writes, row, strict=True)}
                connection.execute(sa.update(self._target.table).where(*one).values(new))

    def computed(self, connection: Connection) -> Values:
        """What f gives for each row now. Raises `StepFailed` as a batch does."""
        if self._definition.transform is None:
            computed = dict(self._target.expressions)
            return self._select(connection, tuple(computed[name] for name in self._definition.writes))
        found = read_and_transform(connection, self._definition, self._target, EVERY, lock=False)
        width = len(self._target.keyset.names)
        return {tuple(row[:width]): tuple(row[width:]) for row in found}

    def not_as_computed(self) -> tuple[Difference, ...]:
        """Every place where a row does not hold what f gives for it; the database compares, as verification does."""
        with self._database.snapshot() as connection:
            expected, held = self.computed(connection), self._select(connection, self._written)
            differing = self._differing(connection, expected)
        return tuple(
            Difference(self._target.keyset.describe(key), name, held[key][at], expected[key][at])
            for key in differing
            for at, name in enumerate(self._definition.writes)
            if held[key][at] != expected[key][at]
        )

    def differences(self, found: Values, expected: Values) -> tuple[Difference, ...]:
        """Every place where two readings of the same rows differ."""
        return tuple(
            Difference(self._target.keyset.describe(key), name, found[key][at], row[at])
            for key, row in expected.items()
            for at, name in enumerate(self._definition.writes)
            if key in found and found[key][at] != row[at]
        )

    def _differing(self, connection: Connection, expected: Values) -> tuple[Key, ...]:
        dialect, keyset, table = self._database.dialect, self._target.keyset, self._target.table
        if self._definition.transform is not None:
            given = [(*key, *row) for key, row in expected.items()]
            writes = self._definition.writes
            return dialect.differing_keys(connection, table, keyset.names, writes, given, keyset.within(EVERY))
        differs = sa.or_(*(dialect.differs(table.c[name], value) for name, value in self._target.expressions))
        query = sa.select(*keyset.columns).where(differs).order_by(*keyset.columns)
        return tuple(tuple(row) for row in connection.execute(query))

    def _select(self, connection: Connection, columns: tuple[ColumnElement[Any], ...]) -> Values:
        """These in the place of the written columns, and any more. Intervals are text: Python has none of months."""
        keys = self._target.keyset.columns
        intervals = {at for at, written in enumerate(self._written) if isinstance(written.type, INTERVAL)}
        labelled = (
            (sa.cast(column, sa.Text) if at in intervals else column).label(f"value_{at}")
            for at, column in enumerate(columns)
        )
        query = sa.select(*keys, *labelled).select_from(self._target.table).order_by(*keys)
        return {tuple(row[: len(keys)]): tuple(row[len(keys) :]) for row in connection.execute(query)}


def _with_json_nulls(row: tuple[Any, ...], at_json: Sequence[int], absent: tuple[bool, ...]) -> tuple[Any, ...]:
    nulls = {at for at, is_absent in zip(at_json, absent, strict=True) if row[at] is None and not is_absent}
    return tuple(sa.JSON.NULL if at in nulls else value for at, value in enumerate(row))


def shown(value: object, longest: int = 60) -> str:
    """A value as its author may write it, cut where it is long."""
    text = "NULL" if value is None else repr(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
