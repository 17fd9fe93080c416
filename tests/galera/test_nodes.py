"""Nodes that are lost: the other goes on, one that is left alone says what to do, and what comes back is in step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.records import SchemaState
from orchestrator.store.sql import SqlStore
from tests.galera.cluster import Cluster, Node

SCHEMA = "inventory"


def add(store: SqlStore, name: str) -> None:
    store.run(lambda tx: tx.add_schema(SchemaState(name, "1", None, 0)))


def names(store: SqlStore) -> list[str]:
    return store.read(lambda tx: [state.name for state in tx.schemas()])


def test_state_is_written_while_the_other_node_dies(cluster: Cluster, stores: tuple[SqlStore, SqlStore]) -> None:
    """No write fails: those under way wait until the cluster has voted."""
    written: list[str] = []

    def write() -> None:
        for number in range(60):
            add(stores[0], f"schema-{number:02}")
            written.append(f"schema-{number:02}")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        cluster.one.until(lambda: len(written) > 10, "written to")
        cluster.lose(cluster.two)
        writing.result()
    assert names(stores[0]) == written
    cluster.heal()
    stores[1]._database.engine.dispose()
    assert names(stores[1]) == written


def test_node_that_is_gone_is_unreachable(cluster: Cluster, stores: tuple[SqlStore, SqlStore]) -> None:
    add(stores[1], SCHEMA)
    cluster.lose(cluster.two)
    with pytest.raises(Unavailable, match="state_database_unavailable"):
        names(stores[1])
    assert names(stores[0]) == [SCHEMA]
    cluster.heal()
    assert names(stores[1]) == [SCHEMA]


def test_node_without_its_cluster_is_refused_with_the_remedy(
    cluster: Cluster,
    stores: tuple[SqlStore, SqlStore],
    new_name: Callable[[], str],
    on: Callable[[Node, str], Database],
) -> None:
    """Connections that it had, and new ones."""
    name = new_name()
    known, new = on(cluster.one, name), on(cluster.one, name)
    add(stores[0], SCHEMA)
    with known.writing() as connection:
        connection.execute(sa.text("CREATE TABLE words (word VARCHAR(20) PRIMARY KEY)"))
    cluster.lose_quorum(cluster.one)
    for database in (known, new):
        with pytest.raises(Unavailable) as refused, database.reading() as connection:
            connection.execute(sa.text("SELECT * FROM words"))
        assert refused.value.code == "database_unreachable"
        assert "not in the primary component" in refused.value.message
        assert "pc.bootstrap=YES" in refused.value.remedy
    for ask in (lambda: names(stores[0]), lambda: add(stores[0], "another")):
        with pytest.raises(Unavailable) as away:
            ask()
        assert away.value.code == "state_database_unavailable"
        assert "pc.bootstrap=YES" in away.value.remedy
    cluster.bootstrap(cluster.one)
    assert names(stores[0]) == [SCHEMA]
    with known.writing() as connection:
        connection.execute(sa.text("INSERT INTO words VALUES ('again')"))
    cluster.heal()
    with on(cluster.two, name).reading() as connection:
        assert connection.execute(sa.text("SELECT word FROM words")).scalar_one() == "again"
