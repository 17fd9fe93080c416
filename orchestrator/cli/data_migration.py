"""data-migration: how far rows have moved, which could not be moved, and trying a failed one again."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import DataMigration, DataMigrations, QuarantinedRow
from orchestrator.cli.command import Listing, Plain, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.failures import UsageError

COLUMNS = ("Name", "Release", "Database", "State", "Moved", "Verified", "Differences", "Says")
QUARANTINE = "Quarantine"


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


def _with_quarantine(each: DataMigration) -> tuple[object, ...]:
    if each.quarantine is None and each.rows_quarantined:
        words = f"{each.rows_quarantined} in all; their database, which knows them, does not answer now"
    else:
        words = "\n".join(_words(row) for row in each.quarantine or ())
    return (*_row(each), cells.Cell(each.quarantine, words))


def _words(row: QuarantinedRow) -> str:
    return f"{cells.moment(row.failed_at).human_readable()}  {row.key}  {row.error}"


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
    """Show one data migration in every database.

    With the rows that could not be moved: when each was tried, its key and why.
    """

    EXAMPLE = "orchestrator data-migration show inventory split_name"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name)
        found = self.api.get(path, DataMigrations).data_migrations
        return (*COLUMNS, QUARANTINE), [_with_quarantine(each) for each in found]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        """For people the rows stand below the table, which their sentences would tear apart."""
        rows = list(data)
        if parsed_args.formatter != "table" or parsed_args.columns:
            return super().produce_output(parsed_args, column_names, rows)
        done = super().produce_output(parsed_args, COLUMNS, [row[:-1] for row in rows])
        for row in rows:
            if lines := row[-1].human_readable():
                self.app.stdout.write(f"\nNot moved in {row[COLUMNS.index('Database')]}:\n{indent(lines, '  ')}\n")
        return done


class Retry(_OfOne):
    """Let a failed data migration be tried again.

    In one database, or in all in which it failed. It goes back to its start; where only rows in quarantine are left and
    its file is the same, those alone are tried.
    """

    EXAMPLE = "orchestrator data-migration retry inventory split_name"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, "retry")
        found = self.api.post(path, DataMigrations, database=parsed_args.database, reason=parsed_args.reason)
        if found.retried:
            self.tell(f"{parsed_args.name} will be tried again in {', '.join(found.retried)}")
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
