"""Sync triggers, made and dropped in the database of a revision; checked there before."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from oslo_db.exception import DBError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import reason
from orchestrator.dialects.database import triggers_of
from orchestrator.dialects.triggers import (
    Piece,
    PieceKind,
    SyncTrigger,
    Triggers,
    as_statement,
    with_columns,
)
from orchestrator.domain.errors import Invalid, MigrationRefused
from orchestrator.schema_migrations.places import Place, refused
from orchestrator.schema_migrations.statements import REPEATABLE, TOOK_EFFECT
from orchestrator.schema_migrations.sync_definitions import faults, sync_trigger
from orchestrator.schema_migrations.sync_operations import CreateSyncTriggerOp, DropSyncTriggerOp


def create(context: MigrationContext, operation: CreateSyncTriggerOp) -> None:
    """Make it in the database of the context, replacing one that is there. Repeatable.

    Raises `MigrationRefused` where the table or an expression does not fit.
    """
    kind = context.dialect.name
    triggers = triggers_of(kind)
    connection = None if context.as_sql else context.connection
    try:
        sync = sync_trigger(operation, kind)
    except Invalid as invalid:
        raise _refused(invalid.code, invalid.message, invalid.remedy) from invalid
    if connection is not None:
        _refuse_unfit(connection, triggers, sync)
    for piece in triggers.sync_pieces(connection, sync):
        if not piece.replaces:
            _send(context, piece.drop, {REPEATABLE: True})
        _send(context, piece.create, {REPEATABLE: True} if piece.replaces else {TOOK_EFFECT: piece.exists})


def drop(context: MigrationContext, operation: DropSyncTriggerOp) -> None:
    """Drop it in the database of the context, if it is there. Repeatable."""
    connection = None if context.as_sql else context.connection
    sync = SyncTrigger(operation.table_name, operation.schema, operation.name)
    pieces: tuple[Piece, ...] = triggers_of(context.dialect.name).sync_pieces(connection, sync)
    for piece in reversed(pieces):
        if piece.kind is not PieceKind.TABLE:
            _send(context, piece.drop, {REPEATABLE: True})


def _refuse_unfit(connection: Connection, triggers: Triggers, sync: SyncTrigger) -> None:
    for sentence, remedy in faults(sync, triggers.table(connection, sync.schema, sync.table)):
        raise _refused("sync_trigger_unfit", f"the sync trigger of {sync.subject} cannot be made: {sentence}", remedy)
    table = ".".join(triggers.quote(part) for part in (sync.schema, sync.table) if part)
    columns = {name: f"{table}.{triggers.quote(name)}" for name in sync.columns}
    for name, expression in (*sync.new, *sync.old):
        probe = f"EXPLAIN UPDATE {table} SET {triggers.quote(name)} = ({with_columns(expression, columns)}) WHERE 1 = 0"
        try:
            connection.execute(as_statement(probe)).close()
        except (SQLAlchemyError, DBError) as error:
            raise _refused(
                "sync_trigger_expression",
                f"the database refuses what the sync trigger of {sync.subject} computes for {name}: "
                f"{reason(error, connection.engine.url)}",
                "Mend the expression. It may name columns of the row, as {column}, and hold whole subqueries.",
            ) from error


def _send(context: MigrationContext, sql: str, options: Mapping[str, object]) -> None:
    context.impl.execute(as_statement(sql), execution_options=dict(options))


def _refused(code: str, sentence: str, remedy: str) -> MigrationRefused:
    return refused(code, _place(), sentence, remedy=remedy)


def _place() -> Place:
    """The line of the revision that is running: the innermost function of that name that a revision has."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_name != "upgrade":
        frame = frame.f_back
    return Place(Path(frame.f_code.co_filename), frame.f_lineno)
