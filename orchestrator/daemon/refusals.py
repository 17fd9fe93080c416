"""Refusals: what a database, or a schema's files, would not let us do, with what a daemon has to say of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database, reason
from orchestrator.dialects.full_disks import free_bytes, says_full
from orchestrator.domain.errors import MigrationRefused, StepFailed

RESTART = "Change the file on every daemon, and restart them: they read it when they start."


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Raise `StepFailed`, or `Unavailable`, for an error that nobody has put in words yet.

    Codes of the former: `database_refused`, `disk_full`.
    """
    try:
        yield
    except (SQLAlchemyError, DBError) as error:
        raise database.explain(error) or _refusal(database, error) from error


def _refusal(database: Database, error: Exception) -> StepFailed:
    why = f"database {database.name} at {database.place} refused: {reason(error, database.engine.url)}"
    if says_full(error):
        return StepFailed(
            "disk_full",
            f"{why}: {_room(database)}",
            remedy="Make room there; what was begun there is tried again.",
            database=database.name,
        )
    return StepFailed(
        "database_refused",
        why,
        remedy="Mend what it says; the orchestrator keeps tables of its own there, which it must be let to use.",
        database=database.name,
    )


def _room(database: Database) -> str:
    if database.file is None:
        return "the disk of its server is full"
    directory = os.path.dirname(database.file)
    left = free_bytes(directory)
    free = "" if left is None else f" {left // 2**20} MB are free there"
    return f"is the disk of {directory} full?{free}"


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
