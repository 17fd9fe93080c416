"""Looking at databases: often enough to be right, and not more often than it tells something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.daemon.live_schema import REMEMBERED_SECONDS, LiveSchema
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Move
from orchestrator.domain.view import Copy, DatabaseFacts
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.services.advancing import REST_SECONDS, Advancing
from orchestrator.services.context import Context
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.services.upgrades import Upgrades
from orchestrator.store.memory import MemoryStore
from tests.by_hand import upgrade_by_hand
from tests.fakes import FLEETS, Clock, FakeSchema


def drop_by_hand(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE customers DROP COLUMN last_name")


def test_where_a_schema_stands_is_remembered_for_a_minute_until_it_counts(database: Database) -> None:
    clock = Clock()
    directory = migrations_directory()
    driver = AlembicDriver(directory, schema=SCHEMA)
    runner = DataMigrationRunner(database, SCHEMA, directory)
    live = LiveSchema(SCHEMA, driver, {"test": database}, {"test": runner}, batches=100, clock=clock)
    release = driver.releases["2"]

    def is_expanded(*, verify: bool = False) -> bool:
        return live.observe("test", release, verify=verify).expanded

    live.initialise("test", driver.releases["1"])
    assert not is_expanded()
    live.run_step("test", release, Step.EXPAND, upgrade_id=1, owner_epoch=1)
    assert is_expanded(), "a step makes it look again"
    drop_by_hand(database)
    clock.advance(REMEMBERED_SECONDS - 1)
    assert is_expanded()
    assert not is_expanded(verify=True)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE customers ADD COLUMN last_name VARCHAR(200)")
    assert is_expanded(), "what somebody has to put right is not remembered"


def test_a_version_table_that_says_something_else_is_noticed_at_the_next_look(database: Database) -> None:
    directory = migrations_directory()
    driver = AlembicDriver(directory, schema=SCHEMA)
    runner = DataMigrationRunner(database, SCHEMA, directory)
    live = LiveSchema(SCHEMA, driver, {"test": database}, {"test": runner}, batches=100, clock=Clock())
    release = driver.releases["2"]
    live.initialise("test", driver.releases["1"])
    live.run_step("test", release, Step.EXPAND, upgrade_id=1, owner_epoch=1)
    assert live.observe("test", release).removal is None
    upgrade_by_hand(database.engine.url.render_as_string(hide_password=False), directory)
    seen = live.observe("test", release)
    assert seen.heads == ("c002_drop_old_shape", "e002_new_shape")
    assert seen.removal is not None and seen.removal.revisions == ("c002_drop_old_shape",)
    assert seen.removal.things == ("customers.name", "items.status")


def test_a_copy_for_a_database_that_has_become_another_one_is_not_written(database: Database) -> None:
    directory = migrations_directory()
    runner = DataMigrationRunner(database, SCHEMA, directory)
    driver = AlembicDriver(directory, schema=SCHEMA)
    live = LiveSchema(SCHEMA, driver, {"test": database}, {"test": runner}, batches=100)
    live.initialise("test", driver.releases["1"])
    seen = live.observe("test", None).incarnation
    assert seen is not None
    copy = Copy(1, Phase.BASE, Phase.BASE, 1, seen)
    with pytest.raises(Unavailable, match="another one since it was read"):
        live.write_copy("test", replace(copy, incarnation="of the server before"))
    assert live.observe("test", None).copy is None
    live.write_copy("test", copy)
    assert live.observe("test", None).copy == copy


class Watched(FakeSchema):
    """A schema that notes each look at it: in which move of its upgrade, and whether its catalog counted."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._store = store
        self.looks: list[tuple[Move | None, bool]] = []

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        newest = self._store.read(lambda tx: tx.upgrades(SCHEMA, limit=1))
        self.looks.append((newest[0].move if newest else None, verify))
        return super().observe(database, release, verify=verify)


def test_databases_are_looked_at_now_and_then_at_rest_and_closely_when_it_counts() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    schema = Watched(store)
    context = Context(store, {SCHEMA: schema})
    context.register_schemas()
    advancing, upgrades = Advancing(context), Upgrades(context)
    epoch = Elections(store, "test", ttl_seconds=1e9).campaign()
    assert epoch is not None

    def looks() -> list[tuple[Move | None, bool]]:
        schema.looks.clear()
        advancing.advance(SCHEMA, leader_epoch=epoch)
        return list(schema.looks)

    assert looks() == [(None, False)]
    assert looks() == []
    clock.advance(REST_SECONDS)
    assert looks() == [(None, False)]
    upgrades.initialise(SCHEMA, "1", actor="test")
    upgrades.begin(SCHEMA, "2", actor="test")
    assert set(looks()) == {(Move.RESTING, False)}, "however short the rest was"
    for fleet in FLEETS:
        Leases(context).report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
    found = looks()
    assert (Move.FENCED, True) in found, "validated on what is there now"
    assert (Move.STEPPING, True) in found, "published on what is there now"
    assert (Move.RESTING, True) not in found
