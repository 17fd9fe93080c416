"""Databases: each physical database of a schema, what was last read of it, and its step."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, ApiServices, Asked, Nothing, Question, Reason, View
from orchestrator.services.status import DatabaseStatus


class StepView(View, frozen=True, kw_only=True):
    """The step under way in one database: pending, running, done or failed."""

    state: str
    attempts: int
    code: str | None
    error: str | None
    remedy: str | None


class DatabaseView(View, frozen=True, kw_only=True):
    """One database. `phase` and `fence` are those of the copy that it holds; with `error` nothing else is known.

    `copy_written_at` is by the clock of that database.
    """

    database: str
    code: str | None = None
    error: str | None = None
    remedy: str | None = None
    heads: tuple[str, ...] = ()
    phase: str | None = None
    fence: str | None = None
    copy_revision: int | None = None
    copy_written_at: float | None = None
    step: StepView | None = None


class DatabaseList(View, frozen=True, kw_only=True):
    """All databases of a schema, in the order of the configuration: the first takes each step alone."""

    schema: str
    databases: tuple[DatabaseView, ...]


class EvictDatabaseRequest(Question, frozen=True, kw_only=True):
    """Count a database out. `attest_gone` is the word of whoever asks that nothing will ever use it again."""

    reason: Reason
    attest_gone: bool = False


def list_(asked: Asked[Nothing, Nothing]) -> Answer:
    return _answer(asked.services, asked.schema)


def _answer(services: ApiServices, schema: str) -> Answer:
    status = services.board.schema(schema)
    found = status.upgrade.databases if status.upgrade else [DatabaseStatus(facts, None) for facts in status.readings]
    return Answer(DatabaseList(schema=schema, databases=tuple(database_view(database) for database in found)))


def evict(asked: Asked[Nothing, EvictDatabaseRequest]) -> Answer:
    """Only one that is not configured any more: the others go on without it."""
    asked.services.upgrades.evict_database(
        asked.schema,
        asked.path["database"],
        attested_gone=asked.body.attest_gone,
        actor=asked.who,
        reason=asked.body.reason,
    )
    asked.services.nudge(asked.schema)
    return _answer(asked.services, asked.schema)


def database_view(database: DatabaseStatus) -> DatabaseView:
    """A database as it is shown."""
    facts, step, copy = database.facts, database.step, database.facts.copy
    return DatabaseView(
        database=facts.name,
        code=facts.code,
        error=facts.error,
        remedy=facts.remedy,
        heads=facts.heads,
        phase=copy.phase.word if copy is not None else None,
        fence=copy.fence.word if copy is not None else None,
        copy_revision=copy.revision if copy is not None else None,
        copy_written_at=copy.written_at if copy is not None else None,
        step=None
        if step is None
        else StepView(
            state=step.state.value, attempts=step.attempts, code=step.code, error=step.error, remedy=step.remedy
        ),
    )
