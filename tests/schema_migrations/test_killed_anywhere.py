"""A run that is killed at any moment ends, when it is run again, as if nothing had happened."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa

from orchestrator.daemon.own_tables import OwnTables
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.store.tables import metadata
from tests.dying import dying, when_free
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, execute

SEED = 20261122

FIRST = """
op.create_table("customers", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50)))
"""

MANY = """
op.add_column("customers", sa.Column("full_name", sa.String(80)))
op.create_index("ix_full_name", "customers", ["full_name"])
op.execute(
    "CREATE VIEW names AS SELECT full_name FROM customers",
    execution_options={"orchestrator_took_effect":
        "SELECT count(*) FROM information_schema.views WHERE table_schema = DATABASE() AND table_name = 'names'"},
)
op.execute("INSERT INTO customers (id, name, full_name) VALUES (2, 'Grace', 'Grace Hopper')")
customers = sa.table("customers", sa.column("id", sa.Integer), sa.column("name", sa.String))
op.bulk_insert(customers, [{"id": 3, "name": "Cleo"}])
op.get_bind().execute(sa.update(customers).values(name=customers.c.name + sa.literal("!")))
op.add_column("customers", sa.Column("passing", sa.Integer))
op.drop_column("customers", "passing")
op.create_table(
    "orders",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(20), index=True),
    sa.Column("number", sa.Integer, index=True),
)
op.alter_column("orders", "state", existing_type=sa.String(20), new_column_name="status")
op.alter_column("orders", "number", existing_type=sa.Integer, nullable=False, server_default="7")
op.create_foreign_key("fk_orders", "orders", "customers", ["number"], ["id"])
op.rename_table("orders", "purchases")
""".replace('customers.c.name + sa.literal("!")', 'sa.func.concat(customers.c.name, "!")')

CONCURRENTLY = """
op.add_column("customers", sa.Column("full_name", sa.String(80)))
op.execute("INSERT INTO customers (id, name) VALUES (2, 'Grace')")
with op.get_context().autocommit_block():
    op.create_index("ix_full_name", "customers", ["full_name"], postgresql_concurrently=True)
    op.execute("INSERT INTO customers (id, name) VALUES (3, 'Cleo')")
    op.execute("CREATE INDEX CONCURRENTLY ix_name ON customers (name)")
    op.drop_index("ix_name", postgresql_concurrently=True)
