"""The schema of the example service made the usual way: plain Alembic, and nobody who looks at what runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from orchestrator.demo.example import migrations_directory

RELEASE_1_REVISION = "e001_first_tables"
NEW_SHAPE_REVISION = "e002_new_shape"
CONTRACT_REVISION = "c002_drop_old_shape"


def run_revisions(connection: sqlalchemy.Connection, target: str) -> None:
    """Run the revisions up to `target` with plain Alembic, in the transaction of `connection`."""
    directory = migrations_directory()
    script = ScriptDirectory(str(directory), version_locations=[str(directory / "expand"), str(directory / "contract")])

    def revisions(heads: Any, _context: object) -> Any:
        return script._upgrade_revs(target, heads)  # what `alembic upgrade` does

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # sqlite3 would leave DDL outside of the transaction
    with EnvironmentContext(Config(), script, fn=revisions) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
