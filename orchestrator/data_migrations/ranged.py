"""Ranged: batches of several workers at once, each in a range of its own.

A batch is one transaction, as where there is one cursor, and the range's row has the part of the ledger's entry: it
is claimed first, and its cursor moves if it is still its own. The entry is locked only to cut a range off, to count
one in, and where something is said of all rows: always before any range (see `bookkeeping.ranges`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger, quarantine, ranges
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.data_migrations import repairing, splitting
from orchestrator.data_migrations.batches import compare, move
from orchestrator.data_migrations.blocked import named
from orchestrator.data_migrations.claims import Claims
from orchestrator.data_migrations.endings import ended
from orchestrator.data_migrations.faults import CutOff, RowFault
from orchestrator.data_migrations.keyset import decode, encode
from orchestrator.data_migrations.loading import Definition
from orchestrator.data_migrations.pauses import Pauses
from orchestrator.data_migrations.sizing import next_batch
from orchestrator.data_migrations.target import Target
from orchestrator.data_migrations.turns import Turns
from orchestrator.dialects import Database
from orchestrator.domain.errors import Invalid, StepFailed, Unavailable
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState

_LOOKS = 4
"""So often a worker looks for a range before it lets others go on: they may have been quicker each time."""

Ranges = tuple[RangeEntry, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a worker was last: in the range of that number, None for one that is not its own any more, and until when.

    `batch_at` is as in the ledger.
    """

    number: int | None
    batch_at: float | None


