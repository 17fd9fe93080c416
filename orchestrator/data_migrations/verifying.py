"""Verifying: the rows of a data migration compared with what it computes, because somebody asked, in any phase.

It reads rows and the ledger, and changes neither: no state, witness, cursor or count there follows from it. What it
finds is kept beside, and committed batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger, verifications
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.verifications import VerificationEntry
from orchestrator.data_migrations.batches import Compared, compare
from orchestrator.data_migrations.claims import Claims
from orchestrator.data_migrations.enrolling import changed
from orchestrator.data_migrations.faults import CutOff
from orchestrator.data_migrations.keyset import decode, encode
from orchestrator.data_migrations.loading import Definition, file_of, load
from orchestrator.data_migrations.pauses import Pauses
from orchestrator.data_migrations.sizing import next_batch
from orchestrator.data_migrations.target import Target
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, Invalid, StepFailed, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.verifications import Verification, VerificationState
from orchestrator.domain.view import Copy, MigrationState


class Verifications:
    """Those of the data migrations of one schema in one database. Any number of workers may try at once.

    `prepare` gives the definition and the target of a ledger's entry, and `look` those of a name as both are now;
    `transaction` begins one in which no statement waits long for a lock.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        directory: Path,
        *,
        prepare: Callable[[LedgerEntry], tuple[Definition, Target]],
        look: Callable[[str], tuple[Definition, Target]],
        transaction: Callable[..., AbstractContextManager[Connection]],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._schema = schema
        self._directory = directory
        self._prepare = prepare
        self._look = look
        self._transaction = transaction
        self._clock = clock
        self._claims = Claims(database, schema)

    def all(self) -> tuple[Verification, ...]:
        """The newest of each data migration, by name."""
        with self._database.reading() as connection:
            return verifications.all_of(connection, self._schema)

    def ask(self, name: str, *, actor: str, reason: str | None) -> bool:
        """Let its rows be compared from the first one on. Repeatable: while one is under way it goes on, and is it.

        Returns whether a new one began. Raises `NotFound`, and `Conflict` (code `verification_refused`) where there is
        nothing to compare: a function of the service, a changed file, columns that are not there.
        """
        with self._database.reading() as connection:
            entry = ledger.find(connection, self._schema, name)
        if entry is None:
            raise self._claims.unknown(name)
        self._refuse(entry)
        with self._transaction() as connection:
            known = verifications.claim(connection, self._schema, name, waits=True)
            if known is not None and known.state is VerificationState.RUNNING:
                return False
            now = self._database.dialect.now(connection)
            new = VerificationEntry(self._schema, name, entry.file_hash, actor, reason, now)
            if known is None:
                return verifications.begin(connection, new)
            verifications.begin_anew(connection, replace(new, revision=known.revision + 1))
        return True

    def stop(self, name: str) -> bool:
        """Let it be; what it found stays. Repeatable. Returns whether one was under way."""
        with self._transaction() as connection:
            known = verifications.claim(connection, self._schema, name, waits=True)
            if known is None or known.state is not VerificationState.RUNNING:
                return False
            self._end(connection, replace(known, state=VerificationState.STOPPED))
        return True

    def run_batch(self, name: str, sizes: BatchSizes, pauses: Pauses, *, leads: bool = True) -> Verification | None:
        """Compare the next rows; returns where it stands, None where nobody ever asked.

        Without `leads`, a file that is not as it was is only this worker's fault: `Invalid` is raised. Raises
        `Conflict` (codes `batch_claimed`, `batch_too_soon`), `LostCursor`, `Unavailable`; those change nothing.
        """
        with self._database.reading() as connection:
            seen = verifications.find(connection, self._schema, name)
            entry = ledger.find(connection, self._schema, name)
        if seen is None or seen.state is not VerificationState.RUNNING:
            return None if seen is None else seen.facts
        if entry is None:
            return self._fail(seen, self._claims.unknown(name).message)
        rows = 0  # no rows yet
        try:
            definition, target = self._prepare(replace(entry, file_hash=seen.file_hash))
        except Invalid as fault:
            if not leads:
                raise
            return self._fail(seen, fault.message)
        try:
            with self._transaction(snapshot=definition.transform is not None) as connection:
                mine = verifications.claim(connection, self._schema, name)
                if mine is None or mine.revision != seen.revision:
                    raise self._claims.taken(name)
                pauses.require(self._claims, connection, name, mine.batch_at)
                rows = min(sizes.within(mine.batch_rows), mine.batch_rows or sizes.most)  # fewer, if it takes that
                return self._advance(connection, mine, definition, target, rows, sizes, pauses)
        except CutOff as fault:
            return self._fail(seen, fault.message) if rows <= 1 else self._narrow(seen, rows // 2)
        except (Invalid, StepFailed) as fault:
            return self._fail(seen, fault.message)
        except Unavailable as error:
            if rows == 0 and self._database.dialect.is_given_up(error):
                raise self._claims.taken(name) from error  # in favour of another worker
            if rows <= 1 or error.code != "database_busy":
                raise
            return self._narrow(seen, rows // 2)

    def _advance(
        self,
        connection: Connection,
        mine: VerificationEntry,
        definition: Definition,
        target: Target,
        rows: int,
        sizes: BatchSizes,
        pauses: Pauses,
    ) -> Verification:
        began = self._clock()
        after, excuse = None if mine.cursor is None else decode(mine.cursor), self._why_expected(connection, mine.name)
        batch = next_batch(connection, definition, target, after, rows, sizes.most_bytes)
        compared = compare(self._database, connection, definition, target, batch.range)
        seconds = self._clock() - began
        last = compared.range.last
        counted = replace(
            mine,
            cursor=mine.cursor if last is None else encode(last),
            rows_done=mine.rows_done + compared.rows,
            differences=mine.differences + compared.differences,
            first_differences=ledger.first_differences(mine.first_differences, "; ".join(compared.first)),
            expected=_excuse(mine, compared, excuse or self._why_expected(connection, mine.name)),
            batch_rows=mine.batch_rows if last is None else sizes.after(batch.rows, seconds),
            batch_at=pauses.ended_at(self._database, connection, seconds) or mine.batch_at,
        )
        if last is None:
            return self._end(connection, replace(counted, state=VerificationState.DONE))
        return verifications.save(connection, counted).facts

    def _why_expected(self, connection: Connection, name: str) -> str | None:
        entry = ledger.find(connection, self._schema, name)
        if entry is None:
            return None
        return why_expected(read_copy(connection, self._schema), entry)

    def _refuse(self, entry: LedgerEntry) -> None:
        """Raise `Conflict` where its rows cannot be compared as things are."""
        try:
            definition = load(file_of(self._directory, entry.name), entry.name)
            if definition.function is not None:
                raise self._refused(
                    entry.name, f"{definition.place} is a function of the service, which alone knows what it is to do",
                    "Look with the service's own means.",
                )  # fmt: skip
            if definition.file_hash != entry.file_hash:
                raise changed(definition.path, entry.name)
            self._look(entry.name)
        except Invalid as fault:
            raise self._refused(
                entry.name, fault.message,
                "Its rows can be compared from expanded on, until contract takes away what it reads, and with the file "
                "that moved them.",
            ) from fault  # fmt: skip

    def _refused(self, name: str, why: str, remedy: str) -> Conflict:
        return Conflict(
            "verification_refused",
            f"the rows of data migration {name} cannot be compared in database {self._database.name} now: {why}",
            remedy=remedy,
            schema=self._schema,
            data_migration=name,
        )

    def _narrow(self, seen: VerificationEntry, batch_rows: int) -> Verification:
        with self._transaction() as connection:
            found = verifications.claim(connection, self._schema, seen.name)
            if found is None or found.revision != seen.revision:
                raise self._claims.taken(seen.name)
            return verifications.save(connection, replace(found, batch_rows=batch_rows)).facts

    def _fail(self, seen: VerificationEntry, error: str) -> Verification:
        """When somebody went on with it since it was seen, the fault is for them to find."""
        with self._transaction() as connection:
            found = verifications.claim(connection, self._schema, seen.name)
            if found is None or found.revision != seen.revision:
                raise self._claims.taken(seen.name)
            return self._end(connection, replace(found, state=VerificationState.FAILED, error=error))

    def _end(self, connection: Connection, entry: VerificationEntry) -> Verification:
        ended = replace(entry, finished_at=self._database.dialect.now(connection))
        return verifications.save(connection, ended).facts


def _excuse(entry: VerificationEntry, compared: Compared, excuse: str | None) -> str | None:
    """Why all differences so far were to be expected; None where any was not, or none was found."""
    if not compared.differences:
        return entry.expected
    return excuse if not entry.differences or entry.expected is not None else None


def why_expected(copy: Copy | None, entry: LedgerEntry) -> str | None:
    """Why rows may hold something else than it computes, and nothing is wrong; None: then they may not.

    Old and new shape agree only while everybody writes both, and once every row was moved.
    """
    if copy is None or copy.upgrade_id != entry.upgrade_id or copy.phase not in (Phase.BACKFILL, Phase.READ_NEW):
        return "not everybody writes both shapes in this phase, so one of them goes stale"
    if entry.state not in (MigrationState.VERIFYING, MigrationState.COMPLETE):
        return "not all of its rows are moved yet"
    return None
