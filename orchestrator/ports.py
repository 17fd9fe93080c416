"""What the services need from outside, as protocols: the state store and the managed schemas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from orchestrator.domain.daemons import Daemon, DaemonState, OwnTree, OwnTreeState
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.fleets import Instance, InstanceState, Registration, Report
from orchestrator.domain.intentions import Intention
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.overlay import NOTHING_SET, Option, Overlay, Setting
from orchestrator.domain.records import DatabaseReading, Event, Leadership, SchemaState, SigningKey
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.throttling import Reading, RowsWait
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.verifications import Verification
from orchestrator.domain.view import Approval, Copy, DatabaseFacts, MigrationFacts, QuarantinedRow, StepRecord
from orchestrator.domain.waves import FleetPause
from orchestrator.domain.windows import Windows

T = TypeVar("T")


class Transaction(Protocol):
    """One transaction on the state of record. All of it commits, or none.

    `now` is the database's time when it is first asked, in seconds since the epoch, UTC; without a jump of its clock
    that the times in the state do not follow yet.
    """

    @property
    def now(self) -> float: ...

    @property
    def incarnation(self) -> str | None:
        """The identity of the state database's history, None where it has none that a restore would change."""
        ...

    @property
    def signing_key(self) -> SigningKey:
        """The key for what instances are told. It is made when it is first asked for, where the work may write."""
        ...

    def schemas(self) -> tuple[SchemaState, ...]: ...

    def schema(self, name: str) -> SchemaState | None: ...

    def add_schema(self, state: SchemaState) -> None: ...

    def lock_schema(self, name: str) -> SchemaState:
        """Write the schema's row and return it as it is now.

        Whoever joins, begins, fences or publishes does this first, so any two of them come one after the other, on a
        cluster too. Raises `NotFound`.
        """
        ...

    def save_schema(self, state: SchemaState) -> None:
        """Store the schema. The caller holds its lock."""
        ...

    def upgrade(self, upgrade_id: int) -> Upgrade | None: ...

    def upgrades(self, schema: str, *, limit: int) -> tuple[Upgrade, ...]:
        """The newest upgrades first."""
        ...

    def add_upgrade(self, upgrade: Upgrade, *, above: int = 0) -> Upgrade:
        """Store a new upgrade and return it with its id: its own, or without one the next, which is above this."""
        ...

    def save_upgrade(self, upgrade: Upgrade, *, expected_revision: int) -> None:
        """Store the upgrade if its revision is still the expected one. Raises `StaleRevision`."""
        ...

    def instances(
        self, schema: str, *, fleet: str | None = None, state: InstanceState | None = None
    ) -> tuple[Instance, ...]: ...

    def instance(self, schema: str, fleet: str, instance_id: str) -> Instance | None: ...

    def add_instance(self, instance: Instance) -> None: ...

    def possibly_alive(self, schema: str, *, fleet: str | None = None) -> tuple[Instance, ...]:
        """The instances that neither left nor were evicted, whether their leases ran out or not."""
        ...

    def to_be_refused(self, schema: str) -> tuple[Instance, ...]:
        """The instances that were evicted, or are being, and that not every managed database refuses yet."""
        ...

    def save_instance(self, instance: Instance, *, expected: InstanceState = InstanceState.ALIVE) -> bool:
        """Store the instance if it is still in the expected state in the store. Returns whether it was."""
        ...

    def lock_instances(self, schema: str, fleet: str, ids: Sequence[str]) -> tuple[Instance, ...]:
        """The instances of a fleet that have these ids; nobody else changes them before this transaction ends."""
        ...

    def renew_instances(self, instances: Sequence[Instance]) -> None:
        """Store what a renewal changes of these instances, which this transaction has locked."""
        ...

    def known_fleets(self, schema: str) -> frozenset[str]: ...

    def note_fleet(self, schema: str, fleet: str) -> None:
        """Remember that something was reported of this fleet. Repeatable."""
        ...

    def fleet_pauses(self, schema: str) -> tuple[FleetPause, ...]: ...

    def save_fleet_pause(self, pause: FleetPause) -> None: ...

    def end_fleet_pause(self, pause: FleetPause) -> None: ...

    def reports(self, schema: str) -> tuple[Report, ...]: ...

    def save_report(self, report: Report) -> None: ...

    def steps(self, upgrade_id: int, phase: Phase) -> tuple[StepRecord, ...]: ...

    def save_step(self, record: StepRecord) -> None: ...

    def end_step(self, record: StepRecord) -> bool:
        """Store how an attempt ended, if nobody began another one since. Returns whether so."""
        ...

    def forget_step(self, record: StepRecord) -> None: ...

    def approvals(self, upgrade_id: int) -> tuple[Approval, ...]: ...

    def save_approval(self, approval: Approval) -> None: ...

    def withdraw_approvals(self, upgrade_id: int, *, above: Phase) -> None:
        """Forget the approvals of phases above this one."""
        ...

    def readings(self, schema: str) -> tuple[DatabaseReading, ...]: ...

    def save_reading(self, reading: DatabaseReading) -> None: ...

    def rows_waits(self, schema: str) -> tuple[RowsWait, ...]:
        """What daemons, also some that have ended since, wrote of rows that they do not move."""
        ...

    def save_rows_wait(self, wait: RowsWait) -> None: ...

    def end_rows_wait(self, schema: str, database: str, daemon: str) -> None: ...

    def intentions(self, schema: str) -> tuple[Intention, ...]:
        """What is wanted of data migrations, by name and database; nothing of those that are to run."""
        ...

    def save_intention(self, intention: Intention) -> None: ...

    def end_intention(self, intention: Intention) -> None: ...

    def settings(self, schema: str) -> tuple[Setting, ...]:
        """What was set over the configuration, by database, data migration and option."""
        ...

    def save_setting(self, setting: Setting) -> None: ...

    def clear_setting(self, setting: Setting) -> None: ...

    def append_event(self, event: Event) -> None: ...

    def events(self, *, schema: str | None, after: int, limit: int) -> tuple[Event, ...]:
        """The audit log, oldest first, from the entry after `after`; the newest `limit` when `after` is -1."""
        ...

    def leadership(self) -> Leadership | None: ...

    def save_leadership(self, leadership: Leadership, *, expected: Leadership | None) -> bool:
        """Store the leadership if nobody wrote it since it was the expected one, not even to renew it.

        None stands for no leadership yet. Returns whether it was stored.
        """
        ...

    def daemons(self, *, state: DaemonState | None = None) -> tuple[Daemon, ...]: ...

    def daemon(self, daemon_id: str) -> Daemon | None: ...

    def add_daemon(self, daemon: Daemon) -> None: ...

    def save_daemon(self, daemon: Daemon) -> bool:
        """Store the daemon if it is still possibly alive in the store. Returns whether it was."""
        ...

    def forget_daemon(self, daemon_id: str) -> None: ...

    def move_leases(self, seconds: float, grant_seconds: float) -> None:
        """Move the times of all leases of instances and daemons that may be alive, and their ends by so much more.

        What is known of evicted instances moves along: whoever is seen is compared with it.
        """
        ...

    def own_tree(self, tree: OwnTree) -> OwnTreeState: ...

    def lock_own_tree(self, tree: OwnTree) -> OwnTreeState:
        """Write the tree's row and return it as it is now.

        A daemon that registers does this first, and so does whoever decides that the tree may be contracted: any two
        of them come one after the other.
        """
        ...

    def save_own_tree(self, state: OwnTreeState) -> None:
        """Store the tree. The caller holds its lock."""
        ...


