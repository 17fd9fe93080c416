"""A site in small: one store, one managed schema in memory, daemons that a test can stop between any two writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.domain.fleets import Instance, Registration, Sessions
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.losses import Follows
from orchestrator.domain.overlay import NOTHING_SET, Option, Overlay
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.throttling import Reading
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts, Policy, QuarantinedRow
from orchestrator.domain.windows import Windows
from orchestrator.ports import ManagedSchema, StepWatch, Store, Transaction
from orchestrator.services.advancing import Advancing, Outcome
from orchestrator.services.context import Context
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.status import StatusBoard
from orchestrator.services.upgrades import Upgrades
from tests.fakes import FLEETS, Clock, FakeSchema

T = TypeVar("T")

SCHEMA = "inventory"
API, WORKER = FLEETS
LEADERSHIP_SECONDS = 10.0


class Pauses:
    """Where a daemon can be stopped: before and after each write, of the state or of a managed database.

    `crossed` lists the points by what comes next; `hook` is called at each with its number.
    """

    def __init__(self, hook: Callable[[int], None] = lambda number: None) -> None:
        self.crossed: list[str] = []
        self.hook = hook

    def cross(self, name: str) -> None:
        self.crossed.append(name)
        self.hook(len(self.crossed) - 1)


class PausingStore:
    """Crosses a pause point before and after each transaction that writes."""

    def __init__(self, store: Store, pauses: Pauses) -> None:
        self._store, self._pauses = store, pauses

    def run(self, work: Callable[[Transaction], T]) -> T:
        self._pauses.cross("write the state")
        outcome = self._store.run(work)
        self._pauses.cross("go on from the state")
        return outcome

    def read(self, work: Callable[[Transaction], T]) -> T:
        return self._store.read(work)


class PausingSchema:
    """Crosses a pause point before and after each change of a managed database."""

    def __init__(self, schema: ManagedSchema, pauses: Pauses) -> None:
        self._schema, self._pauses = schema, pauses

    @property
    def name(self) -> str:
        return self._schema.name

    @property
    def releases(self) -> Releases:
        return self._schema.releases

    @property
    def databases(self) -> tuple[str, ...]:
        return self._schema.databases

    def check(self, release: Release) -> None:
        self._schema.check(release)

    def initialise(self, database: str, release: Release) -> str:
        return self._schema.initialise(database, release)

    def plan(self, database: str, release: Release, step: Step) -> tuple[str, ...]:
        return self._schema.plan(database, release, step)

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        return self._schema.observe(database, release, verify=verify)

    def file(self, database: str) -> str | None:
        return None

    @property
    def sourced_fleets(self) -> frozenset[str]:
        return self._schema.sourced_fleets

    def inventories(self, database: str) -> tuple[Inventory, ...]:
        return self._schema.inventories(database)

    def signals(self, database: str, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
        return self._schema.signals(database, over)

    def windows(self, database: str) -> Windows:
        return self._schema.windows(database)

    def links(self, data_migrations: Sequence[str]) -> tuple[Link, ...]:
        return self._schema.links(data_migrations)

    def options(self, database: str) -> tuple[Option, ...]:
        return self._schema.options(database)

    def give_up_migration(self, database: str, migration: str) -> MigrationFacts:
        self._pauses.cross(f"give up in {database}")
        return self._schema.give_up_migration(database, migration)

    def progress(self, database: str) -> tuple[MigrationFacts, ...]:
        return self._schema.progress(database)

    def write_copy(self, database: str, copy: Copy) -> None:
        self._pauses.cross(f"write the copy of {database}")
        self._schema.write_copy(database, copy)
        self._pauses.cross(f"go on from the copy of {database}")

    def registration(self, database: str, fleet: str, instance_id: str) -> Registration | None:
        return self._schema.registration(database, fleet, instance_id)

    def settle(self, database: str, known: Sequence[Registration]) -> None:
        self._pauses.cross(f"settle what was written in {database}")
        self._schema.settle(database, known)
        self._pauses.cross(f"go on from {database}")

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
        self._pauses.cross(f"run the {step.value} step in {database}")
        done = self._schema.run_step(
            database, release, step, upgrade_id=upgrade_id, owner_epoch=owner_epoch, watch=watch
        )
        self._pauses.cross(f"go on from the {step.value} step in {database}")
        return done

    def run_batch(
        self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> MigrationFacts:
        self._pauses.cross(f"run a batch in {database}")
        facts = self._schema.run_batch(database, migration, upgrade_id, leads=leads, over=over)
        self._pauses.cross(f"go on from a batch in {database}")
        return facts

    def settle_roles(self, database: str, revision: int, *, lock: Sequence[str], unlock: Sequence[str]) -> None:
        self._pauses.cross(f"settle the roles in {database}")
        self._schema.settle_roles(database, revision, lock=lock, unlock=unlock)
        self._pauses.cross(f"go on from the roles in {database}")

    def end_sessions(self, database: str, instance: Instance) -> None:
        self._pauses.cross(f"end the sessions in {database}")
        self._schema.end_sessions(database, instance)
        self._pauses.cross(f"go on from the sessions in {database}")

    def quarantined(self, database: str, migration: str) -> tuple[QuarantinedRow, ...]:
        return self._schema.quarantined(database, migration)

    def retry_migration(self, database: str, migration: str) -> None:
        self._schema.retry_migration(database, migration)

    def assume_migration(self, database: str, migration: str) -> None:
        self._schema.assume_migration(database, migration)


class Site:
    """The schema `inventory` with two fleets, at release 1, and everything that works on it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        databases: tuple[str, ...] = ("one", "two", "three"),
        policy: Policy = Policy(approve=()),  # noqa: B008  # frozen
        releases: Releases | None = None,
    ) -> None:
        self.store, self.clock, self.policy = store, clock, policy
        self.managed = FakeSchema(SCHEMA, releases=releases, databases=databases)
        self.context = Context(store, {SCHEMA: self.managed}, {SCHEMA: policy})
        self.context.register_schemas()
        self.upgrades = Upgrades(self.context)
        self.leases = Leases(self.context)
        self.board = StatusBoard(self.context)
        self.upgrades.initialise(SCHEMA, "1", actor="test")

    def daemon(self, name: str = "first", hook: Callable[[int], None] = lambda number: None) -> Daemon:
        """A daemon that leads from now on, after every other one's lease ran out."""
        self.clock.advance(LEADERSHIP_SECONDS + 1)
        return Daemon(self, name, Pauses(hook))

    def nobody_runs(self, *fleets: str) -> Site:
        """These fleets, or all, are reported to run nothing."""
        for fleet in fleets or FLEETS:
            self.leases.report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
        return self

    def begin(self, release: str = "2") -> Site:
        """The upgrade begins."""
        self.upgrades.begin(SCHEMA, release, actor="test")
        return self

    def rest_at(self, phase: Phase) -> Site:
        """The upgrade goes to this phase, with nobody in its way, and rests there until `go_on`."""
        self._send(phase)
        self.daemon("elevator").work()
        assert self.phase() is phase
        return self

    def go_on(self) -> Site:
        """The upgrade is sent to its end again."""
        return self._send(self.upgrade.profile.last())

    def _send(self, goal: Phase) -> Site:
        upgrade = self.upgrade
        self.store.run(lambda tx: tx.save_upgrade(upgrade.with_goal(goal), expected_revision=upgrade.revision))
        return self

    @property
    def upgrade(self) -> Upgrade:
        """The newest upgrade, ended or not."""
        newest = self.store.read(lambda tx: tx.upgrades(SCHEMA, limit=1))
        assert newest, "no upgrade has begun"
        return newest[0]

    def phase(self) -> Phase:
        return self.upgrade.phase

    @property
    def release(self) -> str | None:
        """The release that the schema is at."""
        return self.board.schema(SCHEMA).release

    @property
    def codes(self) -> list[str]:
        """What the plan says is in the way."""
        return [blocker.code for blocker in self.board.plan(SCHEMA).status.blockers]

    @property
    def culprits(self) -> list[str]:
        """Whom the plan names."""
        return [name for blocker in self.board.plan(SCHEMA).status.blockers for name in blocker.culprits]

    def actions(self) -> list[str]:
        """The audit log."""
        return [event.action for event in self.board.events(schema=SCHEMA, after=0, limit=1000)]

    def copies(self) -> list[tuple[Phase, Phase, int]]:
        """What the databases hold of the upgrade."""
        found = (database.copy for database in self.managed.on.values())
        return [(copy.phase, copy.fence, copy.revision) for copy in found if copy is not None]


