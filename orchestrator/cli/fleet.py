"""fleet: what each fleet runs and which phase it is told, keeping one from going further, saying what one runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Fleet, Fleets, Inventories, Member, Report, SourceLine, Upgrade
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.command import Listing, Plain, Showing, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import UsageError

_NOTHING = "nothing reported"


class List(Listing):
    """List what each fleet runs, and which source says so.

    A source is the leases, a report, or the query of an inventory source.
    An instance is silent when its lease ran out, or its last sign of life is too old: it may be alive all the same.
    """

    EXAMPLE = "orchestrator fleet list inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "inventories"), Inventories).fleets
        return ("Fleet", "Source", "Release", "Instances", "Silent", "Down", "Oldest sign"), [
            (fleet.fleet, *row) for fleet in found for row in (_row(line) for line in fleet.lines or (None,))
        ]


class Show(Showing):
    """Show one fleet, and what the upgrade under way waits for in it."""

    EXAMPLE = "orchestrator fleet show inventory inventory-api"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="name of the fleet")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        schema, name = parsed_args.schema, parsed_args.fleet
        (fleet,) = self.api.get(path_of("schemas", schema, "inventories"), Inventories, fleet=name).fleets
        upgrade = self.api.get(path_of("schemas", schema, "upgrade"), Upgrade)
        labels = {name, *(label for each in fleet.members for label in _labels(each))}
        blockers = tuple(each for each in upgrade.blockers if labels & set(each.culprits))
        return ("Fleet", "Sources", "Instances", "Blockers"), (
            name,
            cells.lines(fleet.lines, (_sentence(line) for line in fleet.lines) if fleet.lines else (_NOTHING,)),
            cells.lines(fleet.members, (_member(each) for each in fleet.members)),
            cells.lines(blockers, (line[2:] for blocker in blockers for line in lines_of(blocker))),
        )


def _row(line: SourceLine | None) -> tuple[object, ...]:
    if line is None:
        return cells.Cell(None, _NOTHING), cells.maybe(None), 0, 0, 0, cells.maybe(None)
    error = f"{_said_by(line)}: {line.error}" if line.error else _said_by(line)
    counts = line.instances, line.silent, line.down
    source = cells.Cell({"kind": line.source, "name": line.name, "error": line.error}, error)
    return source, cells.maybe(line.release), *counts, cells.duration(line.oldest_seconds)


def _said_by(line: SourceLine) -> str:
    if line.source == "report":
        return f"report by {line.name}"
    return line.name or line.source


def _sentence(line: SourceLine) -> str:
    if line.error:
        return f"{_said_by(line)}: {line.error}\n  > {line.remedy or ''}"
    counts = [f"{line.instances} of {line.release}"]
    counts += [f"{line.silent} silent"] if line.silent else []
    counts += [f"{line.down} down"] if line.down else []
    return f"{_said_by(line)}: {', '.join(counts)}"


def _member(member: Member) -> str:
    name = f"{member.id} on {member.host}" if member.host else member.id
    place = f" in {member.database}" if member.database else ""
    age = "" if member.age_seconds is None else f", {cells.duration(member.age_seconds).human_readable()} ago"
    return f"{name}{place}: {member.release}, {member.sign}{age}"


class Waves(Listing):
    """List the phase that each fleet is told, and who paused which."""

    EXAMPLE = "orchestrator fleet waves inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "fleets"), Fleets).fleets
        return ("Fleet", "Wave", "Phase", "Instances", "Told", "Acked", "Paused"), [
            (
                each.fleet,
                cells.maybe(each.wave),
                cells.maybe(each.phase),
                each.instances,
                each.told,
                each.acked,
                cells.Cell(each.pause, "" if each.pause is None else f"by {each.pause.actor}: {each.pause.reason}"),
            )
            for each in sorted(found, key=lambda fleet: fleet.wave or 0)
        ]


class Pause(Plain):
    """Let one fleet go no further.

    What it was told already it goes on with: it does not hear of the next phase that is published, nor of the present
    one if its wave has not come yet. The upgrade then waits for `fleet resume`; going back never does.
    """

    EXAMPLE = 'orchestrator fleet pause nova_cell nova-compute --reason "hypervisors are being patched"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="name of the fleet")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.reason.strip():
            raise UsageError("--reason may not be empty: say why, for whoever reads the audit log.")
        path = path_of("schemas", parsed_args.schema, "fleets", parsed_args.fleet, "pause")
        found = self.api.post(path, Fleet, reason=parsed_args.reason)
        self.say(f"{found.fleet} is paused: {_effect(found)}")
        return Exit.YES


class Resume(Plain):
    """Tell a paused fleet what was published meanwhile, and all that follows."""

    EXAMPLE = "orchestrator fleet resume nova_cell nova-compute"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="name of the fleet")
        parser.add_argument("--reason", help="why, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        path = path_of("schemas", parsed_args.schema, "fleets", parsed_args.fleet, "resume")
        found = self.api.post(path, Fleet, reason=parsed_args.reason)
        self.say(f"{found.fleet} goes on{f' to {found.phase}' if found.phase else ''}")
        return Exit.YES


def _effect(fleet: Fleet) -> str:
    if fleet.phase is None:
        return "the next upgrade leaves it at base"
    if fleet.pause is not None and fleet.pause.holds:
        return f"it stays at {fleet.phase}"
    return f"it was told {fleet.phase} already, and goes no further"


class Say(Plain):
    """Say what a fleet runs whose instances hold no lease.

    It replaces the last report of that fleet, and is in the audit log. Exits with 3 if that release may not run now.
    """

    EXAMPLE = "orchestrator fleet report keystone keystone-api --release 2026.2 --instances 3"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="name of the fleet")
        parser.add_argument("--release", required=True, help="the release that all its instances run")
        parser.add_argument("--instances", required=True, type=int, metavar="N", help="how many there are; 0 for none")
        parser.add_argument("--reason", help="how you know, for whoever reads the audit log")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        stored = self.api.post(
            path_of("schemas", parsed_args.schema, "fleets", parsed_args.fleet, "report"),
            Report,
            release=parsed_args.release,
            instances=parsed_args.instances,
            reason=parsed_args.reason,
        )
        self.say(f"{stored.fleet} is reported to run {stored.release} everywhere ({stored.instances} instances)")
        if stored.violation:
            self.tell(f"It may not run now: {stored.violation}. Nothing moves on until that ends.")
            return Exit.NOT_YET
        return Exit.YES


def _labels(member: Member) -> tuple[str, ...]:
    """How blockers name an instance."""
    return member.id, f"{member.id} on {member.host}", f"{member.id} in {member.database}"


COMMANDS: dict[str, type[Plain]] = {
    "fleet list": List,
    "fleet show": Show,
    "fleet waves": Waves,
    "fleet report": Say,
    "fleet pause": Pause,
    "fleet resume": Resume,
}
