"""A live schema: one managed schema with its driver, its databases and its data migrations."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts
from orchestrator.schema_migrations.bookkeeping_schema import prepare
from orchestrator.schema_migrations.runner import PlannedRevision, Position


class Driver(Protocol):
    """How the DDL of one schema is run: by us with Alembic, or by the service's own commands."""

    @property
    def releases(self) -> Releases: ...

    def check(self, release: str) -> object: ...

    def plan(self, database: Database, release: str, step: Step) -> tuple[PlannedRevision, ...]: ...

    def position(self, database: Database, release: str) -> Position: ...

    def run(self, database: Database, release: str, step: Step, *, owner_epoch: int) -> tuple[str, ...]: ...

    def install(self, database: Database, release: str) -> object: ...

    def adopt(self, database: Database, release: str) -> object: ...


class LiveSchema:
    """Implements `orchestrator.ports.ManagedSchema` on real databases."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        databases: Mapping[str, Database],
        runners: Mapping[str, DataMigrationRunner],
        *,
        batch_rows: int,
    ) -> None:
        self.name = name
        self._driver = driver
        self._databases = databases
        self._runners = runners
        self._batch_rows = batch_rows
        self._prepared: set[str] = set()
        self._preparing = {database: threading.Lock() for database in databases}

    @property
    def releases(self) -> Releases:
        return self._driver.releases

    @property
    def databases(self) -> tuple[str, ...]:
        return tuple(self._databases)

    def check(self, release: Release) -> None:
        self._driver.check(release.name)
        for database, runner in self._runners.items():
            try:
                self._ready(database)
                runner.check(release)
            except Unavailable:
                continue  # it is checked there before any row moves

    def initialise(self, database: str, release: Release) -> str:
        handle = self._ready(database)
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
        handle = self._ready(database)
        return tuple(planned.sentence for planned in self._driver.plan(handle, release.name, step))

    def observe(self, database: str, release: Release | None) -> DatabaseFacts:
        try:
            handle = self._ready(database)
            with handle.reading() as connection:
                incarnation = handle.dialect.incarnation(connection)
                copy = read_copy(connection, self.name)
                entries = ledger.entries(connection, self.name)
            facts = DatabaseFacts(
                database,
                incarnation=incarnation,
                copy=copy,
                migrations=tuple(entry.facts() for entry in entries),
            )
            if release is None:
                return facts
            position = self._driver.position(handle, release.name)
        except OrchestratorError as error:
            return DatabaseFacts(database, error=error.message, remedy=error.remedy)
        return replace(facts, heads=position.heads, expanded=position.expanded, contracted=position.contracted)

    def write_copy(self, database: str, copy: Copy) -> None:
        """Cursors are taken away before the copy changes, in one transaction: no batch can straddle a fence."""
        handle = self._ready(database)
        with handle.writing() as connection:
            dialect = handle.dialect
            moves_rows = copy.phase is Phase.BACKFILL and copy.fence is Phase.BACKFILL
            if not moves_rows:
                ledger.fence(connection, self.name)
            if copy.phase < Phase.BACKFILL and copy.upgrade_id is not None:
                ledger.reset(connection, self.name, copy.upgrade_id)
            filled = replace(copy, incarnation=dialect.incarnation(connection))
            write_copy(connection, self.name, filled, now=dialect.now(connection))

    def run_step(
        self, database: str, release: Release, step: Step, *, upgrade_id: int, owner_epoch: int
    ) -> tuple[str, ...]:
        handle = self._ready(database)
        done = self._driver.run(handle, release.name, step, owner_epoch=owner_epoch)
        runner = self._runners.get(database)
        if step is Step.EXPAND and runner is not None:
            runner.check(release, expanded=True)
            runner.enrol(release, upgrade_id)
        return done

    def run_batch(self, database: str, migration: str, upgrade_id: int) -> MigrationFacts:
        self._ready(database)
        return self._runners[database].run_batch(migration, upgrade_id, self._batch_rows)

    def retry_migration(self, database: str, migration: str) -> None:
        self._ready(database)
        self._runners[database].retry(migration)

    def _ready(self, database: str) -> Database:
        """The database, with our own tables in it."""
        handle = self._databases[database]
        with self._preparing[database]:
            if database not in self._prepared:
                prepare(handle)
                self._prepared.add(database)
        return handle
