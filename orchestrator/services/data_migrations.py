"""Data migrations: move rows in batches while the upgrade and its throttles let them, and show how far they are.

Every daemon moves rows: a batch claims its cursor by a lock in the managed database, so that no two work on one, and
who finds it claimed goes elsewhere. What was moved is in that database; only the leading daemon writes down what it
reads of it there, so that no reading is older than the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator.domain.errors import Conflict, Invalid, LostCursor, NotFound, OrchestratorError, Unavailable
from orchestrator.domain.intentions import Intention, Wish, intention_for
from orchestrator.domain.ladder import Phase
from orchestrator.domain.order import next_of
from orchestrator.domain.overlay import Overlay, overlay_of, priorities_of
from orchestrator.domain.progress import UNKNOWN, EtaState, Progress, progress_of
from orchestrator.domain.records import DatabaseReading
from orchestrator.domain.releases import Release
from orchestrator.domain.throttling import Reason, remedy_of
from orchestrator.domain.upgrades import Moving, Upgrade
from orchestrator.domain.verifications import Verification, moving_again
from orchestrator.domain.view import MigrationFacts, MigrationState, QuarantinedRow
from orchestrator.ports import Transaction
from orchestrator.services.context import Context, event, readings_of
from orchestrator.services.progress import progress_in
from orchestrator.services.throttling import Throttling
from orchestrator.services.verifying import Verifying
from orchestrator.services.vouching import check_done
from orchestrator.services.waits import reasons_in
from orchestrator.services.windows import MaintenanceWindows, WindowStatus

_NOT_MOVED = (MigrationState.PENDING, MigrationState.RUNNING)
_ENDED = (MigrationState.COMPLETE, MigrationState.ASSUMED, MigrationState.FAILED)
_AT_REST = (None, MigrationState.PENDING, MigrationState.COMPLETE, MigrationState.ASSUMED)

_PASSING = {"database_busy": "locks", "disk_full": "room on the disk"}
"""Refusals of a batch that end without us, by their codes, and what is waited for."""

LONGEST_LOOK_AWAY_SECONDS = 10.0
"""Rows may rest for longer; whether somebody paused them meanwhile, or set another pace, is looked at this often."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One data migration in one database; `facts` is None where its ledger does not have it, and where nobody knows:
    `unreadable` is then why the database could not be read. `to_move_again` is what to type where somebody's comparison
    found rows that differ, if they can be moved again now.

    `throttled_by` is why its next batch does not begin now, which is no state of it: it runs, and waits. `remedy` is
    what mends that or passes it over, "" where it is to be waited for alone. `quarantine` are the rows that it could
    not move, None where nobody asked for them or the database does not answer. `intention` is what somebody wants of
    it, beside what it does; None: it is to run. `is_reverse`: it moves rows back, on the way back only. `verification`
    is the newest comparison that somebody asked for, where one data migration is shown; `verification_waits` is why its
    next batch does not begin now.
    """

    name: str
    release: str
    database: str
    facts: MigrationFacts | None
    throttled_by: tuple[Reason, ...] = ()
    remedy: str = ""
    quarantine: tuple[QuarantinedRow, ...] | None = None
    intention: Intention | None = None
    priority: int = 0
    progress: Progress = UNKNOWN
    is_reverse: bool = False
    verification: Verification | None = None
    verification_waits: tuple[Reason, ...] = ()
    unreadable: str | None = None
    to_move_again: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What may be moved in one database before its next batch, and how.

    `held` are those that somebody paused or cancelled there. `over` is what was set of the pace.
    """

    upgrade: Upgrade
    names: tuple[str, ...]
    held: Mapping[str, Wish]
    priorities: Mapping[str, int]
    over: Overlay


@dataclass(slots=True)
class _Turn:
    """What one call has found: where each stands, whom it passed over, and the first fault of a file.

    When it `is_over`, nothing more is tried in it; `waits_for` is what a batch waits for, if it does.
    """

    states: dict[str, MigrationState]
    passed: set[str] = field(default_factory=set)
    fault: Invalid | None = None
    is_over: bool = False
    waits_for: tuple[Reason, ...] = ()


