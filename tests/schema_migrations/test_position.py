"""Where a database stands: by version table, journal and catalog together, never by one of them alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.own_tables import BOOKKEEPING_SCHEMA, bring_to_newest, prepare
from tests.by_hand import upgrade_by_hand
from tests.schema_migrations.trees import TreeWriter, columns, execute, scalar, watched


def stamp(database: Database, *versions: str) -> None:
    execute(database, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    for version in versions:
        execute(database, f"INSERT INTO alembic_version VALUES ('{version}')")


def test_position_follows_the_steps(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    assert driver.position(prepared, "1").empty

    driver.install(prepared, "1")
    before = driver.position(prepared, "2")
    assert (before.heads, before.expanded, before.contracted, before.empty) == (("e1",), False, False, False)

    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    expanded = driver.position(prepared, "2")
    assert (expanded.heads, expanded.expanded, expanded.contracted) == (("e3",), True, False)

    driver.run(prepared, "2", Step.CONTRACT, owner_epoch=1)
    contracted = driver.position(prepared, "2")
    assert (contracted.expanded, contracted.contracted, contracted.differences) == (True, True, ())


def test_a_head_that_something_depends_on_counts_though_it_has_no_row(shop: TreeWriter, prepared: Database) -> None:
    """`alembic current --check-heads` fails on a fully upgraded glance database for the want of that row."""
    driver = shop.driver()
    driver.install(prepared, "2")

    assert scalar(prepared, "SELECT version_num FROM alembic_version") == "c2"
    assert scalar(prepared, "SELECT count(*) FROM alembic_version") == 1
    assert driver.position(prepared, "2").heads == ("c2", "e3")
    assert driver.position(prepared, "2").expanded


def test_a_stamp_is_no_expansion(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    driver.install(prepared, "1")
    execute(prepared, "UPDATE alembic_version SET version_num = 'e3'")

    assert not driver.position(prepared, "2").expanded


def test_a_column_that_is_gone_is_noticed(shop: TreeWriter, prepared: Database) -> None:
    """As keystone's check, which compared the database with itself, did not."""
    driver = shop.driver()
    driver.install(prepared, "1")
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    execute(prepared, "ALTER TABLE customers DROP COLUMN full_name")

    position = driver.position(prepared, "2")
    assert not position.expanded
    assert position.differences == ("column customers.full_name is missing",)


