"""Rows per second of data migrations, against one UPDATE of the whole table in the same run.

Every run begins with the same freshly loaded table. Several rounds, one kind after the other, so that a busy moment of
the machine meets all kinds alike; the median counts.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

from bench import charts
from bench.people import EXPRESSION, TRANSFORM, People, Server, people
from bench.report import Measurement

TWO_WORKERS_GOAL = {"postgresql": 1.4, "mariadb": 1.15}

KINDS: dict[str, Callable[[People], int]] = {
    "single_update": People.update_at_once,
    "by_expression": lambda table: table.migration(EXPRESSION).run(),
    "by_expression_two_workers": lambda table: table.migration(EXPRESSION, workers=2).run(),
    "by_transform": lambda table: table.migration(TRANSFORM).run(),
    "openstack_habit": People.habit,
}


def measure(server: Server, rows: int, rounds: int) -> Iterator[Measurement]:
    """Yield each number as soon as it is known."""
    speeds: dict[str, list[float]] = {name: [] for name in KINDS}
    with people(server) as table:
        for _ in range(rounds):
            for name, run in KINDS.items():
                # Each pass of the habit looks for its rows from the first one on: here it has come half the way.
                table.load(rows, moved=rows // 2 if run is People.habit else 0)
                began = time.perf_counter()
                moved = run(table)
                speeds[name].append(moved / (time.perf_counter() - began))
    where = server.name
    speed = {name: median(found) for name, found in speeds.items()}
    for name, value in speed.items():
        yield Measurement(f"data_migration_{name}", where, value, "rows/s")
    single = speed["single_update"]
    goals = {
        "by_expression": ("expression_vs_single_update", 0.95),
        "by_expression_two_workers": ("two_workers_vs_single_update", TWO_WORKERS_GOAL[where]),
        "by_transform": ("transform_vs_single_update", 0.5),
    }
    for name, (what, goal) in goals.items():
        yield Measurement(f"data_migration_{what}", where, speed[name] / single, "ratio", goal)
    habit = speed["by_expression"] / speed["openstack_habit"]
    yield Measurement("data_migration_vs_openstack_habit", where, habit, "ratio", 40)
    charts.bars(f"rows_per_second_{where}", f"{rows:,} rows, {where}", "rows/s", speed)
