"""Ranges: parts of a data migration's rows, each with a cursor of its own, on which several workers are at once.

The ledger's cursor is then the key up to which ranges have been cut off. Whoever holds the lock of a range works on
it: there is no lease to run out, and a worker that dies gives it back with its session. Locks are taken in one order
everywhere: the ledger's entry, its ranges, rows. A batch locks its range and never the entry, so whoever takes a
cursor away, or lets a data migration begin anew, locks the entry and then takes its ranges in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, insert, select, update

from orchestrator.bookkeeping.tables import ranges as table
from orchestrator.domain.errors import LostCursor
from orchestrator.domain.view import MigrationState

KNOWN_SINCE = "4"
"""The release of these tables that brought ranges. A daemon that does not know it would work past them."""


@dataclass(frozen=True, slots=True)
class RangeEntry:
    """The rows after `low` and up to `high`; None is the open end. All keys as in the ledger's cursor.

    `number` grows with the keys, and none is given out twice. `state` is that of the ledger in which it was cut off:
    its rows are moved, or verified. `run_at` is when that run of the data migration began. `cursor` is the last key
    done. The others are as in the ledger, for this range alone; `rows_done` are rows moved or verified.
    `repairs` only says what was found to differ.
    """

    schema_name: str
    name: str
    number: int
    state: MigrationState
    run_at: float | None
    low: str | None
    high: str | None
    revision: int = 1
    cursor: str | None = None
    is_done: bool = False
    rows_done: int = 0
    differences: int = 0
    first_differences: str | None = None
    batch_at: float | None = None
    batch_rows: int | None = None
    suspect_rows: int = 0
    repairs: str | None = None


_NAMES = tuple(field.name for field in fields(RangeEntry))
COLUMNS = tuple(table.c[name] for name in _NAMES)

# What every batch runs is put together once: that takes longer than the database takes to run it.
_ITS = and_(table.c.schema_name == bindparam("its_schema"), table.c.name == bindparam("its_name"))
_IS = and_(_ITS, table.c.number == bindparam("its_number"))
_IS_AS_SEEN = and_(_IS, table.c.revision == bindparam("its_revision"))
_ALL = select(*COLUMNS).where(_ITS).order_by(table.c.number)
_FIND = select(*COLUMNS).where(_IS)
_CLAIM = _FIND.with_for_update(skip_locked=True)
_SAVE = update(table).where(_IS_AS_SEEN).values(revision=table.c.revision + 1)
_REMOVE = delete(table).where(_IS_AS_SEEN)


def of(connection: Connection, schema: str, name: str) -> tuple[RangeEntry, ...]:
    """All ranges of a data migration, in the order of their keys."""
    found = connection.execute(_ALL, {"its_schema": schema, "its_name": name})
    return tuple(entry(tuple(row)) for row in found)


def find(connection: Connection, schema: str, name: str, number: int) -> RangeEntry | None:
    """The range of that number, None where there is none any more."""
    row = connection.execute(_FIND, {"its_schema": schema, "its_name": name, "its_number": number}).first()
    return None if row is None else entry(tuple(row))


def claim(connection: Connection, seen: RangeEntry) -> RangeEntry | None:
    """The range as it was seen, locked until this transaction ends.

    None when somebody else is at it just now, has been since, or took it away.
    """
    row = connection.execute(_CLAIM, _its(seen)).first()
    found = None if row is None else entry(tuple(row))
    return found if found is not None and found.revision == seen.revision else None


def add(connection: Connection, range_: RangeEntry) -> None:
    """Store a new range. Part of the transaction that moves the ledger's cursor past it."""
    connection.execute(insert(table).values(_values(range_)))


def save(connection: Connection, range_: RangeEntry) -> RangeEntry:
    """Store a range that was read at `range_.revision`; returns it with its next revision.

    Raises `LostCursor` when it was taken since: the caller's transaction must be rolled back, and all that it wrote.
    """
    values = _values(range_)
    del values["revision"]
    if connection.execute(_SAVE, {**values, **_its(range_), "its_revision": range_.revision}).rowcount != 1:
        raise _lost(range_)
    return replace(range_, revision=range_.revision + 1)


def remove(connection: Connection, range_: RangeEntry) -> None:
    """Forget a range that is done, in the transaction that counts it into the ledger. Raises `LostCursor`."""
    if connection.execute(_REMOVE, {**_its(range_), "its_revision": range_.revision}).rowcount != 1:
        raise _lost(range_)


def take(connection: Connection, schema: str, name: str | None = None) -> None:
    """Take ranges away from whoever is at them, of one data migration or of all; they stay as far as they are.

    Waits for batches that are under way. Whoever calls has locked, or changed, the entries in this transaction.
    """
    which = table.c.schema_name == schema if name is None else _of(schema, name)
    connection.execute(update(table).where(which).values(revision=table.c.revision + 1))


def drop(connection: Connection, schema: str, names: Sequence[str] | Select[tuple[str]]) -> None:
    """Take the ranges of these data migrations away from whoever is at them, and forget them.

    Waits for batches that are under way. Whoever calls has locked, or changed, the entries in this transaction.
    """
    connection.execute(delete(table).where(table.c.schema_name == schema, table.c.name.in_(names)))


def _lost(range_: RangeEntry) -> LostCursor:
    return LostCursor(
        "lost_cursor",
        f"a range of data migration {range_.name} was taken while a batch ran; the batch was rolled back",
        remedy="Nothing to do: whoever holds the range goes on from the last committed batch.",
        schema=range_.schema_name,
        data_migration=range_.name,
        revision=range_.revision,
    )


def _of(schema: str, name: str) -> ColumnElement[bool]:
    return and_(table.c.schema_name == schema, table.c.name == name)


def _its(range_: RangeEntry) -> dict[str, object]:
    return {"its_schema": range_.schema_name, "its_name": range_.name, "its_number": range_.number}


def _values(range_: RangeEntry) -> dict[str, object]:
    return {name: getattr(range_, name) for name in _NAMES}


def entry(row: tuple[Any, ...]) -> RangeEntry:
    """The range whose `COLUMNS` were read."""
    values = dict(zip(_NAMES, row, strict=True))
    return RangeEntry(**{**values, "state": MigrationState(values["state"])})
