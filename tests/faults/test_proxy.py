"""The proxy does to connections what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that says again what it hears, and of a client's end says `end`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(channel: socket.socket) -> None:
            with channel, suppress(ConnectionError):
                while heard := channel.recv(1024):
                    channel.sendall(heard)
                channel.sendall(b"end")

        def serve() -> None:
            while True:
                try:
                    channel, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(channel,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        with Proxy(server.getsockname()[:2]) as proxy:
            yield proxy
        server.shutdown(socket.SHUT_RDWR)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=20)


def say(channel: socket.socket, words: bytes) -> bytes:
    channel.sendall(words)
    return channel.recv(1024)


def test_what_is_said_passes_both_ways_also_its_end(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        assert say(channel, b"hello") == b"hello"
        channel.shutdown(socket.SHUT_WR)
        assert channel.recv(1024) == b"end"
        assert channel.recv(1024) == b""


def test_refused_until_it_accepts_again_on_the_same_port(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        say(channel, b"hello")
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            channel.recv(1024)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.accept()
    with connect(proxy) as channel:
        assert say(channel, b"hello") == b"hello"


def test_cut_connections_are_reset_and_new_ones_are_taken(proxy: Proxy) -> None:
    with connect(proxy) as channel, connect(proxy) as other:
        say(channel, b"hello")
        say(other, b"hello")
        proxy.cut()
        for each in (channel, other):
            with pytest.raises(ConnectionResetError):
                each.recv(1024)
    with connect(proxy) as channel:
        assert say(channel, b"hello") == b"hello"


def test_half_closed_connection_hears_nothing_and_may_go_on_speaking(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        say(channel, b"hello")
        proxy.half_close()
        assert channel.recv(1024) == b""
        channel.sendall(b"is anybody there")


def test_server_hears_of_a_connection_half_closed_towards_it(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        say(channel, b"hello")
        proxy.half_close(towards="server")
        assert channel.recv(1024) == b"end"


def test_silence_holds_everything_back_until_it_is_over(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        say(channel, b"hello")
        proxy.fall_silent()
        channel.sendall(b"still there?")
        channel.settimeout(0.1)
        with pytest.raises(TimeoutError):
            channel.recv(1024)
        with connect(proxy) as late:
            late.sendall(b"late")
            channel.settimeout(20)
            proxy.accept()
            assert channel.recv(1024) == b"still there?"
            assert late.recv(1024) == b"late"


def test_delay_holds_each_piece_back(proxy: Proxy) -> None:
    with connect(proxy) as channel:
        say(channel, b"hello")
        proxy.delay_seconds = 0.1
        began = time.monotonic()
        say(channel, b"hello")
        assert time.monotonic() - began >= 0.2
