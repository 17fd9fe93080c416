"""data-migration watch: how far rows are, live, until they are done."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from orchestrator.cli.answers import DataMigration, DataMigrations, Upgrade
from orchestrator.cli.command import Plain, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.rows_words import DONE, NOT_BEGUN, line_of
from orchestrator.cli.screen import unscreened
from orchestrator.client.errors import Unavailable, Unreachable

POLL_SECONDS = 1.0


class _Screen(Protocol):
    """Where the data migrations are shown, time and again. `note` says why there is nothing new."""

    def show(self, found: Sequence[DataMigration], note: str = "") -> None: ...


class Watch(Plain):
    """Show how far the rows of an upgrade are until they are done.

    On a terminal a bar for each data migration and database; elsewhere a line for each change. Exits with 0 when all
    are complete, 1 when one failed, 3 when the upgrade has ended without them or was never begun.
    """

    EXAMPLE = "orchestrator data-migration watch inventory"

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait until it is worth asking again."""
        time.sleep(seconds)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("name", nargs="?", help="only this data migration")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        upgrade, found = self._read(parsed_args)
        with _screen(self.app.stdout, self.app.stderr) as screen:
            screen.show(found)
            while (end := _end_of(upgrade, found)) is None:
                self.sleep(POLL_SECONDS)
                try:
                    upgrade, found = self._read(parsed_args)
                except (Unavailable, Unreachable) as error:
                    screen.show(found, f"waiting: {error.message}")
                else:
                    screen.show(found)
        code, words = end
        self.tell(words)
        return code

    def _read(self, parsed_args: argparse.Namespace) -> tuple[Upgrade, tuple[DataMigration, ...]]:
        """The newest upgrade, and those of its data migrations that are watched."""
        upgrade = self.api.get(path_of("schemas", parsed_args.schema, "upgrade"), Upgrade)
        name = parsed_args.name
        if name is None:
            return upgrade, tuple(each for each in upgrade.data_migrations if not _waits_for_way_back(each))
        found = tuple(each for each in upgrade.data_migrations if each.name == name)
        if not found:  # of another release; or of none, which this refuses
            path = path_of("schemas", parsed_args.schema, "data-migrations", name)
            found = self.api.get(path, DataMigrations).data_migrations
        return upgrade, found


def _waits_for_way_back(each: DataMigration) -> bool:
    return each.reverse and each.state in NOT_BEGUN


def _end_of(upgrade: Upgrade, found: Sequence[DataMigration]) -> tuple[Exit, str] | None:
    """The exit code and the last sentence; None while rows are to be moved."""
    failed = next((each for each in found if each.state == "failed"), None)
    if failed is not None:
        retry = f"orchestrator data-migration retry {upgrade.schema} {failed.name} --database {failed.database}"
        return Exit.ERROR, f"{failed.name} failed in {failed.database}: {failed.error}\n  > {retry}"
    if found and all(each.state in DONE for each in found):
        return Exit.YES, "all rows are moved and verified"
    if not upgrade.is_running:
        return Exit.NOT_YET, upgrade.sentence
    return None if found else (Exit.YES, "this upgrade has no data migrations")


# -- what is shown ---------------------------------------------------------------------------------------------------


@contextmanager
def _screen(stdout: TextIO, stderr: TextIO) -> Iterator[_Screen]:
    """Bars where a person looks on, lines where a file or a program does."""
    if not stdout.isatty():
        yield _Lines(stdout, stderr)
        return
    from rich.console import Console  # of all commands only this one draws
    from rich.live import Live

    from orchestrator.cli.bars import Bars

    console = Console(file=unscreened(stdout))
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield Bars(live)


class _Lines:
    """A line for each change."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._stdout, self._stderr = stdout, stderr
        self._said: dict[tuple[str, str], tuple[object, ...]] = {}
        self._note = ""

    def show(self, found: Sequence[DataMigration], note: str = "") -> None:
        for each in found:
            news = _news(each)
            if self._said.get((each.name, each.database)) != news:
                self._said[each.name, each.database] = news
                self._stdout.write(f"{line_of(each)}\n")
        self._stdout.flush()
        if note and note != self._note:
            self._stderr.write(f"{note}\n")
        self._note = note


def _news(each: DataMigration) -> tuple[object, ...]:
    """What makes it worth another line: not its seconds, which change all the time."""
    share = None if each.progress is None else int(each.progress * 100)
    eta = None if each.eta is None else each.eta.state
    return each.state, share, eta, each.differences, each.rows_quarantined, each.intention, each.error