_NOWHERE = _Place(None, None)


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: in this upgrade, to these rows, in batches of such sizes, by so many workers at once.

    Without `may_cut` no range is cut off any more. With `is_repeated` a batch that is given up in favour of another
    transaction is tried again by whoever called.
    """

    upgrade_id: int
    definition: Definition
    target: Target
    sizes: BatchSizes
    workers: int
    may_cut: bool
    pauses: Pauses
    is_repeated: bool


class RangeWorkers:
    """The workers of one daemon, each a thread, on the data migrations of one schema in one database.

    Remembers for each worker which range it was at and how long it rests after its batch, also in another range.
    `transaction` begins one in which no statement waits long for a lock.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        *,
        transaction: Callable[..., AbstractContextManager[Connection]],
        turns: Turns,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._schema = schema
        self._transaction = transaction
        self._turns = turns
        self._clock = clock
        self._claims = Claims(database, schema)
        self._here = threading.local()

    def look(self, name: str) -> tuple[LedgerEntry | None, Ranges]:
        """The entry and the ranges, none of which is newer: a range that is as it was seen belongs to that entry."""
        with self._database.reading() as connection:
            found = ranges.of(connection, self._schema, name)
            return ledger.find(connection, self._schema, name), found

    def run(self, seen: LedgerEntry, found: Ranges, work: Work) -> LedgerEntry:
        """Move, or verify, the next rows of a range; returns the entry with all ranges counted in.

        Raises `Conflict` (code `batch_claimed`) where as many workers are at it as may be, and as `Claims` does.
        """
        name, run = seen.name, (seen.state, seen.started_at)
        for _ in range(_LOOKS):
            own = self._place(name).number
            wanted = splitting.candidates(seen, found, workers=work.workers, mine=own, may_cut=work.may_cut)
            for each in wanted:
                changed = self._batch(seen, each, work)
                if changed is not None:
                    return _counting(changed[0], found, changed[1])
            if not wanted:
                seen, found = self._tended(seen, work)
            elif own is None:
                break
            else:  # somebody else took what was its own
                self._be_at(name, replace(self._place(name), number=None))
                seen, found = self._look_again(seen)
            if not seen.is_split or (seen.state, seen.started_at) != run:
                return _counting(seen, found)
        raise self._claims.taken(seen.name)

    def _look_again(self, seen: LedgerEntry) -> tuple[LedgerEntry, Ranges]:
        entry, found = self.look(seen.name)
        if entry is None:
            raise self._claims.unknown(seen.name)
        return entry, found

    # -- the ledger's entry --------------------------------------------------------------------------------------------

    def _tended(self, seen: LedgerEntry, work: Work) -> tuple[LedgerEntry, Ranges]:
        """As `_tend`. Where the end of the next range cannot be found, it is looked for nearer, or all fails.

        When somebody moved the entry on since it was seen, the fault is for them to find.
        """
        try:
            return self._tend(seen, work)
        except (Invalid, StepFailed) as fault:
            with self._transaction() as connection:
                entry = self._claims.locked(connection, seen.name, waits=True)
                if entry.revision != seen.revision:
                    return entry, ()
                rows = work.sizes.within(entry.batch_rows)
                fewer = work.sizes.within(rows // 2)
                if isinstance(fault, CutOff) and fewer < rows:
                    return ledger.save(connection, replace(entry, batch_rows=fewer)), ()
                return ledger.stop(connection, entry, fault.advice), ()

    def _tend(self, seen: LedgerEntry, work: Work) -> tuple[LedgerEntry, Ranges]:
        """Count in the ranges that are done, end the data migration's pass after the last, or cut the next range off.

        Ranges of an earlier run are forgotten. The range that is cut off is this worker's.
        """
        with self._transaction() as connection:
            entry = self._claims.locked(connection, seen.name, waits=True)
            self._claims.require_phase(connection, entry, work.upgrade_id)
            if (entry.state, entry.file_hash, entry.started_at) != (seen.state, seen.file_hash, seen.started_at):
                return entry, ()
            tended, held = self._without_strays(connection, entry)
            for each in splitting.countable(held):
                ranges.remove(connection, each)
                tended, held = splitting.counted(tended, each), held[: held.index(each)] + held[held.index(each) + 1 :]
                if each.high is None:
                    over = ended(self._database, connection, tended, work.definition, work.target, self._turns)
                    return ledger.save(connection, replace(over, is_split=False, suspect_rows=0)), ()
            if work.may_cut and splitting.has_room(held, work.workers):
                tended, new = self._cut(connection, tended, work)
                held = (*held, new)
            tended = replace(tended, is_split=bool(held))
            return (entry if tended == entry else ledger.save(connection, tended)), held

    def _without_strays(self, connection: Connection, entry: LedgerEntry) -> tuple[LedgerEntry, Ranges]:
        """The entry, and its ranges without those that an earlier run left behind, or a daemon that knew of none.

        Where such a daemon ended the moving of rows while ranges were open, they are moved first.
        """
        found = ranges.of(connection, self._schema, entry.name)
        if entry.is_split and entry.state is MigrationState.VERIFYING:
            moving = replace(entry.before_its_proof(), state=MigrationState.RUNNING, is_split=True)
            if any(moving.holds(each) for each in found):
                entry = moving
        held = tuple(each for each in found if entry.holds(each))
        for stray in (each for each in found if each not in held):
            ranges.remove(connection, stray)
        return entry, held

    def _cut(self, connection: Connection, entry: LedgerEntry, work: Work) -> tuple[LedgerEntry, RangeEntry]:
        cursor = entry.cursor if entry.state is MigrationState.RUNNING else entry.verify_cursor
        rows = splitting.range_rows(entry, work.sizes.within(entry.batch_rows), work.workers)
        after, up_to = None if cursor is None else decode(cursor), repairing.up_to(entry)
        last = work.target.keyset.next_range(connection, after, rows, up_to).last
        high = None if last is None else encode(last)
        moved, new = splitting.cut(entry, high)
        if entry.state is MigrationState.RUNNING:
            moved = repairing.passed(connection, moved, work.target, high)
        ranges.add(connection, new)
        self._be_at(entry.name, replace(self._place(entry.name), number=new.number))
        return moved, new

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _batch(self, seen: LedgerEntry, picked: RangeEntry, work: Work) -> tuple[LedgerEntry, RangeEntry] | None:
        """The entry and the range after a batch, or after what it came to instead; None where somebody else is at it.

        The entry is as it was seen: whatever lets it begin anew takes its ranges in the same transaction.
        """
        rows = 0  # no rows yet
        try:
            is_snapshot = seen.state is MigrationState.VERIFYING and work.definition.transform is not None
            with self._transaction(snapshot=is_snapshot) as connection:
                mine = ranges.claim(connection, picked)
                if mine is None:
                    return None
                self._claims.require_phase(connection, seen, work.upgrade_id)
                self._turns.require(connection, seen)
                rested = splitting.later(mine.batch_at, self._place(seen.name).batch_at)
                work.pauses.require(self._claims, connection, seen.name, rested)
                rows = work.sizes.next_rows(mine.batch_rows, mine.suspect_rows)
                began = self._clock()
                advanced, taken = self._advance(connection, mine, work, rows)
                seconds = self._clock() - began
                paced = _paced(mine, advanced, taken, work.sizes, seconds)
                saved = ranges.save(connection, self._timed(connection, paced, work, seconds))
        except RowFault as fault:
            if seen.state is MigrationState.RUNNING:
                return self._quarantine(seen, picked, work, fault, rows)
            if rows <= 1:
                return self._stop(seen, picked, fault.advice)
            saved = self._narrow(picked, work, rows, picked.batch_rows)
        except CutOff as fault:
            if rows <= 1:
                return self._stop(seen, picked, fault.advice)
            saved = self._narrow(picked, work, rows, rows // 2)
        except (Invalid, StepFailed) as fault:
            return self._stop(seen, picked, fault.advice)
        except Unavailable as error:
            is_given_up = self._database.dialect.is_given_up(error)
            if is_given_up and work.is_repeated and self._has_moved_on(picked):
                raise self._claims.taken(seen.name) from error  # in favour of a worker on another node of a cluster
            if error.code != "database_busy" or (work.is_repeated and is_given_up):
                raise
            if rows <= 1:
                raise named(self._database, work.definition.table, error) from error
            saved = self._narrow(picked, work, rows, rows // 2)
        self._goes_on(saved)
        return seen, saved

    def _advance(self, connection: Connection, mine: RangeEntry, work: Work, rows: int) -> tuple[RangeEntry, int]:
        """The range after its next rows, and how many it was to be.

        Between its ends no row is in any other range, whatever is inserted.
        """
        after, up_to = (None if key is None else decode(key) for key in (mine.cursor, mine.high))
        found = next_batch(connection, work.definition, work.target, after, rows, work.sizes.most_bytes, up_to)
        batch = found.range
        last = None if batch.last is None else encode(batch.last)
        if mine.state is MigrationState.RUNNING:
            if rows == 1:
                batch = batch.its_last()  # its neighbours may be what keeps it from getting through
            with self._database.dialect.triggers.bypassing(connection):
                moved = move(self._database, connection, work.definition, work.target, batch)
            counted = replace(mine, rows_done=mine.rows_done + moved.rows)
        else:
            compared = compare(self._database, connection, work.definition, work.target, batch)
            counted = replace(
                mine,
                rows_done=mine.rows_done + compared.rows,
                differences=mine.differences + compared.differences,
                first_differences=ledger.first_differences(mine.first_differences, "; ".join(compared.first)),
                repairs=repairing.noted(mine.repairs, mine.run_at, mine.differences, compared),
            )
        return replace(counted, cursor=mine.cursor if last is None else last, is_done=last == mine.high), found.rows

    def _narrow(self, seen: RangeEntry, work: Work, rows: int, batch_rows: int | None) -> RangeEntry:
        """Let so many rows, which did not get through in one batch, be tried in smaller ones, if nobody moved it on."""
        with self._transaction() as connection:
            found = ranges.claim(connection, seen)
            if found is None:
                return seen
            narrowed = replace(found, suspect_rows=rows, batch_rows=batch_rows)
            return ranges.save(connection, self._timed(connection, narrowed, work))

    def _quarantine(
        self, seen: LedgerEntry, picked: RangeEntry, work: Work, fault: RowFault, rows: int
    ) -> tuple[LedgerEntry, RangeEntry]:
        """Narrow the fault down to its row, or pass that row, and write it down in the transaction that does.

        More faulty rows than there may be, in all ranges, are a fault of the data migration.
        """
        key = fault.range.last
        if not fault.range.is_one or key is None:
            narrowed = self._narrow(picked, work, rows, picked.batch_rows)
            self._goes_on(narrowed)
            return seen, narrowed
        with self._transaction() as connection:
            entry = self._claims.locked(connection, seen.name, waits=True)
            self._claims.require_phase(connection, entry, work.upgrade_id)
            found = ranges.claim(connection, picked)
            if found is None:
                return entry, picked
            if entry.rows_quarantined >= quarantine.MOST_ROWS:
                return ledger.stop(connection, entry, quarantine.too_many(work.definition.table, fault.message)), found
            quarantine.add(
                connection, self._schema, entry.name, key=encode(key), words=work.target.keyset.describe(key),
                error=fault.message, now=self._database.dialect.now(connection),
            )  # fmt: skip
            passed = replace(found, cursor=encode(key), suspect_rows=0, is_done=encode(key) == found.high)
            saved = ranges.save(connection, self._timed(connection, passed, work))
            entry = ledger.save(connection, replace(entry, rows_quarantined=entry.rows_quarantined + 1))
        self._goes_on(saved)
        return entry, saved

    def _stop(self, seen: LedgerEntry, picked: RangeEntry, error: str) -> tuple[LedgerEntry, RangeEntry]:
        """Make it failed. When somebody moved the range on since it was seen, the fault is for them to find."""
        with self._transaction() as connection:
            entry = self._claims.locked(connection, seen.name, waits=True)
            if entry.state is not seen.state or ranges.claim(connection, picked) is None:
                return entry, picked
            return ledger.stop(connection, entry, error), picked

    # -- the worker ----------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> _Place:
        return self._places().get(name, _NOWHERE)

    def _be_at(self, name: str, place: _Place) -> None:
        self._places()[name] = place

    def _goes_on(self, range_: RangeEntry) -> None:
        """This worker was at that range, and goes on with it."""
        self._be_at(range_.name, _Place(range_.number, range_.batch_at))

    def _places(self) -> dict[str, _Place]:
        """Where this thread was last, by data migration."""
        places: dict[str, _Place] = self._here.__dict__.setdefault("places", {})
        return places

    def _timed(self, connection: Connection, range_: RangeEntry, work: Work, seconds: float = 0.0) -> RangeEntry:
        ended_at = work.pauses.ended_at(self._database, connection, seconds)
        return range_ if ended_at is None else replace(range_, batch_at=ended_at)

    def _has_moved_on(self, picked: RangeEntry) -> bool:
        with self._database.reading() as connection:
            found = ranges.find(connection, self._schema, picked.name, picked.number)
        return found is None or found.revision != picked.revision


def _paced(before: RangeEntry, after: RangeEntry, rows: int, sizes: BatchSizes, seconds: float) -> RangeEntry:
    """The range after a batch of so many rows that took so long, with the size of the next one.

    A batch that was made smaller to get through, and one that met the end of the range, say nothing of the pace.
    """
    if after.is_done:
        return replace(after, suspect_rows=0)
    if before.suspect_rows:
        return replace(after, suspect_rows=max(0, before.suspect_rows - rows))
    return replace(after, batch_rows=sizes.after(rows, seconds))


def _counting(entry: LedgerEntry, found: Ranges, changed: RangeEntry | None = None) -> LedgerEntry:
    for each in found:
        if entry.holds(each):
            entry = entry.counting(changed if changed is not None and each.number == changed.number else each)
    return entry