def test_a_column_that_came_back_after_contract_is_noticed(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    driver.install(prepared, "2")
    execute(prepared, "ALTER TABLE customers ADD COLUMN name VARCHAR(50)")

    assert driver.position(prepared, "2").differences == ("column customers.name is still there",)
    assert not driver.position(prepared, "2").contracted


def test_a_contract_that_somebody_ran_by_hand_is_noticed_with_what_puts_it_right(
    shop: TreeWriter, prepared: Database
) -> None:
    driver = shop.driver()
    driver.install(prepared, "1")
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert driver.position(prepared, "2").removal is None
    upgrade_by_hand(prepared.engine.url.render_as_string(hide_password=False), shop.directory)

    removal = driver.position(prepared, "2").removal
    assert removal is not None
    assert (removal.revisions, removal.things) == (("c2",), ("customers.name",))
    assert driver.versions(prepared) == ("c2",)
    for statement in removal.statements:
        execute(prepared, statement)
    execute(prepared, "ALTER TABLE customers ADD COLUMN name VARCHAR(50)")
    assert driver.versions(prepared) == ("e3",)
    assert driver.position(prepared, "2").removal is None
    assert driver.position(prepared, "2").expanded


def test_an_old_shape_that_somebody_removed_by_hand_is_noticed(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    driver.install(prepared, "1")
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    execute(prepared, "ALTER TABLE customers DROP COLUMN name")

    removal = driver.position(prepared, "2").removal
    assert removal is not None
    assert (removal.revisions, removal.things, removal.statements) == ((), ("customers.name",), ())


def test_what_is_not_there_of_what_expand_makes_is_named(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    driver.install(prepared, "1")
    assert driver.position(prepared, "2").lacks == (
        "revision e2 is not in its version table",
        "revision e3 is not in its version table",
    )
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert driver.position(prepared, "2").lacks == ()
    execute(prepared, "ALTER TABLE customers DROP COLUMN full_name")
    assert driver.position(prepared, "2").lacks == ("column customers.full_name is missing",)


def test_a_later_release_may_change_what_an_earlier_one_made(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    driver.install(prepared, "2")

    assert driver.position(prepared, "1").differences == ()


def test_constraints_indexes_defaults_and_types_are_looked_for(tree: TreeWriter, prepared: Database) -> None:
    tree.revision(
        "expand",
        "e1",
        """
        op.create_table(
            "parents",
            sa.Column("id", sa.Integer, primary_key=True),
        )
        op.create_table(
            "t",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.String(20), index=True),
            sa.Column("b", sa.Integer, nullable=False, server_default="7"),
        )
        with op.batch_alter_table("t") as t:
            t.alter_column("a", existing_type=sa.String(20), type_=sa.String(40))
            t.create_unique_constraint("uq_b", ["b"])
            t.create_check_constraint("ck_b", "b > 0")
            t.create_foreign_key("fk_b", "parents", ["b"], ["id"])
        op.create_index("ix_b", "t", ["b", "a"])
        op.execute("CREATE INDEX ix_raw ON t (b)")
        """,
    )
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n')
    driver = tree.driver()
    driver.run(prepared, "1", Step.EXPAND, owner_epoch=1)
    assert driver.position(prepared, "1").differences == ()

    execute(prepared, "DROP INDEX ix_b")
    execute(prepared, "DROP INDEX ix_raw")
    assert driver.position(prepared, "1").differences == (
        "index ix_b on t is missing",
        "index ix_raw on t is missing",
    )


def test_adopting_journals_what_another_tool_ran(shop: TreeWriter, prepared: Database) -> None:
    execute(prepared, "CREATE TABLE customers (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(50) NOT NULL)")
    stamp(prepared, "e1")
    driver = shop.driver()
    assert not driver.position(prepared, "1").expanded

    driver.adopt(prepared, "1")
    driver.adopt(prepared, "1")

    assert driver.position(prepared, "1").expanded
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")


@pytest.mark.parametrize("versions", [(), ("e2",), ("e3",), ("c2",)])
def test_a_database_between_releases_is_not_adopted(
    shop: TreeWriter, prepared: Database, versions: tuple[str, ...]
) -> None:
    execute(prepared, "CREATE TABLE customers (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(50) NOT NULL)")
    stamp(prepared, *versions)

    with pytest.raises(Conflict, match="not at release 1") as refusal:
        shop.driver().adopt(prepared, "1")

    assert refusal.value.code == "not_at_release"


def test_a_database_whose_catalog_differs_is_not_adopted(shop: TreeWriter, prepared: Database) -> None:
    """As heat, which stamps blindly, would."""
    execute(prepared, "CREATE TABLE customers (id INTEGER NOT NULL PRIMARY KEY)")
    stamp(prepared, "e1")

    with pytest.raises(Conflict, match=r"column customers\.name is missing") as refusal:
        shop.driver().adopt(prepared, "1")

    assert refusal.value.code == "catalog_differs"
    assert scalar(prepared, "SELECT count(*) FROM orchestrator_steps WHERE schema_name = 'shop'") == 0


def test_our_own_tables_go_through_the_same_runner(database: Database) -> None:
    prepare(database)
    prepare(database)

    done = f"SELECT count(*) FROM orchestrator_steps WHERE schema_name = '{BOOKKEEPING_SCHEMA}' AND state = 'done'"
    assert scalar(database, done) == scalar(database, "SELECT count(*) FROM orchestrator_steps")
    assert columns(database, "orchestrator_copies") >= {"schema_name", "phase", "fence"}


def test_several_processes_may_prepare_one_database_at_once(
    database_url: str, open_database: Callable[[str, str], Database]
) -> None:
    """As several pods that all run `alembic upgrade` at their start cannot."""
    databases = [open_database(f"seen by {number}", database_url) for number in range(4)]
    with ThreadPoolExecutor(len(databases)) as processes:
        list(processes.map(prepare, databases))

    assert scalar(databases[0], "SELECT count(*) FROM orchestrator_steps WHERE state = 'done'") == scalar(
        databases[0], "SELECT count(*) FROM orchestrator_steps"
    )


def test_a_schema_of_our_own_is_brought_through_all_its_releases(shop: TreeWriter, prepared: Database) -> None:
    for expected in (["e1", "e2", "e3", "c2"], []):
        driver = shop.driver()
        ran = watched(driver)
        assert bring_to_newest(driver, prepared, may_contract=lambda release: True) is None
        assert ran == expected


def test_who_comes_second_waits_for_who_prepares(shop: TreeWriter, prepared: Database) -> None:
    dialect = prepared.dialect
    driver = shop.driver()
    ran = watched(driver)
    with dialect.schema_connection(prepared.engine) as other:
        held = ExitStack()
        held.enter_context(dialect.session_lock(other, "schema shop"))
        bring_to_newest(driver, prepared, sleep=lambda seconds: held.close())

    assert ran == ["e1", "e2", "e3"]
