"""Databases with the bookkeeping tables, made faster than by running their revisions each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.dialects import Database
from orchestrator.schema_migrations import own_tables

_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")

_sent: dict[str, list[tuple[str, Any]]] = {}
"""What the runner sent to the first database of each kind in this process."""


def prepare(database: Database) -> None:
    """What `own_tables.prepare` does to an empty database; from the second one on its statements repeated."""
    kind = database.dialect.name
    if kind not in _sent:
        with _recording(database.engine) as sent:
            own_tables.prepare(database)
        _sent[kind] = sent
        return
    with database.writing() as connection:
        for statement, values in _sent[kind]:
            connection.exec_driver_sql(statement, values)


@contextmanager
def _recording(engine: sa.Engine) -> Iterator[list[tuple[str, Any]]]:
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_others: object) -> None:
        if statement.lstrip().upper().startswith(_CHANGES):
            sent.append((statement, values or None))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
