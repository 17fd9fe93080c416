"""data-migration: how far rows have moved, and sending a failed one back to its start."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import DataMigration, DataMigrations
from orchestrator.cli.command import Listing, Plain, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.failures import UsageError

COLUMNS = ("Name", "Release", "Database", "State", "Moved", "Verified", "Differences", "Says")


def _row(each: DataMigration) -> tuple[object, ...]:
    says = each.error or (f"differs at {each.first_differences}" if each.first_differences else None)
    if each.throttled_by:
        says = f"waits: {'; '.join(each.throttled_by)}"
    return (
        each.name,
        cells.maybe(each.release),
        each.database,
        each.state,
        cells.rows(each.rows_done, each.rows_total),
        each.rows_verified,
        each.differences,
        cells.maybe(says),
    )


class List(Listing):
    """List the data migrations of a schema, each once per database."""

    EXAMPLE = "orchestrator data-migration list inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "data-migrations"), DataMigrations)
        return COLUMNS, [_row(each) for each in found.data_migrations]


class _OfOne(Listing):
    """About one data migration in all its databases."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("name", help="name of the data migration")


class Show(_OfOne):
    """Show one data migration in every database."""

    EXAMPLE = "orchestrator data-migration show inventory split_name"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name)
        return COLUMNS, [_row(each) for each in self.api.get(path, DataMigrations).data_migrations]


class Retry(_OfOne):
    """Send a failed data migration back to its start.

    In one database, or in all in which it failed.
    """

    EXAMPLE = "orchestrator data-migration retry inventory split_name"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, "retry")
        found = self.api.post(path, DataMigrations, database=parsed_args.database, reason=parsed_args.reason)
        return COLUMNS, [_row(each) for each in found.data_migrations]


class Assume(_OfOne):
    """Let a data migration of an earlier release count as done, on your word.

    In one database, or in all where it has not run. It cannot be run any more, since what it reads is stale or gone:
    look at its rows, and put those right by hand that are not as it would have left them.
    """

    EXAMPLE = 'orchestrator data-migration assume inventory split_name --attest-done --reason "restored from cell01"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")
        parser.add_argument("--attest-done", action="store_true", help="you vouch that the rows are as it leaves them")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        if not parsed_args.attest_done:
            raise UsageError(
                "a data migration only counts as done when somebody vouches that its rows are as it leaves them: "
                "make sure that they are, then repeat with --attest-done."
            )
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, "assume")
        given = {"database": parsed_args.database, "reason": parsed_args.reason, "attest_done": True}
        return COLUMNS, [_row(each) for each in self.api.post(path, DataMigrations, **given).data_migrations]


COMMANDS: dict[str, type[Plain]] = {
    "data-migration list": List,
    "data-migration show": Show,
    "data-migration retry": Retry,
    "data-migration assume": Assume,
}
