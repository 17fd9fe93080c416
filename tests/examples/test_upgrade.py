"""The example's migrations under the orchestrator's own runners: accepted without a warning, and right in every row."""

import pytest
import sqlalchemy

from orchestrator.bookkeeping.copies import write_copy
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.demo.content import Seed
from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.demo.reports import OwnedRows
from orchestrator.demo.servers import insert_seed
from orchestrator.demo.verification import verify
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.view import Copy, MigrationState
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.own_tables import prepare

UPGRADE = 1


@pytest.fixture
def driver() -> AlembicDriver:
    return AlembicDriver(migrations_directory(), schema=SCHEMA)


def columns(engine: sqlalchemy.Engine, table: str) -> set[str]:
    return {column["name"] for column in sqlalchemy.inspect(engine).get_columns(table)}


@pytest.mark.parametrize("release", ["1", "2"])
def test_phase_guard_has_nothing_to_say(driver: AlembicDriver, release: str) -> None:
    assert driver.check(release) == ()


def test_example_goes_from_release_1_to_release_2(driver: AlembicDriver, database: Database) -> None:
    seed = Seed.of(500, 1)
    prepare(database)
    driver.install(database, "1")
    insert_seed(database.engine, seed)

    driver.run(database, "2", Step.EXPAND, owner_epoch=1)
    assert driver.position(database, "2").expanded

    rows = DataMigrationRunner(database, SCHEMA, migrations_directory())
    release = driver.releases["2"]
    rows.check(release)
    rows.enrol(release, UPGRADE)
    with database.engine.begin() as connection:
        copy = Copy(UPGRADE, Phase.BACKFILL, Phase.BACKFILL, 7, database.dialect.incarnation(connection))
        write_copy(connection, SCHEMA, copy, now=database.dialect.now(connection))
    for name in release.data_migrations:
        while rows.run_batch(name, UPGRADE, 100).state is not MigrationState.COMPLETE:
            pass
    assert sum(facts.rows_verified for facts in rows.progress()) == seed.rows

    driver.run(database, "2", Step.CONTRACT, owner_epoch=1)
    assert driver.position(database, "2").contracted
    assert columns(database.engine, "customers") == {"id", "first_name", "last_name"}
    assert columns(database.engine, "items") == {"id", "title", "status_id"}
    findings = verify(database.engine, seed, OwnedRows({}, {}))
    assert (findings.rows_wrong, findings.columns_left) == (0, ())
