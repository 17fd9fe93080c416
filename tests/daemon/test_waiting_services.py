"""Hundreds of waiting services on a real daemon: no thread each, all answered together, all let go at its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site
from tests.daemon.inventory import FLEETS

EACH = 100
PATH = f"/v1/schemas/{SCHEMA}"
READINESS = f"{PATH}/readiness?release=2&wait=300"
GATE = f"{PATH}/gates/phase:expanded?wait=300"
UPGRADE = f"{PATH}/upgrade?wait=300"
EVENTS = f"/v1/watch?schema={SCHEMA}"


class Waiter:
    """One connection with one question."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def ask(cls, daemon: Daemon, path: str, *headers: str) -> Waiter:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port, limit=2**24)
        lines = (f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", "")
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        return cls(reader, writer)

    async def until(self, words: bytes) -> None:
        """Return when these words have come."""
        await self._reader.readuntil(words)

    async def everything(self) -> bytes:
        """What came until the other end closed."""
        found = await self._reader.read()
        self._writer.close()
        return found


def threads(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


async def wait_for_an_upgrade(daemon: Daemon, tag: str) -> None:
    asked = [
        *[(READINESS, ()) for _ in range(EACH)],
        *[(GATE, ()) for _ in range(EACH)],
        *[(UPGRADE, (f"If-None-Match: {tag}",)) for _ in range(EACH)],
    ]
    waiters = [await Waiter.ask(daemon, path, *headers) for path, headers in asked]
    streams = [await Waiter.ask(daemon, EVENTS) for _ in range(EACH)]
    await asyncio.gather(*(stream.until(b'"status":"none"') for stream in streams))
    assert threads(daemon) < EACH
    health = await Waiter.ask(daemon, "/healthz")
    assert (await health.everything()).startswith(b"HTTP/1.1 200 ")

    await asyncio.to_thread(daemon.orchestrator, "upgrade", "begin", SCHEMA, "--release", "2")
    answers = await asyncio.gather(*(waiter.everything() for waiter in waiters))
    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 200 "] * len(answers)
    assert all(b'"open":true' in answer for answer in answers[EACH : 2 * EACH])
    await asyncio.gather(*(stream.until(b"approval_required") for stream in streams))

    waiters = [await Waiter.ask(daemon, PATH + "/gates/phase:contracted?wait=300") for _ in range(EACH)]
    daemon.ask_to_stop()
    ends = await asyncio.gather(*(each.everything() for each in (*streams, *waiters)), return_exceptions=True)
    assert not [end for end in ends if isinstance(end, BaseException) and not isinstance(end, ConnectionError)]


def test_services_that_wait_are_answered_together_and_let_go_at_the_end(site: Site) -> None:
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    for fleet in FLEETS:
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
    tag = daemon.ask("GET", f"{PATH}/upgrade").headers["etag"]
    asyncio.run(wait_for_an_upgrade(daemon, tag))
    assert daemon.ended() == 0
