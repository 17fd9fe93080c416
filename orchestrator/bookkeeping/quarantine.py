"""The quarantine: rows that a data migration could not move, which it passed, and which keep it from its end.

A row is written here in the transaction that moves the cursor past it, and taken away in the one that moves the row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from orchestrator.bookkeeping.ledger import storable
from orchestrator.bookkeeping.tables import quarantine as table
from orchestrator.domain.view import QuarantinedRow

MOST_ROWS = 100
"""So many rows of one data migration there are in a database at the most: more are no fault of single rows."""

_LONGEST_ERROR = 1000
_LONGEST_WORDS = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that is to be tried again. `key` is as in the ledger's cursor."""

    number: int
    key: str


def add(connection: Connection, schema: str, name: str, *, key: str, words: str, error: str, now: float) -> None:
    """Write a row down that the cursor passes in this transaction. `words` are its key as people may look it up."""
    newest = connection.execute(select(func.max(table.c.number)).where(_of(schema, name))).scalar()
    connection.execute(
        insert(table).values(
            schema_name=schema,
            name=name,
            number=(newest or 0) + 1,
            row_key=key,
            row_words=storable(words, _LONGEST_WORDS),
            error=storable(error, _LONGEST_ERROR),
            failed_at=now,
            waits=False,
        )
    )


def too_many(table_name: str, last_error: str) -> str:
    """What is said where one more row would be more than there may be."""
    return (
        f"more than {MOST_ROWS} rows of {table_name} could not be moved, so the fault is not one of single rows; "
        f"the last: {last_error}"
    )


def rows(connection: Connection, schema: str, name: str) -> tuple[QuarantinedRow, ...]:
    """The rows of a data migration, in the order in which they came."""
    query = select(table.c.row_words, table.c.error, table.c.failed_at).where(_of(schema, name))
    return tuple(QuarantinedRow(*row) for row in connection.execute(query.order_by(table.c.number)))


def try_again(connection: Connection, schema: str, name: str) -> None:
    """Let every row of a data migration be tried once more."""
    connection.execute(update(table).where(_of(schema, name)).values(waits=True))


def first_waiting(connection: Connection, schema: str, name: str) -> Waiting | None:
    """The row that is tried next, or None when none waits for it."""
    query = select(table.c.number, table.c.row_key).where(_of(schema, name), table.c.waits).order_by(table.c.number)
    row = connection.execute(query.limit(1)).first()
    return None if row is None else Waiting(*row)


def keep(connection: Connection, schema: str, name: str, number: int, *, error: str, now: float) -> None:
    """It was tried again, and failed again."""
    values = {"error": storable(error, _LONGEST_ERROR), "failed_at": now, "waits": False}
    connection.execute(update(table).where(_of(schema, name), table.c.number == number).values(values))


def release(connection: Connection, schema: str, name: str, number: int) -> None:
    """It was moved in this transaction, or is not there any more."""
    connection.execute(delete(table).where(_of(schema, name), table.c.number == number))


def clear(connection: Connection, schema: str, name: str) -> None:
    """Forget all rows of a data migration: it begins at the first row, or every row was proven."""
    connection.execute(delete(table).where(_of(schema, name)))


def _of(schema: str, name: str) -> ColumnElement[bool]:
    return and_(table.c.schema_name == schema, table.c.name == name)
