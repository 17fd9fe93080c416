"""A TCP proxy that fails on demand: it refuses, cuts, half-closes, delays, and falls silent.

Our own because the kept ones (toxiproxy, Envoy) are servers in other languages, which no Python package brings along.
It runs on an event loop in a thread of its own, in front of anything that speaks TCP or listens on a Unix socket.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import sqlalchemy

T = TypeVar("T")

CHUNK = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Pair:
    """One connection: what the client speaks to, and what the server speaks to, None until it is reached."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    pumps: list[asyncio.Task[None]] = field(default_factory=list)


class Proxy:
    """In front of `target`: a host and port, or the path of a Unix socket. All methods may be called from any thread.

    `delay_seconds` holds every piece back for so long, each way. What is set applies to open connections too.
    """

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self.delay_seconds = 0.0
        self.accepted = 0
        self._target = target
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self.port = self._run(self._listen())

    @classmethod
    def before(cls, url: sqlalchemy.URL) -> Proxy:
        """In front of the server of a database URL."""
        socket_path = url.query.get("unix_socket")
        directory = url.query.get("host")
        if isinstance(socket_path, str):
            return cls(Path(socket_path))
        if isinstance(directory, str) and directory.startswith("/"):
            return cls(Path(directory) / f".s.PGSQL.{url.port or 5432}")
        usual = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}[url.get_backend_name()]
        return cls((url.host or "127.0.0.1", url.port or usual))

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def url(self, url: str | sqlalchemy.URL) -> str:
        """The same database, reached through this proxy."""
        parsed = sqlalchemy.make_url(url).difference_update_query(["host", "unix_socket"])
        return parsed.set(host=self.host, port=self.port).render_as_string(hide_password=False)

    # -- failing -----------------------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Refuse new connections, and cut the open ones: the server is down."""
        self._run(self._stop_listening())
        self.cut()

    def accept(self) -> None:
        """Take connections again, on the same port, and let everything flow: the end of every failure."""
        self.delay_seconds = 0.0
        self._run(self._set_flowing(True))
        self._run(self._listen())

    def cut(self) -> None:
        """Reset every open connection, both ways."""
        self._run(self._cut())

    def half_close(self, *, towards: str = "client") -> None:
        """Tell the client (or the server) of every open connection that nothing more comes, and take what it sends."""
        self._run(self._half_close(towards))

    def fall_silent(self) -> None:
        """Pass nothing on, of new connections and open ones: a black hole. Connections are made, nobody answers."""
        self._run(self._set_flowing(False))

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._pairs)

    def close(self) -> None:
        """End it. Repeatable."""
        if self._loop.is_running():
            self.refuse()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    # -- on the loop -------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> int:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=CHUNK)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _set_flowing(self, flows: bool) -> None:
        (self._flows.set if flows else self._flows.clear)()

    async def _cut(self) -> None:
        for pair in tuple(self._pairs):
            self._drop(pair)

    async def _half_close(self, towards: str) -> None:
        for pair in tuple(self._pairs):
            writer = pair.client if towards == "client" else pair.server
            if writer is not None and writer.can_write_eof():
                with suppress(OSError):
                    writer.write_eof()

    def _drop(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        for pump in pair.pumps:
            pump.cancel()
        for writer in (pair.client, pair.server):
            if writer is not None:
                channel = writer.get_extra_info("socket")
                with suppress(OSError):  # a Unix socket knows no such thing
                    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pair = _Pair(client)
        self._pairs.add(pair)
        try:
            await self._flows.wait()
            if isinstance(self._target, Path):
                from_server, pair.server = await asyncio.open_unix_connection(str(self._target))
            else:
                from_server, pair.server = await asyncio.open_connection(*self._target)
            pair.pumps = [
                asyncio.ensure_future(self._pump(from_client, pair.server)),
                asyncio.ensure_future(self._pump(from_server, client)),
            ]
            await asyncio.gather(*pair.pumps)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._drop(pair)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await self._flows.wait()
            if writer.transport.is_closing():
                return
            with suppress(RuntimeError):  # half-closed towards there: what comes is lost
                writer.write(data)
                await writer.drain()
        if writer.can_write_eof() and not writer.transport.is_closing():
            with suppress(OSError):
                writer.write_eof()
