"""What one connection may cost the daemon: a real server, and clients that do not behave."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from orchestrator.daemon.connections import HEALTH_PATHS, KEPT_FOR_HEALTH, Connection, most_connections

PATIENCE_SECONDS = 0.2
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 20 * 1024 * 1024


class Impatient(Connection):
    """A connection that is given up soon."""

    patience_seconds: ClassVar[float] = PATIENCE_SECONDS


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body at /read, answers late at /late and much at /large."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/read":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/late":
        await asyncio.sleep(3 * PATIENCE_SECONDS)
    body = b"x" * LARGE if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Server:
    """The server with our connections, in a thread."""

    def __init__(self, kind: type[Connection], most: int) -> None:
        self._channel = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(
            uvicorn.Config(
                application, http=kind, ws="none", lifespan="off", log_config=None, limit_concurrency=most,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[self._channel]), daemon=True)
        self._thread.start()

    def connect(self, *, receive_buffer: int | None = None, address: str = "127.0.0.1") -> socket.socket:
        connection = socket.socket()
        connection.bind((address, 0))
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(20)
        connection.connect(self._channel.getsockname())
        return connection

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(kind: type[Connection] = Connection, most: int = 100) -> Server:
        started.append(Server(kind, most))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def send(connection: socket.socket, *pieces: bytes) -> None:
    try:
        for piece in pieces:
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it is refused already


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    received = b""
    try:
        while piece := connection.recv(1024 * 1024):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answer(connection: socket.socket) -> bytes:
    """One answer of the application."""
    received = b""
    while not received.endswith(b"ok"):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"GET /", b"a" * 4096),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 4096),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a: b\r\n" * 512),
        (b"\r\n", b"\r\n" * 2048),
    ],
)
def test_a_head_without_end_is_refused_before_it_costs_memory(
    serve: Callable[..., Server], beginning: bytes, more: bytes
) -> None:
    connection = serve().connect()
    times = Connection.most_head_bytes // len(more) + 1
    send(connection, beginning, *(more for _ in range(times)))
    head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "head_too_large"


@pytest.mark.parametrize(("beginning", "more"), [(b"0\r\n", b"a: b\r\n" * 512), (b"1;", b"a" * 4096)])
def test_nothing_without_end_can_stand_around_the_pieces_of_a_body(
    serve: Callable[..., Server], beginning: bytes, more: bytes
) -> None:
    connection = serve().connect()
    send(connection, b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert answer(connection).startswith(b"HTTP/1.1 200 ")
    times = Connection.most_head_bytes // len(more) + 1
    send(connection, beginning, *(more for _ in range(times)))
    assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_a_large_body_in_one_piece_is_no_large_head(serve: Callable[..., Server]) -> None:
    connection = serve().connect()
    send(connection, b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000)
    assert answer(connection).startswith(b"HTTP/1.1 200 ")
    send(connection, GET)
    assert answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc",
    ],
)
def test_who_does_not_end_a_request_is_not_waited_for(serve: Callable[..., Server], part: bytes) -> None:
    connection = serve(Impatient).connect()
    send(connection, part)
    assert b" 400 " not in everything(connection)


def test_who_does_not_end_a_further_request_is_not_waited_for(serve: Callable[..., Server]) -> None:
    connection = serve(Impatient).connect()
    send(connection, GET)
    answer(connection)
    send(connection, b"GET /")
    assert everything(connection) == b""


def test_who_waits_for_an_answer_is_not_sent_away(serve: Callable[..., Server]) -> None:
    connection = serve(Impatient).connect()
    send(connection, GET.replace(b"/", b"/late", 1), b"\r\n")
    assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_who_takes_nothing_of_an_answer_is_sent_away(serve: Callable[..., Server]) -> None:
    server = serve(Impatient, most=3)
    silent = server.connect(receive_buffer=4096)
    send(silent, GET.replace(b"/", b"/large", 1))
    answered = server.connect()
    send(answered, GET.replace(b"/", b"/late", 1))  # its answer comes after the silent one's time
    assert answer(answered).startswith(b"HTTP/1.1 200 ")
    assert len(everything(silent)) < LARGE


def test_a_large_answer_reaches_who_takes_it(serve: Callable[..., Server]) -> None:
    connection = serve().connect()
    send(connection, b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert len(everything(connection)) > LARGE


def test_connections_are_refused_before_there_are_too_many(serve: Callable[..., Server]) -> None:
    server = serve(most=3)
    held = [server.connect() for _ in range(2)]
    for connection in held:
        send(connection, GET)
        answer(connection)
    refused = server.connect()
    send(refused, GET)
    head, _, body = everything(refused).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in head
    assert json.loads(body)["code"] == "too_many_connections"
    send(held[0], GET)
    assert answer(held[0]).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_a_daemon_with_too_many_connections_is_healthy(serve: Callable[..., Server], path: str) -> None:
    server = serve(most=3)
    held = [server.connect() for _ in range(3)]
    for _ in range(2 * KEPT_FOR_HEALTH):
        probe = server.connect()
        send(probe, GET.replace(b"/", path.encode(), 1))
        assert everything(probe).startswith(b"HTTP/1.1 200 ")
    for connection in held:
        connection.close()


def test_connections_that_are_kept_for_health_have_an_end_too(serve: Callable[..., Server]) -> None:
    server = serve(most=3)
    held = [server.connect() for _ in range(3 + KEPT_FOR_HEALTH)]
    assert everything(server.connect()).startswith(b"HTTP/1.1 503 ")
    for connection in held:
        connection.close()


def test_half_of_the_connections_are_kept_from_one_address(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.daemon.connections.is_here", lambda address: False)
    server = serve(most=6)
    held = [server.connect(address="127.0.0.2") for _ in range(3)]
    for connection in held:
        send(connection, GET)
        answer(connection)
    refused = server.connect(address="127.0.0.2")
    send(refused, GET)
    assert everything(refused).startswith(b"HTTP/1.1 503 ")
    other = server.connect(address="127.0.0.3")
    send(other, GET)
    assert answer(other).startswith(b"HTTP/1.1 200 ")


def test_requests_are_not_queued_without_end(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    connection = serve().connect()
    send(connection, GET.replace(b"/", b"/late", 1) + GET * Connection.most_queued * 2)
    assert everything(connection) == b""
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_few_requests_are_answered_in_turn(serve: Callable[..., Server]) -> None:
    connection = serve().connect()
    send(connection, GET * 3 + b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert everything(connection).count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01\x02\x00", b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_request_is_told_so_as_every_refusal_is(serve: Callable[..., Server], request_: bytes) -> None:
    connection = serve().connect()
    send(connection, request_)
    head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "request_malformed"


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "most"),
    [
        (1024, 1024, None, 768),
        (1024, 524_288, 16_384, 16_128),
        (1024, resource.RLIM_INFINITY, 16_384, 16_128),
        (100_000, 100_000, None, 16_128),
        (64, 64, None, 32),
    ],
)
def test_files_are_left_for_databases(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, asked: int | None, most: int
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_to.append(limits))
    assert most_connections() == most
    assert set_to == ([] if asked is None else [(asked, hard)])
