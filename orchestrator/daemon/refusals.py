"""Refusals: what a database, or a schema's files, would not let us do, with what a daemon has to say of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, reason
from orchestrator.domain.errors import MigrationRefused, StepFailed

RESTART = "Change the file on every daemon, and restart them: they read it when they start."


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


@contextmanager
def read_at_start() -> Iterator[None]:
    """Say of a refusal that the files of the schema cause, and no database, that a mended file is not read before."""
    try:
        yield
    except MigrationRefused as error:
        if "database" in error.fields:
            raise
        remedy = f"{error.remedy} {RESTART}"
        raise MigrationRefused(error.code, error.message, remedy=remedy, **error.fields) from error
