"""What every command of this program is: an example in its help, and an exit code that it may choose."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, TypeVar

from cliff import _argparse, command, display, lister, show
from cliff.app import App
from cliff.formatters.base import Formatter, ListFormatter, SingleFormatter
from stevedore.extension import Extension, ExtensionManager

from orchestrator.cli import connection
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import UsageError

F = TypeVar("F", bound=Formatter)

LIST_FORMATTERS = {
    "table": "cliff.formatters.table:TableFormatter",
    "json": "cliff.formatters.json_format:JSONFormatter",
    "yaml": "cliff.formatters.yaml_format:YAMLFormatter",
    "value": "cliff.formatters.value:ValueFormatter",
    "csv": "cliff.formatters.commaseparated:CSVLister",
}
SHOW_FORMATTERS = {name: place for name, place in LIST_FORMATTERS.items() if name != "csv"} | {
    "shell": "cliff.formatters.shell:ShellFormatter"
}


class _Help(_argparse.SmartHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples stay as they are written."""


class Plain(command.Command):
    """A command that writes what it has to say, if anything, and returns its exit code.

    `EXAMPLE` is shown in its help. `asks_daemon` gives it the options of those that do.
    """

    EXAMPLE: ClassVar[str]
    asks_daemon: ClassVar[bool] = True

    def __init__(self, app: App, app_args: argparse.Namespace | None, cmd_name: str | None = None) -> None:
        super().__init__(app, app_args, cmd_name)
        self.exit = Exit.YES

    @property
    def api(self) -> connection.Api:
        """The daemon that is asked."""
        assert self.app_args is not None
        return connection.Api.of(self.app_args)

    def say(self, line: str) -> None:
        """One line on standard output."""
        self.app.stdout.write(line + "\n")

    def tell(self, line: str) -> None:
        """One line for people, on standard error."""
        self.app.stderr.write(line + "\n")

    def _load_hooks(self) -> None:
        """No plugin hooks: looking for them costs more than most commands."""
        self._hooks = []

    def get_epilog(self) -> str:
        return f"example:\n  {self.EXAMPLE}"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.formatter_class = _Help
        parser.allow_abbrev = False  # an option that is added later must not change what a script means
        if self.asks_daemon:
            connection.add_options(parser)
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The command's own arguments."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        for name in ("url", "token_file"):
            if hasattr(parsed_args, name):
                setattr(self.app_args, name, getattr(parsed_args, name))
        try:
            result = super().run(parsed_args)
        except ValueError as error:
            if "column" in str(error):  # cliff says with it that --column names none
                raise UsageError(str(error)) from error
            raise
        return int(self.exit or result)


class _Displaying(Plain, display.DisplayCommandBase[F]):
    """Shows data in the format that is asked for. Formatters are named here: scanning for plugins is slow."""

    FORMATTERS: ClassVar[dict[str, str]]

    @property
    def formatters(self) -> dict[str, str]:
        """Name of each format, and where its class is."""
        return self.FORMATTERS

    def _load_formatter_plugins(self) -> ExtensionManager[F]:
        return ExtensionManager.make_test_instance(
            [_extension(name, place, self.formatter_namespace) for name, place in self.formatters.items()],
            namespace=self.formatter_namespace,
        )


def _extension(name: str, place: str, namespace: str) -> Extension[Any]:
    entry_point = EntryPoint(name, place, namespace)
    factory = entry_point.load()
    return Extension(name, entry_point, factory, factory())


class Listing(_Displaying[ListFormatter], lister.Lister):
    """A command that lists: a table for people, `-f json|yaml|value|csv` for scripts. Rows come in a fixed order."""

    FORMATTERS = LIST_FORMATTERS

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        rows = list(data)
        if not rows and parsed_args.formatter == "table":
            self.tell("There is nothing to list.")
            return Exit.YES
        return super().produce_output(parsed_args, column_names, rows)

    @abstractmethod
    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]: ...


class Showing(_Displaying[SingleFormatter], show.ShowOne):
    """A command that shows one thing: a table for people, `-f json|yaml|value|shell` for scripts.

    The table leaves out what is empty; the other formats have every field.
    """

    FORMATTERS = SHOW_FORMATTERS

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]) -> int:
        names, values = tuple(column_names), tuple(data)
        if parsed_args.formatter == "table":
            shown = [index for index, value in enumerate(values) if str(value)]
            names, values = tuple(names[index] for index in shown), tuple(values[index] for index in shown)
        return super().produce_output(parsed_args, names, values)

    @abstractmethod
    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]: ...


def with_schema(parser: argparse.ArgumentParser) -> None:
    """The argument that most commands begin with."""
    parser.add_argument("schema", help="name of the schema")
