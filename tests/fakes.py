"""A managed schema without databases, for tests of what stands above: configurable, observable, able to fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestrator.domain.errors import Conflict, NotFound, OrchestratorError, Unavailable
from orchestrator.domain.fleets import Instance, Registration
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import InStepBy, Phase, Step
from orchestrator.domain.overlay import NOTHING_SET, Option, Overlay
from orchestrator.domain.proofs import Left, left_of_proof
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.removals import Removal
from orchestrator.domain.roles import Role
from orchestrator.domain.throttling import Reading
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts, MigrationState, QuarantinedRow
from orchestrator.domain.windows import ALWAYS, Windows
from orchestrator.ports import ManagedSchema, StepWatch

FLEETS = ("inventory-api", "inventory-worker")


def three_releases(schema: str = "inventory", *, in_step_by: InStepBy = InStepBy.CLIENT) -> Releases:
    """Releases 1 to 3 of two fleets: release 2 moves rows and contracts, release 3 only expands."""
    return Releases(
        schema,
        (
            Release("1", "e001", fleets=FLEETS, has_contract=False),
            Release(
                "2", "e002", "c002", ("split_name",), in_step_by, ("customers.name",), FLEETS, has_contract=True
            ),
            Release("3", "e003", "c002", fleets=FLEETS, has_contract=False),
        ),
    )  # fmt: skip


class Clock:
    """A clock that only tests move; hand it to the store."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class FakeDatabase:
    """One database as a test may set it up, break it, and look at it.

    `error` makes it unreachable. `fails` are raised by a step as long as they are there, `waits` told before;
    `batch_fails` by a batch, `end_fails` by the end of sessions. `sessions` is how many each tag has, `refused` the
    tags that may not work here any more. `rows` is how many rows each data migration has, `batch_rows` how many of
    them a batch moves or verifies; `over` is what the last one was told of its pace. `removal` is what somebody took
    away of the old shape by hand.
    """

    name: str
    incarnation: str = "incarnation-1"
    error: str | None = None
    fails: dict[Step, OrchestratorError] = field(default_factory=dict)
    waits: dict[Step, OrchestratorError] = field(default_factory=dict)
    batch_fails: OrchestratorError | None = None
    give_up_fails: OrchestratorError | None = None
    end_fails: OrchestratorError | None = None
    copy: Copy | None = None
    expanded_to: str | None = None
    contracted_to: str | None = None
    migrations: dict[str, MigrationFacts] = field(default_factory=dict)
    enrolled_by: dict[str, int] = field(default_factory=dict)
    registrations: dict[tuple[str, str], Registration] = field(default_factory=dict)
    news: set[tuple[str, str]] = field(default_factory=set)
    sessions: dict[str, int] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    settle_fails: OrchestratorError | None = None
    refused: set[str] = field(default_factory=set)
    rows: int = 100
    batch_rows: int = 100
    quarantine: tuple[QuarantinedRow, ...] = ()
    inventories: tuple[Inventory, ...] = ()
    signals: tuple[Reading, ...] = ()
    windows: Windows = ALWAYS
    options: tuple[Option, ...] = ()
    over: Overlay = NOTHING_SET
    sealed: bool = False
    denials: int = 0
    removal: Removal | None = None


