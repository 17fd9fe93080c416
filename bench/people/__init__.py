"""The table that is measured: people, whose name becomes first_name and last_name.

In each database the same change is one UPDATE, a data migration in SQL, one in Python, and what services do today.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy import text

from bench import mariadb, postgresql
from orchestrator.bookkeeping import tables
from orchestrator.bookkeeping.copies import write_copy
from orchestrator.daemon.garbage import collect_seldom
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import Conflict, StepFailed
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import USUAL_SIZES, BatchSizes
from orchestrator.domain.releases import Release
from orchestrator.domain.view import Copy, MigrationFacts, MigrationState

SCHEMA = "bench"
UPGRADE = 1
MOVING = {MigrationState.PENDING, MigrationState.RUNNING}
EXPRESSION, TRANSFORM = "by_expression", "by_transform"


@dataclass(frozen=True, slots=True)
class Server:
    """A kind of server, and what differs in its SQL. `fill` takes the number of rows; `settle` is run after it."""

    name: str
    start: Callable[[], AbstractContextManager[sqlalchemy.URL]]
    tree: Path
    first: str
    last: str
    fill: str
    settle: tuple[str, ...]


POSTGRESQL = Server(
    "postgresql",
    postgresql.server,
    Path(__file__).with_name("postgresql"),
    "split_part(name, ' ', 1)",
    "split_part(name, ' ', 2)",
    "INSERT INTO people (id, name) SELECT n, 'First' || n || ' Last' || n FROM generate_series(1, {rows}) n",
    ("VACUUM (ANALYZE) people", "CHECKPOINT"),
)
MARIADB = Server(
    "mariadb",
    mariadb.server,
    Path(__file__).with_name("mysql"),
    "substring_index(name, ' ', 1)",
    "substring_index(name, ' ', -1)",
    "INSERT INTO people (id, name) SELECT seq, concat('First', seq, ' Last', seq) FROM seq_1_to_{rows}",
    # The second one writes all of the table to the disk, which PostgreSQL is told to do as well.
    ("ANALYZE TABLE people", "FLUSH TABLES people FOR EXPORT", "UNLOCK TABLES"),
)
SERVERS = {server.name: server for server in (POSTGRESQL, MARIADB)}


@dataclass(frozen=True, slots=True)
class People:
    """The table in a database of its own, the runner's bookkeeping beside it."""

    server: Server
    database: Database

    def load(self, rows: int, moved: int = 0) -> None:
        """Make the table anew, with so many rows, the first of them moved."""
        with self.database.engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS people"))
            connection.execute(
                text(
                    "CREATE TABLE people (id bigint PRIMARY KEY, name varchar(100) NOT NULL, "
                    "first_name varchar(100), last_name varchar(100))"
                )
            )
            connection.execute(text(self.server.fill.format(rows=rows)))
            connection.execute(text(f"{self._update} WHERE id <= {moved}"))
        with self.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in self.server.settle:
                connection.execute(text(statement))

    def update_at_once(self) -> int:
        """One UPDATE of the whole table."""
        with self.database.engine.begin() as connection:
            return connection.execute(text(self._update)).rowcount

    @property
    def _update(self) -> str:
        return f"UPDATE people SET first_name = {self.server.first}, last_name = {self.server.last}"

    def habit(self, passes: int = 100, rows: int = 50) -> int:
        """What services do today: 50 rows a pass, the first ones that hold NULL, one UPDATE each."""
        pick = text(f"SELECT id, name FROM people WHERE first_name IS NULL LIMIT {rows}")
        write = text("UPDATE people SET first_name = :first, last_name = :last WHERE id = :id")
        moved = 0
        for _ in range(passes):
            with self.database.engine.begin() as connection:
                for row in connection.execute(pick).all():
                    first, last = row.name.split(" ")
                    moved += connection.execute(write, {"first": first, "last": last, "id": row.id}).rowcount
        return moved

    def runner(self, workers: int = 1, nice_ratio: float = 0.0) -> DataMigrationRunner:
        """What runs data migrations in it."""
        return DataMigrationRunner(self.database, SCHEMA, self.server.tree, workers=workers, nice_ratio=nice_ratio)

    def migration(
        self, name: str, *, workers: int = 1, sizes: BatchSizes = USUAL_SIZES, nice_ratio: float = 0.0
    ) -> Moving:
        """A data migration at its start."""
        runner = self.runner(workers, nice_ratio)
        with self.database.engine.begin() as connection:
            for table in (tables.data_migrations, tables.ranges):
                connection.execute(table.delete())
            incarnation = self.database.dialect.incarnation(connection)
            copy = Copy(UPGRADE, Phase.BACKFILL, Phase.BACKFILL, 1, incarnation)
            write_copy(connection, SCHEMA, copy, now=self.database.dialect.now(connection))
        runner.enrol(Release("2", data_migrations=(name,)), UPGRADE)
        return Moving(runner, name, workers, sizes)


class Moving:
    """Moves all rows through the runner, its bookkeeping included, its proof not."""

    def __init__(self, runner: DataMigrationRunner, name: str, workers: int, sizes: BatchSizes) -> None:
        self._runner = runner
        self._name = name
        self._workers = workers
        self._sizes = sizes

    def run(self, may_go_on: Callable[[], bool] = lambda: True) -> int:
        """Returns how many rows were moved, when all are or it may not go on."""
        with ThreadPoolExecutor(self._workers) as pool:
            for worker in [pool.submit(self._work, may_go_on) for _ in range(self._workers)]:
                worker.result()
        return self._facts().rows_done

    def batch(self) -> MigrationFacts:
        """One batch."""
        facts = self._runner.run_batch(self._name, UPGRADE, self._sizes)
        if facts.state is MigrationState.FAILED:
            raise StepFailed("bench_failed", f"data migration {self._name} failed: {facts.error}", remedy="Mend it.")
        return facts

    def _work(self, may_go_on: Callable[[], bool]) -> None:
        while may_go_on():
            try:
                if self.batch().state not in MOVING:
                    return
            except Conflict as conflict:
                if conflict.code == "batch_claimed" and self._facts().state not in MOVING:
                    return
                time.sleep(conflict.fields.get("wait_seconds", 0.001))

    def _facts(self) -> MigrationFacts:
        return next(facts for facts in self._runner.progress() if facts.name == self._name)


@contextmanager
def people(server: Server) -> Iterator[People]:
    """The table on a server of its own, which ends with the block. `load` it first."""
    collect_seldom()  # as a daemon does
    with server.start() as url:
        database = open_database(SCHEMA, url.render_as_string(hide_password=False))
        with database.engine.begin() as connection:
            tables.metadata.create_all(connection)
        try:
            yield People(server, database)
        finally:
            database.engine.dispose()
