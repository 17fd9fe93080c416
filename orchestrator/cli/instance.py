"""instance: the processes that hold a lease, and counting out one that is silent."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Instance, Instances
from orchestrator.cli.command import Listing, Plain, with_schema
from orchestrator.cli.connection import path_of

COLUMNS = ("Fleet", "Instance", "Host", "Release", "State", "Sessions", "Acked", "Renewed (UTC)", "Lease until (UTC)")


class List(Listing):
    """List the processes of a schema that may be alive."""

    EXAMPLE = "orchestrator instance list inventory --fleet inventory-api"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("--fleet", help="only those of this fleet")
        parser.add_argument("--all", action="store_true", help="also those that left or were evicted")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(
            path_of("schemas", parsed_args.schema, "instances"),
            Instances,
            fleet=parsed_args.fleet,
            all="true" if parsed_args.all else None,
        ).instances
        for each in found:
            if each.unproven is not None:
                self.tell(f"{each.fleet} {each.id} is being evicted: {each.unproven}")
                self.tell(f"  > {each.remedy}")
        return COLUMNS, [
            (
                each.fleet,
                each.id,
                cells.maybe(each.host),
                each.release,
                each.state,
                cells.maybe(each.sessions),
                each.acked,
                cells.moment(each.renewed_at),
                cells.moment(each.expires_at),
            )
            for each in found
        ]


class Evict(Plain):
    """Count a process out: with proof, or on your word that it is gone.

    Works in every phase, and is in the audit log. An expired lease proves nothing. Where `instance list` shows the
    sessions of the process as tagged, it gets no renewal from now on, the daemon ends its sessions in every database,
    and counts it out when none is left. With --attest-dead it is counted out at once: make sure first that the process
    is stopped.
    """

    EXAMPLE = 'orchestrator instance evict inventory inventory-api api-7 --reason "its host does not answer"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        with_schema(parser)
        parser.add_argument("fleet", help="its fleet")
        parser.add_argument("instance", help="its id, as `orchestrator instance list` shows it")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")
        parser.add_argument("--attest-dead", action="store_true", help="you vouch that the process is gone")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        ended = self.api.post(
            path_of("schemas", parsed_args.schema, "fleets", parsed_args.fleet, "instances", parsed_args.instance)
            + "/evict",
            Instance,
            reason=parsed_args.reason,
            attest_dead=parsed_args.attest_dead,
        )
        self.say(f"{ended.fleet} {ended.id}: {ended.state}{f'; {ended.proof}' if ended.proof else ''}")
        if ended.state == "evicting":
            self.tell("Its sessions are being ended; `orchestrator status` says what it waits for.")
        return 0


COMMANDS: dict[str, type[Plain]] = {"instance list": List, "instance evict": Evict}