class FakeSchema:
    """Implements `orchestrator.ports.ManagedSchema` in memory. `calls` lists what was asked to be changed, in order."""

    def __init__(
        self,
        name: str = "inventory",
        *,
        releases: Releases | None = None,
        databases: Sequence[str] = ("main",),
        check_fails: OrchestratorError | None = None,
    ) -> None:
        self._name = name
        self._releases = releases or three_releases(name)
        self._lock = threading.RLock()
        self.on = {database: FakeDatabase(database) for database in databases}
        self.check_fails = check_fails
        self.calls: list[tuple[str, ...]] = []
        self.linked: dict[str, Link] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def releases(self) -> Releases:
        return self._releases

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(self.on)

    def check(self, release: Release) -> None:
        if self.check_fails is not None:
            raise self.check_fails

    def initialise(self, database: str, release: Release) -> str:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("initialise", database, release.name))
            found.expanded_to = found.contracted_to = release.name
            done = self._releases.ordered[: self._releases.index(release.name) + 1]
            for name in (name for each in done for name in each.data_migrations):
                found.migrations[name] = MigrationFacts(name, MigrationState.ASSUMED)
            return f"installed release {release.name}"

    def plan(self, database: str, release: Release, step: Step) -> tuple[str, ...]:
        self._reachable(database)
        return (f"{step.value} {release.expand_head if step is Step.EXPAND else release.contract_head}",)

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        with self._lock:
            found = self.on[database]
            if found.error is not None:
                return DatabaseFacts(database, error=found.error, remedy="Start it again.")
            facts = DatabaseFacts(
                database,
                incarnation=found.incarnation,
                copy=found.copy,
                heads=tuple(each for each in (found.expanded_to, found.contracted_to) if each is not None),
                migrations=tuple(found.migrations.values()),
                roles=tuple(found.roles.values()),
                registrations=tuple(found.registrations[each] for each in sorted(found.news)),
            )
            if release is None:
                return facts
            return replace(
                facts,
                expanded=found.expanded_to == release.name,
                contracted=found.contracted_to == release.name,
                sealed=found.sealed,
                unsealed=not found.sealed,
                denials=found.denials,
                removal=found.removal,
            )

    def file(self, database: str) -> str | None:
        return None

    @property
    def sourced_fleets(self) -> frozenset[str]:
        return frozenset(each.fleet for found in self.on.values() for each in found.inventories)

    def inventories(self, database: str) -> tuple[Inventory, ...]:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("inventories", database))
            return found.inventories

    def write_copy(self, database: str, copy: Copy) -> None:
        with self._lock:
            found = self._reachable(database)
            if found.copy is not None and found.copy.revision > copy.revision:
                raise Conflict(
                    "copy_ahead",
                    f"{database} holds revision {found.copy.revision}, newer than {copy.revision}",
                    remedy="Find out which state is the right one.",
                )
            self.calls.append(("write_copy", database, str(copy.revision)))
            found.copy = replace(copy, incarnation=found.incarnation)
            for name, upgrade_id in found.enrolled_by.items():
                if upgrade_id == copy.upgrade_id:
                    found.migrations[name] = self._as_the_copy_leaves_it(found, copy, name)

    def _as_the_copy_leaves_it(self, found: FakeDatabase, copy: Copy, name: str) -> MigrationFacts:
        is_reverse = any(name in release.reverse_data_migrations for release in self._releases.ordered)
        left = left_of_proof(copy.phase, frozen=copy.frozen, is_reverse=is_reverse)
        if left is Left.NOTHING:
            return MigrationFacts(name, MigrationState.PENDING, rows_total=found.rows)
        facts = found.migrations[name]
        if left is Left.ROWS and facts.state in (MigrationState.COMPLETE, MigrationState.VERIFYING):
            return replace(facts, state=MigrationState.VERIFYING, witness=None, rows_verified=0)
        return facts

    def registration(self, database: str, fleet: str, instance_id: str) -> Registration | None:
        with self._lock:
            return self._reachable(database).registrations.get((fleet, instance_id))

    def settle(self, database: str, known: Sequence[Registration]) -> None:
        with self._lock:
            found = self._reachable(database)
            found.news -= {(each.fleet, each.id) for each in known if found.registrations[each.fleet, each.id] == each}

    def write_down(self, database: str, registration: Registration) -> None:
        """What an instance does that finds no daemon."""
        with self._lock:
            found = self._reachable(database)
            found.registrations[registration.fleet, registration.id] = registration
            found.news.add((registration.fleet, registration.id))

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
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("run_step", database, step.value))
            if step in found.waits and watch is not None:
                watch.waits(found.waits[step])
            if step in found.fails:
                raise found.fails[step]
            if step is Step.EXPAND:
                found.expanded_to = release.name
                for name in release.all_data_migrations:
                    if found.enrolled_by.get(name) != upgrade_id:
                        found.enrolled_by[name] = upgrade_id
                        found.migrations[name] = MigrationFacts(name, MigrationState.PENDING, rows_total=found.rows)
            elif step is Step.CONTRACT:
                found.contracted_to = release.name
                found.sealed = False
            else:
                found.sealed, found.denials = step is Step.SEAL, 0
            return (f"{step.value}-{release.name}",)

    def run_batch(
        self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> MigrationFacts:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("run_batch", database, migration))
            found.over = over
            if found.batch_fails is not None:
                raise found.batch_fails
            copy = found.copy
            is_reverse = any(migration in release.reverse_data_migrations for release in self._releases.ordered)
            state = found.migrations[migration].state
            wanted = Moving.BACK if is_reverse else Moving.FORWARD
            is_its_turn = copy is not None and (
                copy.moving is wanted
                or (copy.moving is Moving.PROOF and not is_reverse and state is MigrationState.VERIFYING)
            )
            if copy is None or copy.upgrade_id != upgrade_id or not is_its_turn:
                raise Conflict("not_in_backfill", f"{database} is not in backfill", remedy="Wait for the phase.")
            facts = _after_a_batch(found.migrations[migration], found)
            found.migrations[migration] = facts
            return facts

    def signals(self, database: str, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
        return self.on[database].signals

    def windows(self, database: str) -> Windows:
        return self.on[database].windows

    def links(self, data_migrations: Sequence[str]) -> tuple[Link, ...]:
        return tuple(self.linked.get(name, Link(name)) for name in data_migrations)

    def options(self, database: str) -> tuple[Option, ...]:
        return self.on[database].options

    def progress(self, database: str) -> tuple[MigrationFacts, ...]:
        with self._lock:
            return tuple(self._reachable(database).migrations.values())

    def settle_roles(self, database: str, revision: int, *, lock: Sequence[str], unlock: Sequence[str]) -> None:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("settle_roles", database, f"lock {', '.join(lock)}; unlock {', '.join(unlock)}"))
            if found.settle_fails is not None:
                raise found.settle_fails
            if found.copy is None or found.copy.revision != revision:
                raise Conflict("copy_changed", "the copy is another one by now", remedy="Read it again.")
            for name, is_locked in (*((name, True) for name in lock), *((name, False) for name in unlock)):
                found.roles[name] = replace(found.roles[name], is_locked=is_locked, is_ours=is_locked)

    def end_sessions(self, database: str, instance: Instance) -> None:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("end_sessions", database, instance.id))
            found.refused.add(instance.tag)
            if found.end_fails is not None:
                raise found.end_fails
            found.sessions.pop(instance.tag, None)
            if found.registrations.pop((instance.fleet, instance.id), None) is not None:
                found.news.discard((instance.fleet, instance.id))

    def quarantined(self, database: str, migration: str) -> tuple[QuarantinedRow, ...]:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("quarantined", database, migration))
            return found.quarantine

    def retry_migration(self, database: str, migration: str) -> None:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("retry_migration", database, migration))
            is_only_proven = found.copy is not None and found.copy.phase is Phase.READ_NEW
            state = MigrationState.VERIFYING if is_only_proven else MigrationState.PENDING
            found.migrations[migration] = MigrationFacts(migration, state, rows_total=found.rows)

    def give_up_migration(self, database: str, migration: str) -> MigrationFacts:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("give_up_migration", database, migration))
            if found.give_up_fails is not None:
                raise found.give_up_fails
            if migration not in found.migrations:
                raise NotFound("data_migration_unknown", f"{database} does not have it", remedy="Look at the names.")
            if found.migrations[migration].state not in (MigrationState.COMPLETE, MigrationState.ASSUMED):
                found.migrations[migration] = MigrationFacts(migration, MigrationState.PENDING, rows_total=found.rows)
            return found.migrations[migration]

    def assume_migration(self, database: str, migration: str) -> None:
        with self._lock:
            found = self._reachable(database)
            self.calls.append(("assume_migration", database, migration))
            found.migrations[migration] = MigrationFacts(migration, MigrationState.ASSUMED)

    def _reachable(self, database: str) -> FakeDatabase:
        found = self.on[database]
        if found.error is not None:
            raise Unavailable("database_unreachable", f"{database}: {found.error}", remedy="Start it again.")
        return found


def _after_a_batch(facts: MigrationFacts, database: FakeDatabase) -> MigrationFacts:
    """One batch further: rows are moved until none is left, then verified, then complete with a witness."""
    if facts.state in (MigrationState.COMPLETE, MigrationState.ASSUMED, MigrationState.FAILED):
        return facts
    if facts.rows_done < database.rows:
        done = min(facts.rows_done + database.batch_rows, database.rows)
        state = MigrationState.VERIFYING if done == database.rows else MigrationState.RUNNING
        return replace(facts, state=state, rows_done=done, rows_total=database.rows)
    verified = min(facts.rows_verified + database.batch_rows, database.rows)
    if verified < database.rows:
        return replace(facts, state=MigrationState.VERIFYING, rows_verified=verified)
    return replace(facts, state=MigrationState.COMPLETE, rows_verified=verified, witness=database.incarnation)


def _implements(schema: FakeSchema) -> ManagedSchema:
    """For the type checker: the fake is what the services ask for."""
    return schema