class DataMigrations:
    """`may_go_on` is asked between batches, and is false when the daemon stops.

    `rest` waits so many seconds, or until the daemon stops, where rows are to rest between two batches.
    """

    def __init__(
        self, context: Context, throttling: Throttling | None = None, windows: MaintenanceWindows | None = None
    ) -> None:
        self._context = context
        self._throttling = Throttling(context) if throttling is None else throttling
        self._windows = MaintenanceWindows(context) if windows is None else windows
        self.verifying = Verifying(context, self._throttling, self._windows)

    def run(
        self,
        schema: str,
        database: str,
        *,
        may_go_on: Callable[[], bool],
        leads: Callable[[], bool] = lambda: True,
        rest: Callable[[float], object] = lambda seconds: None,
    ) -> bool:
        """Move and verify rows in one database until there is nothing left, the phase ends or somebody else does it.

        Only the daemon that `leads` judges the files of data migrations: where another one has others, that is said.
        Each batch is one transaction there, which a fence takes away: it is safe to call this from anywhere. None
        begins while a throttle or a window gives a reason to wait, which is then on record: the next call asks again.
        What operators want of a data migration, and set of the pace, is read before each batch. While there is nothing
        to be moved, rows are compared where somebody asked for that, in any phase. Returns whether rows were moved.
        Raises `Unavailable` when the database does not answer.
        """
        while True:
            has_moved, held = self._run(schema, database, may_go_on, leads, rest)
            self._throttling.note(schema, database, held)
            if has_moved or held or not may_go_on():
                return has_moved
            if not self.verifying.run_batch(schema, database, leads=leads(), rest=partial(_rest_a_while, rest)):
                return False

    def throttled_by(self, schema: str, database: str) -> tuple[Reason, ...]:
        """Why this daemon began no batch in that database when it was last its turn; none when it might have."""
        return self._throttling.noted(schema, database)

    def windows(self, schema: str) -> tuple[WindowStatus, ...]:
        """As `MaintenanceWindows.statuses`."""
        return self._windows.statuses(schema)

    def _run(
        self,
        schema: str,
        database: str,
        may_go_on: Callable[[], bool],
        leads: Callable[[], bool],
        rest: Callable[[float], object],
    ) -> tuple[bool, tuple[Reason, ...]]:
        """Whether there was something to do, and what kept the rest from being done."""
        managed = self._context.managed(schema)
        turn = _Turn({})
        has_moved = False
        while True:
            wanted = self._context.store.read(lambda tx: self._wanted(tx, schema, database))
            if wanted is None or not may_go_on():
                return has_moved, ()
            reasons = self._throttling.reasons(schema, database, wanted.over)
            if not turn.states or len(wanted.names) > 1:  # others may have moved on, or were tried again
                turn.states = self._states(schema, database, reasons)
            self._give_up(schema, database, wanted, turn)
            links = managed.links(wanted.names)
            name = next_of(links, turn.states, wanted.priorities, without={*turn.passed, *wanted.held})
            if name is None:
                if turn.fault is not None:
                    raise turn.fault
                return has_moved, ()  # nothing of them is left that could wait
            reasons += self._windows.reasons(schema, database, name, wanted.over)  # the last look before the batch
            if reasons:
                return has_moved, reasons
            facts = self._batch(schema, database, name, wanted, turn, leads=leads(), rest=rest)
            if turn.is_over:
                return has_moved, turn.waits_for
            if facts is not None:
                turn.states[name] = facts.state
                turn.passed.clear()  # whoever was at one of them may be done
                has_moved = has_moved or facts.state not in _ENDED

    def _batch(
        self,
        schema: str,
        database: str,
        name: str,
        wanted: _Wanted,
        turn: _Turn,
        *,
        leads: bool,
        rest: Callable[[float], object],
    ) -> MigrationFacts | None:
        """One batch; None where it was not moved now. What it waits for stays on record until it gets through."""
        if any(reason.signal not in _PASSING.values() for reason in self.throttled_by(schema, database)):
            self._throttling.note(schema, database, ())
        managed = self._context.managed(schema)
        is_counting = turn.states.get(name) is MigrationState.PENDING
        try:
            with nullcontext() if is_counting else self._windows.timed(schema, database, name):
                facts = managed.run_batch(database, name, wanted.upgrade.id, leads=leads, over=wanted.over)
        except LostCursor:
            turn.is_over = True  # fenced, or another daemon is at it: the next call finds out anew
        except Conflict as conflict:
            if conflict.code == "batch_too_soon":
                rest(min(conflict.fields.get("wait_seconds", 0.0), LONGEST_LOOK_AWAY_SECONDS))
            elif conflict.code in ("batch_claimed", "data_migration_waits"):
                turn.passed.add(name)  # others may go on meanwhile
            else:
                turn.is_over = True
        except Invalid as fault:
            turn.passed.add(name)
            turn.fault = turn.fault or fault
        except Unavailable as refusal:
            if refusal.code not in _PASSING:
                raise
            turn.is_over = True
            turn.waits_for = (Reason(_PASSING[refusal.code], name, False, refusal.message, refusal.remedy),)
        else:
            self._throttling.note(schema, database, ())
            return facts
        return None

    def _give_up(self, schema: str, database: str, wanted: _Wanted, turn: _Turn) -> None:
        """Send those back to their start that somebody cancelled, where they are not there yet."""
        for name, wish in wanted.held.items():
            if wish is Wish.CANCELLED and turn.states.get(name) not in _AT_REST and name not in turn.passed:
                turn.passed.add(name)
                try:
                    turn.states[name] = self._context.managed(schema).give_up_migration(database, name).state
                except (Conflict, Unavailable) as refusal:
                    if isinstance(refusal, Unavailable) and refusal.code != "database_busy":
                        raise
                    # somebody is at it, or rows do not move now: the next call tries again

    def _states(self, schema: str, database: str, reasons: tuple[Reason, ...]) -> dict[str, MigrationState]:
        """Where each stands there now, as its ledger tells. Raises `Unavailable`."""
        try:
            found = self._context.managed(schema).progress(database)
        except Unavailable:
            self._throttling.note(schema, database, reasons)
            raise
        return {facts.name: facts.state for facts in found}

    def _wanted(self, tx: Transaction, schema: str, database: str) -> _Wanted | None:
        """What may be moved now and how, as this transaction sees it; None where nothing may."""
        upgrade = _moving_upgrade(tx, schema)
        names = () if upgrade is None else self._names_of(schema, upgrade)
        if upgrade is None or not names:
            return None
        intentions, settings = tx.intentions(schema), tx.settings(schema)
        return _Wanted(
            upgrade,
            names,
            {each.name: each.wish for each in intentions if each.database == database},
            priorities_of(settings),
            overlay_of(settings, database),
        )

    def _names_of(self, schema: str, upgrade: Upgrade) -> tuple[str, ...]:
        release = self._context.managed(schema).releases[upgrade.to_release]
        return release.reverse_data_migrations if upgrade.moving is Moving.BACK else release.data_migrations

    def list(self, schema: str) -> tuple[MigrationStatus, ...]:
        """All data migrations of the manifest in all databases, in the order of the releases."""
        managed = self._context.managed(schema)

        def work(tx: Transaction) -> tuple[MigrationStatus, ...]:
            upgrade, throttles = _moving_upgrade(tx, schema), reasons_in(tx, schema)
            wanted = () if upgrade is None else self._names_of(schema, upgrade)
            intentions, priorities = tx.intentions(schema), priorities_of(tx.settings(schema))
            readings = readings_of(tx, managed)
            return tuple(
                _status(
                    name, release, reading, throttles.get(reading.database, ()) if name in wanted else (),
                    intention_for(intentions, name, reading.database), priorities.get(name, 0),
                    now=tx.now, may_move=name in wanted,
                )
                for release in managed.releases.ordered
                for name in release.all_data_migrations
                for reading in readings
            )  # fmt: skip

        return self._context.store.read(work)

    def show(self, schema: str, name: str) -> tuple[MigrationStatus, ...]:
        """One data migration in all databases, with the rows that it could not move. Raises `NotFound`."""
        found = tuple(self._with_quarantine(schema, status) for status in self._find(schema, name))
        upgrade = self._context.store.read(lambda tx: _running_upgrade(tx, schema))
        found = tuple(self._with_verification(schema, status, upgrade) for status in found)
        return tuple(self._with_its_waits(schema, status) for status in found)

    def _with_its_waits(self, schema: str, status: MigrationStatus) -> MigrationStatus:
        """The same with what its comparison waits for, where one is under way."""
        if status.verification is None or not status.verification.is_running:
            return status
        waits = self.verifying.reasons(schema, status.database, status.name)
        remedy = status.remedy or remedy_of(waits, schema, status.database)
        return replace(status, verification_waits=waits, remedy=remedy)

    def _with_verification(self, schema: str, status: MigrationStatus, upgrade: Upgrade | None) -> MigrationStatus:
        known = self.verifying.in_database(schema, status.database)
        found = next((each for each in known if each.name == status.name), None)
        again: str | None = None
        if upgrade is not None and found is not None and found.is_alarm:
            again = moving_again(upgrade.phase, schema, status.name, status.database)
        return replace(status, verification=found, to_move_again=again)

    def verify(
        self, schema: str, name: str, database: str | None, *, stop: bool, actor: str, reason: str | None
    ) -> None:
        """Let its rows be compared with what it computes, in one database or in all; with `stop`, no longer.

        At any time, and in the background: nothing of the upgrade, of the data migration and of its rows changes.
        Repeatable. Raises `NotFound`, and `Conflict` (code `verification_refused`) where there is nothing to compare.
        """
        known = [status.database for status in self._find(schema, name)]
        databases = [each for each in known if database in (None, each)]
        if not databases:
            raise NotFound(
                "database_unknown",
                f"{schema} has no database {database!r}",
                remedy=f"Its databases: {', '.join(known)}.",
            )
        act = self.verifying.stop if stop else self.verifying.verify
        act(schema, name, databases, actor=actor, reason=reason)

    def _with_quarantine(self, schema: str, status: MigrationStatus) -> MigrationStatus:
        if status.facts is None or not status.facts.rows_quarantined:
            return replace(status, quarantine=())
        try:
            found = self._context.managed(schema).quarantined(status.database, status.name)
        except OrchestratorError:
            return status  # why it does not answer is said of the database
        return replace(status, quarantine=found)

    def _find(self, schema: str, name: str) -> tuple[MigrationStatus, ...]:
        found = tuple(status for status in self.list(schema) if status.name == name)
        if not found:
            raise NotFound(
                "data_migration_unknown",
                f"no release of {schema} has a data migration {name!r}",
                remedy=f"orchestrator data-migration list {schema}",
            )
        return found

    def retry(
        self, schema: str, name: str, database: str | None, *, actor: str, reason: str | None
    ) -> tuple[MigrationStatus, ...]:
        """Let a failed data migration be tried again, in one database or in all in which it failed.

        As `DataMigrationRunner.retry` says. In a database that is named, one that is complete is run again, and at
        read_new, where rows are only proven, one that a restored database holds as under way is proven. Returns it
        where it is tried again, as it is there now.
        """
        managed = self._context.managed(schema)
        upgrade = self._context.store.read(lambda tx: _running_upgrade(tx, schema))
        is_only_proven = upgrade is not None and upgrade.phase is Phase.READ_NEW
        wanted = [MigrationState.FAILED]
        if database is not None:
            wanted += [MigrationState.COMPLETE, *(_NOT_MOVED if is_only_proven else ())]
        found = [status for status in self._find(schema, name) if database in (None, status.database)]
        failed = [each.database for each in found if each.facts is not None and each.facts.state in wanted]
        if not failed:
            raise self._nothing_to_retry(schema, name, found, upgrade)
        for each in failed:
            managed.retry_migration(each, name)

        def work(tx: Transaction) -> None:
            event(
                tx, "data_migration.retry", f"{actor} let {name} be tried again in {', '.join(failed)}",
                actor=actor, schema=schema, subject=name, reason=reason,
            )  # fmt: skip

        self._context.store.run(work)
        return tuple(self._now(schema, status) for status in self._find(schema, name) if status.database in failed)

    def _nothing_to_retry(
        self, schema: str, name: str, found: Sequence[MigrationStatus], upgrade: Upgrade | None
    ) -> OrchestratorError:
        """Why nothing can be retried where it was asked for, and what may be meant."""
        for status in found:
            if status.unreadable is not None:
                return Unavailable(
                    "database_unreachable",
                    f"nobody knows how far {name} is in {status.database}: {status.unreadable}",
                    remedy="Repeat it when that database answers.",
                    database=status.database,
                )
        remedy = f"orchestrator data-migration show {schema} {name}"
        for status in found:
            if status.intention is not None:
                remedy = f"Somebody told it to stop. To let it run: orchestrator data-migration resume {schema} {name}"
            else:
                remedy = self._with_verification(schema, status, upgrade).to_move_again or remedy
        names = ", ".join(status.database for status in found)
        return NotFound("nothing_to_retry", f"data migration {name} has not failed in {names}", remedy=remedy)

    def _now(self, schema: str, status: MigrationStatus) -> MigrationStatus:
        """The same as its database has it now; the leading daemon has not read it since."""
        try:
            found = self._context.managed(schema).progress(status.database)
        except OrchestratorError:
            return status
        facts = next((facts for facts in found if facts.name == status.name), status.facts)
        waits = None if status.intention is None else EtaState.HELD
        begun_anew = progress_of(facts, None, now=0.0, waits=waits)  # no sample of this run was taken yet
        return replace(status, facts=facts, progress=begun_anew)

    def assume(
        self, schema: str, name: str, database: str | None, *, attested_done: bool, actor: str, reason: str
    ) -> None:
        """Let a data migration of an earlier release count as done, on somebody's word: in one database or in all.

        It cannot be run any more: what it would read is stale, or gone. Those of the release that is being upgraded
        to, and of later ones, are refused: they are run, and proven by query. The word is on record first.
        """
        check_done(name, attested_done=attested_done, reason=reason)
        managed = self._context.managed(schema)
        found = self._find(schema, name)
        names = tuple(
            status.database
            for status in found
            if database in (None, status.database)
            and (status.facts is None or status.facts.state not in (MigrationState.COMPLETE, MigrationState.ASSUMED))
        )
        if not names:
            raise NotFound(
                "nothing_to_assume",
                f"data migration {name} is not missing in {database or 'any database'}",
                remedy=f"orchestrator data-migration show {schema} {name}",
            )

        def work(tx: Transaction) -> None:
            state = tx.lock_schema(schema)
            releases = managed.releases
            if state.release is None or releases.index(found[0].release) > releases.index(state.release):
                raise Conflict(
                    "data_migration_to_be_proven",
                    f"data migration {name} is of release {found[0].release}, which {schema} has not reached",
                    remedy="It runs in backfill of the upgrade to that release, and is proven by query.",
                )
            event(
                tx, "data_migration.assume", f"{actor} vouches that {name} is done in {', '.join(names)}",
                actor=actor, schema=schema, subject=name, reason=reason,
            )  # fmt: skip

        self._context.store.run(work)
        for each in names:
            managed.assume_migration(each, name)


