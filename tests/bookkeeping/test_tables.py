"""The bookkeeping's tables: made by its revisions, and by nothing else."""

import tomllib
from collections.abc import Callable

import sqlalchemy as sa

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.tables import PREFIX, VERSION_TABLE, is_bookkeeping_table, metadata
from orchestrator.dialects import Database
from orchestrator.domain.view import MigrationState
from orchestrator.resources import bookkeeping_migrations_directory
from orchestrator.schema_migrations.own_tables import begin, bookkeeping_driver, prepare
from tests import own_tables


def test_revisions_make_exactly_the_tables_of_the_code(
    new_database_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    own_tables.check(bookkeeping_migrations_directory(), metadata, new_database_url, open_database)


def test_manifest_names_the_newest_revision() -> None:
    directory = bookkeeping_migrations_directory()
    releases = tomllib.loads((directory / "releases.toml").read_text())["release"]
    assert [releases[-1]["expand"]] == own_tables.tree(directory).get_heads()


def test_ledger_of_the_first_release_is_taken_along(
    new_database_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    database = open_database("main", new_database_url())
    begin(bookkeeping_driver(), database)
    with database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO orchestrator_data_migrations (schema_name, name, release, file_hash, state, revision, cursor,"
            " rows_done, rows_verified, differences, is_reverse)".replace(
                "release,", f"{connection.dialect.identifier_preparer.quote('release')},"
            ).replace("cursor,", f"{connection.dialect.identifier_preparer.quote('cursor')},")
            + " VALUES ('inventory', 'walk', '2', 'ab', 'running', 4, '[7]', 7, 0, 0, false)"
        )
    prepare(database)
    with database.reading() as connection:
        found = ledger.find(connection, "inventory", "walk")
    assert found == LedgerEntry(
        "inventory", "walk", "2", None, "ab", MigrationState.RUNNING, revision=4, cursor="[7]", rows_done=7
    )


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
