"""Connections notice a dead server, and are not made to one that does not speak."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database, dead_servers
from orchestrator.domain.errors import Unavailable
from tests.faults.proxy import Proxy

KINDS = ("postgresql", "mysql")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """A new database of a server, which listens on a Unix socket."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """In front of it."""
    with Proxy.before(sa.make_url(url)) as proxy:
        yield proxy


def socket_of(connection: Any) -> socket.socket:
    """The connection's own socket; not to be closed."""
    number = connection.pgconn.socket if hasattr(connection, "pgconn") else connection._sock.fileno()
    return socket.socket(fileno=os.dup(number))


def test_death_of_the_other_host_is_noticed(
    url: str, proxy: Proxy, open_database: Callable[[str, str], Database]
) -> None:
    database = open_database("test", proxy.url(url))
    with database.reading() as connection, socket_of(connection.connection.driver_connection) as channel:
        assert channel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for option, expected in (
            (socket.TCP_KEEPIDLE, dead_servers.SILENT_SECONDS),
            (socket.TCP_KEEPINTVL, dead_servers.ASK_AGAIN_SECONDS),
            (socket.TCP_KEEPCNT, dead_servers.ASKED_TIMES),
            (socket.TCP_USER_TIMEOUT, dead_servers.UNACKNOWLEDGED_SECONDS * 1000),
        ):
            assert channel.getsockopt(socket.IPPROTO_TCP, option) == expected


def test_server_that_does_not_greet_is_given_up(
    url: str, proxy: Proxy, open_database: Callable[[str, str], Database]
) -> None:
    proxy.fall_silent()
    database = open_database("test", proxy.url(sa.make_url(url).update_query_dict({"connect_timeout": "2"})))
    with pytest.raises(Unavailable) as refused, database.reading():
        pass
    assert refused.value.code == "database_unreachable"
    proxy.accept()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_statement_may_take_longer_than_the_greeting(
    url: str, proxy: Proxy, open_database: Callable[[str, str], Database]
) -> None:
    database = open_database("test", proxy.url(sa.make_url(url).update_query_dict({"connect_timeout": "2"})))
    wait = "SELECT pg_sleep(2.5)" if "postgresql" in url else "SELECT SLEEP(2.5)"
    with database.reading() as connection:
        connection.exec_driver_sql(wait)


def test_connections_that_were_cut_are_made_anew(
    url: str, proxy: Proxy, open_database: Callable[[str, str], Database]
) -> None:
    database = open_database("test", proxy.url(url))
    for fail in (proxy.cut, proxy.half_close):
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
        fail()
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_connection_cut_in_a_transaction_says_that_the_database_is_away(
    url: str, proxy: Proxy, open_database: Callable[[str, str], Database]
) -> None:
    database = open_database("test", proxy.url(url))
    for fail in (proxy.cut, proxy.half_close):
        with pytest.raises(Unavailable) as refused, database.writing() as connection:
            connection.exec_driver_sql("SELECT 1")
            fail()
            connection.exec_driver_sql("SELECT 1")
        assert refused.value.code == "database_unreachable"
