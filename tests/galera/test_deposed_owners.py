"""An owner that was passed on another node, where its lock means nothing: what it was about to send does no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from orchestrator.bookkeeping import journal, operations
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.bookkeeping.operations import OperationEntry
from orchestrator.dialects import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.last_words import LastWords
from orchestrator.schema_migrations.own_tables import prepare
from tests.dying import when_free
from tests.galera.cluster import Cluster, Node
from tests.galera.test_steps import Stopped, rows
from tests.schema_migrations.test_journalled_operations import die_after
from tests.schema_migrations.trees import TreeWriter

Databases = tuple[Database, Database]

FIRST = """
op.create_table(
    "t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer), sa.Column("b", sa.Integer)
)
op.create_index("ix", "t", ["a"])
"""
SAME_NAME = """
op.drop_index("ix", "t")
op.create_index("ix", "t", ["b"])
"""


@pytest.fixture
def databases(cluster: Cluster, new_name: Callable[[], str], on: Callable[[Node, str], Database]) -> Databases:
    """One database, as it is seen from each node."""
    name = new_name()
    one, two = (on(node, name) for node in cluster.nodes)
    prepare(one)
    return one, two


@pytest.fixture
def tree(tmp_path: Path) -> TreeWriter:
    """Release 2 makes an index anew, under the name of another one."""
    tree = TreeWriter(tmp_path / "shop")
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", SAME_NAME, after="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    return tree


@pytest.fixture
def driver(tree: TreeWriter) -> AlembicDriver:
    """It waits as long as it has to."""
    return AlembicDriver(tree.directory, schema="shop")


def assert_made_anew(databases: Databases, driver: AlembicDriver, epoch: int) -> None:
    for database in databases:
        assert columns_of_index(database) == [("b",)]
        assert driver.position(database, "2").expanded
        assert rows(database, "SELECT owner_epoch, state FROM orchestrator_steps WHERE revision = 'e2'") == [
            (epoch, "done")
        ]


def columns_of_index(database: Database) -> list[tuple[object, ...]]:
    return rows(
        database,
        "SELECT column_name FROM information_schema.statistics WHERE table_schema = DATABASE() AND index_name = 'ix'",
    )


def test_the_intent_of_an_owner_that_was_passed_is_not_committed(databases: Databases) -> None:
    """What it wrote in the transaction that claimed its row neither: the two collide, whoever came first there."""
    one, two = databases
    steps = [JournalEntry("shop", "e2", "expand", "", JournalState.INTENT, epoch, 0.0) for epoch in (1, 2)]
    with one.writing() as connection:
        journal.intend(connection, steps[0])
    with pytest.raises((DBAPIError, OrchestratorError)) as refusal, one.writing() as connection:
        journal.claim(connection, "shop", "e2", owner_epoch=1)
        with two.writing() as other:
            journal.intend(other, steps[1])
        operations.record(connection, OperationEntry("shop", "e2", 1, 1, "", "", None, JournalState.INTENT, 1, 0.0))
    assert isinstance(refusal.value, OrchestratorError) and refusal.value.code == "database_busy"
    assert rows(two, "SELECT COUNT(*) FROM orchestrator_operations") == [(0,)]


@pytest.mark.parametrize("words", ["drop index", "create index"])
def test_a_name_that_is_used_again_is_safe_from_an_owner_that_was_passed(
    databases: Databases, driver: AlembicDriver, words: str
) -> None:
    one, two = databases
    driver.install(one, "1")
    older = Stopped(one, 1, words, driver)
    assert driver.run(two, "2", Step.EXPAND, owner_epoch=2) == ("e2",)
    late = older.go_on()
    assert isinstance(late, OrchestratorError), late
    assert_made_anew(databases, driver, 2)


@pytest.mark.parametrize("words", ["drop index", "create index"])
def test_what_it_sends_while_it_is_waited_for_counts(
    databases: Databases, driver: AlembicDriver, tree: TreeWriter, words: str
) -> None:
    one, two = databases
    driver.install(one, "1")
    older = Stopped(one, 1, words, driver)
    late: list[BaseException | None] = []
    waiting = AlembicDriver(tree.directory, schema="shop", sleep=lambda _: late.append(older.go_on()))
    assert waiting.run(two, "2", Step.EXPAND, owner_epoch=2) == ("e2",)
    assert [getattr(each, "code", each) for each in late] == ["owner_epoch_passed"]
    assert_made_anew(databases, driver, 2)


def test_an_owner_that_was_slow_claims_again_before_it_sends(
    databases: Databases, driver: AlembicDriver, tree: TreeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = databases
    driver.install(one, "1")
    ran: list[object] = []
    is_late = LastWords.is_late.fget  # type: ignore[attr-defined]  # of a property

    def late_once(words: LastWords) -> bool:
        if ran:
            return bool(is_late(words))
        ran.append(None)
        ran[0] = AlembicDriver(tree.directory, schema="shop", sleep=lambda _: None).run(
            two, "2", Step.EXPAND, owner_epoch=2
        )
        return True

    monkeypatch.setattr(LastWords, "is_late", property(late_once))
    with pytest.raises(OrchestratorError) as refusal:
        driver.run(one, "2", Step.EXPAND, owner_epoch=1)
    assert refusal.value.code == "owner_epoch_passed"
    assert ran == [("e2",)]
    assert_made_anew(databases, driver, 2)


def test_no_time_passes_on_the_node_where_the_owner_was(
    databases: Databases, driver: AlembicDriver, tree: TreeWriter
) -> None:
    """There the lock of the schema tells that its session has ended."""
    one, _ = databases
    driver.install(one, "1")
    die_after(driver, one, "DROP INDEX")
    waits: list[float] = []
    again = AlembicDriver(tree.directory, schema="shop", sleep=waits.append)
    when_free(lambda: again.run(one, "2", Step.EXPAND, owner_epoch=2))
    assert waits == []
    assert_made_anew(databases, driver, 2)
