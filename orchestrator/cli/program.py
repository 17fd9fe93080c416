"""The program: options before the noun, help, and what becomes of a failure."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cliff import _argparse
from cliff.app import App
from cliff.commandmanager import CommandManager

import orchestrator
from orchestrator.cli import connection
from orchestrator.cli.exits import Exit, exit_of
from orchestrator.cli.failures import UsageError, sentences
from orchestrator.cli.help import HelpCommand, overview
from orchestrator.cli.nouns import register
from orchestrator.cli.screen import screened
from orchestrator.client.errors import ClientError
from orchestrator.domain.errors import OrchestratorError

DESCRIPTION = "Upgrades fleets of services that share a database without stopping them."


class Program(App):
    """`orchestrator [options] NOUN VERB [arguments]`."""

    NAME = "orchestrator"

    def __init__(self) -> None:
        super().__init__(DESCRIPTION, orchestrator.__version__, CommandManager(""))
        self.stdout, self.stderr = screened(self.stdout), screened(self.stderr)
        self.command_manager.add_command("help", HelpCommand)
        self.options = argparse.Namespace()

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: dict[str, object] | None = None
    ) -> argparse.ArgumentParser:
        parser = _argparse.ArgumentParser(prog=self.NAME, description=description, add_help=False, allow_abbrev=False)
        parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
        parser.add_argument("--version", action="version", version=f"{self.NAME} {version}")
        parser.add_argument(
            "--debug", action="store_true", help="show what the program logs, and the traceback of its own mistakes"
        )
        connection.add_options(parser)
        parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        return parser

    def run(self, argv: list[str]) -> int:
        """Run one command and return its exit code. Every failure ends in a sentence on standard error."""
        try:
            self.options = self.parser.parse_args(argv)
            logging.basicConfig(
                stream=self.stderr, level=logging.DEBUG if self.options.debug else logging.CRITICAL, force=True
            )
            words: list[str] = self.options.command
            register(self.command_manager, words)
            if self.options.help:
                return overview(self, self.stdout)
            if not words:
                overview(self, self.stderr)
                return Exit.USAGE
            return self.run_subcommand(words)
        except (OrchestratorError, ClientError) as error:
            if self.options.debug:
                logging.exception("the command failed")
            return self._fail(exit_of(error), *sentences(error))
        except UsageError as error:
            return self._fail(Exit.USAGE, f"orchestrator: {error}")
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else Exit.YES
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        except BrokenPipeError:
            _drop_output()
            return Exit.PIPE_CLOSED
        except Exception as error:
            if getattr(self.options, "debug", False):
                logging.exception("the command failed")
            return self._fail(
                Exit.ERROR,
                f"orchestrator: this program made a mistake: {type(error).__name__}: {error}",
                "  `orchestrator --debug ...` shows where. Please report it.",
            )

    def run_subcommand(self, argv: list[str]) -> int:
        try:
            factory, name, rest = self.command_manager.find_command(argv)
        except ValueError:
            self._refuse_unknown(argv)
        command = factory(self, self.options, name)
        return int(command.run(command.get_parser(f"{self.NAME} {name}").parse_args(rest)))

    def _refuse_unknown(self, argv: Sequence[str]) -> NoReturn:
        words = " ".join(argv[: next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))])
        noun = argv[0]
        verbs = [name for name, _ in self.command_manager if name.split()[0] == noun]
        if verbs:
            raise UsageError(f"{words!r} is no command. There are: {', '.join(sorted(verbs))}.")
        near = ", ".join(self.get_fuzzy_matches(noun)[:3])
        remedy = f"Did you mean: {near}?" if near else "`orchestrator help` lists all."
        raise UsageError(f"{words or noun!r} is no command. {remedy}")

    def _fail(self, code: Exit, *lines: str) -> int:
        for line in lines:
            self.stderr.write(line + "\n")
        return code


def _drop_output() -> None:
    """Whoever read our output is gone; keep the interpreter from complaining about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
