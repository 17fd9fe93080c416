"""The tables of the state database: made by the revisions at the project's root, and by nothing else."""

import tomllib
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.records import SchemaState
from orchestrator.resources import state_migrations_directory
from orchestrator.store import tables
from orchestrator.store.sql import SqlStore
from tests import own_tables


def test_revisions_make_exactly_the_tables_of_the_code(
    new_database_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    own_tables.check(state_migrations_directory(), tables.metadata, new_database_url, open_database)


def test_manifest_names_the_newest_revision() -> None:
    directory = state_migrations_directory()
    releases = tomllib.loads((directory / "releases.toml").read_text())["release"]
    assert [releases[-1]["expand"]] == own_tables.tree(directory).get_heads()


def test_names_are_short_enough_for_every_database() -> None:
    for table in tables.metadata.tables.values():
        names = [table.name, *table.columns.keys(), *(str(index.name) for index in table.indexes)]
        names += [str(constraint.name) for constraint in table.constraints]
        assert max(len(name) for name in names) <= 63


@pytest.mark.parametrize("name", ["Inventory", "inventorý"])
def test_names_that_differ_in_a_letter_are_two(database: Database, name: str) -> None:
    tables.metadata.create_all(database.engine)
    store = SqlStore(database, lambda: 1.0)
    store.run(lambda tx: tx.add_schema(SchemaState("inventory", "1", None, 0)))
    store.run(lambda tx: tx.add_schema(SchemaState(name, "2", None, 0)))
    found = store.read(lambda tx: tx.schema(name))
    assert found is not None and found.release == "2"
    assert len(store.read(lambda tx: tx.schemas())) == 2


def test_sentence_may_hold_any_letter(database: Database) -> None:
    with database.writing() as connection:
        tables.metadata.create_all(connection)
        connection.execute(
            sa.insert(tables.events).values(at=1.0, action="a", actor="Zoë 😀", sentence="%s :x \\ ' \" 😀" * 500)
        )
        (event,) = connection.execute(sa.select(tables.events.c.actor, tables.events.c.sentence)).all()
    assert event == ("Zoë 😀", "%s :x \\ ' \" 😀" * 500)
