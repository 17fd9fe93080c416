"""events: the audit log."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from orchestrator.cli import cells
from orchestrator.cli.answers import Event, Events, plain
from orchestrator.cli.command import Listing, Plain
from orchestrator.cli.connection import path_of
from orchestrator.client.errors import Unavailable, Unreachable
from orchestrator.domain.visible import visible

POLL_SECONDS = 1.0


class List(Listing):
    """Show the audit log: who did what, when and why."""

    EXAMPLE = "orchestrator events inventory --follow"

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait until it is worth asking again."""
        time.sleep(seconds)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        one = parser.add_mutually_exclusive_group()
        one.add_argument("schema", nargs="?", help="only those of this schema")
        one.add_argument("--schema", dest="named", metavar="SCHEMA", help="the same, as an option")
        parser.add_argument("--limit", type=int, default=50, metavar="N", help="the newest N lines (default: 50)")
        parser.add_argument("--after", type=int, metavar="ID", help="only lines after the one of this number")
        parser.add_argument("--follow", action="store_true", help="show new lines as they come; -f json: one per line")

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Iterable[Any]]:
        found = self._read(parsed_args, parsed_args.after)
        if parsed_args.follow:
            self._follow(parsed_args, found)
        return ("Id", "Time (UTC)", "Schema", "Action", "Actor", "Says", "Reason"), [
            (
                each.id,
                cells.moment(each.at),
                cells.maybe(each.schema),
                each.action,
                each.actor,
                each.sentence,
                cells.maybe(each.reason),
            )
            for each in found.events
        ]

    def _read(self, parsed_args: argparse.Namespace, after: int | None) -> Events:
        schema = parsed_args.schema or parsed_args.named
        return self.api.get(path_of("events"), Events, schema=schema, after=after, limit=parsed_args.limit)

    def _follow(self, parsed_args: argparse.Namespace, found: Events) -> NoReturn:
        """Write lines as they come. A daemon that does not answer for a while is asked again: nothing is missed."""
        is_away = False
        while True:
            for event in found.events:
                self.say(_json_line(event) if parsed_args.formatter == "json" else _line(event))
            self.app.stdout.flush()
            if len(found.events) < parsed_args.limit:
                self.sleep(POLL_SECONDS)
            try:
                found = self._read(parsed_args, found.last)
                is_away = False
            except (Unavailable, Unreachable) as error:
                found = Events((), found.last)
                if not is_away:
                    self.tell(f"waiting: {error.message}")
                is_away = True


def _line(event: Event) -> str:
    words = (str(cells.moment(event.at)), event.schema or "-", event.action, event.actor, event.sentence)
    return visible("  ".join(words) + (f" ({event.reason})" if event.reason else ""))


def _json_line(event: Event) -> str:
    return json.dumps(plain(event))


COMMANDS: dict[str, type[Plain]] = {"events": List}
