"""Expanding: an empty test database brought to where data migrations find it, by the release's own revisions."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from orchestrator.bookkeeping import tables
from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations import own_tables
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.testing.faults import Fault, MigrationFault
from orchestrator.testing.ground import open_test_database, url_of


def expand(url: str | Engine, migrations: Path | str, release: str) -> None:
    """Bring an empty database to the expanded schema of a release: the one before it installed, its own expand run.

    With its sync triggers, if it has some. Rows are yours to add. Raises `MigrationFault` for what an upgrade to that
    release would refuse, and for a database that is not empty.
    """
    database = open_test_database(url_of(url))
    _refuse_used(database)
    try:
        driver = AlembicDriver(Path(migrations), schema="trial")
        at = driver.releases.index(release)
        own_tables.prepare(database)
        if at:
            driver.install(database, driver.releases.ordered[at - 1].name)
        driver.run(database, release, Step.EXPAND, owner_epoch=1)
        with database.writing() as connection:  # what the steps wrote down is of no use to a trial
            tables.metadata.drop_all(connection)
            connection.execute(sa.schema.DropTable(sa.Table(tables.VERSION_TABLE, sa.MetaData()), if_exists=True))
    except OrchestratorError as error:
        raise MigrationFault(Fault.of(error)) from error
    finally:
        database.engine.dispose()


def _refuse_used(database: Database) -> None:
    with database.reading() as connection:
        found = sa.inspect(connection).get_table_names()
    if found:
        raise MigrationFault(
            Fault(
                "trial_database_not_empty",
                f"database {database.place} is not empty: it has {found[0]}",
                "Give each test a new database, or drop what is in it first.",
            )
        )
