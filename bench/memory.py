"""Memory: what a worker needs at its most, for few rows and for many. Each is a process of its own.

Both runs have batches of the same size. All rows are moved, and proven.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.people import EXPRESSION, MOVING, SCHEMA, SERVERS, TRANSFORM, Moving, People, Server, people
from bench.report import Measurement
from orchestrator.daemon.garbage import collect_seldom
from orchestrator.dialects import open_database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState

FEW_ROWS = 100_000
GOAL_RATIO = 1.1
SIZES = BatchSizes.fixed(20_000)


def measure(server: Server, rows: int) -> Iterator[Measurement]:
    """Yield the peak for 100,000 rows and for so many, and what one is to the other."""
    peaks: dict[tuple[str, int], float] = {}
    with people(server) as table:
        for many in (FEW_ROWS, rows):
            table.load(many)
            for name in (EXPRESSION, TRANSFORM):
                peaks[name, many] = _peak(table, name, many)
    for name in (EXPRESSION, TRANSFORM):
        few, most = peaks[name, FEW_ROWS], peaks[name, rows]
        yield Measurement(f"memory_{name}_at_{FEW_ROWS}_rows", server.name, few, "MiB")
        yield Measurement(f"memory_{name}_at_{rows}_rows", server.name, most, "MiB")
        yield Measurement(
            f"memory_{name}_many_vs_few_rows", server.name, most / few, "ratio", GOAL_RATIO, is_limit=True
        )


def _peak(table: People, name: str, rows: int) -> float:
    """The most memory of a process that moves and proves so many rows, in MiB."""
    table.migration(name)
    url = table.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "bench.memory", table.server.name, url, name]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if (told["state"], told["rows_verified"]) != (MigrationState.COMPLETE, rows):
        raise StepFailed("bench_failed", f"data migration {name} failed: {told}", remedy="Run the tests first.")
    return float(told["peak_mib"])


def _work() -> int:
    """What the process does: all of it, and then it says how much memory that took."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=_work.__doc__)
    parser.add_argument("server", choices=tuple(SERVERS))
    parser.add_argument("url")
    parser.add_argument("name", choices=(EXPRESSION, TRANSFORM))
    arguments = parser.parse_args()
    collect_seldom()  # as a daemon does
    table = People(SERVERS[arguments.server], open_database(SCHEMA, arguments.url))
    moving = Moving(table.runner(), arguments.name, 1, SIZES)
    while (facts := moving.batch()).state in {*MOVING, MigrationState.VERIFYING}:
        pass
    print(json.dumps({"state": facts.state, "rows_verified": facts.rows_verified, "peak_mib": _own_peak_mib()}))
    return 0


def _own_peak_mib() -> float:
    """Of this program alone: what `getrusage` tells is no less than its parent needed before this one was executed."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(_work())
