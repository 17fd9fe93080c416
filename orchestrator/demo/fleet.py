"""The fleets of the demo: real processes of the example service, rolled one by one from release to release."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.demo.content import Seed
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.example import FLEETS
from orchestrator.demo.processes import Child, Processes
from orchestrator.demo.reports import OwnedRows, State, TrafficReport
from orchestrator.demo.traffic import TrafficOptions

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Totals:
    """What a set of processes did together."""

    requests: int = 0
    failed: int = 0
    checked_reads: int = 0
    first_errors: tuple[str, ...] = ()

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.requests + other.requests,
            self.failed + other.failed,
            self.checked_reads + other.checked_reads,
            (*self.first_errors, *other.first_errors),
        )


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a fleet, and what it was told."""

    options: TrafficOptions
    child: Child

    @property
    def report(self) -> TrafficReport:
        """What it says that it did."""
        return TrafficReport.read(self.options.report)

    @property
    def runs(self) -> bool:
        """Has not ended."""
        return self.child.exit_code is None

    @property
    def ended_badly(self) -> bool:
        """It ended without having left."""
        return not self.runs and (self.child.exit_code != 0 or self.report.state is not State.LEFT)

    def wait_until_working(self) -> None:
        """Return when it serves. Raises `DemoFailed` when it ended or does not begin."""
        _wait_for(lambda: not self.runs or self.report.state is State.WORKING, START_SECONDS)
        if not self.runs or self.report.state is not State.WORKING:
            raise DemoFailed(f"{self.child.name} did not start to work:\n{self.child.last_words()}")

    def leave(self) -> None:
        """Ask it to leave. Once: a second SIGTERM may meet a process that no longer handles it."""
        self.child.terminate()

    def wait_until_left(self) -> None:
        """Return when it has ended. Raises `DemoFailed` when it does not end well."""
        _wait_for(lambda: not self.runs, STOP_SECONDS)
        if self.child.exit_code != 0:
            raise DemoFailed(f"{self.child.name} ended with {self.child.exit_code}:\n{self.child.last_words()}")


class Fleets:
    """All processes of the example service in one experiment, the ended ones included."""

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        *,
        database: str,
        orchestrator: str | None,
        seed: Seed,
        size: int,
        pause_seconds: float,
    ) -> None:
        self._processes = processes
        self._directory = directory
        self._database = database
        self._orchestrator = orchestrator
        self._seed = seed
        self._size = size
        self._pause_seconds = pause_seconds
        self._instances: tuple[Instance, ...] = ()

    def start(self, release: str) -> None:
        """Start every process of both fleets, and return when all of them work."""
        slot = 0
        for fleet in FLEETS:
            for number in range(1, self._size + 1):
                self._start(fleet, number, release, slot, inherit=None)
                slot += 1
        for instance in self._instances:
            instance.wait_until_working()

    def roll(self, fleet: str, release: str) -> None:
        """Replace the processes of a fleet one by one: the new one works before the old one is asked to leave."""
        for old in self.running(fleet):
            number = int(old.options.instance.split("-")[2])
            self._start(fleet, number, release, old.options.slot, inherit=old.options.rows).wait_until_working()
            old.leave()
            old.wait_until_left()

    def stop(self) -> None:
        """Let every process leave."""
        running = self.running()
        for instance in running:
            instance.leave()
        for instance in running:
            instance.wait_until_left()

    def running(self, fleet: str | None = None) -> tuple[Instance, ...]:
        """The processes that have not ended, of one fleet or of all."""
        return tuple(i for i in self._instances if i.runs and fleet in {None, i.options.fleet})

    def ended_badly(self) -> tuple[str, ...]:
        """The names of the processes that ended without having left."""
        return tuple(instance.child.name for instance in self._instances if instance.ended_badly)

    def totals(self) -> Totals:
        """What all processes did, the ended ones included."""
        reports = [instance.report for instance in self._instances]
        done = [Totals(r.requests, r.failed, r.checked_reads, r.first_errors) for r in reports]
        return sum(done, start=Totals())

    def owned_rows(self) -> OwnedRows:
        """What the ended processes left in the rows that they changed: the newest word for each row."""
        owned = OwnedRows(customers={}, items={})
        for instance in self._instances:
            rows = OwnedRows.read(instance.options.rows)
            if rows is not None:
                owned.customers.update(rows.customers)
                owned.items.update(rows.items)
        return owned

    def _start(self, fleet: str, number: int, release: str, slot: int, *, inherit: Path | None) -> Instance:
        name = f"{fleet}-{number}-release-{release}"
        if any(instance.child.name == name for instance in self._instances):
            name += "-again"
        options = TrafficOptions(
            release=release,
            database=self._database,
            orchestrator=self._orchestrator,
            fleet=fleet,
            instance=name,
            slot=slot,
            customers=self._seed.customers,
            items=self._seed.items,
            slots=self._seed.slots,
            pause_seconds=self._pause_seconds,
            report=self._directory / f"{name}.report.json",
            rows=self._directory / f"{name}.rows.json",
            inherit=inherit,
        )
        child = self._processes.start_module("orchestrator.demo.traffic", options.arguments(), name=name)
        instance = Instance(options, child)
        self._instances = (*self._instances, instance)
        return instance


def _wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    """Return when it is so, or when the time is over."""
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
