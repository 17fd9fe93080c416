"""Sealing: sync triggers are dropped, and then writes to the old shape denied. Unsealing, and mending sync triggers.

Where DDL is transactional each table is sealed in one transaction; elsewhere every statement commits by itself. Either
way what is still to be done is read from the catalog, so that whatever broke it off, doing it again completes it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.dialects import Database, reason
from orchestrator.dialects.triggers import (
    Denial,
    Piece,
    Standing,
    SyncTrigger,
    as_statement,
    making,
    removing,
    standing,
)
from orchestrator.domain.errors import OrchestratorError, StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.domain.releases import Release
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.old_shape import OldThing, deniable, denial_of
from orchestrator.schema_migrations.recording import Recording
from orchestrator.schema_migrations.waiting import Patience, Waiting

LOG = logging.getLogger(__name__)

SEALING_STAGES = (Step.SEAL.value, Step.UNSEAL.value, "triggers")
"""The journal's words for what is no revision."""

_STAGE_OF = {Step.SEAL: Step.SEAL.value, Step.UNSEAL: Step.UNSEAL.value, Step.EXPAND: "triggers"}
_WORDS = {Step.SEAL: "seal", Step.UNSEAL: "unseal", Step.EXPAND: "mending of the triggers"}


@dataclass(frozen=True, slots=True)
class SealState:
    """What stands in one database of the triggers of one release.

    `sealed`: whatever is left of the old shape denies writes. `unsealed`: nothing denies any. Both, where there is
    nothing that could be written. `denials` counts refused writes, None where that cannot be; `in_step`: every sync
    trigger stands as it was made.
    """

    sealed: bool
    unsealed: bool
    denials: int | None
    in_step: bool


NO_TRIGGERS = SealState(sealed=False, unsealed=True, denials=None, in_step=True)
"""Of a database of which nothing is known, or that is none of ours to seal."""


