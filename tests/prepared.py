"""Databases with our own tables, made faster than by running their revisions each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.bookkeeping.tables import VERSION_TABLE
from orchestrator.daemon.own_tables import STATE_VERSION_TABLE, OwnTables
from orchestrator.dialects import Database, open_database
from orchestrator.schema_migrations import own_tables

_CHANGES = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")

_sent: dict[tuple[str, Callable[[Database], None]], list[tuple[str, Any]]] = {}
"""What the program sent to the first database of each kind in this process, by who made it do so."""


def prepare(database: Database) -> None:
    """What `own_tables.prepare` does to an empty database; from the second one on its statements repeated."""
    _repeat(database, own_tables.prepare)


def prepare_state(database: Database) -> None:
    """What the first daemon does to an empty state database before it registers itself; repeated in the same way."""
    _repeat(database, _first_start)


def prepare_site(state_url: str, managed_urls: tuple[str, ...]) -> None:
    """The same in the databases of a site, as its first daemon would find them after it was stopped at once.

    Whatever has our tables already is left alone.
    """
    usual = os.umask(0o077)  # a state database that is a file is for its owner alone
    try:
        _prepare_at(state_url, STATE_VERSION_TABLE, prepare_state)
    finally:
        os.umask(usual)
    for url in managed_urls:
        _prepare_at(url, VERSION_TABLE, prepare)


def _prepare_at(url: str, version_table: str, work: Callable[[Database], None]) -> None:
    database = open_database("prepared", url)
    try:
        with database.reading() as connection:
            is_done = sa.inspect(connection).has_table(version_table)
        if not is_done:
            work(database)
    finally:
        database.engine.dispose()


def _first_start(database: Database) -> None:
    tables = OwnTables(database)
    tables.open_door()
    tables.bring_forward(lambda tree, release: True)


def _repeat(database: Database, work: Callable[[Database], None]) -> None:
    done = database.dialect.name, work
    if done not in _sent:
        with _recording(database.engine) as sent:
            work(database)
        _sent[done] = sent
        return
    with database.writing() as connection:
        for statement, values in _sent[done]:
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