def _rest_a_while(rest: Callable[[float], object], seconds: float) -> None:
    rest(min(seconds, LONGEST_LOOK_AWAY_SECONDS))


def _running_upgrade(tx: Transaction, schema: str) -> Upgrade | None:
    state = tx.schema(schema)
    return tx.upgrade(state.upgrade_id) if state is not None and state.upgrade_id is not None else None


def _moving_upgrade(tx: Transaction, schema: str) -> Upgrade | None:
    """The upgrade that lets rows be moved now, None where there is none."""
    upgrade = _running_upgrade(tx, schema)
    if upgrade is None or upgrade.paused is not None or upgrade.doubt is not None:
        return None
    return None if upgrade.moving is Moving.NOTHING else upgrade


def _status(
    name: str,
    release: Release,
    reading: DatabaseReading,
    throttles: tuple[Reason, ...],
    intention: Intention | None,
    priority: int,
    *,
    now: float,
    may_move: bool,
) -> MigrationStatus:
    facts = next((facts for facts in reading.facts.migrations if facts.name == name), None)
    is_over = intention is not None or (facts is not None and facts.state in _ENDED)
    reasons = () if is_over else throttles
    return MigrationStatus(
        name, release.name, reading.database, facts, reasons, remedy_of(reasons, reading.schema, reading.database),
        intention=intention, priority=priority,
        progress=progress_in(reading, name, now=now, may_move=may_move, intention=intention, reasons=reasons),
        is_reverse=name in release.reverse_data_migrations,
        unreadable=reading.facts.error if facts is None else None,
    )  # fmt: skip
