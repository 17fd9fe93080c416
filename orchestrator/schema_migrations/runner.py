"""The runner: runs revisions in one database, each with intent, lock, retry, verification and a mark when done."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import sqlalchemy as sa
from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import HeadMaintainer, MigrationContext, MigrationStep
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.bookkeeping.tables import steps as journal_table
from orchestrator.dialects import Database, reason
from orchestrator.dialects.triggers import Standing, standing
from orchestrator.domain.errors import Conflict, OrchestratorError, StepFailed
from orchestrator.domain.removals import Removal
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations.catalog import differences, existing_tables
from orchestrator.schema_migrations.changes import Act, Change
from orchestrator.schema_migrations.expectations import ExpectedCatalog
from orchestrator.schema_migrations.online_context import OnlineContext
from orchestrator.schema_migrations.op_context import ObservedOperations, running
from orchestrator.schema_migrations.operation_journal import OperationJournal
from orchestrator.schema_migrations.operations import changes_of_operation
from orchestrator.schema_migrations.phase_guard import Novelty, enforce, judge
from orchestrator.schema_migrations.places import Place, line_of_error
from orchestrator.schema_migrations.recording import place_in
from orchestrator.schema_migrations.sealing import NO_TRIGGERS, SEALING_STAGES, SealState
from orchestrator.schema_migrations.step_plan import INSTALL, Reading
from orchestrator.schema_migrations.sync_definitions import left_standing
from orchestrator.schema_migrations.transaction_guard import TransactionGuard
from orchestrator.schema_migrations.tree import Revision, Tree
from orchestrator.schema_migrations.waiting import Patience, Waiting

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedRevision:
    """One piece of work that a step would do in a database.

    `changes` says what it does, as far as it can be told without the database. `pulled_in_by` names the revision that
    needs this one by `depends_on`, None where it is in the way to the head anyhow.
    """

    id: str
    stage: str
    file: str
    summary: str
    changes: tuple[str, ...] = ()
    pulled_in_by: str | None = None
    acknowledged: str | None = None

    @property
    def sentence(self) -> str:
        """One line for people."""
        parts = [f"{self.stage} {self.id}"]
        if self.summary:
            parts.append(f" ({self.summary.rstrip('.')})")
        if self.changes:
            parts.append(f": {', '.join(self.changes)}")
        if self.pulled_in_by is not None:
            parts.append(f"; needed by {self.pulled_in_by}")
        if self.acknowledged is not None:
            parts.append(f"; acknowledged: {self.acknowledged}")
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a database stands, seen from one release.

    `expanded` and `contracted`: the release's revisions are in the version table, done in the journal, and in the
    catalog; `differences` says what the catalog lacks. `empty`: nothing of the schema is there, or an install that
    was broken off. `triggers`: what stands of those of the release. `versions` are the rows of the version table,
    `strays` the revisions that these imply and the journal does not know, `lacks` what is missing of what expand makes,
    `removal` what somebody took away of the old shape by hand.
    """

    heads: tuple[str, ...]
    expanded: bool
    contracted: bool
    empty: bool
    differences: tuple[str, ...] = ()
    triggers: SealState = NO_TRIGGERS
    versions: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    removal: Removal | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether somebody has to put something right there, and waits for that to be seen."""
        is_out_of_step = self.expanded and not self.triggers.in_step
        return bool(self.differences or self.strays or self.removal) or is_out_of_step


def _nothing(revision: Revision) -> None:
    """Nothing has to be done before it."""


class Runner:
    """Runs revisions of one tree. What to run is decided by others, under the lock, from what is read there.

    On a database whose DDL is transactional the effects of a revision, the version table and the journal's mark
    commit together; whatever breaks it off, the next run goes on after the last revision that was marked done. Where
    statements commit by themselves it goes on within the revision, after the last of them.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        version_table: str,
        patience: Patience,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._tree = tree
        self._schema = tree.manifest.releases.schema
        self._version_table = version_table
        self._patience = patience
        self._sleep = sleep
        self._waiting = Waiting(patience, sleep=sleep, chance=chance)

    def read(
        self, database: Database, connection: sa.Connection, tables: tuple[tuple[str | None, str], ...]
    ) -> Reading:
        """Where the database stands. `tables` are those to look for where it has no version.

        Versions and journal belong together: read anew when a revision has ended in between.
        """
        context = MigrationContext.configure(connection, opts={"version_table": self._version_table})
        versions: tuple[str, ...] | None = None
        while versions != (found := tuple(sorted(context.get_current_heads()))):
            versions = found
            every = journal.entries(connection, self._schema) if journal.exists(connection) else None
        entries = None if every is None else tuple(each for each in every if each.stage not in SEALING_STAGES)
        return Reading(
            database=database.name,
            versions=found,
            journal=entries,
            tables=() if found else existing_tables(connection, tables),
        )

    @contextmanager
    def alone(self, database: Database) -> Iterator[sa.Connection]:
        """A connection for DDL that holds this schema's lock in that database, without a transaction.

        Raises `Conflict` (code `lock_busy`) if somebody else holds it, `Unavailable`.
        """
        try:
            with (
                database.dialect.schema_connection(database.engine) as connection,
                database.dialect.session_lock(connection, f"schema {self._schema}"),
            ):
                yield connection
        except OrchestratorError:
            raise
        except Exception as error:  # whatever the driver makes of a connection that fails
            explained = database.explain(error)
            if explained is None:
                raise
            raise explained from error

    def run(
        self,
        database: Database,
        connection: sa.Connection,
        revisions: tuple[Revision, ...],
        *,
        owner_epoch: int,
        novelty: Novelty | None,
        leaving: frozenset[str] = frozenset(),
        way: str | None = None,
        watch: StepWatch | None = None,
        before: Callable[[Revision], None] = _nothing,
    ) -> tuple[str, ...]:
        """Run these revisions one by one on a connection of `alone`. Returns their ids.

        With `novelty`, each operation is judged once more just before it is performed: that reaches revisions which
        look at the database first. `leaving` are those that leave their transaction, so that a part of them may remain
        when they fail. `way` is the journal's word for how they come, their stage if None; `watch` is told where they
        have to wait; `before` is called with each in its transaction, before its first statement. Raises `StepFailed`,
        `Unavailable`, `Conflict` or `MigrationRefused`; what ran before that stays.
        """
        for revision in revisions:
            attempt = _Attempt(
                self._tree, revision, database, connection, self._version_table, owner_epoch, novelty, self._patience,
                self._sleep,
            )  # fmt: skip
            attempt.leaves = revision.id in leaving
            attempt.before = before
            self._complete(attempt, way or revision.stage.value, watch)
        return tuple(revision.id for revision in revisions)

    def intend_all(
        self, database: Database, connection: sa.Connection, revisions: tuple[Revision, ...], *, owner_epoch: int
    ) -> None:
        """Write the intents of a whole install, so that one that is broken off is recognised."""
        now = _now(database, connection)
        with connection.begin():
            database.dialect.lock_timeout(connection, self._patience.lock_seconds)
            for revision in revisions:
                journal.intend(connection, self._entry(revision, INSTALL, owner_epoch, now))

    def _complete(self, attempt: _Attempt, way: str, watch: StepWatch | None) -> None:
        """Intend and perform it, as often as it takes to get its locks."""

        def once() -> None:
            journalled = self._intend(attempt, way)
            attempt.perform(journalled, self._entry(attempt.revision, way, attempt.owner_epoch, 0.0))

        def once_or_again() -> None:
            """On a cluster, where locks end at one node, another owner of the same epoch may come first: then the
            catalog, looked at anew, shows its effect."""
            try:
                once()
            except (SQLAlchemyError, DBError) as error:
                if not attempt.database.dialect.is_done_already(error):
                    raise
                if attempt.connection.in_transaction():
                    attempt.connection.rollback()
                once()

        revision, database = attempt.revision, attempt.database
        self._waiting.persevere(
            once_or_again,
            database=database,
            connection=attempt.connection,
            revision=revision.id,
            tables=attempt.tables,
            failure=lambda error: self._failure(attempt, error),
            watch=watch,
        )
        LOG.info(
            "a revision was run: %(revision)s in %(database)s",
            {"action": "revision.run", "revision": revision.id, "database": database.name, "way": way},
        )

    def _intend(self, attempt: _Attempt, way: str) -> bool:
        """Write the intent. Returns whether there is a journal; one revision creates it."""
        connection = attempt.connection
        with connection.begin():
            there = journal.exists(connection)
        if not there:
            return False
        now = _now(attempt.database, connection)
        with connection.begin():
            attempt.database.dialect.lock_timeout(connection, self._patience.lock_seconds)
            journal.intend(connection, self._entry(attempt.revision, way, attempt.owner_epoch, now))
        return True

    def _entry(self, revision: Revision, way: str, owner_epoch: int, now: float) -> JournalEntry:
        return JournalEntry(
            schema_name=self._schema,
            revision=revision.id,
            stage=way,
            file_hash=revision.file_hash,
            state=JournalState.INTENT,
            owner_epoch=owner_epoch,
            started_at=now,
        )

    def _failure(self, attempt: _Attempt, error: Exception) -> OrchestratorError:
        database, revision = attempt.database, attempt.revision
        explained = database.explain(error)
        if explained is not None:
            return explained
        place = Place(revision.file, line_of_error(revision.file, error))
        return StepFailed(
            "revision_failed",
            f"{place}: revision {revision.id} failed in database {database.name}: {reason(error, database.engine.url)}",
            remedy="The revision was not marked done; what it has done and could not be undone is not done again. "
            "Correct what it says. A revision that was changed is read when the daemon starts: restart it.",
            file=str(place.file),
            line=place.line,
            revision=revision.id,
            database=database.name,
        )