class Store(Protocol):
    """The state of record."""

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit. Deadlocks and serialisation failures repeat it from its start.

        An exception of `work` rolls everything back. Raises `Unavailable` when the database does not answer.
        """
        ...

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which only reads, on one snapshot. Waits for no writer. Raises `Unavailable`."""
        ...


class StepWatch(Protocol):
    """Is told how a step goes in one database while it runs there, from any thread."""

    def waits(self, why: OrchestratorError) -> None:
        """It has to wait, for this reason, and goes on by itself."""
        ...

    def interferes(self, action: str, sentence: str) -> None:
        """It is about to do this to somebody else's session. Puts it on record first.

        Raises where that cannot be: then it must not be done.
        """
        ...


class ManagedSchema(Protocol):
    """One schema with all its databases, as far as the services need it. Databases go by name."""

    @property
    def name(self) -> str: ...

    @property
    def releases(self) -> Releases: ...

    @property
    def databases(self) -> tuple[str, ...]:
        """In the order of the configuration; the first takes each step alone before the others."""
        ...

    def file(self, database: str) -> str | None:
        """The path of a database that is a file; None where it has a server."""
        ...

    def check(self, release: Release) -> None:
        """Refuse migrations that break a rule of their stage, before anything runs. Raises `MigrationRefused`."""
        ...

    def initialise(self, database: str, release: Release) -> str:
        """Install the release in an empty database, or adopt one that is at it. Returns what was done."""
        ...

    def plan(self, database: str, release: Release, step: Step) -> tuple[str, ...]:
        """What the step would run, one sentence each. Raises when it would be refused."""
        ...

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        """Read the facts of one database. A database that cannot be read is a fact too, not an exception.

        `release` is the one that an upgrade goes to, or None while there is no upgrade. Where its schema stands may be
        remembered for a while; with `verify` it is read from the catalog now.
        """
        ...

    @property
    def sourced_fleets(self) -> frozenset[str]:
        """The fleets that have an inventory source."""
        ...

    def inventories(self, database: str) -> tuple[Inventory, ...]:
        """What the inventory sources of this database list now. One that cannot be read is a fact, not an exception.

        Raises `Unavailable` where the database itself does not answer.
        """
        ...

    def write_copy(self, database: str, copy: Copy) -> None:
        """Write the copy whole, forward only. Leaving backfill takes every cursor away first.

        `copy.incarnation` is that of the database as it was read; "" is filled in. Where it has become another one
        since, nothing is written: that would hide what it lost. Raises `Conflict` (code `copy_ahead`), `Unavailable`.
        """
        ...

    def registration(self, database: str, fleet: str, instance_id: str) -> Registration | None:
        """What that instance wrote of itself in the database, whether it is news or not. Raises `Unavailable`."""
        ...

    def settle(self, database: str, known: Sequence[Registration]) -> None:
        """The state knows these now: they are news no more. What was written since stays news. Raises `Unavailable`."""
        ...

    def run_step(
        self,
        database: str,
        release: Release,
        step: Step,
        *,
        upgrade_id: int,
        owner_epoch: int,
        watch: StepWatch | None = None,
    ) -> tuple[str, ...]:
        """Run the step in one database and verify its effect. Repeatable. Returns the revisions that ran.

        `watch` is told where it has to wait. The expand step also checks the release's data migrations against the
        tables and puts them in the ledger.
        Raises `StepFailed`, `MigrationRefused`, `Conflict`, `Unavailable`.
        """
        ...

    def run_batch(
        self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> MigrationFacts:
        """Move or verify one batch of rows, at the pace that `over` sets. Any number of daemons and threads may try; as
        many at a time do as it has workers, one where nobody said otherwise.

        Raises `LostCursor`, `Conflict` (codes `batch_claimed`, `batch_too_soon`, and `data_migration_waits` for one
        that another one is in the way of), `Unavailable`; and `Invalid` where the files of a daemon that does not lead
        are not those that the data migration was entered with.
        """
        ...

    def signals(self, database: str, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
        """What the signals that throttle data migrations in this database read, just now or a moment ago.

        Beside the limits that `over` sets. Holds no lock, and is quick: one that does not answer is a reading too, not
        an exception.
        """
        ...

    def windows(self, database: str) -> Windows:
        """When rows may be moved in this database, as its configuration says."""
        ...

    def links(self, data_migrations: Sequence[str]) -> tuple[Link, ...]:
        """Which of these, one list of a release, waits for which, as their files say now."""
        ...

    def options(self, database: str) -> tuple[Option, ...]:
        """What may be set of the pace of rows there, over what the configuration says."""
        ...

    def progress(self, database: str) -> tuple[MigrationFacts, ...]:
        """Every data migration that the ledger of this database has, as it is now. Raises `Unavailable`."""
        ...

    def settle_roles(self, database: str, revision: int, *, lock: Sequence[str], unlock: Sequence[str]) -> None:
        """Let nobody connect under the first roles any more, and again under the others, which we locked.

        Repeatable. Raises `Conflict` where the database's copy is not the one of that revision any more (code
        `copy_changed`) or somebody else is doing this just now (`lock_busy`); `Forbidden`, `Invalid`, `Unavailable`.
        """
        ...

    def end_sessions(self, database: str, instance: Instance) -> None:
        """Let the database refuse the instance's epoch from now on, then end its sessions until none is left.

        Repeatable, and safe to be broken off. Raises `Unavailable`, also while sessions are still ending, and
        `Forbidden` where we may not end one.
        """
        ...

    def quarantined(self, database: str, migration: str) -> tuple[QuarantinedRow, ...]:
        """The rows that a data migration could not move, as its database tells now. Raises `Unavailable`."""
        ...

    def retry_migration(self, database: str, migration: str) -> None:
        """Let a data migration that failed, or must be verified again, be tried again, and those that follow it.

        As `DataMigrationRunner.retry` says.
        """
        ...

    def verify_migration(self, database: str, migration: str, *, actor: str, reason: str | None) -> bool:
        """Let all rows of a data migration be compared with what it computes, beside whatever it does. Repeatable.

        Returns whether a comparison began; one that is under way is it. Raises `Conflict` (code
        `verification_refused`) where that cannot be done there now, `NotFound`, `Unavailable`.
        """
        ...

    def stop_verifying(self, database: str, migration: str) -> bool:
        """End a comparison that is under way. Repeatable. Returns whether there was one. Raises `Unavailable`."""
        ...

    def verify_batch(
        self, database: str, migration: str, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> Verification | None:
        """Compare one batch of rows; any number of daemons may try. Returns where it stands, None where none is.

        Raises as `run_batch` does.
        """
        ...

    def verifications(self, database: str) -> tuple[Verification, ...]:
        """The newest comparison of each data migration, as its database tells now. Raises `Unavailable`."""
        ...

    def give_up_migration(self, database: str, migration: str) -> MigrationFacts:
        """Send a data migration that is not complete back to its start, and touch no row. Repeatable.

        Raises `Conflict` (codes `batch_claimed`, `not_in_backfill`), `NotFound`, `Unavailable`.
        """
        ...

    def assume_migration(self, database: str, migration: str) -> None:
        """Enter a data migration in the ledger as one that ran before we knew it. One that is complete stays so."""
        ...
