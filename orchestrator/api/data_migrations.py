"""Data migrations: how far each is in each database, which rows it could not move, and what is wanted of it."""

from __future__ import annotations

from typing import Any

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, Reason, View
from orchestrator.domain.intentions import Intention
from orchestrator.domain.progress import Eta
from orchestrator.domain.verifications import Verification
from orchestrator.domain.view import QuarantinedRow
from orchestrator.services.data_migrations import MigrationStatus


class QuarantinedRowView(View, frozen=True, kw_only=True):
    """A row that could not be moved: its key, why, and when it was last tried, by the clock of its database."""

    key: str
    error: str
    failed_at: float


class IntentionView(View, frozen=True, kw_only=True):
    """What somebody wants of a data migration, who, why, and since when, by the state database's clock.

    Wish is paused or cancelled.
    """

    wish: str
    by: str
    reason: str
    since: float


class EtaView(View, frozen=True, kw_only=True):
    """How much work is left: `seconds` of it at the speed of the last minute where the state is estimated, else null.

    State is measuring (too few samples yet, or nothing has moved in that minute), estimated, uncounted (nobody knows of
    how many rows), held, throttled, failed or complete.
    """

    state: str
    seconds: float | None = None


ABSENT, UNREADABLE = "absent", "unreadable"
"""What takes the place of a state: the ledger does not know it, or its database cannot be read."""


class VerificationView(View, frozen=True, kw_only=True):
    """A comparison of all rows that somebody asked for: what it came to so far, and in words.

    State is running, done, stopped or failed. `expected` is why differences are no alarm, null where they are one.
    `to_move_again` is what to type to have rows that differ moved again, null where there is nothing to be typed.
    `throttled_by` are the reasons why its next batch does not begin now.
    Times are by the clock of the managed database.
    """

    state: str
    sentence: str
    rows: int
    differences: int
    by: str
    started_at: float
    first_differences: str | None = None
    expected: str | None = None
    error: str | None = None
    reason: str | None = None
    finished_at: float | None = None
    to_move_again: str | None = None
    throttled_by: tuple[str, ...] = ()


class DataMigrationView(View, frozen=True, kw_only=True):
    """One data migration in one database, in our own counts.

    `rows_total` is null until counted, once, when it begins: rows that are inserted later are in the other counts only.
    State is pending, running, verifying, complete, assumed, failed, or absent where its ledger was not read or does
    not have it yet. `throttled_by` are the reasons why its next batch does not begin now: it runs, and waits; `remedy`
    is what mends that or passes it over, null where it is to be waited for alone. `rows_quarantined` could not be
    moved; `quarantine` are these rows, at most 100, where one data migration is shown, and null elsewhere or while the
    database does not answer. `intention` is what somebody wants of it, null where it is to run: it is no state of it,
    and lies beside. The highest `priority` of several that may run has its turn first.
    `progress` is 0 to 1, at most 0.99 before all rows are verified, null while they are not counted; it falls only
    where a new run begins, as after a retry. `rows_per_second` are moved, or verified, over the last minute; null while
    that is not known. `reverse`: it moves rows back, and runs on the way back only.
    `rows_to_repair` are those that a retry with the same file moves again where rows differ; null: all of them.
    `verification` is the newest comparison that somebody asked for, where one data migration is shown; it proves
    nothing, and changes nothing of the others.
    """

    name: str
    release: str
    database: str
    state: str
    rows_done: int = 0
    rows_total: int | None = None
    rows_verified: int = 0
    differences: int = 0
    first_differences: str | None = None
    error: str | None = None
    throttled_by: tuple[str, ...] = ()
    remedy: str | None = None
    rows_quarantined: int = 0
    quarantine: tuple[QuarantinedRowView, ...] | None = None
    intention: IntentionView | None = None
    priority: int = 0
    progress: float | None = None
    rows_per_second: float | None = None
    eta: EtaView | None = None
    reverse: bool = False
    rows_to_repair: int | None = None
    verification: VerificationView | None = None


class DataMigrationList(View, frozen=True, kw_only=True):
    """Data migrations in the order of the releases, each once per database.

    `retried` are the databases in which the one that was asked for will be tried again.
    """

    schema: str
    data_migrations: tuple[DataMigrationView, ...]
    retried: tuple[str, ...] = ()


class RetryMigrationRequest(Question, frozen=True, kw_only=True):
    """Let it be tried again in this database, or without one in all in which it failed.

    With another file it goes back to its start. With the same one, where rows differ, the parts of the table in which
    they do are moved again, if these are known; else it goes on where it stopped, rows in quarantine first.
    """

    database: Name | None = None
    reason: Reason | None = None


class HoldMigrationRequest(Question, frozen=True, kw_only=True):
    """Let no further batch of it begin in this database, or without one in any."""

    reason: Reason
    database: Name | None = None


class ResumeMigrationRequest(Question, frozen=True, kw_only=True):
    """Let it run again in this database, or without one in all."""

    database: Name | None = None
    reason: Reason | None = None


class SetMigrationRequest(Question, frozen=True, kw_only=True):
    """Its priority among those that may run: the highest has its turn first. Null: 0 again, as without one."""

    priority: int | None
    reason: Reason | None = None


class VerifyMigrationRequest(Question, frozen=True, kw_only=True):
    """Let all its rows be compared with what it computes in this database, or without one in all.

    With `stop`, no longer.
    """

    database: Name | None = None
    stop: bool = False
    reason: Reason | None = None


