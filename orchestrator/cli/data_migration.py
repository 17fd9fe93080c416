"""data-migration: how far rows have moved, which could not be moved, and steering them while they do."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from textwrap import indent
from typing import Any

from orchestrator.cli import authoring, cells
from orchestrator.cli.answers import (
    DataMigration,
    DataMigrations,
    Intention,
    Pace,
    PaceOption,
    QuarantinedRow,
    Verification,
)
from orchestrator.cli.command import Listing, Plain, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.data_migration_watch import Watch
from orchestrator.cli.failures import UsageError
from orchestrator.domain.overlay import OFF

COLUMNS = (
    "Name", "Release", "Database", "State", "Wanted", "Priority", "Moved", "Verified", "Differences", "Progress",
    "Rows/s", "ETA", "Says",
)  # fmt: skip
QUARANTINE = "Quarantine"
VERIFICATION = "Verification"
REMEDY = "Remedy"
VERIFIED = ("Name", "Database", "State", VERIFICATION)
OFF_WORD = "off"
PACE = ("Database", "Option", "Configured", "In force", "Set", "Set at")


def _row(each: DataMigration) -> tuple[object, ...]:
    says = each.error or (f"differs at {each.first_differences}" if each.first_differences else None)
    if each.rows_to_repair is not None:
        says = f"{says}. A retry moves {each.rows_to_repair} rows again, and compares all."
    if each.throttled_by:
        says = f"waits: {'; '.join(each.throttled_by)}"
    return (
        each.name,
        cells.maybe(each.release),
        each.database,
        each.state,
        _wanted(each.intention),
        each.priority,
        cells.rows(each.rows_done, each.rows_total),
        each.rows_verified,
        each.differences,
        cells.share(each.progress),
        cells.rate(each.rows_per_second),
        cells.eta(each.eta),
        cells.maybe(says),
    )


def _wanted(intention: Intention | None) -> cells.Cell:
    """What somebody wants of it, beside what it does; empty where it is to run."""
    if intention is None:
        return cells.maybe(None)
    return cells.Cell(intention, f"{intention.wish} by {intention.by}: {intention.reason}")


def _with_quarantine(each: DataMigration) -> tuple[object, ...]:
    if each.quarantine is None and each.rows_quarantined:
        words = f"{each.rows_quarantined} in all; their database, which knows them, does not answer now"
    else:
        words = "\n".join(_words(row) for row in each.quarantine or ())
    return (*_row(each), cells.Cell(each.quarantine, words), _compared(each.verification), cells.maybe(each.remedy))


def _compared(found: Verification | None) -> cells.Cell:
    """What the newest comparison came to that somebody asked for; empty where nobody ever did."""
    if found is None:
        return cells.maybe(None)
    reason = "" if found.reason is None else f" ({found.reason})"
    begun = cells.moment(found.started_at).human_readable()
    more = "" if found.to_move_again is None else f". {found.to_move_again}"
    waits = f"; it waits: {'; '.join(found.throttled_by)}" if found.throttled_by else ""
    return cells.Cell(
        found, f"{found.state}, asked for by {found.by}{reason} at {begun}: {found.sentence}{waits}{more}"
    )


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

    With the rows that could not be moved: when each was tried, its key and why. With what the newest comparison came
    to that somebody asked for with `verify`. And where rows wait, with what lets them go on.
    """

    EXAMPLE = "orchestrator data-migration show inventory split_name"

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name)
        found = self.api.get(path, DataMigrations).data_migrations
        return (*COLUMNS, QUARANTINE, VERIFICATION, REMEDY), [_with_quarantine(each) for each in found]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        """For people the rows stand below the table, which their sentences would tear apart."""
        rows = list(data)
        if parsed_args.formatter != "table" or parsed_args.columns:
            return super().produce_output(parsed_args, column_names, rows)
        done = super().produce_output(parsed_args, COLUMNS, [row[: len(COLUMNS)] for row in rows])
        for row in rows:
            for title, cell in zip(("Not moved", "Compared", "To go on"), row[len(COLUMNS) :], strict=True):
                if lines := cell.human_readable():
                    self.app.stdout.write(f"\n{title} in {row[COLUMNS.index('Database')]}:\n{indent(lines, '  ')}\n")
        return done


