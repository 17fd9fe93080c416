"""daemon: the daemons that share the state database, and counting out one that is dead."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.cli import cells
from orchestrator.cli.answers import Daemon, Daemons
from orchestrator.cli.command import Listing, Plain
from orchestrator.cli.connection import path_of
from orchestrator.cli.failures import UsageError


class List(Listing):
    """List the daemons that may be alive, and who leads."""

    EXAMPLE = "orchestrator daemon list"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="also those that left or were evicted")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self.api.get(path_of("daemons"), Daemons, all="true" if parsed_args.all else None)
        for wait in found.waits:
            self.tell(f"{wait.sentence}\n  > {wait.remedy}")
        return (
            ("Daemon", "Address", "Version", "State", "Leads since (UTC)", "Started (UTC)", "Renewed (UTC)", "Ended"),
            [
                (
                    each.id,
                    each.address,
                    each.version,
                    _state(each),
                    cells.moment(each.leads_since),
                    cells.moment(each.started_at),
                    cells.moment(each.renewed_at),
                    cells.maybe(each.end_reason),
                )
                for each in found.daemons
            ],
        )


def _state(daemon: Daemon) -> cells.Cell:
    """With how long ago it was heard of: one that was killed leads, and counts as alive, until its lease runs out."""
    state = "expired" if daemon.expired else daemon.state
    if daemon.state != "alive" or daemon.silent_seconds is None:
        return cells.Cell(state, state)
    return cells.Cell(state, f"{state}, last heard of {cells.duration(daemon.silent_seconds).human_readable()} ago")


class Evict(Plain):
    """Count a daemon out, on your word that it is gone.

    Needed only for one that was killed and does not come back at its place: until then, it keeps the orchestrator's
    own tables from being contracted after an upgrade of the orchestrator. Leadership passes on by itself.
    """

    EXAMPLE = 'orchestrator daemon evict control-2:8123:1f0c77aa --attest-dead --reason "host burnt down"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("daemon", help="its id, as `orchestrator daemon list` shows it")
        parser.add_argument("--reason", required=True, help="why, for whoever reads the audit log")
        parser.add_argument("--attest-dead", action="store_true", help="you vouch that the process is gone")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.attest_dead:
            raise UsageError(
                "a daemon is only counted out when somebody vouches that its process is gone: "
                "make sure that it is stopped, then repeat with --attest-dead."
            )
        path = path_of("daemons", parsed_args.daemon) + "/evict"
        ended = self.api.post(path, Daemon, reason=parsed_args.reason, attest_dead=True)
        self.say(f"{ended.id}: {ended.state}")
        return 0


COMMANDS: dict[str, type[Plain]] = {"daemon list": List, "daemon evict": Evict}