@dataclass(frozen=True, slots=True)
class PlannedTrigger:
    """One thing that sealing or unsealing would do."""

    sentence: str


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done with the triggers of one table, in one transaction where that can be."""

    table: str
    kept: tuple[SyncTrigger, ...] = ()
    gone: tuple[SyncTrigger, ...] = ()
    denied: tuple[Denial, ...] = ()
    allowed: tuple[Denial, ...] = ()


def seal_state(
    connection: Connection,
    database: Database,
    schema: str,
    release: Release,
    syncs: Sequence[SyncTrigger],
    *,
    contracting: bool,
) -> SealState:
    """Read what stands. Once its contract revisions are under way, what they have not removed yet counts as sealed."""
    triggers = database.dialect.triggers
    denials = tuple(each.denial for each in deniable(connection, database.dialect, schema, release))
    found = [_standing(connection, database, triggers.deny_pieces(connection, denial)) for denial in denials]
    left = [triggers.leftovers(connection, denial) for denial in _all(schema, release)]
    return SealState(
        sealed=contracting or all(each is Standing.WHOLE for each in found),
        unsealed=all(_standing(connection, database, pieces) is Standing.ABSENT for pieces in left if pieces),
        denials=triggers.denials(connection, denials),
        in_step=all(
            _standing(connection, database, triggers.sync_pieces(connection, sync)) is Standing.WHOLE for sync in syncs
        ),
    )


class Sealing:
    """Seals and unseals databases of one schema. The caller holds the schema's lock in that database."""

    def __init__(
        self,
        schema: str,
        patience: Patience,
        *,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._schema = schema
        self._patience = patience
        self._waiting = Waiting(patience, sleep=sleep, chance=chance)

    def plan(
        self, connection: Connection, database: Database, release: Release, syncs: Sequence[SyncTrigger], step: Step
    ) -> tuple[PlannedTrigger, ...]:
        """What is still to be done there; nothing when it is done. Reads only."""
        triggers = database.dialect.triggers
        planned: list[str] = []
        if step is Step.UNSEAL:
            for denial in _all(self._schema, release):
                pieces = triggers.leftovers(connection, denial)
                if removing(pieces, triggers.found(connection, pieces)):
                    planned.append(f"allow writes to {denial.subject} again")
            return tuple(map(PlannedTrigger, planned))
        for sync in syncs:
            pieces = triggers.sync_pieces(connection, sync)
            if step is Step.EXPAND and making(pieces, triggers.found(connection, pieces)):
                planned.append(f"create the sync trigger of {sync.subject} again")
            if step is Step.SEAL and removing(pieces, triggers.found(connection, pieces)):
                planned.append(f"drop the sync trigger of {sync.subject}")
        if step is Step.EXPAND:
            return tuple(map(PlannedTrigger, planned))
        counted = triggers.denials(connection, ()) is not None
        for each in deniable(connection, database.dialect, self._schema, release):
            pieces = triggers.deny_pieces(connection, each.denial)
            if making(pieces, triggers.found(connection, pieces)):
                planned.append(f"deny writes to {each.denial.subject}{_limits(each.inserts, counted)}")
        return tuple(map(PlannedTrigger, planned))

    def run(
        self,
        database: Database,
        connection: Connection,
        release: Release,
        syncs: Sequence[SyncTrigger],
        step: Step,
        *,
        owner_epoch: int,
        watch: StepWatch | None = None,
    ) -> tuple[str, ...]:
        """Seal or unseal, and verify it in the catalog. Returns what was done, in words; nothing if it was done before.

        Raises `StepFailed`, `Unavailable`, `Conflict`.
        """
        name = f"{_WORDS[step]} of release {release.name}"
        with connection.begin():
            planned = self.plan(connection, database, release, syncs, step)
            works = self._works(connection, database, release, syncs, step)
        self._intend(database, connection, release, step, owner_epoch)
        for work in works:
            self._waiting.persevere(
                partial(self._perform, database, connection, release, work, owner_epoch),
                database=database,
                connection=connection,
                revision=name,
                subject=f"the {name}",
                tables=partial(_table_of, work),
                failure=lambda error: self._failure(database, name, error),
                watch=watch,
            )
        self._verify(database, connection, release, syncs, step)
        self._finish(database, connection, release, owner_epoch)
        if planned:
            LOG.info(
                "%(step)s was done in %(database)s: %(what)s",
                {
                    "action": f"{_STAGE_OF[step]}.run",
                    "step": name,
                    "database": database.name,
                    "what": "; ".join(each.sentence for each in planned),
                },
            )
        return tuple(each.sentence for each in planned)

    def make_way(
        self, connection: Connection, database: Database, release: Release, recording: Recording, owner_epoch: int
    ) -> None:
        """Before a contract revision runs, drop what denies writes to the columns that it removes.

        Repeatable. In the transaction of the revision, where it has one.
        """
        triggers = database.dialect.triggers
        for denial in _in_the_way(self._schema, release, recording, everything=triggers.hinder_rebuilds):
            pieces = triggers.leftovers(connection, denial)
            for statement in removing(pieces, triggers.found(connection, pieces)):
                journal.claim(connection, self._schema, recording.revision.id, owner_epoch=owner_epoch)
                connection.execute(as_statement(statement))

    # -- doing ---------------------------------------------------------------------------------------------------------

    def _works(
        self, connection: Connection, database: Database, release: Release, syncs: Sequence[SyncTrigger], step: Step
    ) -> tuple[_Work, ...]:
        if step is Step.UNSEAL:
            every = _all(self._schema, release)
            tables = dict.fromkeys(denial.table for denial in every)
            return tuple(_Work(table, allowed=tuple(each for each in every if each.table == table)) for table in tables)
        if step is Step.EXPAND:
            return tuple(_Work(sync.table, kept=(sync,)) for sync in syncs)
        denials = [each.denial for each in deniable(connection, database.dialect, self._schema, release)]
        tables = dict.fromkeys([*(sync.table for sync in syncs), *(denial.table for denial in denials)])
        return tuple(
            _Work(
                table,
                gone=tuple(each for each in syncs if each.table == table),
                denied=tuple(each for each in denials if each.table == table),
            )
            for table in tables
        )

    def _perform(
        self, database: Database, connection: Connection, release: Release, work: _Work, owner_epoch: int
    ) -> None:
        """One transaction for all; where each statement commits by itself, one for each."""
        together = database.dialect.transactional_ddl
        with connection.begin():
            statements = _statements(connection, database, work)
        groups = ((None,) if statements else ()) if together else statements
        for group in groups:
            with connection.begin():
                database.dialect.lock_timeout(connection, self._patience.lock_seconds)
                journal.claim(connection, self._schema, _name(release), owner_epoch=owner_epoch)
                for statement in _statements(connection, database, work) if group is None else (group,):
                    connection.execute(as_statement(statement))

    def _intend(
        self, database: Database, connection: Connection, release: Release, step: Step, owner_epoch: int
    ) -> None:
        with connection.begin():
            now = database.dialect.now(connection)
        with connection.begin():
            database.dialect.lock_timeout(connection, self._patience.lock_seconds)
            journal.intend_again(
                connection,
                JournalEntry(
                    schema_name=self._schema,
                    revision=_name(release),
                    stage=_STAGE_OF[step],
                    file_hash="",
                    state=JournalState.INTENT,
                    owner_epoch=owner_epoch,
                    started_at=now,
                ),
            )

    def _finish(self, database: Database, connection: Connection, release: Release, owner_epoch: int) -> None:
        with connection.begin():
            now = database.dialect.now(connection)
        with connection.begin():
            database.dialect.lock_timeout(connection, self._patience.lock_seconds)
            journal.finish(connection, self._schema, _name(release), owner_epoch=owner_epoch, now=now)

    def _verify(
        self, database: Database, connection: Connection, release: Release, syncs: Sequence[SyncTrigger], step: Step
    ) -> None:
        with connection.begin():
            left = self.plan(connection, database, release, syncs, step)
        if left:
            raise StepFailed(
                "effect_missing",
                f"the {_WORDS[step]} of release {release.name} ran in database {database.name}, and still it has to "
                f"{'; '.join(each.sentence for each in left)}",
                remedy="Nothing was marked done. Look who changes triggers there besides, and retry.",
                database=database.name,
                release=release.name,
            )

    def _failure(self, database: Database, name: str, error: Exception) -> OrchestratorError:
        explained = database.explain(error)
        if explained is not None:
            return explained
        return StepFailed(
            "seal_failed",
            f"the {name} failed in database {database.name}: {reason(error, database.engine.url)}",
            remedy="What it has done stays, and is not done again. Correct what it says, then retry.",
            database=database.name,
        )


def _in_the_way(schema: str, release: Release, recording: Recording, *, everything: bool) -> Iterator[Denial]:
    """What is denied of the columns that a revision removes or renames; all that is denied, where nobody can tell.

    What is denied of a table goes away with the table.
    """
    unknown = recording.stop is not None or any(change.act is Act.OPAQUE for change in recording.changes)
    removed = {
        (change.table, change.name)
        for change in recording.changes
        if change.act in (Act.DROP_COLUMN, Act.RENAME_COLUMN, Act.CHANGE_TYPE)
    }
    renamed = {change.table for change in recording.changes if change.act is Act.RENAME_TABLE}
    for denial in _all(schema, release):
        if everything or unknown or denial.table in renamed or (denial.table, denial.column) in removed:
            yield denial


def _table_of(work: _Work) -> tuple[str, ...]:
    return (work.table,)


def _name(release: Release) -> str:
    """The journal's name for sealing to that release. No revision is called so: their ids have no spaces."""
    return f"seal {release.name}"


def _all(schema: str, release: Release) -> tuple[Denial, ...]:
    """Everything that the release may have denied, whether or not it is there still."""
    return tuple(denial_of(OldThing.read(written), schema, release) for written in release.old_shape)


def _statements(connection: Connection, database: Database, work: _Work) -> tuple[str, ...]:
    """What is still to be sent. Sync triggers first: what denies writes would refuse theirs."""
    triggers = database.dialect.triggers
    statements: list[str] = []
    for sync in work.kept:
        pieces = triggers.sync_pieces(connection, sync)
        statements += making(pieces, triggers.found(connection, pieces))
    for sync in work.gone:
        pieces = triggers.sync_pieces(connection, sync)
        statements += removing(pieces, triggers.found(connection, pieces))
    for denial in work.denied:
        pieces = triggers.deny_pieces(connection, denial)
        statements += making(pieces, triggers.found(connection, pieces), anew=True)
    for denial in work.allowed:
        pieces = triggers.leftovers(connection, denial)
        statements += removing(pieces, triggers.found(connection, pieces))
    return tuple(statements)


def _standing(connection: Connection, database: Database, pieces: Sequence[Piece]) -> Standing:
    return standing(pieces, database.dialect.triggers.found(connection, pieces))


def _limits(inserts: bool, counted: bool) -> str:
    """What the denial cannot do, for people."""
    limits = [] if inserts else ["UPDATEs only, as an INSERT gives it a computed value whether it names it or not"]
    limits += [] if counted else ["refusals are not counted by this kind of database"]
    return f" ({'; '.join(limits)})" if limits else ""
