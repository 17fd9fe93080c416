"""The doer of the journal of operations: sees every statement that a revision sends, and lets it take effect once.

It listens on the revision's connection, so nothing that a revision does goes around it: not `op.get_bind()`, not
`metadata.create_all`. Statements that commit by themselves get an intent, are judged where one is on record, verified
and marked. The others commit together with their mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.dml import UpdateBase

from orchestrator.bookkeeping import journal, operations
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.bookkeeping.operations import OperationEntry
from orchestrator.dialects import Database
from orchestrator.domain.errors import MigrationRefused, OrchestratorError
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.evidence import Verdict, image_of, judge, missing_effects
from orchestrator.schema_migrations.last_words import LastWords
from orchestrator.schema_migrations.online_context import OnlineContext
from orchestrator.schema_migrations.operation_refusals import Refusals
from orchestrator.schema_migrations.passed_over import give_nothing_back
from orchestrator.schema_migrations.recording import place_in, untold
from orchestrator.schema_migrations.replay import Changed, Replay
from orchestrator.schema_migrations.statements import REPEATABLE, TOOK_EFFECT, Kind, Statement, read_statement
from orchestrator.schema_migrations.tree import Revision

_NOTHING = "SELECT 1"
_NO_DDL = sa.DDL(_NOTHING)  # type: ignore[no-untyped-call]
"""Sent in the place of a statement that is done already."""

_RETURNING = re.compile(r"^\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b.*\bRETURNING\b", re.IGNORECASE | re.DOTALL)
_KEPT_CHARACTERS = 2000


class OperationJournal:
    """The statements of one run of one revision in one database. The revision's own intent is on record."""

    def __init__(
        self,
        context: OnlineContext,
        database: Database,
        revision: Revision,
        entry: JournalEntry,
        sleep: Callable[[float], None],
    ) -> None:
        assert context.connection is not None
        self._context = context
        self._connection = context.connection
        self._database = database
        self._revision = revision
        self._entry = entry
        self._refusals = Refusals(revision.id, database.name)
        self._last_words = LastWords(self._connection, database.dialect, sleep=sleep)
        self._replay = Replay(self._on_record())
        self._is_open = False  # whether a transaction of rows and marks is open where statements commit by themselves
        self._sent: tuple[Statement, OperationEntry] | None = None
        self._passed: OperationEntry | None = None  # what is passed over just now
        self._refusal: OrchestratorError | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See every statement that is sent as long as the block runs.

        At its end a transaction of rows and marks may be open still: `finish` ends it. An error that nobody may
        swallow is raised again, also if the revision did.
        """
        listeners: dict[str, Callable[..., Any]] = {
            "before_execute": self._before,
            "before_cursor_execute": self._before_text,
            "after_cursor_execute": self._after,
        }
        for name, listener in listeners.items():
            event.listen(self._connection, name, listener, **({"retval": True} if name.startswith("before") else {}))
        try:
            yield
            if self._refusal is not None:
                raise self._refusal  # the revision swallowed it
            try:
                self._replay.end()
            except Changed as changed:
                raise self._refusals.changed(changed, self._revision.place) from None
        except Exception as error:
            self._break_off(error)
            if self._refusal is not None:  # within the driver's events it was wrapped as if the driver had said it
                raise self._refusal from None
            raise
        finally:
            for name, listener in listeners.items():
                event.remove(self._connection, name, listener)

    @contextmanager
    def operation(self) -> Iterator[None]:
        """The statements of the block are one operation."""
        self._replay.begin_operation()
        try:
            yield
        finally:
            self._replay.end_operation()

    @contextmanager
    def block(self) -> Iterator[None]:
        """An autocommit block: what was written in it is committed at its end."""
        yield
        with self._aside():
            self._commit()

    @contextmanager
    def finish(self) -> Iterator[None]:
        """The transaction in which the revision is marked done, its rows that wait for it included."""
        self._begin()
        yield
        operations.clear(self._connection, self._entry.schema_name, self._entry.revision)
        self._commit()

    def _on_record(self) -> tuple[OperationEntry, ...]:
        """What the journal knows of the revision, when nobody else can send any of it any more."""
        schema, revision = self._entry.schema_name, self._entry.revision
        entries = operations.entries(self._connection, schema, revision)
        intended = [each.member for each in entries if each.state is JournalState.INTENT]
        return operations.entries(self._connection, schema, revision) if self._last_words.outlast(intended) else entries

    # -- what the connection tells -------------------------------------------------------------------------------------

    def _before(
        self, _connection: sa.Connection, element: Any, many: Any, one: Any, options: Mapping[str, Any]
    ) -> tuple[Any, Any, Any]:
        if self._context.speaks or self._is_wanted(element, many or one, options):
            return element, many, one
        return (_NO_DDL if isinstance(element, ExecutableDDLElement) else sa.text(_NOTHING)), [], {}

    def _before_text(
        self, _connection: sa.Connection, _cursor: Any, text: str, parameters: Any, context: Any, _many: bool
    ) -> tuple[str, Any]:
        """Text that is handed to the driver as it is passes here only."""
        if self._context.speaks:
            return text, parameters
        is_seen = context.compiled is not None
        if not is_seen and not self._is_wanted(text, parameters, context.execution_options):
            text, parameters = _NOTHING, ()
        passed, self._passed = self._passed, None
        if passed is not None:
            give_nothing_back(context, partial(self._looked_at, passed))
        return text, parameters

    def _is_wanted(self, element: object, parameters: object, options: Mapping[str, Any]) -> bool:
        """Whether a statement that the revision sends is to reach the database."""
        self._sent = self._passed = None  # the one before it has failed, and the revision goes on
        place = place_in(self._revision)
        statement = read_statement(element, self._context.dialect, place, parameters=parameters, options=options)
        self._forget_options()
        if statement.kind is Kind.READING:
            self._replay.looks()
        if statement.kind in (Kind.READING, Kind.SESSION):
            return True
        with self._aside():
            self._last_words.end()  # of one that failed, and was passed by
            if self._context.outside and _gives_back(element):
                raise self._refusals.asks_back(statement)
            return self._prepare(statement)

    def _forget_options(self) -> None:
        """What Alembic was told about one statement, it leaves on the connection for all that follow."""
        if self._connection.get_execution_options().keys() & {TOOK_EFFECT, REPEATABLE}:
            self._connection.execution_options(**{TOOK_EFFECT: None, REPEATABLE: False})

    def _after(self, *_: Any) -> None:
        if self._context.speaks or self._sent is None:
            return
        with self._aside():
            (statement, entry), self._sent = self._sent, None
            if entry.state is JournalState.DONE:  # it commits with its mark
                operations.record(self._connection, replace(entry, finished_at=self._now()))
                return
            wrong = missing_effects(self._connection, statement)
            if wrong:
                raise self._refusals.failed(
                    "effect_missing",
                    statement,
                    f"ran, but {'; '.join(wrong)}",
                    remedy="Nothing more was marked done. Look at what the statement does there, mend it, and retry.",
                )
            self._mark(entry)
            self._last_words.end()

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What is sent here is no statement of the revision; a refusal is remembered, in case the revision goes on."""
        try:
            with self._context.speaking():
                yield
        except OrchestratorError as error:
            self._refusal = self._refusal or error
            raise

    # -- one statement -------------------------------------------------------------------------------------------------

    def _prepare(self, statement: Statement) -> bool:
        """Whether the statement is to be sent. What it needs on record before it is written then."""
        if self._refusal is not None:
            raise self._refusal
        alone = self._context.outside and statement.kind is Kind.STRUCTURE
        if alone and not statement.can_be_told:
            raise untold(self._revision, statement.place, statement.text)
        try:
            slot = self._replay.place(statement.fingerprint)
        except Changed as changed:
            raise self._refusals.changed(changed, statement.place) from None
        if slot.entry is not None and slot.entry.state is JournalState.DONE:
            self._passed = slot.entry
            return False
        entry = OperationEntry(
            schema_name=self._entry.schema_name,
            revision=self._entry.revision,
            position=slot.position,
            part=slot.part,
            fingerprint=statement.fingerprint,
            statement=statement.text[:_KEPT_CHARACTERS],
            image=None,
            state=JournalState.INTENT if alone else JournalState.DONE,
            owner_epoch=self._entry.owner_epoch,
            member=self._last_words.member,
            started_at=self._now(),
        )
        if not alone:
            if self._context.outside:
                self._begin()
            self._sent = statement, entry
            return True
        if slot.entry is None:
            self._commit()
            entry = replace(entry, image=image_of(self._connection, statement))
            self._last_words.intend()
            self._begin()
            operations.record(self._connection, entry)
            self._commit()
            self._send(statement, entry)
            return True
        return self._resume(statement, slot.entry)

    def _resume(self, statement: Statement, entry: OperationEntry) -> bool:
        """Go on with a statement that was intended before. Returns whether it is to be sent."""
        self._last_words.intend()
        self._begin()
        epoch, member = self._entry.owner_epoch, self._last_words.member
        operations.take_over(self._connection, entry, owner_epoch=epoch, member=member, now=self._now())
        self._commit()
        finding = judge(self._connection, statement, entry.image)
        match finding.verdict:
            case Verdict.TOOK_EFFECT:
                self._mark(entry)
                self._last_words.end()
                self._passed = entry
                return False
            case Verdict.IN_DOUBT:
                raise self._refusals.in_doubt(statement, entry, finding.found)
            case Verdict.LEFT_INVALID:
                self._drop_invalid(statement)
        self._send(statement, entry)
        return True

    def _send(self, statement: Statement, entry: OperationEntry) -> None:
        """Let it be sent now, as long as the intent is fresh."""
        while self._last_words.is_late:
            self._last_words.intend()
            self._begin()
            self._commit()
        self._sent = statement, entry

    def _drop_invalid(self, statement: Statement) -> None:
        quote = self._connection.dialect.identifier_preparer.quote
        for change in statement.changes:
            if change.act is Act.CREATE_INDEX:
                schema = f"{quote(change.schema)}." if change.schema else ""
                self._connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}{quote(change.name)}")

    def _mark(self, entry: OperationEntry) -> None:
        self._begin()
        operations.finish(self._connection, entry, now=self._now())
        self._commit()

    def _break_off(self, error: Exception) -> None:
        """Take an intent back of which surely nothing came, so that what people change meanwhile does not matter."""
        if self._database.dialect.is_disconnect(error):
            return
        with suppress(Exception), self._aside():
            self._rollback()
            self._last_words.end()
        sent, self._sent = self._sent, None
        if sent is None or sent[1].state is JournalState.DONE:
            return
        statement, entry = sent
        with suppress(Exception), self._aside():  # it only makes the next attempt easier
            if image_of(self._connection, statement) == entry.image and statement.took_effect is None:
                self._begin()
                operations.withdraw(self._connection, entry)
                self._commit()

    # -- transactions where statements commit by themselves ------------------------------------------------------------

    def _begin(self) -> None:
        """Begin a transaction, unless one is open, and hold the revision's row: no other owner comes between."""
        if self._is_open or not self._context.outside:
            return
        self._connection.exec_driver_sql("BEGIN")
        self._is_open = True
        entry = self._entry
        journal.claim(self._connection, entry.schema_name, entry.revision, owner_epoch=entry.owner_epoch)

    def _commit(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.exec_driver_sql("COMMIT")

    def _rollback(self) -> None:
        if self._is_open:
            self._is_open = False
            self._connection.exec_driver_sql("ROLLBACK")

    def _now(self) -> float:
        return self._database.dialect.now(self._connection)

    def _looked_at(self, passed: OperationEntry, what: str) -> MigrationRefused:
        """Kept like every refusal: the revision may go on, and decide by what it has not seen."""
        refusal = self._refusals.looked_at(passed, place_in(self._revision), what)
        self._refusal = self._refusal or refusal
        return refusal


def _gives_back(element: Any) -> bool:
    """Whether a statement that writes rows was told to give some of them back."""
    if isinstance(element, UpdateBase):
        return bool(element._returning)
    text = element if isinstance(element, str) else getattr(element, "text", "")
    return isinstance(text, str) and _RETURNING.search(text) is not None
