"""The runner: data migrations of one schema in one database, one batch at a time.

A batch is one transaction in that database: it claims the cursor, sees that it is backfill there, moves the rows, and
moves the cursor if it is still its own. Anything else leaves no trace. Any number of runners may try at once. Where
several workers may be at one data migration, each has a cursor of its own (`ranged`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger, quarantine
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.quarantine import Waiting
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.data_migrations import enrolling, repairing
from orchestrator.data_migrations.batches import Compared, committing, compare, move
from orchestrator.data_migrations.blocked import named
from orchestrator.data_migrations.claims import Claims
from orchestrator.data_migrations.endings import ended
from orchestrator.data_migrations.enrolling import UNDER_WAY, changed
from orchestrator.data_migrations.faults import CutOff, RowFault
from orchestrator.data_migrations.giving_up import give_up
from orchestrator.data_migrations.keyset import Range, decode, encode
from orchestrator.data_migrations.loading import Definition, file_of, hash_of, load
from orchestrator.data_migrations.pauses import Pauses
from orchestrator.data_migrations.ranged import RangeWorkers, Work
from orchestrator.data_migrations.retrying import retry
from orchestrator.data_migrations.sizing import next_batch
from orchestrator.data_migrations.target import MayAdd, Target, find_target, refuse_early
from orchestrator.data_migrations.turns import Beside, Links, Turns
from orchestrator.data_migrations.verifying import Verifications
from orchestrator.dialects import Database
from orchestrator.domain.errors import Invalid, OrchestratorError, StepFailed, Unavailable
from orchestrator.domain.pacing import LOCK_TIMEOUT_SECONDS, BatchSizes
from orchestrator.domain.releases import Release
from orchestrator.domain.view import MigrationFacts, MigrationState, QuarantinedRow

ATTEMPTS = 10
PAUSE_SECONDS = 0.02

FindTarget = Callable[[Database, Connection, Definition], Target]


class DataMigrationRunner:
    """Runs the data migrations of one schema in one database. Holds nothing that its ledger does not hold.

    `pause_seconds` is the shortest time between two batches of a data migration, whoever runs them, and `nice_ratio`
    how many times as long as it took rows rest after one; both may be changed, and hold from the next batch on. `clock`
    tells how long a batch took. `beside` names those of the same list of the same release, without which one knows of
    no others. `find` finds the table of one that is loaded, and refuses what cannot be used.

    `workers` are how many batches of a data migration may run at once, all daemons together; each is called from a
    thread of its own, and pauses and rests are those of each. More than one only where `may_split`: while a daemon may
    be alive that does not know of ranges, there is one cursor.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        directory: Path,
        *,
        pause_seconds: float = 0.0,
        nice_ratio: float = 0.0,
        workers: int = 1,
        may_split: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        beside: Beside = lambda name: (name,),
        find: FindTarget = find_target,
    ) -> None:
        self.database = database
        self.pause_seconds = pause_seconds
        self.nice_ratio = nice_ratio
        self.workers = workers
        self._may_split = may_split
        self._clock = clock
        self._find = find
        self.schema = schema
        self.directory = directory
        self.links = Links(directory)
        self._claims = Claims(database, schema)
        self._turns = Turns(database, schema, self.links, beside)
        self._ranged = RangeWorkers(database, schema, transaction=self._transaction, turns=self._turns, clock=clock)
        self.verifications = Verifications(
            database, schema, directory, prepare=self._prepare, look=self._load, transaction=self._transaction,
            clock=clock,
        )  # fmt: skip
        self._starting = threading.Lock()  # one thread counts rows, not all of them
        self._prepared: dict[str, tuple[Definition, Target]] = {}

    def check(self, release: Release, *, expanded: bool = False, may_add: MayAdd = lambda table, column: True) -> None:
        """Refuse data migrations that cannot run, before any of them does.

        With `expanded` the expand revisions have run, so columns and expressions are checked too; before, columns that
        they may not add. Raises `MigrationRefused` naming file, table and remedy.
        """
        for names in (release.data_migrations, release.reverse_data_migrations):
            self.links.refuse_faulty(names)
        for name in release.all_data_migrations:
            self._check(release, name, expanded=expanded, may_add=may_add)

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
            return ledger.facts(connection, self.schema)

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
            entry, found = self._found(name)
            try:
                return self._run_once(entry, found, upgrade_id, sizes, leads=leads, is_repeated=True)
            except Unavailable as error:
                if not self.database.dialect.is_given_up(error):
                    raise
                is_others = not entry.is_split and self._found(name)[0].revision != entry.revision
                if is_others:  # in favour of a worker on another node of a cluster
                    raise self._claims.taken(name) from error
            time.sleep(random.uniform(0.5, 1.5) * PAUSE_SECONDS * attempt)
        return self._run_once(*self._found(name), upgrade_id, sizes, leads=leads, is_repeated=False)

    def _found(self, name: str) -> tuple[LedgerEntry, tuple[RangeEntry, ...]]:
        """The entry, and its ranges where there may be some."""
        ranges: tuple[RangeEntry, ...] = ()
        entry: LedgerEntry | None = None
        if self.workers == 1:
            with self.database.reading() as connection:
                entry = ledger.find(connection, self.schema, name)
        if self.workers > 1 or (entry is not None and entry.is_split):  # by a daemon that is told another number
            entry, ranges = self._ranged.look(name)
        if entry is None:
            raise self._claims.unknown(name)
        return entry, ranges

    def _run_once(
        self,
        entry: LedgerEntry,
        ranges: tuple[RangeEntry, ...],
        upgrade_id: int,
        sizes: BatchSizes,
        *,
        leads: bool,
        is_repeated: bool,
    ) -> MigrationFacts:
        if entry.state is MigrationState.PENDING:
            if not self._starting.acquire(blocking=False):
                raise self._claims.taken(entry.name)
            try:
                return self._start(entry, upgrade_id, leads=leads).facts()
            finally:
                self._starting.release()
        if entry.state not in UNDER_WAY:
            return entry.facts()
        may_cut = self.workers > 1 and self._may_split()
        if (entry.is_split or may_cut) and not self._has_waiting(entry):
            return self._run_ranged(
                entry, ranges, upgrade_id, sizes, may_cut=may_cut, leads=leads, is_repeated=is_repeated
            ).facts()
        return self._run(entry, upgrade_id, sizes, leads=leads, is_repeated=is_repeated).facts()

    def retry(self, name: str, *, followers: Sequence[str] = ()) -> MigrationFacts:
        """Send a data migration that failed, or whose proof is of another incarnation, back to its start.

        Where rows differed, and its file is the same, only those parts of the table are moved again in which they did,
        where these are known; then every row is proven. With none that differ, and the file that moved the others, it
        goes on from where it stopped: rows in quarantine first, under the same claims as any batch. At read_new rows
        are only proven: there it is proven anew, also one that a restored database holds as under way.
        Those of `followers` that belong to the same upgrade go with it: they may have read what it wrote.
        Raises `NotFound`, and `Conflict` for one that is under way, was assumed, or was proven and backfill is over:
        by then the old shape may be stale.
        """
        with self._transaction() as connection:
            return retry(connection, self._claims, self._turns, self.directory, name, followers).facts()

    def give_up(self, name: str, *, followers: Sequence[str] = ()) -> MigrationFacts:
        """As `giving_up.give_up`."""
        with self._transaction() as connection:
            return give_up(connection, self._claims, name, followers).facts()

    def quarantined(self, name: str) -> tuple[QuarantinedRow, ...]:
        """The rows that this data migration could not move, and that it does not end without."""
        with self.database.reading() as connection:
            entry = ledger.find(connection, self.schema, name)
            if entry is None or not entry.facts().rows_quarantined:
                return ()
            return quarantine.rows(connection, self.schema, name)

    def _check(self, release: Release, name: str, *, expanded: bool, may_add: MayAdd) -> None:
        if expanded:
            self._load(name)
            return
        definition = load(file_of(self.directory, name), name)
        with self.database.reading() as connection:
            is_known = ledger.find(connection, self.schema, name) is not None  # contract may be over, too
            refuse_early(self.database, connection, definition, None if is_known else may_add)

    # -- the ledger --------------------------------------------------------------------------------------------------

    def _stop(self, seen: LedgerEntry, fault: OrchestratorError) -> LedgerEntry:
        """Make it failed for its fault. When somebody moved it on since it was seen, the fault is for them to find."""
        with self._transaction() as connection:
            found = self._claims.locked(connection, seen.name)
            if found.revision != seen.revision:
                return found
            return ledger.stop(connection, found, fault.advice)

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _start(self, entry: LedgerEntry, upgrade_id: int, *, leads: bool) -> LedgerEntry:
        """Check it against the database as it now is, and count its rows, once; no row is moved yet."""
        with self._transaction() as connection:
            entry = self._claims.claim(connection, entry.name, upgrade_id)
            self._turns.require(connection, entry)
        try:
            self._turns.refuse_faulty(entry.name)
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
            self._turns.take(connection, self._claims.claim(connection, entry.name, upgrade_id))
            quarantine.clear(connection, self.schema, entry.name)
            started = replace(
                entry.at_start(upgrade_id=upgrade_id, file_hash=definition.file_hash),
                state=MigrationState.RUNNING,
                rows_total=rows_total,
                started_at=self.database.dialect.now(connection),
            )
            return ledger.begin_anew(connection, started)

    def _run_ranged(
        self,
        seen: LedgerEntry,
        ranges: tuple[RangeEntry, ...],
        upgrade_id: int,
        sizes: BatchSizes,
        *,
        may_cut: bool,
        leads: bool,
        is_repeated: bool,
    ) -> LedgerEntry:
        """As `_run`, in ranges."""
        try:
            definition, target = self._prepare(seen)
        except Invalid as fault:
            if not leads:
                raise
            return self._stop(seen, fault)
        work = Work(
            upgrade_id=upgrade_id, definition=definition, target=target, sizes=sizes, workers=self.workers,
            may_cut=may_cut, pauses=self.pauses, is_repeated=is_repeated,
        )  # fmt: skip
        return self._ranged.run(seen, ranges, work)

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
                mine = self._claims.claim(connection, seen.name, upgrade_id)
                if (mine.state, mine.file_hash, mine.is_split) != (seen.state, seen.file_hash, seen.is_split):
                    return mine
                self._turns.require(connection, mine)
                self.pauses.require(self._claims, connection, mine.name, mine.batch_at)
                waiting = self._waiting(connection, mine)
                if waiting is not None:
                    rows = 1
                    moved = self._move_again(connection, mine, definition, target, waiting)
                    return ledger.save(connection, self._timed(connection, moved))
                if mine.is_split:
                    return mine
                rows = sizes.next_rows(mine.batch_rows, mine.suspect_rows)
                advance = self._move if mine.state is MigrationState.RUNNING else self._verify
                began = self._clock()
                advanced, taken = advance(connection, mine, definition, target, rows, sizes.most_bytes)
                seconds = self._clock() - began
                paced = _paced(mine, advanced, taken, sizes, seconds)
                return ledger.save(connection, self._timed(connection, paced, seconds))
        except RowFault as fault:
            if mine.state is not MigrationState.RUNNING:
                return self._stop(mine, fault) if rows <= 1 else self._narrow(mine, rows, mine.batch_rows)
            return self._quarantine(mine, upgrade_id, definition, target, fault, rows)
        except CutOff as fault:
            return self._stop(mine, fault) if rows <= 1 else self._narrow(mine, rows, rows // 2)
        except (Invalid, StepFailed) as fault:
            return self._stop(mine, fault)
        except Unavailable as error:
            is_tried_again = is_repeated and self.database.dialect.is_given_up(error)
            if error.code != "database_busy" or is_tried_again:
                raise
            if rows <= 1:
                raise named(self.database, definition.table, error) from error
            return self._narrow(mine, rows, rows // 2)

    def _narrow(self, seen: LedgerEntry, rows: int, batch_rows: int | None) -> LedgerEntry:
        """Let so many rows, which did not get through in one batch, be tried in smaller ones.

        When somebody moved it on since it was seen, the rows are for them to try.
        """
        with self._transaction() as connection:
            found = self._claims.locked(connection, seen.name)
            if found.revision != seen.revision:
                return found
            narrowed = replace(found, suspect_rows=rows, batch_rows=batch_rows)
            return ledger.save(connection, self._timed(connection, narrowed))

    def _quarantine(
        self, seen: LedgerEntry, upgrade_id: int, definition: Definition, target: Target, fault: RowFault, rows: int
    ) -> LedgerEntry:
        """Narrow the fault down to its row, or pass that row, and write it down in the transaction that does.

        More faulty rows than there may be are a fault of the data migration. When somebody moved it on since it was
        seen, the fault is for them to find.
        """
        key = fault.range.last
        if not fault.range.is_one or key is None:
            return self._narrow(seen, rows, seen.batch_rows)
        with self._transaction() as connection:
            found = self._claims.claim(connection, seen.name, upgrade_id)
            if found.revision != seen.revision:
                return found
            now = self.database.dialect.now(connection)
            waiting = self._waiting(connection, found)
            if waiting is not None:
                quarantine.keep(connection, self.schema, found.name, waiting.number, error=fault.message, now=now)
                return ledger.save(connection, self._timed(connection, found))
            if found.rows_quarantined >= quarantine.MOST_ROWS:
                return ledger.stop(connection, found, quarantine.too_many(definition.table, fault.message))
            quarantine.add(
                connection, self.schema, found.name, key=encode(key), words=target.keyset.describe(key),
                error=fault.message, now=now,
            )  # fmt: skip
            passed = replace(found, cursor=encode(key), suspect_rows=0, rows_quarantined=found.rows_quarantined + 1)
            return ledger.save(connection, self._timed(connection, passed))

    def _has_waiting(self, entry: LedgerEntry) -> bool:
        """Whether rows of the quarantine are to be tried before any other, by one worker at a time."""
        if not entry.rows_quarantined:
            return False
        with self.database.reading() as connection:
            return self._waiting(connection, entry) is not None

    def _waiting(self, connection: Connection, entry: LedgerEntry) -> Waiting | None:
        """The row of the quarantine that is to be tried before any other."""
        if entry.state is not MigrationState.RUNNING or not entry.rows_quarantined:
            return None
        return quarantine.first_waiting(connection, self.schema, entry.name)

    def _move_again(
        self, connection: Connection, mine: LedgerEntry, definition: Definition, target: Target, waiting: Waiting
    ) -> LedgerEntry:
        """Move a row of the quarantine, which leaves it; one that was deleted meanwhile leaves it too."""
        range_ = Range(None, decode(waiting.key), is_one=True)
        with self.database.dialect.triggers.bypassing(connection):
            moved = move(self.database, connection, definition, target, range_)
        quarantine.release(connection, self.schema, mine.name, waiting.number)
        return replace(mine, rows_done=mine.rows_done + moved.rows, rows_quarantined=mine.rows_quarantined - 1)

    def _timed(self, connection: Connection, entry: LedgerEntry, seconds: float = 0.0) -> LedgerEntry:
        """The entry after a batch that took so long and ended now, where there is to be a pause after it."""
        ended_at = self.pauses.ended_at(self.database, connection, seconds)
        return entry if ended_at is None else replace(entry, batch_at=ended_at)

    @property
    def pauses(self) -> Pauses:
        """How long a worker rests after a batch, as things are set now."""
        return Pauses(self.pause_seconds, self.nice_ratio)

    def _move(
        self,
        connection: Connection,
        mine: LedgerEntry,
        definition: Definition,
        target: Target,
        rows: int,
        most_bytes: int | None,
    ) -> tuple[LedgerEntry, int]:
        """The entry after its next rows, and how many it was to be."""
        after = None if mine.cursor is None else decode(mine.cursor)
        batch = next_batch(connection, definition, target, after, rows, most_bytes, repairing.up_to(mine))
        range_ = batch.range
        if rows == 1:
            range_ = range_.its_last()  # its neighbours may be what keeps it from getting through
        with self.database.dialect.triggers.bypassing(connection):
            moved = move(self.database, connection, definition, target, range_)
        counted = replace(mine, rows_done=mine.rows_done + moved.rows)
        if moved.range.last is None:
            return ended(self.database, connection, counted, definition, target, self._turns), batch.rows
        return repairing.passed(connection, counted, target, encode(moved.range.last)), batch.rows

    def _verify(
        self,
        connection: Connection,
        mine: LedgerEntry,
        definition: Definition,
        target: Target,
        rows: int,
        most_bytes: int | None,
    ) -> tuple[LedgerEntry, int]:
        """As `_move`, for rows that are compared."""
        after = None if mine.verify_cursor is None else decode(mine.verify_cursor)
        batch = next_batch(connection, definition, target, after, rows, most_bytes)
        compared = compare(self.database, connection, definition, target, batch.range)
        counted = _counted(mine, compared)
        if compared.range.last is None:
            return ended(self.database, connection, counted, definition, target, self._turns), batch.rows
        return replace(counted, verify_cursor=encode(compared.range.last)), batch.rows

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
            self._prepared[name] = (definition, self._find(self.database, connection, definition))
        return self._prepared[name]

    @contextmanager
    def _transaction(self, *, snapshot: bool = False) -> Iterator[Connection]:
        with committing(self.database.snapshot() if snapshot else self.database.writing()) as connection:
            self.database.dialect.lock_timeout(connection, LOCK_TIMEOUT_SECONDS)
            yield connection


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
    return replace(
        entry,
        rows_verified=entry.rows_verified + compared.rows,
        differences=entry.differences + compared.differences,
        first_differences=ledger.first_differences(entry.first_differences, "; ".join(compared.first)),
        repairs=repairing.noted(entry.repairs, entry.started_at, entry.differences, compared),
    )
