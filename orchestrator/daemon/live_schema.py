"""A live schema: one managed schema with its driver, its databases and its data migrations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bookkeeping import ledger, registrations
from orchestrator.bookkeeping import roles as role_rows
from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.daemon.refusals import explained, read_at_start
from orchestrator.data_migrations.functions import FunctionRunner
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.dialects import Database
from orchestrator.dialects.roles import read_roles
from orchestrator.dialects.tagged import end_tagged
from orchestrator.domain.errors import Conflict, MigrationRefused, OrchestratorError, Unavailable
from orchestrator.domain.fleets import Instance, Registration
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import Step
from orchestrator.domain.order import followers, in_manifest_order
from orchestrator.domain.overlay import NOTHING_SET, Option, Overlay
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.proofs import Left, left_of_proof
from orchestrator.domain.releases import Link, Release, Releases
from orchestrator.domain.roles import MOST_SESSIONS, Role
from orchestrator.domain.throttling import Reading
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts, QuarantinedRow
from orchestrator.domain.windows import ALWAYS, Windows
from orchestrator.inventory_sources import InventorySource
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations.own_tables import MayContract, nobody_asked, prepare
from orchestrator.schema_migrations.runner import PlannedRevision, Position
from orchestrator.schema_migrations.sealing import PlannedTrigger
from orchestrator.throttles.watch import Watch

REMEMBERED_SECONDS = 60.0
"""For how long a position is remembered that nothing we did has changed: reading a whole catalog has its price."""


class Driver(Protocol):
    """How the DDL of one schema is run: by us with Alembic, or by the service's own commands."""

    @property
    def releases(self) -> Releases: ...

    def check(self, release: str) -> object: ...

    def check_database(self, database: Database, release: str) -> None: ...

    def plan(self, database: Database, release: str, step: Step) -> tuple[PlannedRevision, ...]: ...

    def plan_sealing(self, database: Database, release: str, step: Step) -> tuple[PlannedTrigger, ...]: ...

    def versions(self, database: Database) -> tuple[str, ...]: ...

    def position(self, database: Database, release: str) -> Position: ...

    def run(
        self, database: Database, release: str, step: Step, *, owner_epoch: int, watch: StepWatch | None = None
    ) -> tuple[str, ...]: ...

    def install(self, database: Database, release: str) -> object: ...

    def adopt(self, database: Database, release: str) -> object: ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """The position of a database as it was read from its catalog, seen from one release, at that monotonic time."""

    release: str
    incarnation: str
    position: Position
    at: float


