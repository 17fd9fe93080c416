"""What somebody took away of a revision that ran is named when its step is run again, with what makes it anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, execute

FIRST = """
op.create_table(
    "customers", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50), nullable=False)
)
"""
SECOND = """
op.create_table("kinds", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20), index=True))
op.add_column("customers", sa.Column("full_name", sa.String(80)))
op.create_index("ix_full_name", "customers", ["full_name"])
"""


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def site(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A database of each kind, with our own tables."""
    database = open_database("test", request.getfixturevalue(f"{request.param}_url"))
    prepare(database)
    return database


@pytest.fixture
def driver(tree: TreeWriter, site: Database) -> AlembicDriver:
    """Release 2 has run."""
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", SECOND, after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    driver = tree.driver()
    driver.install(site, "1")
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=2) == ()
    return driver


def failure_of(driver: AlembicDriver, site: Database) -> StepFailed:
    with pytest.raises(StepFailed) as failure:
        driver.run(site, "2", Step.EXPAND, owner_epoch=3)
    assert failure.value.code == "effect_gone"
    assert (failure.value.fields["revision"], failure.value.fields["database"]) == ("e2", "test")
    return failure.value


def type_there(site: Database, failure: StepFailed) -> None:
    for statement in failure.fields["commands"]:
        assert statement in str(failure.remedy)
        execute(site, statement.removesuffix(";"))


def drop_index(site: Database) -> None:
    execute(site, "DROP INDEX ix_full_name" + (" ON customers" if site.dialect.name == "mysql" else ""))


def test_a_column_and_its_index_are_made_by_what_is_named(driver: AlembicDriver, site: Database) -> None:
    drop_index(site)
    execute(site, "ALTER TABLE customers DROP COLUMN full_name")
    failure = failure_of(driver, site)
    assert failure.fields["missing"] == [
        "column customers.full_name is missing",
        "index ix_full_name on customers is missing",
    ]
    assert failure.fields["commands"][0] == "ALTER TABLE customers ADD COLUMN full_name VARCHAR(80);"
    type_there(site, failure)
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=4) == ()
    assert driver.position(site, "2").expanded


def test_a_table_comes_back_with_its_index(driver: AlembicDriver, site: Database) -> None:
    execute(site, "DROP TABLE kinds")
    failure = failure_of(driver, site)
    assert failure.fields["missing"][0] == "table kinds is missing"
    assert len(failure.fields["commands"]) == 2
    type_there(site, failure)
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=4) == ()
    assert sa.inspect(site.engine).get_indexes("kinds")[0]["name"] == "ix_kinds_name"


def test_a_column_of_a_table_that_it_made_is_one_statement(driver: AlembicDriver, site: Database) -> None:
    execute(site, "DROP INDEX ix_kinds_name" + (" ON kinds" if site.dialect.name == "mysql" else ""))
    execute(site, "ALTER TABLE kinds DROP COLUMN name")
    failure = failure_of(driver, site)
    type_there(site, failure)
    assert columns(site, "kinds") == {"id", "name"}
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=4) == ()


def test_what_cannot_be_written_without_the_database_is_named_by_its_line(
    tree: TreeWriter, open_database: Callable[[str, str], Database], sqlite_url: str
) -> None:
    """SQLite changes a column by making the table anew."""
    site = open_database("test", sqlite_url)
    prepare(site)
    tree.revision("expand", "e1", FIRST)
    loosen = 'with op.batch_alter_table("customers") as table:\n    table.alter_column("name", nullable=True)'
    file = tree.revision("expand", "e2", loosen, after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    driver = tree.driver()
    driver.install(site, "2")
    execute(site, "DROP TABLE customers")
    execute(site, "CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL)")
    failure = failure_of(driver, site)
    assert failure.fields["commands"] == []
    assert f"{file}:13" in str(failure.remedy)
