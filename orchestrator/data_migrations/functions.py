"""Functions: data migrations that are a function of the service, called in the service's own environment.

Such a function commits by itself, on connections of its own: its effect and our books are never one transaction. What
holds all the same, and what does not, is in docs/decisions/0015-wrap-functions-of-services.md. No transaction is open
while it runs. A session lock of the database keeps calls apart, and tells a fence when the last one has ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from oslo_db.exception import DBError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations.enrolling import UNDER_WAY, changed
from orchestrator.data_migrations.loading import Definition, file_of, hash_of, load
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.data_migrations.service_process import Answer, ServiceEnvironment, ServiceProcess
from orchestrator.data_migrations.target import MayAdd
from orchestrator.data_migrations.turns import Beside
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, Invalid, MigrationRefused, OrchestratorError, StepFailed, Unavailable
from orchestrator.domain.ladder import InStepBy
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.releases import Release
from orchestrator.domain.view import MigrationFacts, MigrationState

MOST_IN_VAIN = 3
"""So many calls in a row may fail, or find rows and do none of them, before the data migration has failed."""

_NOT_ANY_MORE = frozenset({"lost_cursor", "not_in_backfill"})
_QUIET_SECONDS = 30.0
_PAUSE_SECONDS = 0.05

Surroundings = Callable[[str], ServiceEnvironment]
"""The environment of the service at a release. Raises `Invalid` where there is none."""


class FunctionRunner(DataMigrationRunner):
    """A runner that also knows wrapped functions. Of them it holds the processes, and which calls were in vain."""

    def __init__(
        self,
        database: Database,
        schema: str,
        directory: Path,
        *,
        surroundings: Surroundings,
        pause_seconds: float = 0.0,
        nice_ratio: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        is_stopping: Callable[[], bool] = lambda: False,
        beside: Beside = lambda name: (name,),
    ) -> None:
        super().__init__(
            database, schema, directory, pause_seconds=pause_seconds, nice_ratio=nice_ratio, clock=clock, beside=beside
        )
        self._surroundings = surroundings
        self._is_stopping = is_stopping
        self._sleep = sleep
        self._definitions: dict[str, Definition] = {}
        self._loaded: dict[str, Definition] = {}
        self._processes: dict[str, ServiceProcess] = {}
        self._in_vain: Counter[str] = Counter()

    def run_batch(self, name: str, upgrade_id: int, batch: BatchSizes | int, *, leads: bool = True) -> MigrationFacts:
        """As `DataMigrationRunner.run_batch`; of a function one call. Finished is one that finds nothing, twice.

        Calls that fail, or find rows and do none, raise `Unavailable` and are tried again; after `MOST_IN_VAIN` in a
        row the data migration has failed.
        """
        definition = self._wrapped(name)
        entry = None if definition is None else self._entry(name)
        if definition is None or entry is None:
            return super().run_batch(name, upgrade_id, batch, leads=leads)
        if entry.state is not MigrationState.PENDING and entry.state not in UNDER_WAY:
            self._end(name)
            return entry.facts()
        if entry.state in UNDER_WAY or not leads:
            fault = changed(definition.path, name) if definition.file_hash != entry.file_hash else None
            if fault is not None and not leads:
                raise fault
            if fault is not None:
                return self._stop(entry, fault).facts()
        sizes = BatchSizes.fixed(batch) if isinstance(batch, int) else batch
        try:
            with self._alone(name) as session:
                if entry.state is MigrationState.PENDING:
                    return self._begin(entry, definition, upgrade_id).facts()
                return self._call(session, entry, definition, upgrade_id, sizes).facts()
        except Conflict as conflict:
            if conflict.code in _NOT_ANY_MORE:
                self._end(name)
            raise

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While no function is called: whoever calls one is told to stop, and waited for.

        Around the transaction in which the database learns of a fence. Raises `Unavailable` (code
        `function_under_way`) where a call does not end in time: its daemon may be paused, and is asked again.
        """
        attempts = int(_QUIET_SECONDS / _PAUSE_SECONDS)
        for attempt in range(attempts):
            with self.database.writing() as connection:
                ledger.fence(connection, self.schema)
            try:
                with self._alone(None):
                    yield
                    return
            except Conflict as conflict:
                if conflict.code != "batch_claimed":
                    raise
            if attempt < attempts - 1:
                self._sleep(_PAUSE_SECONDS)
        raise Unavailable(
            "function_under_way",
            f"a function of {self.schema} is still called in database {self.database.name}",
            remedy="Nothing to do: it is told to stop. If it stays so, restart the daemon that calls it.",
            database=self.database.name,
        )

    def _check(self, release: Release, name: str, *, expanded: bool, may_add: MayAdd) -> None:
        """As `DataMigrationRunner`; a function is refused where a release claims that values are kept in step."""
        definition = load(file_of(self.directory, name), name)
        if definition.function is None or name in release.reverse_data_migrations:
            super()._check(release, name, expanded=expanded, may_add=may_add)
        elif release.in_step_by is not InStepBy.SERVICE:
            raise MigrationRefused(
                "function_needs_service",
                f"{definition.place} is a function of the service, in release {release.name} with in_step_by = "
                f"{release.in_step_by.value!r}: nobody but the service knows which rows it changes, and how",
                remedy='Declare in_step_by = "service", or write it as expressions or a transform.',
                file=str(definition.path),
                data_migration=name,
            )

    def _entry(self, name: str) -> LedgerEntry | None:
        """What the ledger has of it, None where it was never enrolled."""
        with self.database.reading() as connection:
            return ledger.find(connection, self.schema, name)

    def _begin(self, entry: LedgerEntry, definition: Definition, upgrade_id: int) -> LedgerEntry:
        with self._transaction() as connection:
            mine = self._claims.claim(connection, entry.name, upgrade_id)
            if mine.state is not MigrationState.PENDING:
                return mine
            self._turns.take(connection, mine)
            self._in_vain[entry.name] = 0
            started = replace(
                mine.at_start(upgrade_id=upgrade_id, file_hash=definition.file_hash),
                state=MigrationState.RUNNING,
                started_at=self.database.dialect.now(connection),
            )
            return ledger.save(connection, started)

    def _call(
        self, session: Connection, seen: LedgerEntry, definition: Definition, upgrade_id: int, sizes: BatchSizes
    ) -> LedgerEntry:
        """One call, outside of any transaction; what it did counts if the cursor is still that of its beginning.

        While it is asked for the proof it counts as running: where its answer is lost, so is the proof.
        """
        with self._transaction() as connection:
            mine = self._claims.claim(connection, seen.name, upgrade_id)
            if (mine.state, mine.file_hash) != (seen.state, seen.file_hash):
                return mine
            self._turns.require(connection, mine)
            self.pauses.require(self._claims, connection, mine.name, mine.batch_at)
            is_proof = mine.state is MigrationState.VERIFYING
            if is_proof:
                mine = ledger.save(connection, replace(mine, state=MigrationState.RUNNING, rows_total=None))
        rows = sizes.within(mine.batch_rows)
        began = self._clock()
        try:
            answer = self._process_of(mine, definition).call(rows, lambda: self._is_still(session, mine))
        except (StepFailed, Invalid) as fault:
            return self._vainly(mine, fault)
        seconds = self._clock() - began
        if answer.found and not answer.done:
            return self._vainly(mine, _no_progress(definition, answer))
        self._in_vain[mine.name] = 0
        with self._transaction() as connection:
            self._claims.claim(connection, mine.name, upgrade_id)
            sized = replace(mine, batch_rows=sizes.after(rows, seconds))
            after = self._after(connection, sized, answer, is_proof=is_proof)
            return ledger.save(connection, self._timed(connection, after, seconds))

    def _after(self, connection: Connection, entry: LedgerEntry, answer: Answer, *, is_proof: bool) -> LedgerEntry:
        """The entry after a call that did something, or found nothing: the first time to be proven, then proven."""
        done = entry.rows_done + answer.done
        if answer.found:
            return replace(entry, state=MigrationState.RUNNING, rows_done=done)
        if not is_proof:
            self._turns.doubt_others(connection, entry)
            return replace(entry, state=MigrationState.VERIFYING, rows_done=done)
        return replace(
            entry,
            state=MigrationState.COMPLETE,
            rows_total=done,
            rows_done=done,
            rows_verified=done,
            witness_incarnation=self.database.dialect.incarnation(connection),
            finished_at=self.database.dialect.now(connection),
        )

    def _vainly(self, mine: LedgerEntry, fault: OrchestratorError) -> LedgerEntry:
        """Let it be tried again, or have failed."""
        self._in_vain[mine.name] += 1
        if self._in_vain[mine.name] < MOST_IN_VAIN and not isinstance(fault, Invalid):
            raise Unavailable(
                "function_in_vain", f"{fault.message}; it is tried again", remedy=fault.remedy, data_migration=mine.name
            ) from fault
        self._in_vain[mine.name] = 0
        self._end(mine.name)
        return self._stop(mine, fault)

    def _wrapped(self, name: str) -> Definition | None:
        """The definition, if it is a function's. What is wrong with its file is told where others are loaded."""
        path, known = file_of(self.directory, name), self._loaded.get(name)
        try:
            if known is None or known.file_hash != hash_of(path, name):
                known = self._loaded[name] = load(path, name)
        except Invalid:
            return None
        return None if known.function is None else known

    def _process_of(self, entry: LedgerEntry, definition: Definition) -> ServiceProcess:
        known = self._processes.get(entry.name)
        if known is not None and known.is_fresh and self._definitions[entry.name].file_hash == definition.file_hash:
            return known
        self._end(entry.name)
        assert definition.function is not None
        self._definitions[entry.name] = definition
        made = ServiceProcess(definition, definition.function, self._surroundings(entry.release), clock=self._clock)
        self._processes[entry.name] = made
        return made

    def _end(self, name: str) -> None:
        if (process := self._processes.pop(name, None)) is not None:
            process.end()

    def _is_still(self, session: Connection, mine: LedgerEntry) -> bool:
        """Whether it is still to go on: nobody took the cursor, as a fence does, and the daemon does not stop.

        The session that holds the lock is asked: where it is lost, the lock is too.
        """
        try:
            found = ledger.find(session, self.schema, mine.name)
        except (SQLAlchemyError, DBError):
            return False
        return found is not None and found.revision == mine.revision and not self._is_stopping()

    @contextmanager
    def _alone(self, name: str | None) -> Iterator[Connection]:
        """No other call of this schema in this database, as long as this session lives.

        Raises `Conflict` (code `batch_claimed`).
        """
        key = f"orchestrator functions of {self.schema}"
        with self.database.autocommitting() as connection:
            lock = self.database.dialect.session_lock(connection, key)
            try:
                lock.__enter__()
            except Conflict as conflict:
                if conflict.code != "lock_busy":
                    raise
                raise self._claims.taken(name or "functions") from conflict
            try:
                yield connection
            finally:
                lock.__exit__(None, None, None)


def _no_progress(definition: Definition, answer: Answer) -> StepFailed:
    return StepFailed(
        "function_no_progress",
        f"{definition.place} makes no progress: it found {answer.found} rows that are left to do, and did none of them",
        remedy="Look in the daemon's log at what it says of them, mend those rows or the function, and retry.",
        file=str(definition.path),
        data_migration=definition.name,
    )
