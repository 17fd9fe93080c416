"""database: the physical databases that carry a schema."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Database, Databases
from orchestrator.cli.command import Listing, Plain, Showing, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.failures import UsageError
from orchestrator.domain.errors import NotFound


class List(Listing):
    """List the databases of a schema with their steps."""

    EXAMPLE = "orchestrator database list nova_cell"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "databases"), Databases).databases
        return ("Database", "Phase", "Fence", "Step", "Heads", "Says"), [
            (
                each.database,
                cells.maybe(each.phase),
                cells.maybe(each.fence),
                cells.maybe(each.step.state if each.step else None),
                cells.Cell(each.heads, ", ".join(each.heads)),
                cells.maybe(_trouble(each)),
            )
            for each in found
        ]


class Show(Showing):
    """Show one database of a schema."""

    EXAMPLE = "orchestrator database show nova_cell cell07"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("database", help="name of the database")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "databases"), Databases).databases
        each = next((each for each in found if each.database == parsed_args.database), None)
        if each is None:
            raise NotFound(
                "database_unknown",
                f"{parsed_args.schema} has no database {parsed_args.database!r}",
                remedy=f"Its databases are: {', '.join(each.database for each in found)}.",
            )
        step = each.step
        return (
            (
                "Database", "Phase", "Fence", "Copy revision", "Copy written", "Heads", "Step", "Attempts", "Error",
                "Remedy",
            ),
            (
                each.database,
                cells.maybe(each.phase),
                cells.maybe(each.fence),
                cells.maybe(each.copy_revision),
                cells.moment(each.copy_written_at),
                cells.lines(each.heads, each.heads),
                cells.maybe(step.state if step else None),
                cells.maybe(step.attempts if step else None),
                cells.maybe(_trouble(each)),
                cells.maybe(each.remedy or (step.remedy if step else None)),
            ),
        )  # fmt: skip


class Evict(Plain):
    """Count a database out, on your word that it is gone for good.

    Needed only for one that took part in the upgrade under way and was taken out of the configuration: its rows would
    never be moved, so the upgrade does not go on without it.
    """

    EXAMPLE = 'orchestrator database evict nova_cell cell07 --attest-gone --reason "the cell was closed down"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("database", help="name of the database")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")
        parser.add_argument("--attest-gone", action="store_true", help="you vouch that nothing will ever use it again")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.attest_gone:
            raise UsageError(
                "a database is only counted out when somebody vouches that it is gone for good: "
                "make sure that no service uses it, then repeat with --attest-gone."
            )
        path = path_of("schemas", parsed_args.schema, "databases", parsed_args.database) + "/evict"
        self.api.post(path, Databases, reason=parsed_args.reason, attest_gone=True)
        self.say(f"{parsed_args.database}: evicted")
        return 0


def _trouble(database: Database) -> str | None:
    return database.error or (database.step.error if database.step else None)


COMMANDS: dict[str, type[Plain]] = {"database list": List, "database show": Show, "database evict": Evict}
