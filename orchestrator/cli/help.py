"""Help: the list of all commands, and the whole text of one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TextIO

from cliff.app import App
from cliff.command import Command

from orchestrator.cli.command import Plain
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import UsageError
from orchestrator.cli.nouns import NOUNS, commands_of

_EXITS = "exit codes: 0 yes, 1 error, 2 usage, 3 not yet or blocked, 4 never"


def overview(app: App, out: TextIO) -> int:
    """Write the options and one line per command."""
    out.write("usage: orchestrator [--url URL] [--token-file FILE] [--debug] NOUN VERB ...\n\n")
    out.write(f"{app.parser.description}\n\n")
    commands = [(name, _first_line(factory)) for noun in NOUNS for name, factory in commands_of(noun).items()]
    commands += [("help", _first_line(HelpCommand)), ("complete", "Write the completion script for bash.")]
    width = max(len(name) for name, _ in commands)
    for name, line in commands:
        out.write(f"  {name:<{width}}  {line}\n")
    out.write(f"\n{_EXITS}\n`orchestrator NOUN VERB --help` shows a command's arguments and an example.\n")
    return Exit.YES


class HelpCommand(Plain):
    """Show this list, or the whole help of a command."""

    EXAMPLE = "orchestrator help upgrade begin"
    asks_daemon = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*", metavar="WORD", help="a noun, or a noun with its verb")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        words: list[str] = parsed_args.words
        found = list(_matching(words))
        if not words:
            return overview(self.app, self.app.stdout)
        if not found:
            raise UsageError(f"there is no command {' '.join(words)!r}. `orchestrator help` lists all.")
        if len(found) > 1:
            for name, factory in found:
                self.say(f"  orchestrator {name:<24} {_first_line(factory)}")
            return Exit.YES
        ((name, factory),) = found
        self.app.stdout.write(factory(self.app, self.app_args, name).get_parser(f"orchestrator {name}").format_help())
        return Exit.YES


def _matching(words: list[str]) -> Iterator[tuple[str, type[Command]]]:
    for noun in NOUNS:
        if words and words[0] == noun:
            for name, factory in commands_of(noun).items():
                if name.split()[: len(words)] == words:
                    yield name, factory


def _first_line(factory: type[Command]) -> str:
    return (factory.__doc__ or "").strip().splitlines()[0]