class Daemon:
    """One daemon, which can be stopped at any pause point."""

    def __init__(self, site: Site, name: str, pauses: Pauses) -> None:
        self.pauses = pauses
        context = Context(
            PausingStore(site.store, pauses),
            {SCHEMA: PausingSchema(site.managed, pauses)},
            {SCHEMA: site.policy},
        )
        self._site = site
        self._advancing = Advancing(context, parallel=1)
        self._data_migrations = DataMigrations(context)
        self._evicting = Evicting(context, parallel=1)
        epoch = Elections(
            site.store, name, ttl_seconds=LEADERSHIP_SECONDS, grant_seconds=context.lease_terms.ttl_seconds
        ).campaign()
        assert epoch is not None, "another daemon leads"
        self.epoch = epoch

    def cycle(self) -> Outcome:
        """Make every move that can be made now."""
        return self._advancing.advance(SCHEMA, leader_epoch=self.epoch)

    def move_rows(self) -> bool:
        """Move and verify all rows in all databases. Returns whether there were any."""
        return any(
            [self._data_migrations.run(SCHEMA, name, may_go_on=lambda: True) for name in self._site.managed.databases]
        )

    def evict(self) -> tuple[Instance, ...]:
        """Go on with every eviction that nobody attested. Whom it counted out."""
        return self._evicting.run(SCHEMA, leader_epoch=self.epoch)

    def work(self) -> None:
        """What a daemon does in a few seconds: everything that can be done now."""
        turns_left = 2  # the last batch of all is nothing more to do, and lets a move be made
        while turns_left:
            has_moved = self.cycle().has_moved
            turns_left = 2 if self.move_rows() or has_moved else turns_left - 1


