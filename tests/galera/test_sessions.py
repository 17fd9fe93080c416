"""Sessions of an evicted instance: each is ended on the node that it lives on, whichever the daemon speaks to."""

from __future__ import annotations

from collections.abc import Callable

import pymysql
import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.tables import sessions as on_record
from orchestrator.dialects import Database
from orchestrator.dialects.tagged import end_tagged
from orchestrator.domain.errors import Unavailable
from tests.galera.cluster import Cluster, Node

TAG = "5a" * 32


@pytest.fixture
def managed(cluster: Cluster, new_name: Callable[[], str], on: Callable[[Node, str], Database]) -> tuple[Database, ...]:
    """A managed database, as it is reached on each node."""
    name = new_name()
    found = tuple(on(node, name) for node in cluster.nodes)
    with found[0].writing() as connection:
        on_record.create(connection)
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
    return found


def open_session(node: Node, database: Database) -> pymysql.connections.Connection:
    """A session on that node in the middle of a transaction, which wrote itself down as the client's does."""
    connection = pymysql.connect(
        host="127.0.0.1", port=node.ports.clients, user="root", database=database.engine.url.database,
        ssl_disabled=True, read_timeout=60,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orchestrator_sessions (member, session, tag, started_at) "
            "VALUES (CONCAT(@@hostname, ':', @@port), CONNECTION_ID(), %s, UNIX_TIMESTAMP(NOW(6)))",
            [TAG],
        )
        connection.commit()
        cursor.execute("INSERT INTO t VALUES (1)")
    return connection


def assert_ended(connection: pymysql.connections.Connection) -> None:
    with pytest.raises(pymysql.err.MySQLError):
        connection.commit()


def test_session_on_another_node_is_ended_there(cluster: Cluster, managed: tuple[Database, ...]) -> None:
    one, two = managed
    session = open_session(cluster.two, two)
    end_tagged(one, TAG, managed)
    assert_ended(session)
    with one.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM t")).scalar_one() == 0


def test_session_on_a_node_that_nobody_named_is_no_proof(cluster: Cluster, managed: tuple[Database, ...]) -> None:
    session = open_session(cluster.two, managed[1])
    with pytest.raises(Unavailable) as caught:
        end_tagged(managed[0], TAG)
    assert caught.value.code == "member_unreachable"
    assert f":{cluster.two.ports.clients}" in caught.value.message
    session.commit()


def test_session_on_a_node_that_is_silent_is_no_proof_until_that_is_back(
    cluster: Cluster, managed: tuple[Database, ...]
) -> None:
    """The node that died takes its sessions with it; nobody knows so before it is back."""
    one, two = managed
    session = open_session(cluster.two, two)
    cluster.lose(cluster.two)
    two.engine.dispose()
    with pytest.raises(Unavailable) as caught:
        end_tagged(one, TAG, managed)
    assert caught.value.code == "member_unreachable"
    assert_ended(session)
    cluster.heal()
    end_tagged(one, TAG, managed)
