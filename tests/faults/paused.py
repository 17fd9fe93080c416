"""Runs a module with a pause point: `python -m tests.faults.paused POINT --then kill --in DIRECTORY MODULE ...`.

`orchestrator serve --config-file F` becomes `... orchestrator serve --config-file F`. See `tests.faults.points`.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from tests.faults.points import Point, Then, install


def main(arguments: list[str]) -> None:
    """Install the point, then be that module."""
    parser = argparse.ArgumentParser(prog="tests.faults.paused", description=__doc__)
    parser.add_argument("point", type=Point.parse)
    parser.add_argument("--then", type=Then, choices=tuple(Then), default=Then.WAIT)
    parser.add_argument("--in", type=Path, required=True, dest="directory")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    told = parser.parse_args(arguments)
    install(told.point, told.then, told.directory)
    sys.argv = [told.module, *told.arguments]
    runpy.run_module(told.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
