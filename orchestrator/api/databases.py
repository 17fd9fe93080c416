"""Databases: each physical database of a schema, what was last read of it, and its step."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, Asked, Nothing, View
from orchestrator.services.status import DatabaseStatus


class StepView(View, frozen=True, kw_only=True):
    """The step under way in one database: pending, running, done or failed."""

    state: str
    attempts: int
    error: str | None
    remedy: str | None


class DatabaseView(View, frozen=True, kw_only=True):
    """One database. `phase` and `fence` are those of the copy that it holds; with `error` nothing else is known."""

    database: str
    error: str | None = None
    remedy: str | None = None
    heads: tuple[str, ...] = ()
    phase: str | None = None
    fence: str | None = None
    copy_revision: int | None = None
    step: StepView | None = None


class DatabaseList(View, frozen=True, kw_only=True):
    """All databases of a schema, in the order of the configuration: the first takes each step alone."""

    schema: str
    databases: tuple[DatabaseView, ...]


def list_(asked: Asked[Nothing, Nothing]) -> Answer:
    status = asked.services.board.schema(asked.schema)
    found = status.upgrade.databases if status.upgrade else [DatabaseStatus(facts, None) for facts in status.readings]
    return Answer(DatabaseList(schema=asked.schema, databases=tuple(database_view(database) for database in found)))


def database_view(database: DatabaseStatus) -> DatabaseView:
    """A database as it is shown."""
    facts, step, copy = database.facts, database.step, database.facts.copy
    return DatabaseView(
        database=facts.name,
        error=facts.error,
        remedy=facts.remedy,
        heads=facts.heads,
        phase=copy.phase.word if copy is not None else None,
        fence=copy.fence.word if copy is not None else None,
        copy_revision=copy.revision if copy is not None else None,
        step=None
        if step is None
        else StepView(state=step.state.value, attempts=step.attempts, error=step.error, remedy=step.remedy),
    )
