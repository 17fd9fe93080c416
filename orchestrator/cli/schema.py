"""schema: what is managed, and giving a schema its first release."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Initialised, Schema, Schemas
from orchestrator.cli.command import Listing, Plain, Showing, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.domain.errors import MigrationRefused


class List(Listing):
    """List the managed schemas with their releases."""

    EXAMPLE = "orchestrator schema list -f json"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas"), Schemas).schemas
        return ("Schema", "Release", "Upgrade", "Phase", "Databases"), [
            (
                each.schema,
                cells.maybe(each.release),
                cells.maybe(each.upgrade.to_release if each.upgrade.is_running else None),
                cells.maybe(each.upgrade.phase if each.upgrade.is_running else None),
                len(each.databases),
            )
            for each in found
        ]


class Show(Showing):
    """Show one schema: its releases and databases, and where it stands."""

    EXAMPLE = "orchestrator schema show inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        return _shown(self.api.get(path_of("schemas", parsed_args.schema), Schema))


def _shown(found: Schema) -> tuple[Sequence[str], Iterable[Any]]:
    return ("Schema", "Release", "Releases", "Databases", "Status", "Phase", "Says"), (
        found.schema,
        cells.maybe(found.release),
        cells.Cell(found.releases, ", ".join(found.releases)),
        cells.Cell(found.databases, ", ".join(found.databases)),
        found.upgrade.status,
        cells.maybe(found.upgrade.phase),
        found.upgrade.sentence,
    )


class Init(Plain):
    """Give a schema its first release.

    Installs it in databases that are empty, and adopts those that are at it. Repeatable.
    """

    EXAMPLE = "orchestrator schema init inventory --release 1"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("--release", required=True, help="the release that the running services are at")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        done = self.api.post(path_of("schemas", parsed_args.schema, "init"), Initialised, release=parsed_args.release)
        for sentence in done.done:
            self.say(sentence)
        return 0


class TakeOver(Showing):
    """Let the state take over an upgrade that only the databases know.

    Needed only where the state database was restored to a time before that upgrade began, or made anew. All databases
    have to agree. An upgrade under way rests where it is until `orchestrator upgrade resume`.
    """

    EXAMPLE = 'orchestrator schema take-over inventory --reason "state restored from the backup of 02:00"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.post(path_of("schemas", parsed_args.schema, "take-over"), Schema, reason=parsed_args.reason)
        return _shown(found)


class Check(Plain):
    """Check a migration tree against the rules of expand and contract.

    Needs no daemon. Nothing runs and no database is asked: of the columns that a data migration names, those are looked
    for whose tables the tree makes. The first thing that breaks a rule is refused with file and line; what is allowed
    and may hurt is listed.
    """

    EXAMPLE = "orchestrator schema check examples/inventory/migrations"
    asks_daemon = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="the directory that holds releases.toml")
        parser.add_argument("--release", action="append", help="check only this one; can be repeated")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.data_migrations.loading import file_of, load
        from orchestrator.data_migrations.target import refuse_lacking
        from orchestrator.data_migrations.turns import Links
        from orchestrator.schema_migrations.alembic_driver import AlembicDriver

        directory: Path = parsed_args.directory.absolute()
        driver = AlembicDriver(directory, schema=directory.parent.name)
        names = parsed_args.release or [release.name for release in driver.releases.ordered]
        for name in names:
            driver.releases[name]  # an unknown one is refused before any is checked
        for name in names:
            for warning in driver.check(name):
                self.say(f"{warning.place}: {warning.sentence}")
                self.say(f"  {warning.remedy}")
            for migration in driver.releases[name].all_data_migrations:
                refuse_lacking(load(file_of(directory, migration), migration), partial(driver.lacks, name))
            for listed in (driver.releases[name].data_migrations, driver.releases[name].reverse_data_migrations):
                try:
                    Links(directory).refuse_faulty(listed)
                except MigrationRefused as fault:
                    if name == names[-1]:
                        raise
                    self.say(f"{fault.message}\n  {fault.remedy}")  # it was rolled out so
            self.say(f"release {name}: nothing breaks a rule")
        return 0


COMMANDS: dict[str, type[Plain]] = {
    "schema list": List, "schema show": Show, "schema init": Init, "schema take-over": TakeOver, "schema check": Check,
}  # fmt: skip
