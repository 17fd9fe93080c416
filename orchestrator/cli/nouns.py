"""The nouns of the command line. A new one is one file, with its verbs in `COMMANDS`, and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from cliff.command import Command
from cliff.commandmanager import CommandManager

NOUNS = (
    "status",
    "schema",
    "upgrade",
    "fleet",
    "instance",
    "database",
    "data-migration",
    "daemon",
    "events",
    "gate",
    "wait",
    "serve",
    "db",
    "config",
    "token",
    "demo",
)
"""In the order of the help text: first what is used every day."""


def commands_of(noun: str) -> dict[str, type[Command]]:
    """The commands of one noun, by their whole names."""
    module = import_module(f"orchestrator.cli.{noun.replace('-', '_')}")
    found: dict[str, type[Command]] = module.COMMANDS
    return found


def register(manager: CommandManager, argv: Sequence[str]) -> None:
    """Make the commands known that `argv` may mean: those of its noun, or all where it begins with none.

    So a command imports only what it needs, and no entry points are searched.
    """
    for noun in (argv[0],) if argv and argv[0] in NOUNS else NOUNS:
        for name, factory in commands_of(noun).items():
            manager.add_command(name, factory)
