"""token: what people and programs show to a daemon that asks who they are."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cliff.formatters.base import SingleFormatter

from orchestrator.cli.command import SHOW_FORMATTERS, Plain, Showing

ROLES = ("reader", "service", "deployer", "operator")


class TokenLines(SingleFormatter):
    """One line per field, never wrapped: they are copied."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """It has no options."""

    def emit_one(
        self, column_names: Sequence[str], data: Sequence[Any], stdout: TextIO, parsed_args: argparse.Namespace
    ) -> None:
        for name, value in zip(column_names, data, strict=True):
            stdout.write(f"{name + ':':<7}{value}\n")


class New(Showing):
    """Make a random token, and the line for the tokens file.

    The token is shown this once: the file keeps only its hash.
    """

    EXAMPLE = "orchestrator token new ci --role deployer"
    FORMATTERS = {"lines": f"{__name__}:TokenLines"} | SHOW_FORMATTERS
    asks_daemon = False

    @property
    def formatter_default(self) -> str:
        return "lines"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name", help="whose token it is, as the audit log will name them")
        parser.add_argument("--role", required=True, choices=ROLES, help="what it may do; each role includes the last")
        parser.add_argument(
            "--scope", default="", metavar="SCHEMA[/FLEET]", help="where it may change anything; it may look everywhere"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        from orchestrator.api.auth import Role, new_token

        token = new_token(parsed_args.name, Role.from_word(parsed_args.role), parsed_args.scope)
        self.tell("Add the line to the file that [api] tokens_file names, then restart the daemon.")
        return ("Token", "Line"), (token.secret, token.line)


COMMANDS: dict[str, type[Plain]] = {"token new": New}
