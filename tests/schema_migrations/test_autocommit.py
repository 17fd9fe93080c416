"""Statements that cannot run in a transaction: CREATE INDEX CONCURRENTLY inside an autocommit block."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, execute, scalar

CONCURRENTLY = """
op.add_column("t", sa.Column("b", sa.Integer))
with op.get_context().autocommit_block():
    op.create_index("ix_a", "t", ["a"], postgresql_concurrently=True)
op.add_column("t", sa.Column("c", sa.Integer))
"""

INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname = 'ix_a'"


@pytest.fixture
def driver(tree: TreeWriter) -> AlembicDriver:
    """Release 2 builds an index between two columns."""
    tree.revision("expand", "e1", 'op.create_table("t", sa.Column("id", sa.Integer), sa.Column("a", sa.Integer))')
    tree.revision("expand", "e2", CONCURRENTLY, after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    return tree.driver()


@pytest.fixture
def postgresql(open_database: Callable[[str, str], Database], postgresql_url: str) -> Database:
    """SQLite has nothing that cannot run in a transaction."""
    database = open_database("test", postgresql_url)
    prepare(database)
    return database


def test_an_index_is_built_concurrently(driver: AlembicDriver, prepared: Database) -> None:
    driver.install(prepared, "1")

    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2",)

    assert columns(prepared, "t") == {"id", "a", "b", "c"}
    assert driver.position(prepared, "2").expanded


def test_what_an_autocommit_block_left_behind_is_not_done_twice(
    driver: AlembicDriver, postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.install(postgresql, "1")
    driver.check("2")
    module = driver.tree.module("e2")
    upgrade = module.upgrade

    def upgrade_and_die() -> None:
        upgrade()
        raise RuntimeError("killed")

    monkeypatch.setattr(module, "upgrade", upgrade_and_die)
    with pytest.raises(StepFailed):
        driver.run(postgresql, "2", Step.EXPAND, owner_epoch=1)
    monkeypatch.undo()
    assert columns(postgresql, "t") == {"id", "a", "b"}
    assert scalar(postgresql, INDEXES) == 1
    assert not driver.position(postgresql, "2").expanded

    assert driver.run(postgresql, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert columns(postgresql, "t") == {"id", "a", "b", "c"}


def test_an_index_that_is_invalid_does_not_pass_for_built(driver: AlembicDriver, postgresql: Database) -> None:
    driver.install(postgresql, "2")
    execute(postgresql, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_a'::regclass")

    assert driver.position(postgresql, "2").differences == ("index ix_a on t is invalid: building it did not end",)
    assert not driver.position(postgresql, "2").expanded


def test_the_session_is_as_before_after_an_autocommit_block(driver: AlembicDriver, prepared: Database) -> None:
    on_postgresql = prepared.dialect.name == "postgresql"
    before = scalar(prepared, "SHOW lock_timeout") if on_postgresql else None
    driver.install(prepared, "2")

    with prepared.engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO t (id) VALUES (1)"))
        connection.rollback()
    assert scalar(prepared, "SELECT count(*) FROM t") == 0
    if on_postgresql:
        assert scalar(prepared, "SHOW lock_timeout") == before
