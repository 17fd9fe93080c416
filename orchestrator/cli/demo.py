"""demo: an upgrade under traffic on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.command import Plain


class Demo(Plain):
    """Upgrade an example service under traffic, on this machine.

    First the usual way, then with the orchestrator. Needs no setup. Exits with 0 when no request failed, else 1.
    """

    EXAMPLE = "orchestrator demo --database postgresql --json verdict.json"
    asks_daemon = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        kinds = ("sqlite", "postgresql", "mariadb")
        parser.add_argument("--database", choices=kinds, default="sqlite", help="default: sqlite")
        parser.add_argument("--rows", type=int, default=200_000, metavar="N", help="rows to move (default: 200000)")
        parser.add_argument("--keep", action="store_true", help="leave the status page up until Ctrl+C")
        parser.add_argument("--turn-back", action="store_true", help="cancel it before contract, and go back to base")
        parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdict to this file")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.demo import DatabaseKind, DemoOptions, run_demo

        return run_demo(
            DemoOptions(
                database=DatabaseKind(parsed_args.database),
                rows=parsed_args.rows,
                keep=parsed_args.keep,
                turn_back=parsed_args.turn_back,
                json_file=parsed_args.json,
            )
        )


COMMANDS: dict[str, type[Plain]] = {"demo": Demo}
