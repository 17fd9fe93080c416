"""After an upgrade: do the books say what the catalog shows, and do they agree with one another?"""

from __future__ import annotations

import sqlalchemy as sa

from orchestrator.bookkeeping import journal, ledger
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.journal import JournalState
from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.dialects import open_database
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import MigrationState, StepState
from orchestrator.ports import Transaction
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.sealing import SEALING_STAGES
from orchestrator.store.sql import SqlStore

COLUMNS = {
    "customers": {"id", "first_name", "last_name"},
    "items": {"id", "title", "status_id"},
    "statuses": {"id", "name"},
}
REVISIONS = {"e001_first_tables", "e002_new_shape", "c002_drop_old_shape"}


def assert_books_equal_catalog(state_url: str, managed_url: str) -> None:
    """The example is contracted at release 2, in its catalog and in every book: version table, journal, ledger, copy,
    and in the state database upgrade, steps and schema."""
    database, state = open_database("main", managed_url), open_database("state", state_url)
    try:
        _assert_catalog(managed_url)
        driver = AlembicDriver(migrations_directory(), schema=SCHEMA, version_table="alembic_version")
        position = driver.position(database, "2")
        assert (position.expanded, position.contracted, position.differences) == (True, True, ()), position
        assert set(position.heads) == {"c002_drop_old_shape", "e002_new_shape"}
        with database.reading() as connection:
            entries = journal.entries(connection, SCHEMA)
            revisions = {entry.revision for entry in entries if entry.stage not in SEALING_STAGES}
            moved = ledger.entries(connection, SCHEMA)
            copy = read_copy(connection, SCHEMA)
            rows = {
                table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in ("customers", "items")
            }
        assert revisions == REVISIONS
        assert {entry.state for entry in entries} == {JournalState.DONE}, entries
        assert [(each.name, each.state) for each in moved] == [
            ("join_name", MigrationState.PENDING),
            ("link_status", MigrationState.COMPLETE),
            ("name_status", MigrationState.PENDING),
            ("split_name", MigrationState.COMPLETE),
        ]
        moved = tuple(each for each in moved if not each.is_reverse)
        for each, table in zip(moved, ("items", "customers"), strict=True):
            # Rows that the service added meanwhile are walked too, or not; none is walked twice.
            assert each.rows_total is not None
            assert each.rows_total <= each.rows_done <= rows[table], each
            assert each.rows_total <= each.rows_verified <= rows[table], each
            assert each.differences == 0

        def look(tx: Transaction) -> None:
            (upgrade,) = tx.upgrades(SCHEMA, limit=9)
            schema = tx.schema(SCHEMA)
            assert schema is not None
            assert (upgrade.status, upgrade.phase, upgrade.fence) == (
                Status.COMPLETED,
                Phase.CONTRACTED,
                Phase.CONTRACTED,
            )
            assert (schema.release, schema.upgrade_id) == ("2", None)
            for phase in (Phase.EXPANDED, Phase.CONTRACTED):
                assert [record.state for record in tx.steps(upgrade.id, phase)] == [StepState.DONE]
            assert copy is not None
            assert (copy.phase, copy.fence) == (upgrade.phase, upgrade.fence)
            assert copy.revision == upgrade.revision

        SqlStore(state).read(look)
    finally:
        database.engine.dispose()
        state.engine.dispose()


def _assert_catalog(url: str) -> None:
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    found = {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
        if not table.startswith("orchestrator_") and table != "alembic_version"
    }
    engine.dispose()
    assert found == COLUMNS
