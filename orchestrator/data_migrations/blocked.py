"""Blocked: who is in the way of a batch that did not get its locks, as far as the server tells."""

from __future__ import annotations

from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError, Unavailable


def named(database: Database, table: str, busy: Unavailable) -> Unavailable:
    """The same error, with the session whose transaction at that table is the oldest. Its own has to be over."""
    try:
        with database.reading() as reader:
            holders = database.dialect.lock_holders(reader, [table])
    except (OrchestratorError, SQLAlchemyError, DBError):
        return busy  # whoever holds them, rows wait
    if not holders:
        return busy
    return Unavailable(
        busy.code,
        f"{busy.message}; in the way may be {holders[0].sentence}",
        remedy=f"It goes on by itself when they are free. To end that session: {holders[0].end}",
        **busy.fields,
    )
