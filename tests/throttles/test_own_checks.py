"""The operator's own throttles: a query on every kind of database, and an HTTP check."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestrator.dialects import Database
from orchestrator.domain.errors import Invalid, Unavailable
from orchestrator.throttles import Sample
from orchestrator.throttles.http_check import HttpCheck, refusal
from orchestrator.throttles.sql_query import SqlQuery

SECONDS = 30.0


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """A new, empty database of each kind."""
    found: Database = request.getfixturevalue(request.param)
    return found


def asked(database: Database, query: str, *, is_question: bool = False, seconds: float = SECONDS) -> Sample:
    (sample,) = SqlQuery("throttle jobs", database, query, is_question, seconds).read()
    return sample


@pytest.mark.parametrize(("query", "value"), [("SELECT 7", 7.0), ("SELECT 12.5 AS lag", 12.5), ("SELECT '3'", 3.0)])
def test_a_query_gives_its_number(server: Database, query: str, value: float) -> None:
    assert asked(server, query) == Sample(value)


@pytest.mark.parametrize(("query", "objection"), [("SELECT 1 = 1", None), ("SELECT 1 = 2", "says no")])
def test_a_question_says_yes_or_no(server: Database, query: str, objection: str | None) -> None:
    assert asked(server, query, is_question=True) == Sample(objection=objection)


@pytest.mark.parametrize(
    ("query", "is_question", "said"),
    [
        ("SELECT 1 WHERE 1 = 2", False, "no row"),
        ("SELECT 1 UNION ALL SELECT 2", False, "several rows"),
        ("SELECT 1, 2", False, "2 columns"),
        ("SELECT NULL", False, "NULL, which is no number"),
        ("SELECT 'many'", False, "'many', which is no number"),
        ("SELECT NULL", True, "NULL, neither true nor false"),
        ("SELECT 7", True, "7, neither true nor false"),
    ],
)
def test_an_answer_that_is_none_is_no_yes(server: Database, query: str, is_question: bool, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        asked(server, query, is_question=is_question)


def test_a_query_that_fails_is_named(server: Database) -> None:
    with pytest.raises(Unavailable, match="missing"):
        asked(server, "SELECT n FROM missing")


def test_a_query_can_write_nothing(server: Database) -> None:
    with server.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE items (id integer PRIMARY KEY)")
    with pytest.raises(Unavailable) as refused:
        asked(server, "INSERT INTO items VALUES (1)")
    assert (refused.value.code, refused.value.message) == (
        "signal_unreadable", "its query would write, and no query of a throttle may"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("postgresql", "SELECT count(*) FROM generate_series(1, 1e12)"),
        ("mariadb", "SELECT sum(a.seq * b.seq) FROM seq_1_to_1000000 a, seq_1_to_1000000 b"),
        ("sqlite", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"),
    ],
)
def test_a_query_that_takes_too_long_is_ended(kind: str, query: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(Unavailable):
        asked(request.getfixturevalue(kind), query, seconds=0.1)


# -- HTTP --------------------------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, seen: list[str] | None = None) -> Iterator[str]:
    """A server that gives every request this answer, as its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if seen is not None:
                seen.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said of it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_200_lets_rows_be_moved() -> None:
    seen: list[str] = []
    with answering(200, seen) as address:
        assert HttpCheck("throttle gate", f"{address}/go?database=main", SECONDS).read() == (Sample(),)
    assert seen == ["/go?database=main"]


@pytest.mark.parametrize("status", [204, 301, 307, 404, 503])
def test_every_other_answer_does_not_and_no_redirect_is_followed(status: int) -> None:
    seen: list[str] = []
    with answering(status, seen) as address:
        (sample,) = HttpCheck("throttle gate", address, SECONDS).read()
    assert sample.objection is not None
    assert sample.objection.startswith(f"answers {status} ")
    assert seen == ["/"]


def test_nobody_there_is_no_yes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port} does not answer"):
        HttpCheck("throttle gate", f"http://127.0.0.1:{port}/go?token=secret", SECONDS).read()


def silent(channel: socket.socket) -> None:
    """Takes the request, and says nothing."""


def babbling(channel: socket.socket) -> None:
    channel.sendall(b"good morning\r\n\r\n")


@pytest.mark.parametrize("speak", [silent, babbling])
def test_silence_and_nonsense_are_no_yes(speak: Callable[[socket.socket], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            channel, _ = listening.accept()
            with channel:
                channel.recv(1000)
                speak(channel)
                channel.recv(1000)  # until the other end gives up

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unavailable):
            HttpCheck("throttle gate", f"http://127.0.0.1:{listening.getsockname()[1]}", 0.2).read()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "host/x", "http://", "http://user:secret@host/", "http://host:99999/", "http://host/a b",
        "http://[::1",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    why = refusal(url)
    assert why is not None
    assert "secret" not in why


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/go", "https://gate.example.org", "http://[::1]:80/?a=b"])
def test_an_address_of_http_may_be_asked(url: str) -> None:
    assert refusal(url) is None
