"""One cluster of two real nodes for the whole run; each test gets both of them, whatever the one before it did."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pymysql
import pytest

from orchestrator.dialects import Database
from orchestrator.store import tables
from orchestrator.store.sql import SqlStore
from tests.galera.cluster import Cluster, Node, find_library

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers that share a machine share no cluster: one of them runs all of these."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.galera)
            item.add_marker(pytest.mark.xdist_group("galera"))


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    library = find_library()
    if library is None:
        reason = "Galera is not installed; on Debian and Ubuntu: apt-get install mariadb-server galera-4 rsync"
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="galera-", dir=os.environ["ORCHESTRATOR_TESTS_DIRECTORY"]) as directory:
        cluster = Cluster(Path(directory), os.getpid(), library)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """Two nodes in step, with votes that count the same."""
    _cluster.heal()
    return _cluster


@pytest.fixture
def new_name(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Makes new, empty databases, which are on both nodes, and says their names. All are dropped after the test."""
    made: list[str] = []

    def create() -> str:
        made.append(f"test_{os.getpid()}_{next(_numbers)}")
        cluster.one.run(f"CREATE DATABASE {made[-1]}")
        return made[-1]

    yield create
    for node in cluster.nodes:
        if node.is_up:
            with suppress(pymysql.err.MySQLError):
                node.run(*(f"DROP DATABASE IF EXISTS {name}" for name in made))
                return


@pytest.fixture
def on(open_database: Callable[[str, str], Database]) -> Callable[[Node, str], Database]:
    """Opens a database on a node as the program does."""
    return lambda node, name: open_database(f"{name} on {node.name}", node.url(name))


@pytest.fixture
def stores(
    cluster: Cluster, new_name: Callable[[], str], on: Callable[[Node, str], Database]
) -> tuple[SqlStore, SqlStore]:
    """The state of record, as two daemons have it that are connected to different nodes."""
    name = new_name()
    one, two = (on(node, name) for node in cluster.nodes)
    tables.metadata.create_all(one.engine)
    return SqlStore(one), SqlStore(two)
