"""The journal of operations: one row per statement of a revision whose statements do not all commit together.

A row is written as an intent before a statement that commits by itself, and marked when its effect was seen; of a
statement that commits together with its row it is there when the statement is done. Every function belongs into a
transaction that claimed the revision's row in the journal, so that an owner whose epoch was passed writes nothing here.
The rows go away when their revision is done.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from orchestrator.bookkeeping.journal import JournalState
from orchestrator.bookkeeping.tables import operations as table
from orchestrator.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class OperationEntry:
    """One statement of a revision in one database.

    `position` counts the operations of the revision from 1, `part` the statements of the operation. `image` says how
    the tables that it changes looked before it; None where it does not matter. `member` is the one of a cluster on
    which its intent was written; None where a session's lock is known to the whole database.
    """

    schema_name: str
    revision: str
    position: int
    part: int
    fingerprint: str
    statement: str
    image: str | None
    state: JournalState
    owner_epoch: int
    started_at: float
    finished_at: float | None = None
    member: str | None = None


_COLUMNS = tuple(table.c[field.name] for field in fields(OperationEntry))


def entries(connection: Connection, schema: str, revision: str) -> tuple[OperationEntry, ...]:
    """All entries of a revision that is not done, in their order."""
    query = select(*_COLUMNS).where(table.c.schema_name == schema, table.c.revision == revision)
    return tuple(
        OperationEntry(**{**row, "state": JournalState(row["state"])})
        for row in connection.execute(query.order_by(table.c.position, table.c.part)).mappings()
    )


def record(connection: Connection, entry: OperationEntry) -> None:
    """Store a new entry as it is."""
    connection.execute(insert(table), [{**asdict(entry), "state": entry.state.value}])


def take_over(
    connection: Connection, entry: OperationEntry, *, owner_epoch: int, member: str | None, now: float
) -> None:
    """Make another owner's intent one's own."""
    _change(connection, entry, owner_epoch=owner_epoch, member=member, started_at=now)


def finish(connection: Connection, entry: OperationEntry, *, now: float) -> None:
    """Mark an intent done."""
    _change(connection, entry, state=JournalState.DONE.value, finished_at=now)


def withdraw(connection: Connection, entry: OperationEntry) -> None:
    """Forget an intent of which nothing came."""
    connection.execute(delete(table).where(_is(entry), table.c.state == JournalState.INTENT.value))


def clear(connection: Connection, schema: str, revision: str) -> None:
    """Forget everything about a revision, which is done."""
    connection.execute(delete(table).where(table.c.schema_name == schema, table.c.revision == revision))


def _is(entry: OperationEntry) -> ColumnElement[bool]:
    return and_(
        table.c.schema_name == entry.schema_name,
        table.c.revision == entry.revision,
        table.c.position == entry.position,
        table.c.part == entry.part,
        table.c.fingerprint == entry.fingerprint,
    )


def _change(connection: Connection, entry: OperationEntry, **values: object) -> None:
    intent = table.c.state == JournalState.INTENT.value
    if connection.execute(update(table).where(_is(entry), intent).values(**values)).rowcount != 1:
        raise Conflict(
            "operation_gone",
            f"the intent of statement {entry.position}.{entry.part} of revision {entry.revision} was changed meanwhile",
            remedy="Somebody else wrote in orchestrator_operations; retry the step, which reads it anew.",
            schema=entry.schema_name,
            revision=entry.revision,
        )
