"""Refusals: what a database would not do for us, as an error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, reason
from orchestrator.domain.errors import StepFailed


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Raise `StepFailed` (code `database_refused`), or `Unavailable`, for an error that nobody has put in words yet."""
    try:
        yield
    except (SQLAlchemyError, DBError) as error:
        raise database.explain(error) or StepFailed(
            "database_refused",
            f"database {database.name} at {database.place} refused: {reason(error, database.engine.url)}",
            remedy="Mend what it says; the orchestrator keeps tables of its own there, which it must be let to use.",
            database=database.name,
        ) from error
