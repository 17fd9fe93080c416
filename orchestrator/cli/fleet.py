"""fleet: what each fleet runs, and saying so for one whose instances hold no lease."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Instance, Instances, Report, Upgrade
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.command import Listing, Plain, Showing, with_schema
from orchestrator.cli.connection import path_of
from orchestrator.cli.exits import Exit
from orchestrator.domain.errors import NotFound


class List(Listing):
    """List the fleets that hold leases, with the releases that they run.

    While an upgrade is under way also those that it waits for because nothing was ever reported of them.
    """

    EXAMPLE = "orchestrator fleet list inventory"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("schemas", parsed_args.schema, "instances"), Instances).instances
        upgrade = self.api.get(path_of("schemas", parsed_args.schema, "upgrade"), Upgrade)
        counts = Counter((each.fleet, each.release) for each in found)
        silent = sorted({fleet for each in upgrade.blockers if each.code == "fleet_unknown" for fleet in each.culprits})
        return ("Fleet", "Release", "Instances"), [
            *((fleet, release, number) for (fleet, release), number in sorted(counts.items())),
            *((fleet, cells.Cell(None, "nothing reported"), cells.maybe(None)) for fleet in silent),
        ]


class Show(Showing):
    """Show one fleet, and what the upgrade under way waits for in it."""

    EXAMPLE = "orchestrator fleet show inventory inventory-api"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="name of the fleet")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        schema, fleet = parsed_args.schema, parsed_args.fleet
        found = self.api.get(path_of("schemas", schema, "instances"), Instances, fleet=fleet).instances
        upgrade = self.api.get(path_of("schemas", schema, "upgrade"), Upgrade)
        labels = {label for each in found for label in _labels(each)}
        blockers = tuple(each for each in upgrade.blockers if fleet in each.culprits or labels & set(each.culprits))
        if not found and not blockers:
            raise NotFound(
                "fleet_silent",
                f"no instance of a fleet {fleet!r} holds a lease in {schema}",
                remedy=f"orchestrator fleet list {schema}",
            )
        counts = Counter(each.release for each in found)
        return ("Fleet", "Releases", "Instances", "Blockers"), (
            fleet,
            cells.lines(
                [{"release": release, "instances": number} for release, number in sorted(counts.items())],
                (f"{release}: {number} instances" for release, number in sorted(counts.items())),
            ),
            cells.lines(found, (" on ".join(filter(None, (each.id, each.host))) for each in found)),
            cells.lines(blockers, (line[2:] for blocker in blockers for line in lines_of(blocker))),
        )


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


def _labels(instance: Instance) -> tuple[str, ...]:
    """How blockers name an instance."""
    return (instance.id, f"{instance.id} on {instance.host}") if instance.host else (instance.id,)


COMMANDS: dict[str, type[Plain]] = {"fleet list": List, "fleet show": Show, "fleet report": Say}
