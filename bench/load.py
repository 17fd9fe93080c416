"""Load on a daemon: connections that ask again as soon as they are answered, and how long each answer took."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Load:
    """What a load came to: answers in these seconds, and how long each took."""

    answers: int
    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    def quantile_seconds(self, share: float) -> float:
        """Within this time that share of the answers came."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def request(method: str, path: str, body: object = None, headers: Sequence[str] = ()) -> bytes:
    """One request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection(asyncio.Protocol):
    """One connection. It takes whole answers, which must be of one status."""

    def __init__(self, status: int) -> None:
        self._expected = b"HTTP/1.1 %d " % status
        self._received = bytearray()
        self._whole: int | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, question: bytes) -> asyncio.Future[bytes]:
        """Send it; the future is the body of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(question)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._whole is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[:end])
            if not head.startswith(self._expected):
                self._fail(RuntimeError(bytes(self._received).decode(errors="replace")))
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            del self._received[: end + 4]
            self._whole = int(length)
        if len(self._received) >= self._whole and self._answer is not None and not self._answer.done():
            body = bytes(self._received)
            self._received.clear()
            self._whole = None
            self._answer.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the daemon closed the connection"))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


async def connect(port: int, status: int = 200) -> Connection:
    """A connection whose answers must have that status."""
    _, connection = await asyncio.get_running_loop().create_connection(lambda: Connection(status), "127.0.0.1", port)
    return connection


async def ask(port: int, question: bytes, *, status: int = 200) -> Any:
    """One question, and the JSON of its answer."""
    connection = await connect(port, status)
    try:
        return json.loads(await connection.ask(question) or b"null")
    finally:
        connection.close()


async def keep_asking(
    port: int, questions: Sequence[bytes], seconds: float, *, clock: Clock = time.perf_counter
) -> Load:
    """One connection for each question, which asks it again and again for that long."""
    connections = [await connect(port) for _ in questions]
    latencies: list[float] = []
    end = clock() + seconds

    async def work(connection: Connection, question: bytes) -> None:
        while (began := clock()) < end:
            await connection.ask(question)
            latencies.append(clock() - began)

    began = clock()
    await asyncio.gather(*(work(each, question) for each, question in zip(connections, questions, strict=True)))
    took = clock() - began
    for connection in connections:
        connection.close()
    return Load(len(latencies), took, tuple(latencies))
