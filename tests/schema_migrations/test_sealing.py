"""Sealing: the database denies writes to the old shape, and nothing that writes the new one alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.sealing import SealState
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, execute, scalar

FIRST = """
op.create_table(
    "customers",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50)),
    sa.Column("kind", sa.String(10), nullable=False, server_default="plain"),
    sa.Column("full_name", sa.String(80)),
)
op.create_table("legacy", sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.String(50)))
"""
CONTRACT = """
with op.batch_alter_table("customers") as customers:
    customers.drop_column("name")
    customers.drop_column("kind")
op.drop_table("legacy")
"""


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def anywhere(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A database of each kind."""
    database = open_database("test", request.getfixturevalue(f"{request.param}_url"))
    prepare(database)
    return database


@pytest.fixture
def driver(tree: TreeWriter) -> AlembicDriver:
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", 'op.add_column("customers", sa.Column("age", sa.Integer))', after="e1")
    tree.revision("contract", "c2", CONTRACT, depends_on="e2")
    tree.manifest(
        """
        [[release]]
        name = "1"
        expand = "e1"

        [[release]]
        name = "2"
        expand = "e2"
        contract = "c2"
        old_shape = ["customers.name", "customers.kind", "legacy"]
        """
    )
    return tree.driver()


@pytest.fixture
def expanded(anywhere: Database, driver: AlembicDriver) -> Database:
    driver.install(anywhere, "1")
    driver.run(anywhere, "2", Step.EXPAND, owner_epoch=1)
    execute(anywhere, "INSERT INTO customers (id, name, kind) VALUES (1, 'Ada', 'good')")
    execute(anywhere, "INSERT INTO legacy (id, note) VALUES (1, 'old')")
    return anywhere


def state(driver: AlembicDriver, database: Database) -> SealState:
    return driver.position(database, "2").triggers


def refused(database: Database, statement: str) -> str:
    with pytest.raises((SQLAlchemyError, DBError)) as error:
        execute(database, statement)
    return str(error.value)


def test_sealed_denies_writes_of_the_old_shape_and_of_nothing_else(expanded: Database, driver: AlembicDriver) -> None:
    counted = expanded.dialect.name != "sqlite"
    assert state(driver, expanded) == SealState(False, True, 0 if counted else None, True)
    done = driver.run(expanded, "2", Step.SEAL, owner_epoch=2)
    assert [each.partition(" (")[0] for each in done] == [
        "deny writes to customers.name",
        "deny writes to customers.kind",
        "deny writes to legacy",
    ]
    assert state(driver, expanded) == SealState(True, False, 0 if counted else None, True)
    denied = (
        "INSERT INTO customers (id, name) VALUES (2, 'Bob')",
        "INSERT INTO customers (id, kind) VALUES (2, 'other')",
        "UPDATE customers SET name = 'Bob' WHERE id = 1",
        "UPDATE customers SET name = 'ADA' WHERE id = 1",
        "UPDATE customers SET name = NULL WHERE id = 1",
        "UPDATE customers SET kind = 'plain' WHERE id = 1",
        "INSERT INTO legacy (id) VALUES (2)",
        "UPDATE legacy SET note = 'new'",
        "DELETE FROM legacy",
    )
    for number, statement in enumerate(denied, start=1):
        subject = "legacy" if "legacy" in statement else "customers.kind" if "kind" in statement else "customers.name"
        words = f"shop: {subject} is sealed for release 2; stop or upgrade this program"
        assert words in refused(expanded, statement)
        assert state(driver, expanded).denials == (number if counted else None)
    for statement in (
        "INSERT INTO customers (id, full_name) VALUES (2, 'Bob')",
        "INSERT INTO customers (id, name, kind) VALUES (3, NULL, 'plain')",
        "UPDATE customers SET full_name = 'Ada L', age = 3",
        "UPDATE customers SET name = name, kind = kind",
        "DELETE FROM customers WHERE id = 1",
    ):
        execute(expanded, statement)
    assert scalar(expanded, "SELECT count(*) FROM customers") == 2


