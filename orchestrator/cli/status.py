"""status: where everything stands, and what clears what stands in the way."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from cliff.formatters.base import ListFormatter

from orchestrator.cli import cells
from orchestrator.cli.answers import Blocker, Daemons, Schema, Schemas, Upgrade
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.command import LIST_FORMATTERS, Listing
from orchestrator.cli.connection import path_of

COLUMNS = ("Schema", "Where", "Databases", "Says", "Blockers", "Release", "Status", "Phase", "Next", "Progress", "ETA")
_PEOPLE = 4
"""How many of the columns are for people, before those that scripts want."""


class StatusLines(ListFormatter):
    """One line per schema, then what blocks it and the command that clears it."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """It has no options."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        found = [dict(zip(column_names, row, strict=True)) for row in data]
        shown = [name for name in column_names if name != "Blockers" and (parsed_args.columns or name in COLUMNS[:4])]
        widths = {name: max(len(str(row[name])) for row in found) for name in shown} if found else {}
        for row in found:
            stdout.write("  ".join(f"{row[name]!s:<{widths[name]}}" for name in shown).rstrip() + "\n")
            if row.get("Blockers") is not None and str(row["Blockers"]):
                stdout.write(f"{row['Blockers']}\n")


class Status(Listing):
    """Show where every schema stands, each blocker, and what clears it."""

    EXAMPLE = "orchestrator status"
    FORMATTERS = {"lines": f"{__name__}:StatusLines"} | LIST_FORMATTERS

    @property
    def formatter_default(self) -> str:
        return "lines"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("schema", nargs="?", help="show only this one")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        if parsed_args.schema:
            found: tuple[Schema, ...] = (self.api.get(path_of("schemas", parsed_args.schema), Schema),)
        else:
            found = self.api.get(path_of("schemas"), Schemas).schemas
        if not found:
            self.tell("No schema is configured.")
        if not parsed_args.schema:
            for line in daemon_lines(self.api.get(path_of("daemons"), Daemons)):
                self.tell(line)
        return COLUMNS, [_row(schema) for schema in found]


def daemon_lines(found: Daemons) -> Iterator[str]:
    """Who leads, where there are several daemons; who keeps our own tables from being contracted; the clock's jumps."""
    if len(found.daemons) > 1:
        leader = next((each for each in found.daemons if each.leads), None)
        gone = sum(each.expired for each in found.daemons)
        leads = (
            "none leads just now"
            if leader is None
            else f"{leader.id} at {leader.address} leads since {cells.moment(leader.leads_since).human_readable()} UTC"
        )
        yield f"{len(found.daemons)} daemons{f', of which {gone} stopped renewing' if gone else ''}: {leads}"
    for wait in found.waits:
        yield from (wait.sentence, f"  > {wait.remedy}")
    if found.clock is not None:
        yield found.clock


def _row(schema: Schema) -> tuple[object, ...]:
    upgrade = schema.upgrade
    blockers = upgrade.blockers
    return (
        schema.schema,
        where(schema),
        databases_done(schema),
        cells.Cell(upgrade.sentence, _says(upgrade)),
        cells.Cell(blockers, "\n".join(_blocker_lines(upgrade))),
        cells.maybe(schema.release),
        upgrade.status,
        cells.maybe(upgrade.phase),
        cells.maybe(upgrade.next),
        cells.share(upgrade.progress),
        cells.eta(upgrade.eta, upgrade.eta_seconds),
    )


def _says(upgrade: Upgrade) -> str:
    """The one sentence, unless it only repeats the first of those that follow."""
    if upgrade.blockers and upgrade.sentence.startswith(upgrade.blockers[0].sentence):
        return "waits for:"
    for each in upgrade.databases:
        if each.step is not None and each.step.error and upgrade.sentence.endswith(each.step.error):
            return f"{upgrade.sentence.removesuffix(each.step.error).removesuffix(f' in {each.database}: ')}:"
    return upgrade.sentence + left(upgrade)


def left(upgrade: Upgrade) -> str:
    """How long its rows still take, to be put behind its sentence; why not is said in that one."""
    if upgrade.eta is not None and upgrade.eta.state == "measuring":
        return ", measuring how long it takes"
    return "" if upgrade.eta_seconds is None else f", about {cells.duration(upgrade.eta_seconds)} left"


def where(schema: Schema) -> str:
    """The release at rest, or the releases and phases that it moves between."""
    upgrade = schema.upgrade
    if not upgrade.is_running:
        return schema.release or "no release"
    move = f"{upgrade.phase} > {upgrade.next}" if upgrade.next else f"{upgrade.phase}"
    return f"{upgrade.from_release} > {upgrade.to_release}  {move}"


def databases_done(schema: Schema) -> str:
    """How many databases are well: with a step under way, how many have ended it."""
    databases = schema.upgrade.databases
    total = len(databases) or len(schema.databases)
    stepping = [each for each in databases if each.step is not None]
    if stepping:
        done = sum(each.step is not None and each.step.state == "done" for each in databases)
    else:
        done = total - sum(each.error is not None for each in databases)
    return f"{done}/{total}"


def _blocker_lines(upgrade: Upgrade) -> Iterator[str]:
    named = {culprit for blocker in upgrade.blockers for culprit in blocker.culprits}
    for blocker in (*upgrade.blockers, *_failures(upgrade, named)):
        yield from lines_of(blocker)


def _failures(upgrade: Upgrade, named: set[str]) -> Iterator[Blocker]:
    """Databases in trouble, or waiting, that no blocker names: none is named at rest, nor while others still go on."""
    for each in upgrade.databases:
        if each.database in named:
            continue
        if each.error is not None:
            yield Blocker("database_unreachable", f"{each.database}: {each.error}", each.remedy or "")
        elif each.step is not None and each.step.state == "failed":
            retry = f"orchestrator upgrade retry {upgrade.schema} --database {each.database}"
            remedy = f"{each.step.remedy} Then: {retry}" if each.step.remedy else retry
            yield Blocker("step_failed", f"{each.database}: {each.step.error}", remedy)
        elif each.step is not None and each.step.state != "done" and each.step.error is not None:
            yield Blocker("step_waits", f"{each.database}: {each.step.error}", each.step.remedy or "")


COMMANDS = {"status": Status}