class LiveSchema:
    """Implements `orchestrator.ports.ManagedSchema` on real databases. Whatever fails in one is said of that one."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        databases: Mapping[str, Database],
        runners: Mapping[str, DataMigrationRunner],
        *,
        batches: BatchSizes | int,
        sources: Sequence[InventorySource] = (),
        members: Mapping[str, Sequence[Database]] = {},  # of a cluster, where they were named
        roles: Mapping[str, str] = {},  # and the release that works under each
        watches: Mapping[str, Watch] = {},  # over the load of each database, where rows may have to wait
        options: Mapping[str, Sequence[Option]] = {},  # of the pace of rows, which may be set there
        windows: Mapping[str, Windows] = {},  # in which alone rows are moved there
        clock: Callable[[], float] = time.monotonic,
        may_contract: MayContract = nobody_asked,
    ) -> None:
        self.name = name
        self._may_contract = may_contract
        self._driver = driver
        self._databases = databases
        self._runners = runners
        self._batches = batches
        self._sources = tuple(sources)
        self._members = members
        self._roles = roles
        self._watches = watches
        self._options = options
        self._windows = windows
        self._clock = clock
        self._prepared: set[str] = set()
        self._preparing = {database: threading.Lock() for database in databases}
        self._seen: dict[str, _Seen] = {}

    @property
    def releases(self) -> Releases:
        return self._driver.releases

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(self._databases)

    def file(self, database: str) -> str | None:
        return self._databases[database].file

    @property
    def workers(self) -> Mapping[str, int]:
        """How many batches of a data migration may run at once, by database; 0 where none runs."""
        return {name: self._runners[name].workers if name in self._runners else 0 for name in self._databases}

    @property
    def sourced_fleets(self) -> frozenset[str]:
        return frozenset(source.fleet for source in self._sources)

    @property
    def handles(self) -> tuple[Database, ...]:
        """The databases themselves."""
        return tuple(self._databases.values())

    def check(self, release: Release) -> None:
        with read_at_start():
            self._driver.check(release.name)
        for database, runner in self._runners.items():
            try:
                with self._working_on(database) as handle:
                    with self._naming_others(database, release), read_at_start():
                        self._driver.check_database(handle, release.name)
                    runner.check(release)
            except Unavailable:
                continue  # it is checked there before any row moves

    def initialise(self, database: str, release: Release) -> str:
        with self._working_on(database) as handle:
            position = self._driver.position(handle, release.name)
            if position.empty:
                self._driver.install(handle, release.name)
                done = f"installed release {release.name}"
            else:
                self._driver.adopt(handle, release.name)
                done = f"adopted at release {release.name}"
            runner = self._runners.get(database)
            if runner is not None:
                runner.assume(self.releases.ordered[: self.releases.index(release.name) + 1])
        return done

    def plan(self, database: str, release: Release, step: Step) -> tuple[str, ...]:
        with self._working_on(database) as handle, read_at_start():
            if step in (Step.SEAL, Step.UNSEAL):
                return tuple(planned.sentence for planned in self._driver.plan_sealing(handle, release.name, step))
            return tuple(planned.sentence for planned in self._driver.plan(handle, release.name, step))

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        try:
            with self._working_on(database) as handle:
                handle.refuse_read_only()
                with handle.reading() as connection:
                    incarnation = handle.dialect.incarnation(connection)
                    copy = read_copy(connection, self.name)
                    migrations = ledger.facts(connection, self.name)
                    news = registrations.news(connection, self.name)
                facts = DatabaseFacts(
                    database,
                    incarnation=incarnation,
                    copy=copy,
                    migrations=migrations,
                    registrations=news,
                    roles=self._roles_in(handle),
                )
                if release is None:
                    return facts
                position = self._position(handle, release.name, incarnation, verify=verify)
        except OrchestratorError as error:
            self._seen.pop(database, None)
            return DatabaseFacts(database, error=error.message, remedy=error.remedy, code=error.code)
        return replace(
            facts,
            heads=position.heads,
            expanded=position.expanded,
            contracted=position.contracted,
            in_step=position.triggers.in_step,
            sealed=position.triggers.sealed,
            unsealed=position.triggers.unsealed,
            denials=position.triggers.denials,
            strays=position.strays,
            lacks=position.lacks,
            removal=position.removal,
        )

    def inventories(self, database: str) -> tuple[Inventory, ...]:
        with self._working_on(database) as handle:
            return tuple(source.read(handle) for source in self._sources if source.covers(database))

    def write_copy(self, database: str, copy: Copy) -> None:
        """Cursors are taken away before the copy changes, in one transaction: no batch can straddle a fence."""
        with self._working_on(database) as handle, self._quiet(database, copy), handle.writing() as connection:
            dialect = handle.dialect
            incarnation = dialect.incarnation(connection)
            if copy.incarnation not in ("", incarnation):
                raise Unavailable(
                    "database_unreachable",
                    f"database {database} has become another one since it was read: it was restored, or failed over",
                    remedy="Nothing to do: it is read again.",
                    database=database,
                )
            if copy.moving is Moving.NOTHING:
                ledger.fence(connection, self.name)
            self._withdraw_proofs(connection, copy)
            filled = replace(copy, incarnation=incarnation)
            write_copy(connection, self.name, filled, now=dialect.now(connection))

    def _quiet(self, database: str, copy: Copy) -> AbstractContextManager[None]:
        """While no function of the service is called there, where none may be from now on."""
        runner = self._runners.get(database)
        return runner.quiet() if copy.moving is Moving.NOTHING and isinstance(runner, FunctionRunner) else nullcontext()

    def _withdraw_proofs(self, connection: sa.Connection, copy: Copy) -> None:
        """What this state of the upgrade leaves of the proofs that rows were moved."""
        if copy.upgrade_id is None:
            return
        for is_reverse in (False, True):
            left = left_of_proof(copy.phase, frozen=copy.frozen, is_reverse=is_reverse)
            if left is Left.NOTHING:
                ledger.reset(connection, self.name, copy.upgrade_id, is_reverse=is_reverse)
            elif left is Left.ROWS:
                ledger.doubt(connection, self.name, copy.upgrade_id)

    def registration(self, database: str, fleet: str, instance_id: str) -> Registration | None:
        with self._working_on(database) as handle, handle.reading() as connection:
            return registrations.find(connection, self.name, fleet, instance_id)

    def settle(self, database: str, known: Sequence[Registration]) -> None:
        with self._working_on(database) as handle, handle.writing() as connection:
            registrations.settle(connection, self.name, known)

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
        with self._working_on(database) as handle:
            try:
                with self._naming_others(database, release), read_at_start():
                    done = self._driver.run(handle, release.name, step, owner_epoch=owner_epoch, watch=watch)
            finally:
                self._seen.pop(database, None)
            runner = self._runners.get(database)
            if step is Step.EXPAND and runner is not None:
                runner.check(release, expanded=True)
                runner.enrol(release, upgrade_id)
            return done

    def run_batch(
        self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> MigrationFacts:
        runner = self._runners[database]
        configured = {option.name: option.configured for option in self.options(database)}
        if configured:
            runner.pause_seconds = over.value("pause_seconds", configured["pause_seconds"])
            runner.nice_ratio = over.value("nice_ratio", configured["nice_ratio"])
        sizes = BatchSizes.fixed(self._batches) if isinstance(self._batches, int) else self._batches
        with self._working_on(database):
            return runner.run_batch(migration, upgrade_id, sizes.under(over), leads=leads)

    def signals(self, database: str, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
        return self._watches[database].readings(over) if database in self._watches else ()

    def windows(self, database: str) -> Windows:
        return self._windows.get(database, ALWAYS)

    def links(self, data_migrations: Sequence[str]) -> tuple[Link, ...]:
        runner = next(iter(self._runners.values()), None)
        return in_manifest_order(data_migrations) if runner is None else runner.links.of(data_migrations)

    def options(self, database: str) -> tuple[Option, ...]:
        return tuple(self._options.get(database, ()))

    def progress(self, database: str) -> tuple[MigrationFacts, ...]:
        with self._working_on(database):
            return self._runners[database].progress()

    def settle_roles(self, database: str, revision: int, *, lock: Sequence[str], unlock: Sequence[str]) -> None:
        """Whoever is paused in the middle of this is waited for, so that nothing that it does later goes unnoticed:
        what is being unlocked counts as unlocked, and another one's turn comes when it is done, or its session over.
        """
        with self._working_on(database) as handle, handle.autocommitting() as connection:
            keeper = handle.dialect.roles
            with handle.dialect.session_lock(connection, f"orchestrator roles of {self.name}"):
                copy = read_copy(connection, self.name)
                if copy is None or copy.revision != revision:
                    raise Conflict(
                        "copy_changed",
                        f"the copy in database {database} is not that of revision {revision} any more",
                        remedy="Nothing to do: the roles are looked at again.",
                        database=database,
                    )
                for name in lock:
                    role_rows.note(connection, self.name, name, role_rows.RoleLock.LOCKED)
                    keeper.lock(connection, name)
                for name in unlock:
                    role_rows.note(connection, self.name, name, role_rows.RoleLock.UNLOCKING)
                    keeper.unlock(connection, name)
                    role_rows.forget(connection, self.name, name)

    def _roles_in(self, handle: Database) -> tuple[Role, ...]:
        """The configured roles as they are there now."""
        if not self._roles:
            return ()
        with handle.reading() as connection:
            locks = role_rows.locks(connection, self.name)
        return tuple(
            Role(
                seen.name,
                self._roles[seen.name],
                is_locked=seen.is_locked and locks.get(seen.name) is not role_rows.RoleLock.UNLOCKING,
                is_ours=seen.name in locks,
                sessions=seen.sessions[:MOST_SESSIONS],
                count=len(seen.sessions),
                problem=seen.problem,
                remedy=seen.remedy,
            )
            for seen in read_roles(handle, tuple(self._roles), self._members.get(handle.name, ()))
        )

    def end_sessions(self, database: str, instance: Instance) -> None:
        """Refused first, and committed; then looked for: a session that is not found yet finds the refusal."""
        with self._working_on(database) as handle:
            with handle.writing() as connection:
                tags = registrations.evict(connection, instance, now=handle.dialect.now(connection))
            for tag in sorted(tags):
                end_tagged(handle, tag, self._members.get(database, ()))

    def quarantined(self, database: str, migration: str) -> tuple[QuarantinedRow, ...]:
        with self._working_on(database):
            return self._runners[database].quarantined(migration)

    def retry_migration(self, database: str, migration: str) -> None:
        with self._working_on(database):
            self._runners[database].retry(migration, followers=self._followers(migration))

    def assume_migration(self, database: str, migration: str) -> None:
        release = next(each for each in self.releases.ordered if migration in each.data_migrations)
        with self._working_on(database):
            self._runners[database].attest(release, migration)

    def give_up_migration(self, database: str, migration: str) -> MigrationFacts:
        with self._working_on(database):
            return self._runners[database].give_up(migration, followers=self._followers(migration))

    def _followers(self, migration: str) -> tuple[str, ...]:
        """The data migrations of its release that may have read what this one wrote."""
        beside = self.releases.beside(migration)
        return followers(self.links(beside), migration) if beside else ()

    def _position(self, handle: Database, release: str, incarnation: str, *, verify: bool) -> Position:
        """Where the database stands: read from its catalog, or remembered if that is not long ago.

        Read anew at once where the version table says something else, and while somebody has to put something right.
        """
        seen, now = self._seen.get(handle.name), self._clock()
        is_good = (
            seen is not None
            and (seen.release, seen.incarnation) == (release, incarnation)
            and now - seen.at < REMEMBERED_SECONDS
            and not seen.position.is_wrong
        )
        if seen is not None and is_good and not verify and self._driver.versions(handle) == seen.position.versions:
            return seen.position
        position = self._driver.position(handle, release)
        self._seen[handle.name] = _Seen(release, incarnation, position, now)
        return position

    @contextmanager
    def _naming_others(self, database: str, release: Release) -> Iterator[None]:
        """Say of an old shape that is not there which of the other databases have it: then the manifest is right."""
        try:
            yield
        except MigrationRefused as error:
            if error.code != "old_shape_missing":
                raise
            having = [name for name in self._databases if name != database and self._has_old_shape(name, release)]
            if not having:
                raise
            others = f"database {having[0]} has it" if len(having) == 1 else f"databases {', '.join(having)} have it"
            remedy = f"The name is right: {others}. Add it in {database} as it is there, with its values."
            raise MigrationRefused(error.code, error.message, remedy=remedy, **error.fields) from error

    def _has_old_shape(self, database: str, release: Release) -> bool:
        try:
            with self._working_on(database) as handle:
                self._driver.check_database(handle, release.name)
        except OrchestratorError:
            return False
        return True

    @contextmanager
    def _working_on(self, database: str) -> Iterator[Database]:
        """The database, with our own tables in it. Whatever it refuses comes out as an error that names it."""
        handle = self._databases[database]
        with explained(handle):
            with self._preparing[database]:
                if database not in self._prepared:
                    handle.refuse_read_only()
                    handle.refuse_pooler()
                    prepare(handle, may_contract=self._may_contract)
                    with handle.writing() as connection:
                        handle.dialect.incarnation(connection)  # some write it down when they are first asked
                    self._prepared.add(database)
            try:
                yield handle
            except (SQLAlchemyError, DBError):
                self._prepared.discard(database)  # it may have lost our tables
                raise