def test_sealing_again_does_nothing_and_keeps_the_count(expanded: Database, driver: AlembicDriver) -> None:
    driver.run(expanded, "2", Step.SEAL, owner_epoch=2)
    refused(expanded, "DELETE FROM legacy")
    before = state(driver, expanded)
    assert driver.plan_sealing(expanded, "2", Step.SEAL) == ()
    assert driver.run(expanded, "2", Step.SEAL, owner_epoch=3) == ()
    assert state(driver, expanded) == before


def test_unsealed_allows_everything_and_the_next_seal_counts_from_zero(
    expanded: Database, driver: AlembicDriver
) -> None:
    counted = expanded.dialect.name != "sqlite"
    driver.run(expanded, "2", Step.SEAL, owner_epoch=2)
    refused(expanded, "DELETE FROM legacy")
    driver.run(expanded, "2", Step.UNSEAL, owner_epoch=3)
    assert state(driver, expanded) == SealState(False, True, 0 if counted else None, True)
    execute(expanded, "UPDATE customers SET name = 'Bob', kind = 'bad'")
    execute(expanded, "DELETE FROM legacy")
    driver.run(expanded, "2", Step.SEAL, owner_epoch=4)
    assert state(driver, expanded) == SealState(True, False, 0 if counted else None, True)


def test_contract_removes_what_was_sealed_and_leaves_nothing_behind(expanded: Database, driver: AlembicDriver) -> None:
    before = catalog(expanded)
    driver.run(expanded, "2", Step.SEAL, owner_epoch=2)
    driver.run(expanded, "2", Step.CONTRACT, owner_epoch=3)
    assert driver.position(expanded, "2").contracted
    assert state(driver, expanded).sealed
    assert catalog(expanded) <= before
    execute(expanded, "INSERT INTO customers (id, full_name) VALUES (2, 'Bob')")


VIEW = "CREATE VIEW legacy AS SELECT 1 AS id"


@pytest.mark.parametrize(
    ("statements", "code", "words"),
    [
        (("ALTER TABLE customers DROP COLUMN name",), "old_shape_missing", "has no column customers.name"),
        (("DROP TABLE legacy",), "old_shape_missing", "has no table legacy"),
        (("DROP TABLE legacy", VIEW), "old_shape_view", "has a view of that name"),
    ],
)
def test_what_cannot_be_sealed_is_refused_when_the_upgrade_begins(
    anywhere: Database, driver: AlembicDriver, statements: Sequence[str], code: str, words: str
) -> None:
    driver.install(anywhere, "1")
    driver.check_database(anywhere, "2")
    for statement in statements:
        execute(anywhere, statement)
    with pytest.raises(MigrationRefused, match=words) as refusal:
        driver.check_database(anywhere, "2")
    assert (refusal.value.code, refusal.value.fields["line"]) == (code, 10)


def test_a_missing_right_is_refused_when_the_upgrade_begins(
    driver: AlembicDriver, open_database: Callable[[str, str], Database], postgresql_url: str
) -> None:
    database = open_database("test", postgresql_url)
    prepare(database)
    driver.install(database, "1")
    role = f"role_{database.engine.url.database}"
    execute(database, f"CREATE ROLE {role} LOGIN")
    execute(database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    theirs = database.engine.url.set(username=role).render_as_string(hide_password=False)
    with pytest.raises(MigrationRefused, match=f"role {role} does not own table customers") as refusal:
        driver.check_database(open_database("theirs", theirs), "2")
    assert refusal.value.code == "right_missing"
    assert refusal.value.remedy.startswith(f'GRANT "postgres" TO "{role}";')
    execute(database, f"DROP OWNED BY {role}")
    execute(database, f"DROP ROLE {role}")


def test_after_the_contract_nothing_is_asked_of_what_is_gone(expanded: Database, driver: AlembicDriver) -> None:
    driver.run(expanded, "2", Step.CONTRACT, owner_epoch=3)
    driver.check_database(expanded, "2")


def catalog(database: Database) -> set[str]:
    """The names of all functions, sequences and triggers."""
    queries = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION ALL"
        " SELECT relname::text FROM pg_class WHERE relkind = 'S' UNION ALL SELECT tgname::text FROM pg_trigger",
        "mysql": "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() UNION ALL"
        " SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE'",
    }
    with database.reading() as connection:
        return set(connection.execute(sa.text(queries[database.dialect.name])).scalars())
