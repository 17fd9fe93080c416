"""Memory: what a worker needs at its most, for few rows and for many. Each is a process of its own.

Batches are as large as they may become, so that both runs have the same ones. All rows are moved, and proven.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from bench import postgresql
from bench.report import Measurement
from orchestrator.bookkeeping import tables
from orchestrator.bookkeeping.copies import write_copy
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import USUAL_SIZES, BatchSizes
from orchestrator.domain.releases import Release
from orchestrator.domain.view import Copy, MigrationState

TREE = Path(__file__).with_name("people")
KINDS = ("by_expression", "by_transform")
SCHEMA = "bench"
UPGRADE = 1
FEW_ROWS = 100_000
GOAL_RATIO = 1.1
ENDED = {MigrationState.COMPLETE, MigrationState.FAILED}


def measure(rows: int) -> Iterator[Measurement]:
    """Yield the peak for 100,000 rows and for so many, and what one is to the other."""
    with postgresql.server() as url:
        connection = url.render_as_string(hide_password=False)
        database = open_database("bench", connection)
        try:
            peaks = {
                (kind, many): _peak(database, connection, kind, many) for many in (FEW_ROWS, rows) for kind in KINDS
            }
        finally:
            database.engine.dispose()
    for kind in KINDS:
        few, many = peaks[kind, FEW_ROWS], peaks[kind, rows]
        yield Measurement(f"memory_{kind}_at_{FEW_ROWS}_rows", "postgresql", few, "MiB")
        yield Measurement(f"memory_{kind}_at_{rows}_rows", "postgresql", many, "MiB")
        yield Measurement(
            f"memory_{kind}_many_vs_few_rows", "postgresql", many / few, "ratio", goal=GOAL_RATIO, is_limit=True
        )


def _peak(database: Database, url: str, kind: str, rows: int) -> float:
    """The most memory of a process that moves and proves so many rows, in MiB."""
    _load(database, rows)
    command = [sys.executable, "-m", "bench.memory", url, kind]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if (told["state"], told["rows_verified"]) != (MigrationState.COMPLETE, rows):
        raise StepFailed("bench_failed", f"data migration {kind} failed: {told}", remedy="Run the tests first.")
    return float(told["peak_mib"])


def _load(database: Database, rows: int) -> None:
    with database.engine.begin() as connection:
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS people"))
        connection.execute(
            text("CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL, first_name text, last_name text)")
        )
        connection.execute(
            text("INSERT INTO people (id, name) SELECT n, 'First' || n || ' Last' || n FROM generate_series(1, :n) n"),
            {"n": rows},
        )
        copy = Copy(UPGRADE, Phase.BACKFILL, Phase.BACKFILL, 1, database.dialect.incarnation(connection))
        write_copy(connection, SCHEMA, copy, now=database.dialect.now(connection))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) people"))


def _work() -> int:
    """What the process does: all of it, and then it says how much memory that took."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=_work.__doc__)
    parser.add_argument("url")
    parser.add_argument("kind", choices=KINDS)
    arguments = parser.parse_args()
    runner = DataMigrationRunner(open_database("bench", arguments.url), SCHEMA, TREE)
    runner.enrol(Release("2", data_migrations=(arguments.kind,)), UPGRADE)
    sizes = BatchSizes.fixed(USUAL_SIZES.most)
    while (facts := runner.run_batch(arguments.kind, UPGRADE, sizes)).state not in ENDED:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux tells it in KiB
    print(json.dumps({"state": facts.state, "rows_verified": facts.rows_verified, "peak_mib": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(_work())
