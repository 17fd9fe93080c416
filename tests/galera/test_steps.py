"""Steps on two nodes at once: named locks end at one node, so a single effect rests on journal and owner epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.tables import metadata as bookkeeping
from orchestrator.demo.example import migrations_directory
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, OrchestratorError
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.own_tables import prepare
from orchestrator.store.tables import metadata as state
from tests.galera.cluster import Cluster, Node

SCHEMA = "inventory"
VERSION_TABLE = "alembic_version"

Databases = tuple[Database, Database]


@pytest.fixture
def databases(
    cluster: Cluster, new_name: Callable[[], str], on: Callable[[Node, str], Database]
) -> tuple[Database, Database]:
    """One database, as it is seen from each node."""
    name = new_name()
    return on(cluster.one, name), on(cluster.two, name)


def driver() -> AlembicDriver:
    return AlembicDriver(migrations_directory(), schema=SCHEMA, version_table=VERSION_TABLE)


def tables(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


def columns(database: Database, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(database.engine).get_columns(table)}


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def both_at_once(*work: Callable[[], object]) -> list[Future[object]]:
    """Let each begin when all are there, and return how they ended."""
    start = threading.Barrier(len(work))

    def begin(one: Callable[[], object]) -> object:
        start.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [pool.submit(begin, one) for one in work]


def test_a_database_is_one_history_on_every_node(cluster: Cluster, databases: Databases) -> None:
    def incarnations() -> set[str]:
        found = set()
        for database in databases:
            with database.reading() as connection:
                found.add(database.dialect.incarnation(connection))
        return found

    (before,) = incarnations()
    assert before == f"galera.{cluster.one.status('wsrep_cluster_state_uuid')}"
    cluster.lose(cluster.two)
    cluster.heal()
    databases[1].engine.dispose()
    assert incarnations() == {before}


def test_a_lock_of_one_node_is_not_known_to_the_other(databases: Databases) -> None:
    """What all the other tests here are for."""
    one, two = databases
    with (
        one.engine.connect() as first,
        one.dialect.session_lock(first, "a step"),
        two.engine.connect() as second,
        two.dialect.session_lock(second, "a step"),
    ):
        pass


@pytest.mark.parametrize("_", range(5))
def test_two_daemons_that_start_on_different_nodes_make_their_tables_together(databases: Databases, _: int) -> None:
    for ended in both_at_once(*(lambda each=each: prepare(each) for each in databases)):
        ended.result()
    for database in databases:
        assert set(bookkeeping.tables) <= tables(database)
        assert rows(database, "SELECT DISTINCT state FROM orchestrator_steps") == [("done",)]


def test_every_table_of_our_own_has_a_primary_key(cluster: Cluster, databases: Databases) -> None:
    assert rows(databases[0], "SELECT @@innodb_force_primary_key") == [(1,)]
    assert all(table.primary_key.columns for metadata in (state, bookkeeping) for table in metadata.tables.values())
    prepare(databases[0])
    without = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name NOT IN"
        " (SELECT table_name FROM information_schema.statistics"
        "  WHERE table_schema = DATABASE() AND index_name = 'PRIMARY')"
    )
    assert rows(databases[1], without) == []


@pytest.mark.parametrize("_", range(5))
def test_a_step_that_two_daemons_run_on_different_nodes_takes_effect_once(databases: Databases, _: int) -> None:
    one, two = databases
    prepare(one)
    driver().install(one, "1")
    older, newer = both_at_once(
        lambda: driver().run(one, "2", Step.EXPAND, owner_epoch=1),
        lambda: driver().run(two, "2", Step.EXPAND, owner_epoch=2),
    )
    assert newer.exception() is None, newer.exception()
    wrong = older.exception()
    assert wrong is None or (isinstance(wrong, Conflict) and wrong.code in {"owner_epoch_passed", "step_done"}), wrong
    for database in databases:
        assert {"first_name", "last_name"} <= columns(database, "customers")
        assert "status_id" in columns(database, "items")
        assert rows(database, "SELECT COUNT(*) FROM statuses") == [(4,)]
        assert rows(database, "SELECT state FROM orchestrator_steps WHERE revision = 'e002_new_shape'") == [("done",)]
        position = driver().position(database, "2")
        assert (position.expanded, position.differences) == (True, ())


class Stopped:
    """A step that stops just before it sends its first statement with these words, until it is let go."""

    def __init__(self, database: Database, epoch: int, words: str, runs: AlembicDriver | None = None) -> None:
        self._database, self._words = database, words
        self._reached, self._go = threading.Event(), threading.Event()
        sa.event.listen(database.engine, "before_cursor_execute", self._stop)
        self._pool = ThreadPoolExecutor(1)
        self._running = self._pool.submit((runs or driver()).run, database, "2", Step.EXPAND, owner_epoch=epoch)
        assert self._reached.wait(60), self._running.exception()

    def _stop(self, _connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if self._words in statement.lower() and not self._reached.is_set():
            self._reached.set()
            assert self._go.wait(60)

    def go_on(self) -> BaseException | None:
        """Let it end; how it failed, if it did."""
        self._go.set()
        with self._pool:
            wrong = self._running.exception()
        sa.event.remove(self._database.engine, "before_cursor_execute", self._stop)
        return wrong


STATEMENTS = (
    "create table statuses",
    "insert into statuses",
    "add column first_name",
    "add column status_id",
    "modify name",
)


@pytest.mark.parametrize("words", STATEMENTS)
def test_last_statement_of_an_owner_that_was_passed_comes_after_or_before_the_new_one(
    databases: Databases, words: str
) -> None:
    """Whatever the older one was about to send when it was stopped: nothing is done twice, and the newer one ends."""
    one, two = databases
    prepare(one)
    driver().install(one, "1")
    older = Stopped(one, 1, words)
    newer = Stopped(two, 2, words)
    late = older.go_on()
    assert isinstance(late, OrchestratorError), late
    wrong = newer.go_on()
    assert wrong is None, wrong
    for database in databases:
        assert rows(database, "SELECT COUNT(*) FROM statuses") == [(4,)]
        position = driver().position(database, "2")
        assert (position.expanded, position.differences) == (True, ())


@pytest.mark.parametrize("words", STATEMENTS)
def test_owner_that_was_passed_does_nothing_when_it_comes_back_after_the_end(databases: Databases, words: str) -> None:
    one, two = databases
    prepare(one)
    driver().install(one, "1")
    older = Stopped(one, 1, words)
    driver().run(two, "2", Step.EXPAND, owner_epoch=2)
    assert isinstance(older.go_on(), OrchestratorError)
    for database in databases:
        assert rows(database, "SELECT COUNT(*) FROM statuses") == [(4,)]
        position = driver().position(database, "2")
        assert (position.expanded, position.differences) == (True, ())
        assert rows(database, "SELECT owner_epoch, state FROM orchestrator_steps WHERE revision LIKE 'e002%'") == [
            (2, "done")
        ]