class AssumeMigrationRequest(Question, frozen=True, kw_only=True):
    """Let it count as done in this database, or without one in all where it has not run.

    `attest_done` is the word of whoever asks that the rows are as it leaves them.
    """

    reason: Reason
    attest_done: bool = False
    database: Name | None = None


def list_(asked: Asked[Nothing, Nothing]) -> Answer:
    return _answer(asked.schema, asked.services.data_migrations.list(asked.schema))


def show(asked: Asked[Nothing, Nothing]) -> Answer:
    return _answer(asked.schema, asked.services.data_migrations.show(asked.schema, asked.path["name"]))


def retry(asked: Asked[Nothing, RetryMigrationRequest]) -> Answer:
    name = asked.path["name"]
    retried = asked.services.data_migrations.retry(
        asked.schema, name, asked.body.database, actor=asked.who, reason=asked.body.reason
    )
    asked.services.nudge(asked.schema)
    now = {status.database: status for status in retried}
    shown = asked.services.data_migrations.show(asked.schema, name)
    return _answer(asked.schema, tuple(now.get(status.database, status) for status in shown), tuple(now))


def assume(asked: Asked[Nothing, AssumeMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.data_migrations.assume(
        asked.schema, name, body.database, attested_done=body.attest_done, actor=asked.who, reason=body.reason
    )
    asked.services.nudge(asked.schema)
    return _answer(asked.schema, asked.services.data_migrations.show(asked.schema, name))


def pause(asked: Asked[Nothing, HoldMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.rows_control.pause(asked.schema, name, body.database, actor=asked.who, reason=body.reason)
    return _nudged(asked)


def cancel(asked: Asked[Nothing, HoldMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.rows_control.cancel(asked.schema, name, body.database, actor=asked.who, reason=body.reason)
    return _nudged(asked)


def resume(asked: Asked[Nothing, ResumeMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.rows_control.resume(asked.schema, name, body.database, actor=asked.who, reason=body.reason)
    return _nudged(asked)


def verify(asked: Asked[Nothing, VerifyMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.data_migrations.verify(
        asked.schema, name, body.database, stop=body.stop, actor=asked.who, reason=body.reason
    )
    return _nudged(asked)


def set_(asked: Asked[Nothing, SetMigrationRequest]) -> Answer:
    name, body = asked.path["name"], asked.body
    asked.services.rows_control.prioritise(asked.schema, name, body.priority, actor=asked.who, reason=body.reason)
    return _nudged(asked)


def _nudged(asked: Asked[Any, Any]) -> Answer:
    asked.services.nudge(asked.schema)
    return _answer(asked.schema, asked.services.data_migrations.show(asked.schema, asked.path["name"]))


def migration_view(status: MigrationStatus) -> DataMigrationView:
    """A data migration as it is shown."""
    facts, progress = status.facts, status.progress
    throttled_by = tuple(reason.sentence for reason in status.throttled_by)
    remedy = status.remedy or None
    intention = None if status.intention is None else _intention_view(status.intention)
    verification = None if status.verification is None else _verification_view(status.verification, status)
    if facts is None:
        return DataMigrationView(
            name=status.name, release=status.release, database=status.database, error=status.unreadable,
            state=state_of(status),
            throttled_by=throttled_by, remedy=remedy, intention=intention, priority=status.priority,
            progress=progress.share, eta=eta_view(progress.eta), reverse=status.is_reverse, verification=verification,
        )  # fmt: skip
    return DataMigrationView(
        name=status.name,
        release=status.release,
        database=status.database,
        state=state_of(status),
        rows_done=facts.rows_done,
        rows_total=facts.rows_total,
        rows_verified=facts.rows_verified,
        differences=facts.differences,
        first_differences=facts.first_differences,
        rows_to_repair=facts.rows_to_repair,
        error=facts.error,
        throttled_by=throttled_by,
        remedy=remedy,
        rows_quarantined=facts.rows_quarantined,
        quarantine=None if status.quarantine is None else tuple(map(_row_view, status.quarantine)),
        intention=intention,
        priority=status.priority,
        progress=progress.share,
        rows_per_second=progress.rows_per_second,
        eta=eta_view(progress.eta),
        reverse=status.is_reverse,
        verification=verification,
    )


def state_of(status: MigrationStatus) -> str:
    """Its state, or why it has none: its database knows nothing of it, or cannot be read."""
    if status.facts is not None:
        return status.facts.state.value
    return ABSENT if status.unreadable is None else UNREADABLE


def eta_view(eta: Eta) -> EtaView:
    """How much work is left, as it is shown."""
    return EtaView(state=eta.state.value, seconds=eta.seconds)


def _verification_view(found: Verification, status: MigrationStatus) -> VerificationView:
    return VerificationView(
        state=found.state.value, sentence=found.sentence, rows=found.rows, differences=found.differences,
        by=found.actor, started_at=found.started_at, first_differences=found.first_differences,
        expected=found.expected, error=found.error, reason=found.reason, finished_at=found.finished_at,
        to_move_again=status.to_move_again,
        throttled_by=tuple(reason.sentence for reason in status.verification_waits),
    )  # fmt: skip


def _intention_view(intention: Intention) -> IntentionView:
    return IntentionView(wish=intention.wish.value, by=intention.actor, reason=intention.reason, since=intention.since)


def _row_view(row: QuarantinedRow) -> QuarantinedRowView:
    return QuarantinedRowView(key=row.key, error=row.error, failed_at=row.failed_at)


def _answer(schema: str, found: tuple[MigrationStatus, ...], retried: tuple[str, ...] = ()) -> Answer:
    views = tuple(migration_view(status) for status in found)
    return Answer(DataMigrationList(schema=schema, data_migrations=views, retried=retried))
