"""What a service feels while rows are moved: a steady workload on the same table, without and with a data migration.

The workload is a process of its own. It reads and writes single rows at fixed moments, whatever the answers take: who
is late waits in the queue, and its waiting counts.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

import sqlalchemy
from sqlalchemy import text

from bench import charts
from bench.people import EXPRESSION, People, Server, people
from bench.report import Measurement
from orchestrator.domain.pacing import USUAL_SIZES, BatchSizes

PER_SECOND = 200
CONNECTIONS = 8
WARM_SECONDS = 1.0
P99_GOAL, LONGEST_GOAL_MS = 1.25, USUAL_SIZES.seconds * 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """How rows are moved beside the workload; None: not at all."""

    name: str
    sizes: BatchSizes | None
    nice_ratio: float = 0.0


PACES = (
    Pace("none", None),
    Pace("unpaced", USUAL_SIZES),
    Pace("paced", BatchSizes(10, 200, 0.005), nice_ratio=30.0),
)


def measure(server: Server, rows: int, rounds: int, seconds: float) -> Iterator[Measurement]:
    """Yield what statements took with each pace, and the ratios; each pace has its turn in every round."""
    found: dict[str, list[float]] = {pace.name: [] for pace in PACES}
    moved = {pace.name: 0 for pace in PACES}
    with people(server) as table:
        for _ in range(rounds):
            for pace in PACES:
                table.load(rows)  # rows that hold their new values already cost a database next to nothing
                latencies, count = _beside(table, pace, rows, seconds)
                found[pace.name] += latencies
                moved[pace.name] += count
    where = server.name
    quantiles = {name: _quantiles(latencies) for name, latencies in found.items()}
    for name, (p50, p99, longest) in quantiles.items():
        if name != "none":
            yield Measurement(f"foreground_rows_moved_{name}", where, moved[name] / (rounds * seconds), "rows/s")
        yield Measurement(f"foreground_p50_{name}", where, p50, "ms")
        yield Measurement(f"foreground_p99_{name}", where, p99, "ms")
        limit = LONGEST_GOAL_MS if name == "paced" else None
        yield Measurement(f"foreground_longest_{name}", where, longest, "ms", limit, is_limit=True)
    for name in ("unpaced", "paced"):
        ratio = quantiles[name][1] / quantiles["none"][1]
        goal = P99_GOAL if name == "paced" else None
        yield Measurement(f"foreground_p99_{name}_vs_none", where, ratio, "ratio", goal, is_limit=True)
    charts.shares(
        f"foreground_{where}",
        f"{PER_SECOND} statements/s on the table whose rows are moved, {where}",
        "ms",
        {name: [1000 * latency for latency in latencies] for name, latencies in found.items()},
    )


def _quantiles(latencies: list[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the greatest, in milliseconds."""
    ordered = sorted(1000 * latency for latency in latencies)
    return ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))], ordered[-1]


def _beside(table: People, pace: Pace, rows: int, seconds: float) -> tuple[list[float], int]:
    """What each statement took, and how many rows were moved meanwhile."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    url = table.database.engine.url.render_as_string(hide_password=False)
    workload = processes.Process(target=_work, args=(theirs, url, rows, seconds), daemon=True)
    workload.start()
    ours.recv()  # it has its connections
    moved = 0
    while pace.sizes is not None and not ours.poll():
        moving = table.migration(EXPRESSION, sizes=pace.sizes, nice_ratio=pace.nice_ratio)
        moved += moving.run(may_go_on=lambda: not ours.poll())
    latencies: list[float] = ours.recv()
    workload.join()
    return latencies, moved


def _work(pipe: Pipe, url: str, rows: int, seconds: float) -> None:
    """The workload: connections that take their turns, each statement at its moment."""
    engine = sqlalchemy.create_engine(url, pool_size=CONNECTIONS)
    connections = [engine.connect().execution_options(isolation_level="AUTOCOMMIT") for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.execute(text("SELECT 1"))
    pipe.send("ready")
    began = time.monotonic() + 0.1
    taken: list[list[float]] = [[] for _ in connections]

    def serve(number: int) -> None:
        chosen = random.Random(number)
        for turn in range(number, int(PER_SECOND * seconds), CONNECTIONS):
            at = began + turn / PER_SECOND
            time.sleep(max(0.0, at - time.monotonic()))
            _statement(connections[number], chosen, rows)
            if at - began >= WARM_SECONDS:
                taken[number].append(time.monotonic() - at)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send([latency for found in taken for latency in found])
    engine.dispose()


_READ = text("SELECT name, first_name, last_name FROM people WHERE id = :id")
_WRITE = text("UPDATE people SET name = :name, first_name = :first, last_name = :last WHERE id = :id")


def _statement(connection: Any, chosen: random.Random, rows: int) -> None:
    """Read a row, or write both shapes of one."""
    id_ = chosen.randint(1, rows)
    if chosen.random() < 0.5:
        connection.execute(_READ, {"id": id_}).all()
    else:
        first, last = f"New{id_}", f"Name{chosen.randint(1, 99)}"
        connection.execute(_WRITE, {"id": id_, "name": f"{first} {last}", "first": first, "last": last})