class Retry(_OfOne):
    """Let a failed data migration be tried again.

    In one database, or in all in which it failed. With another file it goes back to its start. With the same one:
    where rows differ, only the parts of the table in which they do are moved again; where more than 100 parts differ,
    all rows are. Else it goes on where it stopped, rows in quarantine first. Then all rows are compared.
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


class _Held(_OfOne):
    """What no further batch begins of, until it is resumed."""

    VERB = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", required=True, help="why, for whoever meets the upgrade waiting")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, self.VERB)
        found = self.api.post(path, DataMigrations, database=parsed_args.database, reason=parsed_args.reason)
        return COLUMNS, [_row(each) for each in found.data_migrations]


class Pause(_Held):
    """Let no further batch of a data migration begin.

    In one database, or in all. A batch that is under way ends. The upgrade waits for `data-migration resume`; data
    migrations that do not follow this one go on.
    """

    VERB = "pause"
    EXAMPLE = 'orchestrator data-migration pause inventory split_name --reason "month-end closing"'


class Cancel(_Held):
    """Send a data migration back to its start, and hold it there.

    In one database, or in all where it is not complete. No further batch begins; its position and its counts are
    forgotten. No row is changed back: those that it moved hold what they are to hold, and are moved again after
    `data-migration resume`. The upgrade cannot go on without it, and waits for that; to give up the upgrade: `upgrade
    cancel`.
    """

    VERB = "cancel"
    EXAMPLE = 'orchestrator data-migration cancel inventory split_name --reason "its file is wrong"'


class Resume(_OfOne):
    """Let a data migration run again that was paused or cancelled.

    In one database, or in all. It goes on from where it is; one that was cancelled begins at its first row.
    """

    EXAMPLE = "orchestrator data-migration resume inventory split_name"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, "resume")
        found = self.api.post(path, DataMigrations, database=parsed_args.database, reason=parsed_args.reason)
        return COLUMNS, [_row(each) for each in found.data_migrations]


class Verify(_OfOne):
    """Compare all rows of a data migration with what it computes.

    At any time between expand and contract, in one database or in all. In the background, in batches as small and as
    patient as those that move rows, and after these: `data-migration show` tells how far it is. Nothing changes by it,
    neither rows nor the upgrade; it proves nothing to the upgrade either. Asked again while it is under way it goes on.
    Where one shape goes stale, from write_new on, differences are to be expected, and it says so.
    """

    EXAMPLE = 'orchestrator data-migration verify inventory split_name --reason "after the failover"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")
        parser.add_argument("--stop", action="store_true", help="end it; what it found so far is kept")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        path = path_of("schemas", parsed_args.schema, "data-migrations", parsed_args.name, "verify")
        given = {"database": parsed_args.database, "reason": parsed_args.reason, "stop": parsed_args.stop or None}
        found = self.api.post(path, DataMigrations, **given).data_migrations
        return VERIFIED, [
            (each.name, each.database, each.state, _compared(each.verification))
            for each in found
            if parsed_args.database in (None, each.database)
        ]


class Set(Listing):
    """Set limits and pace of a schema, or the priority of a data migration.

    While rows are moved. With the name of a data migration: priority=NUMBER. Of several that may run the highest has
    its turn first.

    Without: the options of [data_migrations] and [throttling], over what is configured, such as nice_ratio=2,
    batch_seconds=0.05 or max_active_sessions=40. throttle:NAME=NUMBER sets max of [throttle:SCHEMA:NAME]. OPTION=off,
    or -1, switches any limit or throttle off, also one that cannot be read; throttle:NAME=1 asks one again that has no
    number. In one database, or in the whole schema; what is set for one database goes before. In force on every daemon
    from its next batch on, until it is cleared with --default.
    """

    EXAMPLE = 'orchestrator data-migration set inventory nice_ratio=2 --reason "the shop is busy"'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]  # options may stand anywhere
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("what", nargs="*", metavar="[NAME] OPTION=VALUE", help="what to set, and to what")
        parser.add_argument(
            "--default", action="append", default=[], metavar="OPTION",
            help="let the configuration be in force again; can be repeated",
        )  # fmt: skip
        parser.add_argument("--database", help="only in this one")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        what, defaults = list(parsed_args.what), parsed_args.default
        name = what.pop(0) if what and "=" not in what[0] else None
        values = dict(_given(each) for each in what)
        if not values and not defaults:
            raise UsageError("there is nothing to set: give OPTION=VALUE, or --default OPTION.")
        if name is None:
            path = path_of("schemas", parsed_args.schema, "pace")
            found = self.api.post(
                path, Pace, values=values, defaults=defaults, database=parsed_args.database, reason=parsed_args.reason
            )
            return PACE, [_option(each) for each in found.options]
        if {*values, *defaults} != {"priority"} or len(values) + len(defaults) != 1 or parsed_args.database:
            raise UsageError(
                "of one data migration only the priority can be set, in all databases: priority=NUMBER, or --default "
                "priority. All else is set for a schema: leave the name out."
            )
        priority = values.get("priority")
        if priority is not None and not priority.is_integer():
            raise UsageError("priority: give a whole number.")
        path = path_of("schemas", parsed_args.schema, "data-migrations", name, "set")
        body = {"priority": None if priority is None else int(priority)}
        if parsed_args.reason is not None:
            body["reason"] = parsed_args.reason
        answer = self.api.send(path, DataMigrations, body)
        return COLUMNS, [_row(each) for each in answer.data_migrations]


def _given(text: str) -> tuple[str, float]:
    """`nice_ratio=2` as a name and a number; off is a number too."""
    name, is_there, value = text.partition("=")
    if name not in ("", "priority") and value == OFF_WORD:
        return name, OFF
    with suppress(ValueError):
        if is_there and name and math.isfinite(float(value)):
            return name, float(value)
    raise UsageError(f"{text}: give OPTION=VALUE, with a number for the value, or off.")


class ShowPace(Listing):
    """List limits and pace: what is configured, what is in force, and who set it.

    Before that, of each database that has maintenance windows: whether one is open, and when it closes or opens.
    """

    EXAMPLE = "orchestrator data-migration pace inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "pace"), Pace)
        for each in found.windows:
            self.tell(f"{each.database}: {each.sentence} ({', '.join(each.windows)})")
        return PACE, [_option(each) for each in found.options]


def _option(each: PaceOption) -> tuple[object, ...]:
    words = "" if each.set is None else f"by {each.set.by}{f': {each.set.reason}' if each.set.reason else ''}"
    return (
        each.database,
        each.option,
        _number(each.configured, "not there any more"),
        cells.Cell(each.in_force, OFF_WORD) if _is_off(each) else _number(each.in_force, "no effect"),
        cells.Cell(each.set, words),
        cells.moment(None if each.set is None else each.set.at),
    )


def _is_off(each: PaceOption) -> bool:
    """Whether somebody switched it off."""
    return each.set is not None and each.in_force is not None and each.in_force < 0


def _number(value: float | None, unknown: str) -> cells.Cell:
    return cells.Cell(value, unknown if value is None else f"{value:g}")


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
    "data-migration watch": Watch,
    "data-migration retry": Retry,
    "data-migration pause": Pause,
    "data-migration resume": Resume,
    "data-migration cancel": Cancel,
    "data-migration verify": Verify,
    "data-migration set": Set,
    "data-migration pace": ShowPace,
    "data-migration assume": Assume,
    "data-migration new": authoring.New,
}
