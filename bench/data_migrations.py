"""Rows per second of data migrations, against one UPDATE of the whole table in the same run.

Every run begins with the same freshly loaded, vacuumed table. Several rounds, one kind after the other, so that a
busy moment of the machine meets all kinds alike; the median counts.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from sqlalchemy import text

from bench import postgresql
from bench.report import Measurement
from orchestrator.bookkeeping import tables
from orchestrator.bookkeeping.copies import write_copy
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.view import Copy, MigrationState

TREE = Path(__file__).with_name("people")
UPGRADE = 1
BATCH_ROWS = 20_000
HABIT_PASSES = 100
HABIT_ROWS = 50
MOVING = {MigrationState.PENDING, MigrationState.RUNNING}


def measure(rows: int, rounds: int) -> Iterator[Measurement]:
    """Yield each number as soon as it is known."""
    with postgresql.server() as url:
        database = open_database("bench", url.render_as_string(hide_password=False))
        with database.engine.begin() as connection:
            tables.metadata.create_all(connection)
        try:
            yield from _compare(database, rows, rounds)
        finally:
            database.engine.dispose()


def _compare(database: Database, rows: int, rounds: int) -> Iterator[Measurement]:
    kinds: dict[str, Callable[[Database], int]] = {
        "single_update": _single_update,
        "by_expression": lambda database: _migrate(database, "by_expression"),
        "by_transform": lambda database: _migrate(database, "by_transform"),
        "openstack_habit": _habit,
    }
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, run in kinds.items():
            _load(database, rows)
            began = time.perf_counter()
            moved = run(database)
            speeds[name].append(moved / (time.perf_counter() - began))
    speed = {name: median(found) for name, found in speeds.items()}
    where = database.dialect.name
    for name, value in speed.items():
        yield Measurement(f"data_migration_{name}", where, value, "rows/s")
    single, habit = speed["single_update"], speed["openstack_habit"]
    by_expression, by_transform = speed["by_expression"], speed["by_transform"]
    yield Measurement("data_migration_expression_vs_single_update", where, by_expression / single, "ratio", 0.95)
    yield Measurement("data_migration_transform_vs_single_update", where, by_transform / single, "ratio", 0.5)
    yield Measurement("data_migration_vs_openstack_habit", where, by_expression / habit, "ratio", 40)


def _load(database: Database, rows: int) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS people"))
        connection.execute(text("DELETE FROM orchestrator_data_migrations"))
        connection.execute(
            text("CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL, first_name text, last_name text)")
        )
        connection.execute(
            text("INSERT INTO people (id, name) SELECT n, 'First' || n || ' Last' || n FROM generate_series(1, :n) n"),
            {"n": rows},
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) people"))
        connection.execute(text("CHECKPOINT"))


def _single_update(database: Database) -> int:
    update = "UPDATE people SET first_name = split_part(name, ' ', 1), last_name = split_part(name, ' ', 2)"
    with database.engine.begin() as connection:
        return connection.execute(text(update)).rowcount


def _migrate(database: Database, name: str) -> int:
    """Move all rows through the runner, its bookkeeping included, its verification pass not."""
    runner = DataMigrationRunner(database, "bench", TREE)
    release = Release("2", data_migrations=(name,))
    with database.engine.begin() as connection:
        incarnation = database.dialect.incarnation(connection)
        copy = Copy(UPGRADE, Phase.BACKFILL, Phase.BACKFILL, 1, incarnation)
        write_copy(connection, "bench", copy, now=database.dialect.now(connection))
    runner.enrol(release, UPGRADE)
    while (progress := runner.run_batch(name, UPGRADE, BATCH_ROWS)).state in MOVING:
        pass
    if progress.state is MigrationState.FAILED:
        raise StepFailed("bench_failed", f"data migration {name} failed", remedy="Run the tests first.", name=name)
    return progress.rows_done


def _habit(database: Database) -> int:
    """What services do today: 50 rows a pass, picked by NULL, one UPDATE each."""
    pick = text(f"SELECT id, name FROM people WHERE first_name IS NULL LIMIT {HABIT_ROWS}")
    write = text("UPDATE people SET first_name = :first, last_name = :last WHERE id = :id")
    moved = 0
    for _ in range(HABIT_PASSES):
        with database.engine.begin() as connection:
            for row in connection.execute(pick).all():
                first, last = row.name.split(" ")
                moved += connection.execute(write, {"first": first, "last": last, "id": row.id}).rowcount
    return moved
