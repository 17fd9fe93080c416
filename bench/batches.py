"""What a batch costs in a small table and in a large one: it must not know how large its table is."""

import time
from collections.abc import Iterator
from statistics import median

from bench import charts
from bench.people import EXPRESSION, People, Server, people
from bench.report import Measurement
from orchestrator.bookkeeping.tables import data_migrations
from orchestrator.data_migrations.keyset import encode
from orchestrator.domain.pacing import BatchSizes

BATCH_ROWS = 1_000
BATCHES = 60
PLACES = (0.0, 0.5, 0.9)
"""How far in the table the batches are that are measured."""


def measure(server: Server, small: int, large: int, rounds: int) -> Iterator[Measurement]:
    """Yield the ratio of the medians of many batches, in several places of both tables."""
    cost: dict[int, list[float]] = {small: [], large: []}
    with people(server) as table:
        for rows in (large, small) * rounds:
            table.load(rows)
            for place in PLACES:
                cost[rows] += _batches(table, int(rows * place))
    medians = {rows: median(found) for rows, found in cost.items()}
    for rows, seconds in medians.items():
        yield Measurement(f"data_migration_batch_at_{rows}_rows", server.name, seconds * 1000, "ms")
    ratio = medians[large] / medians[small]
    yield Measurement("data_migration_batch_large_vs_small", server.name, ratio, "ratio", 1.1, is_limit=True)
    charts.bars(
        f"batch_cost_{server.name}",
        f"a batch of {BATCH_ROWS:,} rows, {server.name}",
        "ms",
        {f"{rows:,} rows": seconds * 1000 for rows, seconds in medians.items()},
    )


def _batches(table: People, after: int) -> list[float]:
    """Seconds of each of some batches behind that key."""
    moving = table.migration(EXPRESSION, sizes=BatchSizes.fixed(BATCH_ROWS))
    moving.batch()  # counts the rows, once
    moving.batch()
    with table.database.engine.begin() as connection:
        connection.execute(data_migrations.update().values(cursor=encode((after,))))
    found = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        moving.batch()
        found.append(time.perf_counter() - began)
    return found
