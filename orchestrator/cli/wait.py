"""wait: for init containers and pipelines; it ends when the answer is yes, never, or the time is over."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from typing import ClassVar

from orchestrator.cli import gate as gates
from orchestrator.cli.answers import Ready
from orchestrator.cli.command import Plain, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.waiting import Waiting, not_yet
from orchestrator.client.errors import Never


class _Wait(Plain):
    """Asks until the answer is yes. A daemon that does not answer yet is waited for too."""

    WAITING: ClassVar[type[Waiting]] = Waiting

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument(
            "--timeout",
            type=float,
            default=float("inf"),
            metavar="SECONDS",
            help="give up after this time; without it, wait for as long as it takes",
        )

    @abstractmethod
    def ask(self, parsed_args: argparse.Namespace, wait_seconds: float) -> str:
        """The sentence of the yes. Raises `NotYet`, or another `ClientError`."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        waiting = self.WAITING(max(parsed_args.timeout, 0.0))
        self.say(waiting.until_yes(lambda seconds: self.ask(parsed_args, seconds), self.tell))
        return Exit.YES


class Readiness(_Wait):
    """Wait until a release of a fleet may start.

    Exits with 0 when it is, 3 when the time is over, 4 when it never will be.
    """

    EXAMPLE = "orchestrator wait readiness inventory --fleet inventory-api --release 2 --timeout 600"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--release", required=True, help="the release that wants to start")
        parser.add_argument("--fleet", help="its fleet")

    def ask(self, parsed_args: argparse.Namespace, wait_seconds: float) -> str:
        ready = self.api.get(
            path_of("schemas", parsed_args.schema, "readiness"),
            Ready,
            release=parsed_args.release,
            fleet=parsed_args.fleet,
            wait=round(wait_seconds, 1),
        )
        return ready.sentence or "ready"


class Gate(_Wait):
    """Wait until a gate is open.

    Exits with 0 when it is, 3 when the time is over, 4 when it never will be.
    """

    EXAMPLE = "orchestrator wait gate inventory deploy:inventory-api:2 --timeout 3600"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("gate", help=gates.GATES)

    def name(self, parsed_args: argparse.Namespace) -> str:
        """The gate that is waited for."""
        return str(parsed_args.gate)

    def ask(self, parsed_args: argparse.Namespace, wait_seconds: float) -> str:
        answer = gates.ask(self.api, parsed_args.schema, self.name(parsed_args))
        if answer.open:
            return answer.sentence or f"{answer.gate} is open"
        code = answer.blocked_by[0].code if answer.blocked_by else "gate_closed"
        if answer.status == "TERMINAL":
            raise Never(code, answer.sentence, remedy=answer.remedy, status=410)
        raise not_yet(code, answer.sentence, answer.remedy)


class Phase(Gate):
    """Wait until the upgrade of a schema has reached a phase.

    Exits with 0 when it is, 3 when the time is over, 4 when it never will be.
    """

    EXAMPLE = "orchestrator wait phase inventory contracted --timeout 3600"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _Wait.add_arguments(self, parser)
        parser.add_argument("phase", help="e.g. expanded, read_new, contracted")

    def name(self, parsed_args: argparse.Namespace) -> str:
        return f"phase:{parsed_args.phase}"


COMMANDS: dict[str, type[Plain]] = {"wait readiness": Readiness, "wait gate": Gate, "wait phase": Phase}