class Process:
    """One process of a fleet, which holds a lease."""

    def __init__(
        self, site: Site, name: str, release: str, *, fleet: str = API, sessions: Sessions | None = None
    ) -> None:
        self._site, self.name, self.fleet = site, name, fleet
        self.lease = site.leases.join(
            SCHEMA, fleet, instance_id=name, nonce=f"nonce-{name}", release=release, sessions=sessions
        )
        self._drained: int | None = self.lease.stance.publication

    def hear(self) -> Lease:
        """Renew, and say what was drained before."""
        told = self.lease.stance
        follows = None if told.upgrade_id is None else Follows(told.upgrade_id, told.publication, told.phase)
        self.lease = self._site.leases.renew(
            SCHEMA, self.fleet, self.name, epoch=self.lease.epoch, ack=self._drained, follows=follows
        )
        self._drained = self.lease.stance.publication
        return self.lease

    def follow(self) -> Lease:
        """Hear what is published, drain, and ack it."""
        self.hear()
        return self.hear()

    def leave(self) -> None:
        self._site.leases.leave(SCHEMA, self.fleet, self.name, epoch=self.lease.epoch)

    @property
    def instance(self) -> Instance:
        """As the store knows it now."""
        found = self._site.store.read(lambda tx: tx.instance(SCHEMA, self.fleet, self.name))
        assert found is not None
        return found


def is_over(site: Site) -> bool:
    """Whether the upgrade has ended."""
    return site.upgrade.status is not Status.RUNNING
