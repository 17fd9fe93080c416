"""One process of the example service under load: `python -m orchestrator.demo.traffic`.

It runs a release of the service as it is, joins its fleet through the client, and makes requests until SIGTERM. What
it counts goes to a file that the demo reads while it runs.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from orchestrator.client import Member
from orchestrator.demo.content import Seed
from orchestrator.demo.example import SCHEMA, service_module
from orchestrator.demo.reports import OwnedRows, State, TrafficReport
from orchestrator.demo.workload import Workload

REPORT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class TrafficOptions:
    """Everything that one traffic process is told. `None` is an empty argument.

    `orchestrator` is the daemon's URL, or None for the control, where nobody coordinates anything. `inherit` is where
    the predecessor leaves its rows, None for the first owner of a slot.
    """

    release: str
    database: str
    orchestrator: str | None
    fleet: str
    instance: str
    slot: int
    customers: int
    items: int
    slots: int
    pause_seconds: float
    report: Path
    rows: Path
    inherit: Path | None

    def arguments(self) -> list[str]:
        """The command line that `parse` reads back."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [f"--{name.replace('_', '-')}={'' if value is None else value}" for name, value in values]

    @classmethod
    def parse(cls, arguments: list[str]) -> TrafficOptions:
        """Read a command line that `arguments` made."""
        parser = argparse.ArgumentParser(prog="orchestrator.demo.traffic", description=__doc__)
        for name in ("release", "database", "fleet", "instance"):
            parser.add_argument(f"--{name}", required=True)
        for name in ("slot", "customers", "items", "slots"):
            parser.add_argument(f"--{name}", type=int, required=True)
        parser.add_argument("--pause-seconds", type=float, required=True)
        for name in ("report", "rows"):
            parser.add_argument(f"--{name}", type=Path, required=True)
        parser.add_argument("--orchestrator", type=lambda url: url or None, required=True)
        parser.add_argument("--inherit", type=lambda path: Path(path) if path else None, required=True)
        return cls(**vars(parser.parse_args(arguments)))


class Behaviour(Protocol):
    """How to treat the two shapes during one transaction."""

    @property
    def reads(self) -> str: ...
    @property
    def writes(self) -> str: ...
    @property
    def reads_new(self) -> bool: ...
    @property
    def writes_old(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class OnlyItsOwnShape:
    """The behaviour of a service that knows nothing of upgrades: the shape of its release, and no other."""

    reads: str = "new"
    writes: str = "new"
    reads_new: bool = True
    writes_old: bool = False


class Alone:
    """Stands where `Member` stands, for the control: it coordinates nothing."""

    def join(self, *, wait_seconds: float) -> None:
        """Nobody to ask."""

    @contextmanager
    def transaction(self) -> Iterator[OnlyItsOwnShape]:
        """Always the shape of its own release."""
        yield OnlyItsOwnShape()

    def leave(self) -> None:
        """Nobody to tell."""


class Watched:
    """Passes a member on and remembers the last behaviour, for the display."""

    def __init__(self, member: Member | Alone) -> None:
        self._member = member
        self.words = ""
        self.joined = False

    def join(self, *, wait_seconds: float) -> None:
        """Join, with the same guarantees."""
        self._member.join(wait_seconds=wait_seconds)
        self.joined = True

    @contextmanager
    def transaction(self) -> Iterator[Behaviour]:
        """One transaction, with the same guarantees."""
        with self._member.transaction() as behaviour:
            self.words = f"reads {behaviour.reads}, writes {behaviour.writes}"
            yield behaviour

    def leave(self) -> None:
        """Leave, with the same guarantees."""
        self._member.leave()


class TrafficProcess:
    """The life of one process: report, request, report."""

    def __init__(self, options: TrafficOptions, member: Watched, workload: Workload) -> None:
        self._options = options
        self._member = member
        self._workload = workload
        self._inherit = options.inherit
        self._parent = os.getppid()
        self._report_at = 0.0

    def work(self) -> float:
        """One request, and how long to pause after it."""
        self._workload.request()
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + REPORT_SECONDS
            self._take_over()
            self.report(State.WORKING)
            if os.getppid() != self._parent:  # the demo is gone: nobody would ever stop this process
                raise SystemExit("the demo is gone")
        return self._options.pause_seconds

    def report(self, state: State) -> None:
        """Say what was done so far."""
        TrafficReport(
            state=state,
            requests=self._workload.requests,
            failed=self._workload.failed,
            checked_reads=self._workload.checked_reads,
            behaviour=self._member.words,
            first_errors=tuple(self._workload.first_errors),
        ).write(self._options.report)

    def _take_over(self) -> None:
        rows = OwnedRows.read(self._inherit) if self._inherit else None
        if rows is not None:
            self._workload.inherit(rows)
            self._inherit = None


def main(arguments: list[str]) -> None:
    """Run one process of the example service until SIGTERM."""
    options = TrafficOptions.parse(arguments)
    service = service_module("service")
    release = service_module(f"inventory_v{options.release}")
    engine = service.connect(options.database)
    member = Watched(_member(options))
    workload = Workload(
        release.Inventory(engine, member),
        Seed(customers=options.customers, items=options.items, slots=options.slots),
        options.instance,
        customers=0.7 if options.fleet.endswith("api") else 0.3,
        chance=random.Random(options.instance),
    )
    if options.inherit is None:
        workload.own_seeded(options.slot)
    process = TrafficProcess(options, member, workload)
    process.report(State.STARTING)
    serve: Callable[..., None] = service.serve
    serve(engine, member, process.work)
    workload.owned.write(options.rows)
    process.report(State.LEFT)


def _member(options: TrafficOptions) -> Member | Alone:
    if options.orchestrator is None:
        return Alone()
    return Member(
        options.orchestrator,
        schema=SCHEMA,
        fleet=options.fleet,
        release=options.release,
        instance_id=options.instance,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
