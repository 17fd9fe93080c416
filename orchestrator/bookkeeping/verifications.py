"""Verifications: the comparisons that somebody asked for, one row for the newest of each data migration.

They lie beside the ledger and change nothing of it. Whoever holds the lock of a row works on it; the cursor moves in
the transaction that compared, so that another daemon goes on where one was killed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from oslo_db.exception import DBDuplicateEntry
from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from orchestrator.bookkeeping.ledger import storable
from orchestrator.bookkeeping.tables import verifications as table
from orchestrator.domain.errors import LostCursor
from orchestrator.domain.verifications import Verification, VerificationState


@dataclass(frozen=True, slots=True)
class VerificationEntry:
    """One comparison. `cursor` is the last key done, as in the ledger; the others are as in `Verification`."""

    schema_name: str
    name: str
    file_hash: str
    actor: str
    reason: str | None
    started_at: float
    state: VerificationState = VerificationState.RUNNING
    revision: int = 1
    cursor: str | None = None
    rows_done: int = 0
    differences: int = 0
    first_differences: str | None = None
    expected: str | None = None
    error: str | None = None
    batch_at: float | None = None
    batch_rows: int | None = None
    finished_at: float | None = None

    @property
    def facts(self) -> Verification:
        """What people are told of it."""
        return Verification(
            self.name, self.state, self.rows_done, self.differences, self.first_differences, self.expected, self.error,
            self.actor, self.reason, self.started_at, self.finished_at,
        )  # fmt: skip


_COLUMNS = tuple(table.c[field.name] for field in fields(VerificationEntry))


def all_of(connection: Connection, schema: str) -> tuple[Verification, ...]:
    """The newest comparison of each data migration of a schema, by name."""
    query = select(*_COLUMNS).where(table.c.schema_name == schema).order_by(table.c.name)
    return tuple(_entry(tuple(row)).facts for row in connection.execute(query))


def find(connection: Connection, schema: str, name: str) -> VerificationEntry | None:
    """The newest comparison of that data migration, None where nobody ever asked for one."""
    row = connection.execute(select(*_COLUMNS).where(_is(schema, name))).first()
    return None if row is None else _entry(tuple(row))


def claim(connection: Connection, schema: str, name: str, *, waits: bool = False) -> VerificationEntry | None:
    """As `find`, locked until this transaction ends; None also where somebody else holds it, without `waits`."""
    query = select(*_COLUMNS).where(_is(schema, name)).with_for_update(skip_locked=not waits)
    row = connection.execute(query).first()
    return None if row is None else _entry(tuple(row))


def begin(connection: Connection, entry: VerificationEntry) -> bool:
    """Store the first one that anybody asks for. Returns False where somebody else has just done so."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(_values(entry)))
    except DBDuplicateEntry:
        return False
    return True


def begin_anew(connection: Connection, entry: VerificationEntry) -> None:
    """Store a new one in place of the last, which the caller has locked.

    The row stays: whoever waits for its lock finds this one, and not that there is none.
    """
    connection.execute(update(table).where(_is(entry.schema_name, entry.name)).values(_values(entry)))


def save(connection: Connection, entry: VerificationEntry) -> VerificationEntry:
    """Store one that was read at `entry.revision`; returns it with its next revision.

    Raises `LostCursor` when it has changed since: the caller's transaction must be rolled back.
    """
    which = and_(_is(entry.schema_name, entry.name), table.c.revision == entry.revision)
    changed = connection.execute(update(table).where(which).values({**_values(entry), "revision": entry.revision + 1}))
    if changed.rowcount != 1:
        raise LostCursor(
            "lost_cursor",
            f"the comparison of data migration {entry.name} was taken while a batch ran; the batch was rolled back",
            remedy="Nothing to do: whoever has it goes on from the last committed batch.",
            schema=entry.schema_name,
            data_migration=entry.name,
            revision=entry.revision,
        )
    return replace(entry, revision=entry.revision + 1)


def _is(schema: str, name: str) -> ColumnElement[bool]:
    return and_(table.c.schema_name == schema, table.c.name == name)


def _values(entry: VerificationEntry) -> dict[str, object]:
    values = {column.name: getattr(entry, column.name) for column in _COLUMNS}
    return {**values, "error": None if entry.error is None else storable(entry.error)}


def _entry(row: tuple[Any, ...]) -> VerificationEntry:
    values = dict(zip((column.name for column in _COLUMNS), row, strict=True))
    return VerificationEntry(**{**values, "state": VerificationState(values["state"])})