class _Attempt:
    """One revision in one database; performed again when it did not get its locks."""

    def __init__(
        self,
        tree: Tree,
        revision: Revision,
        database: Database,
        connection: sa.Connection,
        version_table: str,
        owner_epoch: int,
        novelty: Novelty | None,
        patience: Patience,
        sleep: Callable[[float], None],
    ) -> None:
        self.leaves = False  # whether it leaves its transaction, where it has one
        self.before: Callable[[Revision], None] = _nothing
        self.revision = revision
        self.database = database
        self.connection = connection
        self.owner_epoch = owner_epoch
        self.observed: list[Change] = []
        self._tree = tree
        self._version_table = version_table
        self._novelty = novelty
        self._patience = patience
        self._sleep = sleep
        self._context: OnlineContext | None = None

    def tables(self) -> tuple[str, ...]:
        """The tables that it was seen to touch; their locks are what it may be waiting for."""
        return tuple(sorted({change.table for change in self.observed if change.table}))

    def perform(self, journalled: bool, entry: JournalEntry) -> None:
        """Run it, verify its effects in the catalog and mark it done.

        In one transaction where that can be; elsewhere every statement has an entry of its own in the journal of
        operations, so that none is done twice.
        """
        database, connection = self.database, self.connection
        self.observed.clear()
        context = self._context = OnlineContext(connection, database, self._version_table, self._patience)
        if database.dialect.transactional_ddl:
            with context.begin_transaction(_per_migration=True):
                database.dialect.lock_timeout(connection, self._patience.lock_seconds)
                if journalled:
                    journal.claim(connection, entry.schema_name, entry.revision, owner_epoch=self.owner_epoch)
                self._upgrade(context, journalled, entry)
        else:
            with context.autocommit(self._patience.lock_seconds):
                self._upgrade(context, journalled, entry)

    def _upgrade(self, context: OnlineContext, journalled: bool, entry: JournalEntry) -> None:
        context._ensure_version_table()
        self.before(self.revision)
        is_told = journalled and (self.leaves or not self.database.dialect.transactional_ddl)
        operations = OperationJournal(context, self.database, self.revision, entry, self._sleep) if is_told else None
        guard = TransactionGuard(context, self.revision, self.database.name)
        upgrade = self._tree.module(self.revision.id).upgrade
        if operations is None:
            with running(ObservedOperations(context, self._observe)), guard.watching():
                upgrade()
            with context.together():
                self._conclude(context, journalled, entry)
            return
        context.block = operations.block
        observed = ObservedOperations(context, self._observe, around=operations.operation)
        with running(observed), guard.watching(), operations.watching():
            upgrade()
        with operations.finish():
            self._conclude(context, journalled, entry)

    def _conclude(self, context: OnlineContext, journalled: bool, entry: JournalEntry) -> None:
        self._verify(self.connection)
        step = MigrationStep.upgrade_from_script(self._tree.script.revision_map, self._tree.code(self.revision.id))
        HeadMaintainer(context, context.get_current_heads()).update_to_step(step)
        self._mark_done(journalled, entry)

    def _observe(self, operation: MigrateOperation) -> bool:
        assert self._context is not None
        changes = changes_of_operation(operation, self._context, place_in(self.revision))
        if self._novelty is not None:
            for change in changes:
                self._novelty.note((change,))
                enforce(judge(change, self.revision.stage, self._novelty), change, self.revision)
        self.observed.extend(changes)
        return True

    def _verify(self, connection: sa.Connection) -> None:
        catalog = ExpectedCatalog()
        catalog.add(self.revision.id, self.observed)
        wrong = differences(connection, catalog.expectations()) + self._missing_sync_triggers(connection)
        if wrong:
            raise StepFailed(
                "effect_missing",
                f"{self.revision.place}: revision {self.revision.id} ran in database {self.database.name}, but "
                f"{'; '.join(wrong)}",
                remedy="Nothing was marked done. Look at what the revision does there, mend it on every daemon, "
                "restart them, and retry.",
                file=str(self.revision.file),
                line=self.revision.line,
                revision=self.revision.id,
                database=self.database.name,
            )

    def _missing_sync_triggers(self, connection: sa.Connection) -> tuple[str, ...]:
        triggers = self.database.dialect.triggers
        missing = []
        for change in left_standing(self.observed).values():
            pieces = () if change.sync is None else triggers.sync_pieces(connection, change.sync)
            if standing(pieces, triggers.found(connection, pieces)) is not Standing.WHOLE:
                missing.append(f"the sync trigger of {change.subject} is missing, or not as it was made")
        return tuple(missing)

    def _mark_done(self, journalled: bool, entry: JournalEntry) -> None:
        connection = self.connection
        now = self.database.dialect.now(connection)
        if journalled:
            journal.finish(connection, entry.schema_name, entry.revision, owner_epoch=self.owner_epoch, now=now)
            return
        if not any(each.act is Act.CREATE_TABLE and each.table == journal_table.name for each in self.observed):
            raise Conflict(
                "bookkeeping_missing",
                f"database {self.database.name} has no journal yet",
                remedy="Prepare the orchestrator's own tables in it first.",
                database=self.database.name,
            )
        journal.record(connection, [replace(entry, state=JournalState.DONE, started_at=now, finished_at=now)])


def _now(database: Database, connection: sa.Connection) -> float:
    """The database's time, in a transaction of its own: on SQLite one that reads first may not be let to write."""
    with connection.begin():
        return database.dialect.now(connection)
