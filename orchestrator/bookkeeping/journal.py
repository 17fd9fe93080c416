"""The journal: one row per revision of each schema, written before its first statement and marked when it is done.

Whoever runs a revision owns its row by an epoch that only grows; an owner whose epoch was passed changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, func, insert, inspect, select, update

from orchestrator.bookkeeping.tables import steps as table
from orchestrator.domain.errors import Conflict


class JournalState(StrEnum):
    """Where a revision stands in one database."""

    INTENT = "intent"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One revision in one database. `stage` says on which way it came: expand, contract, install or adopted."""

    schema_name: str
    revision: str
    stage: str
    file_hash: str
    state: JournalState
    owner_epoch: int
    started_at: float
    finished_at: float | None = None


_COLUMNS = tuple(table.c[field.name] for field in fields(JournalEntry))


def exists(connection: Connection) -> bool:
    """Whether this database has a journal at all."""
    return inspect(connection).has_table(table.name)


def entries(connection: Connection, schema: str) -> tuple[JournalEntry, ...]:
    """All entries of a schema, in the order in which they were begun."""
    query = select(*_COLUMNS).where(table.c.schema_name == schema).order_by(table.c.started_at, table.c.revision)
    return tuple(
        JournalEntry(
            schema_name=row.schema_name,
            revision=row.revision,
            stage=row.stage,
            file_hash=row.file_hash,
            state=JournalState(row.state),
            owner_epoch=row.owner_epoch,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in connection.execute(query)
    )


def intend(connection: Connection, entry: JournalEntry) -> bool:
    """Write, or take over, the intent of running a revision. Repeatable; its first statement is a write.

    Returns whether there was one already, so that an earlier attempt may have left something. Raises `Conflict`: code
    `step_done` if it is done already, `owner_epoch_passed` if a newer owner was here.
    """
    taken = connection.execute(
        update(table)
        .where(
            _is(entry.schema_name, entry.revision),
            table.c.state == JournalState.INTENT.value,
            table.c.owner_epoch <= entry.owner_epoch,
        )
        .values(
            stage=entry.stage,
            file_hash=entry.file_hash,
            owner_epoch=entry.owner_epoch,
            started_at=entry.started_at,
            finished_at=None,
        )
    )
    _refuse_passed(connection, entry.schema_name, entry.owner_epoch)
    if taken.rowcount == 1:
        return True
    found = connection.execute(select(table.c.state).where(_is(entry.schema_name, entry.revision))).scalar()
    if found is not None:
        raise Conflict(
            "step_done",
            f"revision {entry.revision} of {entry.schema_name} is done already",
            remedy="Read the position again; nothing has to be run.",
            schema=entry.schema_name,
            revision=entry.revision,
        )
    record(connection, [entry])
    return False


def intend_again(connection: Connection, entry: JournalEntry) -> None:
    """Write the intent of what may be done more than once, whether or not it was done before. Repeatable.

    Raises `Conflict` (code `owner_epoch_passed`) if a newer owner was here.
    """
    taken = connection.execute(
        update(table)
        .where(_is(entry.schema_name, entry.revision), table.c.owner_epoch <= entry.owner_epoch)
        .values(
            stage=entry.stage,
            file_hash=entry.file_hash,
            state=JournalState.INTENT.value,
            owner_epoch=entry.owner_epoch,
            started_at=entry.started_at,
            finished_at=None,
        )
    )
    _refuse_passed(connection, entry.schema_name, entry.owner_epoch)
    if taken.rowcount == 0:
        record(connection, [entry])


def record(connection: Connection, new: Iterable[JournalEntry]) -> None:
    """Store new entries as they are."""
    rows = [{field.name: getattr(entry, field.name) for field in fields(JournalEntry)} for entry in new]
    if rows:
        connection.execute(insert(table), [{**row, "state": str(row["state"])} for row in rows])


def claim(connection: Connection, schema: str, revision: str, *, owner_epoch: int) -> None:
    """Hold the intent's row until this transaction ends. Raises `Conflict` (code `owner_epoch_passed`).

    The row is changed: two nodes of a cluster notice only what is written.
    """
    held = connection.execute(
        update(table).where(_mine(schema, revision, owner_epoch)).values(claims=table.c.claims + 1)
    )
    if held.rowcount != 1:
        raise _passed(schema, owner_epoch, _newest_epoch(connection, schema))


def finish(connection: Connection, schema: str, revision: str, *, owner_epoch: int, now: float) -> None:
    """Mark a revision done in the transaction of its last effect. Raises `Conflict` (code `owner_epoch_passed`)."""
    marked = connection.execute(
        update(table).where(_mine(schema, revision, owner_epoch)).values(state=JournalState.DONE.value, finished_at=now)
    )
    if marked.rowcount != 1:
        raise _passed(schema, owner_epoch, _newest_epoch(connection, schema))


def _is(schema: str, revision: str) -> ColumnElement[bool]:
    return and_(table.c.schema_name == schema, table.c.revision == revision)


def _mine(schema: str, revision: str, owner_epoch: int) -> ColumnElement[bool]:
    return and_(_is(schema, revision), table.c.state == JournalState.INTENT.value, table.c.owner_epoch == owner_epoch)


def _refuse_passed(connection: Connection, schema: str, owner_epoch: int) -> None:
    newest = _newest_epoch(connection, schema)
    if newest > owner_epoch:
        raise _passed(schema, owner_epoch, newest)


def _newest_epoch(connection: Connection, schema: str) -> int:
    query = select(func.max(table.c.owner_epoch)).where(table.c.schema_name == schema)
    return connection.execute(query).scalar() or 0


def _passed(schema: str, owner_epoch: int, newest: int) -> Conflict:
    return Conflict(
        "owner_epoch_passed",
        f"another owner runs the steps of {schema} now; epoch {owner_epoch} was passed",
        remedy="Nothing to do here: the newer owner goes on. Nothing of this attempt remains.",
        schema=schema,
        owner_epoch=owner_epoch,
        newest_epoch=newest,
    )