op.execute("UPDATE customers SET name = name || '!'")
op.add_column("customers", sa.Column("age", sa.Integer))
"""

PLAIN = """
op.add_column("customers", sa.Column("full_name", sa.String(80)))
op.execute("INSERT INTO customers (id, name) VALUES (2, 'Grace')")
op.execute("UPDATE customers SET name = name || '!'")
op.create_index("ix_full_name", "customers", ["full_name"])
"""


OF_THE_RUN = ("owner_epoch", "claims", "started_at", "finished_at")


def two_releases(tree: TreeWriter, body: str) -> AlembicDriver:
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", body, after="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    return tree.driver()


def at_release_1(database: Database, driver: AlembicDriver) -> None:
    """Bring a database there, wherever a run of release 2 has ended."""
    inspector = sa.inspect(database.engine)
    if not inspector.has_table("orchestrator_steps"):
        prepare(database)
        driver.install(database, "1")
    else:
        with database.writing() as connection:
            for view in inspector.get_view_names():
                connection.execute(sa.text(f"DROP VIEW {view}"))
            for table in ("purchases", "orders", "customers"):
                connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
            columns = sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50))
            sa.Table("customers", sa.MetaData(), *columns).create(connection)
            connection.execute(sa.text("UPDATE alembic_version SET version_num = 'e1'"))
            connection.execute(sa.text("DELETE FROM orchestrator_steps WHERE revision = 'e2'"))
            connection.execute(sa.text("DELETE FROM orchestrator_operations"))
    execute(database, "INSERT INTO customers (id, name) VALUES (1, 'Ada')")


def picture(database: Database) -> object:
    """The whole database as people see it: tables, rows, versions and journals, without times and owners."""
    inspector = sa.inspect(database.engine)
    tables = sorted(inspector.get_table_names())
    with database.reading() as connection:
        rows = {
            table: sorted(
                tuple((key, value) for key, value in row.items() if key not in OF_THE_RUN)
                for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()
            )
            for table in tables
        }
    structure = [
        (
            table,
            [str(column | {"type": str(column["type"])}) for column in inspector.get_columns(table)],
            sorted(map(str, inspector.get_indexes(table))),
            sorted(map(str, inspector.get_foreign_keys(table))),
        )
        for table in tables
    ]
    return structure, rows, inspector.get_view_names()


def run(driver: AlembicDriver, database: Database, epoch: int) -> tuple[str, ...]:
    ran: tuple[str, ...] = when_free(lambda: driver.run(database, "2", Step.EXPAND, owner_epoch=epoch))
    return ran


def check_moments(driver: AlembicDriver, database: Database, *, every: bool) -> None:
    """Kill a run at each of its moments, each time from the start, and let another owner go on."""
    at_release_1(database, driver)
    with dying(database, None) as life:
        run(driver, database, 1)
    undisturbed, whole = picture(database), ddl(life.sent)
    for moment in itertools.count(1, step=1 if every else 5):
        at_release_1(database, driver)
        with dying(database, moment, every=every) as first:
            run(driver, database, 1)
        if first.died is None:
            assert moment > 5
            return
        with dying(database, None) as second:
            run(driver, database, 2)
        assert picture(database) == undisturbed, (moment, first.died)
        if not database.dialect.transactional_ddl:
            assert ddl(first.sent + second.sent) == whole, (moment, first.died)
        assert driver.run(database, "2", Step.EXPAND, owner_epoch=3) == ()


def ddl(sent: list[str]) -> list[str]:
    """What commits by itself. The indexes of a new table come in any order."""
    return sorted(each for each in sent if each.startswith(("CREATE", "ALTER", "DROP")))


moments = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.kill)], ids=["few", "all"])
"""All of them take minutes: `make test-kill`. Few: every fifth, and those within a transaction count as one."""


@moments
def test_on_mariadb_whatever_commits_by_itself_happens_once(
    tree: TreeWriter, open_database: Callable[[str, str], Database], mysql_url: str, every: bool
) -> None:
    check_moments(two_releases(tree, MANY), open_database("test", mysql_url), every=every)


def test_on_mariadb_it_may_be_killed_again_and_again(
    tree: TreeWriter, open_database: Callable[[str, str], Database], mysql_url: str
) -> None:
    database = open_database("test", mysql_url)
    driver = two_releases(tree, MANY)
    at_release_1(database, driver)
    with dying(database, None) as life:
        run(driver, database, 1)
    undisturbed, whole = picture(database), ddl(life.sent)
    at_release_1(database, driver)
    chance = random.Random(SEED)
    sent: list[str] = []
    for epoch in itertools.count(1):
        with dying(database, chance.randint(8, 40)) as life:
            run(driver, database, epoch)
        sent += life.sent
        if life.died is None:
            assert epoch > 5
            break
    assert picture(database) == undisturbed
    assert ddl(sent) == whole


@moments
def test_on_postgresql_autocommit_blocks_are_gone_through_once(
    tree: TreeWriter, open_database: Callable[[str, str], Database], postgresql_url: str, every: bool
) -> None:
    check_moments(two_releases(tree, CONCURRENTLY), open_database("test", postgresql_url), every=every)


@moments
def test_where_ddl_is_transactional_a_revision_is_all_or_nothing(
    tree: TreeWriter, database: Database, every: bool
) -> None:
    check_moments(two_releases(tree, PLAIN), database, every=every)


def test_on_mariadb_an_install_goes_on_where_it_was_killed(
    tree: TreeWriter, open_database: Callable[[str, str], Database], new_mysql_url: Callable[[], str]
) -> None:
    driver = two_releases(tree, MANY)
    whole, broken = (open_database(name, new_mysql_url()) for name in ("whole", "broken"))
    for database in (whole, broken):
        prepare(database)
    driver.install(whole, "2")
    chance = random.Random(SEED)
    for attempt in itertools.count(1):
        with dying(broken, chance.randint(12, 40)) as life:
            when_free(lambda: driver.install(broken, "2"))
        if life.died is None:
            assert attempt > 3
            break
    assert rows(broken, "orchestrator_steps") == rows(whole, "orchestrator_steps")
    assert rows(broken, "customers") == rows(whole, "customers")
    assert driver.position(broken, "2").contracted
    assert driver.position(broken, "2").differences == ()


def test_on_mariadb_the_state_database_gets_its_tables_whenever_its_daemon_is_killed(
    open_database: Callable[[str, str], Database], mysql_url: str
) -> None:
    database = open_database("state", mysql_url)
    chance = random.Random(SEED)
    for attempt in itertools.count(1):
        own_tables = OwnTables(database)
        with dying(database, chance.randint(6, 40)) as life:
            when_free(own_tables.open_door)
            when_free(lambda: own_tables.bring_forward(lambda tree, release: False))  # noqa: B023  # done before the next
        if life.died is None:
            assert attempt > 5
            break
    assert set(sa.inspect(database.engine).get_table_names()) >= set(metadata.tables)
    states = {state for (*_, state) in rows_of(database, "SELECT revision, state FROM orchestrator_steps")}
    assert states == {"done"}
    assert rows(database, "orchestrator_operations") == []


def rows_of(database: Database, query: str) -> Sequence[tuple[object, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def rows(database: Database, table: str) -> Sequence[object]:
    with database.reading() as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()
        return sorted(tuple((key, row[key]) for key in row if key not in OF_THE_RUN) for row in found)
