"""`make bench`: measure, print each number with the machine that it belongs to, write `build/bench.json`."""

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from bench import batches, data_migrations, foreground, memory, report, serving, takeover
from bench.machine import describe
from bench.people import SERVERS, Server

REPORT = Path("build") / "bench.json"


def main() -> int:
    """Measure everything. Returns 0 also when a goal is missed: the numbers are the result."""
    arguments = _arguments()
    print(describe())
    servers = [SERVERS[name] for name in arguments.database or SERVERS]

    def on_each(measure: Callable[[Server], Iterator[report.Measurement]]) -> Iterator[report.Measurement]:
        return chain.from_iterable(map(measure, servers))

    rows, rounds = arguments.rows, arguments.rounds
    kinds: dict[str, Callable[[], Iterator[report.Measurement]]] = {
        "serving": lambda: serving.measure(arguments.seconds),
        "takeover": lambda: takeover.measure(rounds),
        "data_migrations": lambda: on_each(lambda server: data_migrations.measure(server, rows, rounds)),
        "batches": lambda: on_each(lambda server: batches.measure(server, 100_000, arguments.large, 1)),
        "memory": lambda: on_each(lambda server: memory.measure(server, arguments.large)),
        "foreground": lambda: on_each(lambda server: foreground.measure(server, rows, rounds, 2 * arguments.seconds)),
    }
    measurements: list[report.Measurement] = []
    for measurement in chain.from_iterable(kinds[name]() for name in kinds if name in (arguments.only or kinds)):
        print(measurement, flush=True)
        measurements.append(measurement)
    report.write(measurements, arguments.json)
    print(f"written to {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write build/bench.json.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table (default: %(default)s)")
    parser.add_argument("--large", type=int, default=10_000_000, help="of the largest (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of them counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of each load on a daemon (default: %(default)s)")
    parser.add_argument(
        "--only",
        action="append",
        choices=("serving", "takeover", "data_migrations", "batches", "memory", "foreground"),
        help="leave out the others",
    )
    parser.add_argument(
        "--database", action="append", choices=tuple(SERVERS), help="move rows in this one only (default: in all)"
    )
    parser.add_argument("--json", type=Path, default=REPORT, help="where the numbers go (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
