"""The bookkeeping's tables: made by its revisions, and by nothing else."""

import tomllib
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from orchestrator.bookkeeping.tables import PREFIX, VERSION_TABLE, is_bookkeeping_table, metadata
from orchestrator.dialects import Database
from orchestrator.resources import bookkeeping_migrations_directory


def tree(directory: Path) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("version_locations", f"{directory}/expand:{directory}/contract")
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def test_revisions_make_exactly_the_tables_of_the_code(database: Database) -> None:
    scripts = tree(bookkeeping_migrations_directory())
    with database.writing() as connection:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            for script in reversed(list(scripts.walk_revisions())):
                script.module.upgrade()
        assert compare_metadata(context, metadata) == []
        columns = sa.inspect(connection)
        for table in metadata.tables.values():
            stored = {column["name"]: column["nullable"] for column in columns.get_columns(table.name)}
            assert stored == {column.name: column.nullable for column in table.columns}


def test_manifest_names_the_newest_revision() -> None:
    directory = bookkeeping_migrations_directory()
    releases = tomllib.loads((directory / "releases.toml").read_text())["release"]
    assert [releases[-1]["expand"]] == tree(directory).get_heads()


def test_own_tables_are_told_from_those_of_the_schema() -> None:
    assert all(name.startswith(PREFIX) and is_bookkeeping_table(name) for name in (*metadata.tables, VERSION_TABLE))
    assert not is_bookkeeping_table("customers")
    assert not is_bookkeeping_table("orchestrators")


def test_every_text_column_has_a_length_that_every_database_can_index() -> None:
    for table in metadata.tables.values():
        key_bytes = 0
        for column in table.columns:
            if isinstance(column.type, sa.String) and not isinstance(column.type, sa.Text):
                assert column.type.length is not None
                key_bytes += 4 * column.type.length if column.primary_key else 0
        assert key_bytes <= 3072  # the limit of an InnoDB key, at four bytes a character
