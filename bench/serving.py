"""Serving: readiness and renewals per second of one daemon with its state in PostgreSQL, and thousands who wait.

The daemon has one process; this one, which asks, takes the other core.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import tempfile
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from bench import postgresql
from bench.daemon import Daemon
from bench.load import Load, ask, connect, keep_asking, request
from bench.report import Measurement

SCHEMA = "/v1/schemas/inventory"
FLEETS = ("inventory-api", "inventory-worker")
INSTANCES = f"{SCHEMA}/fleets/inventory-api/instances"
READINESS = f"{SCHEMA}/readiness?release=1&fleet=inventory-api"

READINESS_CONNECTIONS = 32
SINGLE_RENEWERS = 400
BULK_REQUESTS = 4
BULK_LEASES = 500
WAITERS = 5000


def measure(seconds: float) -> Iterator[Measurement]:
    """Yield each number as soon as it is known."""
    _allow_files()
    with postgresql.server() as url, tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        daemon = Daemon(url.render_as_string(hide_password=False), Path(directory))
        try:
            daemon.until_it_leads()
            socket_directory = str(url.query["host"])
            with psycopg.connect(host=socket_directory, user="postgres", dbname="postgres", autocommit=True) as state:
                yield from uvloop.run(_measure(daemon, state, seconds))
        finally:
            daemon.end(signal.SIGTERM)


async def _measure(daemon: Daemon, state: psycopg.Connection[Any], seconds: float) -> list[Measurement]:
    await _prepare(daemon.port)
    readiness = await keep_asking(daemon.port, [request("GET", READINESS)] * READINESS_CONNECTIONS, seconds)
    epochs = await _join(daemon.port, BULK_REQUESTS * BULK_LEASES)
    singles = [
        request("PUT", f"{INSTANCES}/{name}/lease", {}, [f"Lease-Epoch: {epoch}"])
        for name, epoch in list(epochs.items())[:SINGLE_RENEWERS]
    ]
    one_by_one, written = await _counted(state, keep_asking(daemon.port, singles, seconds))
    names = list(epochs)
    shares = [[_held(name, epochs[name]) for name in names[first::BULK_REQUESTS]] for first in range(BULK_REQUESTS)]
    bulks = [request("POST", "/v1/leases:renew", {"leases": share}) for share in shares]
    in_bulk, written_in_bulk = await _counted(state, keep_asking(daemon.port, bulks, seconds))
    slowest = 1000 * readiness.quantile_seconds(0.99)
    return [
        Measurement("readiness", "postgresql", readiness.per_second, "answers/s", goal=5000),
        Measurement("readiness_p99", "postgresql", slowest, "ms", goal=20, is_limit=True),
        Measurement("renewals_one_by_one", "postgresql", one_by_one.per_second, "renewals/s", goal=3000),
        Measurement("renewals_one_by_one_p99", "postgresql", 1000 * one_by_one.quantile_seconds(0.99), "ms"),
        Measurement("renewals_one_by_one_writes", "postgresql", written, "transactions/s", goal=40, is_limit=True),
        Measurement("renewals_in_bulk", "postgresql", BULK_LEASES * in_bulk.per_second, "renewals/s", goal=50_000),
        Measurement("renewals_in_bulk_writes", "postgresql", written_in_bulk, "transactions/s", goal=40, is_limit=True),
        *await _wait(daemon),
    ]


async def _prepare(port: int) -> None:
    await ask(port, request("POST", f"{SCHEMA}/init", {"release": "1"}))
    for fleet in FLEETS:
        await ask(port, request("POST", f"{SCHEMA}/fleets/{fleet}/report", {"release": "1", "instances": 0}))


async def _join(port: int, count: int) -> dict[str, str]:
    """So many instances join. Their epochs by their names."""
    epochs: dict[str, str] = {}
    left = iter([f"bench-{number}" for number in range(count)])

    async def work() -> None:
        connection = await connect(port, 201)
        for name in left:
            answer = await connection.ask(request("POST", INSTANCES, {"id": name, "nonce": name, "release": "1"}))
            epochs[name] = json.loads(answer)["epoch"]
        connection.close()

    await asyncio.gather(*(work() for _ in range(200)))
    return epochs


def _held(name: str, epoch: str) -> dict[str, str]:
    return {"schema": "inventory", "fleet": "inventory-api", "id": name, "epoch": epoch}


async def _counted(state: psycopg.Connection[Any], work: Awaitable[Load]) -> tuple[Load, float]:
    """The load, and how many transactions a second wrote meanwhile."""
    before = _writes(state)
    load = await work
    return load, (_writes(state) - before) / load.seconds


def _writes(state: psycopg.Connection[Any]) -> int:
    """How many transactions have written so far: only those get a number."""
    row = state.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
    assert row is not None
    return int(row[0])


async def _wait(daemon: Daemon) -> list[Measurement]:
    """Thousands wait for an upgrade, and it begins."""
    before = daemon.resident_bytes
    connections = [await connect(daemon.port) for _ in range(WAITERS)]
    question = request("GET", f"{SCHEMA}/upgrade?wait=300", headers=('If-None-Match: "0"',))
    answers = [connection.ask(question) for connection in connections]
    await asyncio.sleep(2)  # all of them have been read by then
    memory, threads = daemon.resident_bytes - before, daemon.threads
    began = time.perf_counter()
    await ask(daemon.port, request("GET", "/healthz"))
    health = time.perf_counter() - began
    await ask(daemon.port, request("POST", f"{SCHEMA}/upgrade", {"release": "2"}), status=201)
    began = time.perf_counter()
    await asyncio.gather(*answers)
    told = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return [
        Measurement("waiting_services_memory", "postgresql", memory / WAITERS / 1024, "KiB each"),
        Measurement("waiting_services_threads", "postgresql", threads, "threads"),
        Measurement("waiting_services_health", "postgresql", 1000 * health, "ms"),
        Measurement("waiting_services_told", "postgresql", told, "s"),
    ]


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WAITERS + 1000
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
