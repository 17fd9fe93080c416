"""The runner: data migrations of one schema in one database, one batch at a time.

A batch is one transaction in that database: it claims the cursor, sees that it is backfill there, moves the rows, and
moves the cursor if it is still its own. Anything else leaves no trace. Any number of runners may try at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations import enrolling
from orchestrator.data_migrations.batches import FIRST_DIFFERENCES, Compared, compare, move
from orchestrator.data_migrations.enrolling import UNDER_WAY, changed
from orchestrator.data_migrations.faults import CutOff
from orchestrator.data_migrations.keyset import decode, encode
from orchestrator.data_migrations.loading import Definition, file_of, hash_of, load
from orchestrator.data_migrations.target import Target, find_target, refuse_early
from orchestrator.dialects import Database
from orchestrator.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    OrchestratorError,
    StepFailed,
    Unavailable,
)
from orchestrator.domain.pacing import LONGEST_REST_SECONDS, BatchSizes, rest_seconds
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import MigrationFacts, MigrationState

LOCK_TIMEOUT_SECONDS = 2.0
"""No statement of a batch waits longer for a lock: who waits in a queue for one stops everybody behind it."""

ATTEMPTS = 10
PAUSE_SECONDS = 0.02


class DataMigrationRunner:
    """Runs the data migrations of one schema in one database. Holds nothing that its ledger does not hold.

    `pause_seconds` is the shortest time between two batches of a data migration, whoever runs them, and `nice_ratio`
    how many times as long as it took rows rest after one. `clock` tells how long a batch took.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        directory: Path,
        *,
        pause_seconds: float = 0.0,
        nice_ratio: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.pause_seconds = pause_seconds
        self.nice_ratio = nice_ratio
        self._clock = clock
        self.schema = schema
        self.directory = directory
        self._prepared: dict[str, tuple[Definition, Target]] = {}

    def check(self, release: Release, *, expanded: bool = False) -> None:
        """Refuse data migrations that cannot run, before any of them does.

        With `expanded` the expand revisions have run, so columns and expressions are checked too. Raises
        `MigrationRefused` naming file, table and remedy.
        """
        for name in release.all_data_migrations:
            if expanded:
                self._load(name)
                continue
            definition = load(file_of(self.directory, name), name)
            with self.database.reading() as connection:
                refuse_early(self.database, connection, definition)

    def enrol(self, release: Release, upgrade_id: int) -> None:
        """As `enrolling.enrol`."""
        enrolling.enrol(self.database, self.schema, self.directory, release, upgrade_id)

    def assume(self, releases: Iterable[Release]) -> None:
        """As `enrolling.assume`."""
        enrolling.assume(self.database, self.schema, self.directory, releases)

    def attest(self, release: Release, name: str) -> None:
        """As `enrolling.attest`."""
        enrolling.attest(self.database, self.schema, self.directory, release, name)

    def progress(self) -> tuple[MigrationFacts, ...]:
        """Every data migration in the ledger of this database, by name."""
        with self.database.reading() as connection:
            return tuple(entry.facts() for entry in ledger.entries(connection, self.schema))

    def run_batch(self, name: str, upgrade_id: int, batch: BatchSizes | int, *, leads: bool = True) -> MigrationFacts:
        """Move, or verify, the next rows: always so many, or as many as the sizes and the last batches say.

        One that is complete or has failed stays as it is. A batch that did not get its locks, or was cut off, changes
        nothing but the size of the next one, down to a single row.

        Without `leads`, a file that is not there, not as it was, or cannot be loaded is only this worker's fault:
        `Invalid` is raised, and others may go on.
        A fault of the data migration itself makes it `failed`, with a sentence; its batch is rolled back. Raises
        `Conflict` where it is not its turn (`not_in_backfill`, `batch_claimed`), `LostCursor`, `NotFound`,
        `Unavailable`; those change nothing. One that was given up in favour of a service's transaction is tried again a
        few times before it is made smaller.
        """
        sizes = BatchSizes.fixed(batch) if isinstance(batch, int) else batch
        for attempt in range(1, ATTEMPTS):
            entry = self._found(name)
            try:
                return self._run_once(entry, upgrade_id, sizes, leads=leads, is_repeated=True)
            except Unavailable as error:
                if not self.database.dialect.is_given_up(error):
                    raise
                if self._found(name).revision != entry.revision:  # in favour of a worker on another node of a cluster
                    raise self._claimed(name) from error
            time.sleep(random.uniform(0.5, 1.5) * PAUSE_SECONDS * attempt)
        return self._run_once(self._found(name), upgrade_id, sizes, leads=leads, is_repeated=False)

    def _found(self, name: str) -> LedgerEntry:
        with self.database.reading() as connection:
            entry = ledger.find(connection, self.schema, name)
        if entry is None:
            raise self._unknown(name)
        return entry

    def _run_once(
        self, entry: LedgerEntry, upgrade_id: int, sizes: BatchSizes, *, leads: bool, is_repeated: bool
    ) -> MigrationFacts:
        if entry.state is MigrationState.PENDING:
            return self._start(entry, upgrade_id, leads=leads).facts()
        if entry.state in UNDER_WAY:
            return self._run(entry, upgrade_id, sizes, leads=leads, is_repeated=is_repeated).facts()
        return entry.facts()

    def retry(self, name: str, *, followers: Sequence[str] = ()) -> MigrationFacts:
        """Send a data migration that failed, or whose proof is of another incarnation, back to its start.

        Where rows are not moved any more, and only proven, it is proven anew.
        Those of `followers` that belong to the same upgrade go with it: they may have read what it wrote.
        Raises `NotFound`, and `Conflict` for one that is under way, was assumed, or was proven and backfill is over:
        by then the old shape may be stale.
        """
        with self._transaction() as connection:
            entry = self._locked(connection, name)
            if entry.state is MigrationState.PENDING:
                return entry.facts()
            if entry.state in (*UNDER_WAY, MigrationState.ASSUMED):
                raise Conflict(
                    "data_migration_not_stopped",
                    f"data migration {name} of {self.schema} is {entry.state.value} in {self.database.name}",
                    remedy="There is nothing to retry.",
                    schema=self.schema,
                    data_migration=name,
                )
            if entry.state is MigrationState.COMPLETE:
                self._require_phase(connection, entry, entry.upgrade_id)
            copy = read_copy(connection, self.schema)
            if copy is not None and copy.moving is Moving.PROOF and not entry.is_reverse:
                return ledger.save(connection, entry.before_its_proof()).facts()
            ledger.reset(connection, self.schema, entry.upgrade_id, followers)
            return ledger.save(connection, self._at_start(entry)).facts()

    # -- the ledger --------------------------------------------------------------------------------------------------

    def _claim(self, connection: Connection, name: str, upgrade_id: int) -> LedgerEntry:
        """The entry, locked, in a database that is in backfill with this upgrade as far as it knows itself."""
        entry = self._locked(connection, name)
        self._require_phase(connection, entry, upgrade_id)
        return entry

    def _locked(self, connection: Connection, name: str) -> LedgerEntry:
        entry = ledger.claim(connection, self.schema, name)
        if entry is not None:
            return entry
        if ledger.find(connection, self.schema, name) is None:
            raise self._unknown(name)
        raise self._claimed(name)

    def _claimed(self, name: str) -> Conflict:
        return Conflict(
            "batch_claimed",
            f"another worker is at data migration {name} in database {self.database.name} just now",
            remedy="Nothing to do: it goes on there.",
            schema=self.schema,
            data_migration=name,
        )

    def _unknown(self, name: str) -> NotFound:
        return NotFound(
            "data_migration_unknown",
            f"the ledger of database {self.database.name} has no data migration {name} of {self.schema}",
            remedy="Look at the names in releases.toml; those of an upgrade are entered when it begins.",
            schema=self.schema,
            data_migration=name,
        )

    def _require_phase(self, connection: Connection, entry: LedgerEntry, upgrade_id: int | None) -> None:
        """Refuse where the copy, in this transaction, does not let its rows be moved, or proven, now."""
        copy = read_copy(connection, self.schema)
        if (
            copy is not None
            and _lets_run(copy.moving, entry)
            and copy.upgrade_id == upgrade_id == entry.upgrade_id
            and copy.incarnation == self.database.dialect.incarnation(connection)
        ):
            return
        knows = "nothing" if copy is None else f"upgrade {copy.upgrade_id}, {copy.phase.word}, fence {copy.fence.word}"
        when = "at read_new on the way back" if entry.is_reverse else "in backfill"
        raise Conflict(
            "not_in_backfill",
            f"data migration {entry.name} runs {when} of upgrade {upgrade_id} only; "
            f"database {self.database.name} holds {knows}",
            remedy="It goes on by itself when the upgrade is there again.",
            schema=self.schema,
            data_migration=entry.name,
        )

    def _require_pause(self, connection: Connection, entry: LedgerEntry) -> None:
        """Refuse a batch too soon after the last one, which another worker may have run."""
        if not (self.pause_seconds or self.nice_ratio) or entry.batch_at is None:
            return
        since = self.database.dialect.now(connection) - entry.batch_at
        longest_rest = LONGEST_REST_SECONDS if self.nice_ratio else 0.0
        if -longest_rest <= since < self.pause_seconds:
            raise Conflict(
                "batch_too_soon",
                f"the last batch of data migration {entry.name} in database {self.database.name} ended a moment ago",
                remedy="Nothing to do: it goes on after the pause.",
                schema=self.schema,
                data_migration=entry.name,
                wait_seconds=self.pause_seconds - since,
            )

    def _at_start(self, entry: LedgerEntry) -> LedgerEntry:
        file_hash = hash_of(file_of(self.directory, entry.name), entry.name)
        return entry.at_start(upgrade_id=entry.upgrade_id, file_hash=file_hash)

    def _stop(self, seen: LedgerEntry, fault: OrchestratorError) -> LedgerEntry:
        """Make it failed for its fault. When somebody moved it on since it was seen, the fault is for them to find."""
        with self._transaction() as connection:
            found = self._locked(connection, seen.name)
            if found.revision != seen.revision:
                return found
            return ledger.save(connection, replace(found, state=MigrationState.FAILED, error=fault.message))

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _start(self, entry: LedgerEntry, upgrade_id: int, *, leads: bool) -> LedgerEntry:
        """Check it against the database as it now is, and count its rows, once; no row is moved yet."""
        with self._transaction() as connection:
            entry = self._claim(connection, entry.name, upgrade_id)
        try:
            definition, target = self._load(entry.name)
        except Invalid as fault:
            if not leads:
                raise
            return self._stop(entry, fault)
        if not leads and definition.file_hash != entry.file_hash:
            raise changed(definition.path, entry.name)
        with self.database.reading() as connection:  # not in the claim's transaction: counting may take a while
            rows_total = connection.execute(sa.select(sa.func.count()).select_from(target.table)).scalar_one()
        with self._transaction() as connection:
            self._claim(connection, entry.name, upgrade_id)
            started = replace(
                entry.at_start(upgrade_id=upgrade_id, file_hash=definition.file_hash),
                state=MigrationState.RUNNING,
                rows_total=rows_total,
                started_at=self.database.dialect.now(connection),
            )
            return ledger.save(connection, started)

    def _run(
        self, seen: LedgerEntry, upgrade_id: int, sizes: BatchSizes, *, leads: bool, is_repeated: bool
    ) -> LedgerEntry:
        mine, rows = seen, 0  # no rows yet
        try:
            definition, target = self._prepare(seen)
        except Invalid as fault:
            if not leads:
                raise
            return self._stop(seen, fault)
        try:
            snapshot = seen.state is MigrationState.VERIFYING and definition.transform is not None
            with self._transaction(snapshot=snapshot) as connection:
                mine = self._claim(connection, seen.name, upgrade_id)
                if (mine.state, mine.file_hash) != (seen.state, seen.file_hash):
                    return mine
                self._require_pause(connection, mine)
                rows = _rows_of(mine, sizes)
                advance = self._move if mine.state is MigrationState.RUNNING else self._verify
                began = self._clock()
                advanced = advance(connection, mine, definition, target, rows)
                seconds = self._clock() - began
                paced = _paced(mine, advanced, rows, sizes, seconds)
                return ledger.save(connection, self._timed(connection, paced, seconds))
        except CutOff as fault:
            return self._stop(mine, fault) if rows <= 1 else self._narrow(mine, rows)
        except (Invalid, StepFailed) as fault:
            return self._stop(mine, fault)
        except Unavailable as error:
            is_tried_again = is_repeated and self.database.dialect.is_given_up(error)
            if rows <= 1 or error.code != "database_busy" or is_tried_again:
                raise
            return self._narrow(mine, rows)

    def _narrow(self, seen: LedgerEntry, rows: int) -> LedgerEntry:
        """Let fewer rows be tried than these, which were too many. When somebody moved it on, that is for them."""
        with self._transaction() as connection:
            found = self._locked(connection, seen.name)
            if found.revision != seen.revision:
                return found
            narrowed = replace(found, suspect_rows=rows, batch_rows=rows // 2)
            return ledger.save(connection, self._timed(connection, narrowed))

    def _timed(self, connection: Connection, entry: LedgerEntry, seconds: float = 0.0) -> LedgerEntry:
        """The entry after a batch that took so long and ended now, where there is to be a pause after it."""
        if not (self.pause_seconds or self.nice_ratio):
            return entry
        longer = rest_seconds(seconds, self.nice_ratio, self.pause_seconds) - self.pause_seconds
        return replace(entry, batch_at=self.database.dialect.now(connection) + longer)

    def _move(
        self, connection: Connection, mine: LedgerEntry, definition: Definition, target: Target, rows: int
    ) -> LedgerEntry:
        after = None if mine.cursor is None else decode(mine.cursor)
        range_ = target.keyset.next_range(connection, after, rows)
        if rows == 1:
            range_ = range_.its_last()  # its neighbours may be what keeps it from getting through
        with self.database.dialect.triggers.bypassing(connection):
            moved = move(self.database, connection, definition, target, range_)
        counted = replace(mine, rows_done=mine.rows_done + moved.rows)
        if moved.range.last is None:
            return replace(counted, state=MigrationState.VERIFYING)
        return replace(counted, cursor=encode(moved.range.last))

    def _verify(
        self, connection: Connection, mine: LedgerEntry, definition: Definition, target: Target, rows: int
    ) -> LedgerEntry:
        after = None if mine.verify_cursor is None else decode(mine.verify_cursor)
        range_ = target.keyset.next_range(connection, after, rows)
        compared = compare(self.database, connection, definition, target, range_)
        counted = _counted(mine, compared)
        if compared.range.last is None:
            return self._concluded(connection, counted, definition)
        return replace(counted, verify_cursor=encode(compared.range.last))

    def _concluded(self, connection: Connection, entry: LedgerEntry, definition: Definition) -> LedgerEntry:
        if entry.differences == 0:
            return replace(
                entry,
                state=MigrationState.COMPLETE,
                witness_incarnation=self.database.dialect.incarnation(connection),
                finished_at=self.database.dialect.now(connection),
            )
        return replace(
            entry,
            state=MigrationState.FAILED,
            error=f"{entry.differences} of {entry.rows_verified} rows of {definition.table} do not hold what "
            f"{definition.path} computes; the first: {entry.first_differences}",
        )

    def _prepare(self, entry: LedgerEntry) -> tuple[Definition, Target]:
        """Definition and target, the same ones as long as the file stays the same."""
        path = file_of(self.directory, entry.name)
        if hash_of(path, entry.name) != entry.file_hash:
            raise changed(path, entry.name)
        known = self._prepared.get(entry.name)
        if known is not None and known[0].file_hash == entry.file_hash:
            return known
        return self._load(entry.name)

    def _load(self, name: str) -> tuple[Definition, Target]:
        definition = load(file_of(self.directory, name), name)
        with self._transaction() as connection:
            self._prepared[name] = (definition, find_target(self.database, connection, definition))
        return self._prepared[name]

    def _transaction(self, *, snapshot: bool = False) -> AbstractContextManager[Connection]:
        return _with_lock_timeout(self.database, snapshot=snapshot)


def _lets_run(moving: Moving, entry: LedgerEntry) -> bool:
    if entry.is_reverse:
        return moving is Moving.BACK
    return moving is Moving.FORWARD or (moving is Moving.PROOF and entry.state is MigrationState.VERIFYING)


def _rows_of(entry: LedgerEntry, sizes: BatchSizes) -> int:
    """How many rows its next batch takes: of rows that did not get through together, half."""
    paced = sizes.within(entry.batch_rows)
    return min(paced, max(1, entry.suspect_rows // 2)) if entry.suspect_rows else paced


def _paced(before: LedgerEntry, after: LedgerEntry, rows: int, sizes: BatchSizes, seconds: float) -> LedgerEntry:
    """The entry after a batch of so many rows that took so long, with the size of the next one.

    A batch that was made smaller to get through, and one that met the end of the table, say nothing of the pace.
    """
    if after.state is not before.state:
        return replace(after, suspect_rows=0)
    if before.suspect_rows:
        return replace(after, suspect_rows=max(0, before.suspect_rows - rows))
    return replace(after, batch_rows=sizes.after(rows, seconds))


def _counted(entry: LedgerEntry, compared: Compared) -> LedgerEntry:
    known = [] if entry.first_differences is None else entry.first_differences.split("; ")
    first = [*known, *compared.first][:FIRST_DIFFERENCES]
    return replace(
        entry,
        rows_verified=entry.rows_verified + compared.rows,
        differences=entry.differences + compared.differences,
        first_differences="; ".join(first) or None,
    )


@contextmanager
def _with_lock_timeout(database: Database, *, snapshot: bool) -> Iterator[Connection]:
    with database.snapshot() if snapshot else database.writing() as connection:
        database.dialect.lock_timeout(connection, LOCK_TIMEOUT_SECONDS)
        yield connection
