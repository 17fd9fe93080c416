"""Triggers made directly, without a tree of migrations."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database
from orchestrator.dialects.triggers import (
    Denial,
    Standing,
    SyncTrigger,
    as_statement,
    making,
    removing,
    short_message,
    standing,
)


def denial(subject: str, schema: str | None = None) -> Denial:
    """What denies writes to `table` or `table.column`."""
    table, _, column = subject.partition(".")
    return Denial(table, schema, column or None, short_message("shop", subject, "2"))


def deny(database: Database, subject: str, schema: str | None = None) -> Denial:
    """Deny writes to `table` or `table.column`."""
    made = denial(subject, schema)
    triggers = database.dialect.triggers
    with database.writing() as connection:
        pieces = triggers.deny_pieces(connection, made)
        for statement in making(pieces, triggers.found(connection, pieces), anew=True):
            connection.execute(as_statement(statement))
    with database.reading() as connection:
        pieces = triggers.deny_pieces(connection, made)
        assert standing(pieces, triggers.found(connection, pieces)) is Standing.WHOLE
    return made


def allow(database: Database, made: Denial) -> None:
    """Allow what was denied."""
    triggers = database.dialect.triggers
    with database.writing() as connection:
        pieces = triggers.leftovers(connection, made)
        for statement in removing(pieces, triggers.found(connection, pieces)):
            connection.execute(as_statement(statement))


def keep(database: Database, sync: SyncTrigger) -> None:
    """Keep two shapes in step."""
    triggers = database.dialect.triggers
    with database.writing() as connection:
        pieces = triggers.sync_pieces(connection, sync)
        for statement in making(pieces, triggers.found(connection, pieces)):
            connection.execute(as_statement(statement))
    assert stands(database, sync) is Standing.WHOLE


def stands(database: Database, made: SyncTrigger | Denial) -> Standing:
    """Whether it stands."""
    triggers = database.dialect.triggers
    with database.reading() as connection:
        if isinstance(made, SyncTrigger):
            pieces = triggers.sync_pieces(connection, made)
        else:
            pieces = triggers.deny_pieces(connection, made)
        return standing(pieces, triggers.found(connection, pieces))


def denials(database: Database, *made: Denial) -> int | None:
    """How many writes were refused."""
    with database.reading() as connection:
        return database.dialect.triggers.denials(connection, made)


def run(database: Database, *statements: str) -> None:
    """Each statement in a transaction of its own."""
    for statement in statements:
        with database.writing() as connection:
            connection.execute(as_statement(statement))


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def refused(database: Database, *statements: str) -> str:
    """What the last of these statements, all in one transaction, is told."""
    with pytest.raises((SQLAlchemyError, DBError)) as error, database.writing() as connection:
        for statement in statements:
            connection.execute(as_statement(statement))
    return str(error.value)


UPPER = SyncTrigger("t", None, "", (("old", "upper({new})"),), (("new", "lower({old})"),))
"""Keeps t.old, in capitals, and t.new in step."""
