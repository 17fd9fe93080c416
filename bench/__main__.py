"""`make bench`: measure, print each number with the machine that it belongs to, write `build/bench.json`."""

import argparse
import sys
from itertools import chain
from pathlib import Path

from bench import data_migrations, memory, report, serving, takeover
from bench.machine import describe

REPORT = Path("build") / "bench.json"


def main() -> int:
    """Measure everything. Returns 0 also when a goal is missed: the numbers are the result."""
    arguments = _arguments()
    print(describe())
    measurements: list[report.Measurement] = []
    kinds = {
        "serving": lambda: serving.measure(arguments.seconds),
        "takeover": lambda: takeover.measure(arguments.rounds),
        "memory": lambda: memory.measure(arguments.rows),
        "data_migrations": lambda: data_migrations.measure(arguments.rows, arguments.rounds),
    }
    wanted = arguments.only or kinds
    for measurement in chain.from_iterable(kinds[name]() for name in kinds if name in wanted):
        print(measurement, flush=True)
        measurements.append(measurement)
    report.write(measurements, arguments.json)
    print(f"written to {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write build/bench.json.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of them counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of each load on a daemon (default: %(default)s)")
    parser.add_argument(
        "--only",
        action="append",
        choices=("serving", "takeover", "memory", "data_migrations"),
        help="leave out the others",
    )
    parser.add_argument("--json", type=Path, default=REPORT, help="where the numbers go (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
