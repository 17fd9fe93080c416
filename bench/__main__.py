"""`make bench`: measure, print each number with the machine that it belongs to, write `build/bench.json`."""

import argparse
import sys
from itertools import chain
from pathlib import Path

from bench import data_migrations, report, takeover
from bench.machine import describe

REPORT = Path("build") / "bench.json"


def main() -> int:
    """Measure everything. Returns 0 also when a goal is missed: the numbers are the result."""
    arguments = _arguments()
    print(describe())
    measurements: list[report.Measurement] = []
    everything = chain(takeover.measure(arguments.rounds), data_migrations.measure(arguments.rows, arguments.rounds))
    for measurement in everything:
        print(measurement, flush=True)
        measurements.append(measurement)
    report.write(measurements, arguments.json)
    print(f"written to {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write build/bench.json.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of them counts (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=REPORT, help="where the numbers go (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
