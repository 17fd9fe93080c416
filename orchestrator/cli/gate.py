"""gate: what deployment tooling asks before it goes on."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Gate
from orchestrator.cli.command import Plain, Showing, with_schema
from orchestrator.cli.connection import Api, path_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.upgrade import blockers_cell

GATES = "deploy:FLEET:RELEASE, rollback:FLEET:RELEASE or phase:PHASE"

EXIT_OF = {"SUCCEEDED": Exit.YES, "RUNNING": Exit.NOT_YET, "TERMINAL": Exit.NEVER}


def ask(api: Api, schema: str, gate: str) -> Gate:
    """The answer to a gate, open or not."""
    return api.get(path_of("schemas", schema, "gates", gate), Gate)


class Check(Showing):
    """Ask a gate: may a fleet deploy, may it go back, is a phase reached?

    Exits with 0 when it is open, 3 when it is closed and may open, 4 when it is closed for good.
    """

    EXAMPLE = "orchestrator gate check inventory deploy:inventory-api:2"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("gate", help=GATES)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        gate = ask(self.api, parsed_args.schema, parsed_args.gate)
        self.exit = EXIT_OF.get(gate.status, Exit.ERROR)
        return ("Gate", "Open", "Status", "Says", "Remedy", "Blocked by", "Phase", "ETA", "Revision"), (
            gate.gate,
            gate.open,
            gate.status,
            gate.sentence,
            gate.remedy,
            blockers_cell(gate.blocked_by),
            cells.maybe(gate.phase),
            cells.duration(gate.eta_seconds),
            gate.revision,
        )


COMMANDS: dict[str, type[Plain]] = {"gate check": Check}
