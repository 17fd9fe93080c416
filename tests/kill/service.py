"""One process of the example service that may be killed at any moment: its heir knows what it did."""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.client import Member
from orchestrator.demo.content import STATUSES, Seed
from orchestrator.demo.example import SCHEMA, service_module
from orchestrator.demo.reports import State, TrafficReport
from orchestrator.demo.workload import Workload
from tests.kill.rows import Journal, JournalledInventory, Rows, chain

PAUSE_SECONDS = 0.04
REPORT_SECONDS = 0.1
NO_FIELDS = {"code": "", "reason": ""}


@dataclass(frozen=True)
class Told:
    """What one process is told. `before` are the journals of those that had its slot before, oldest first."""

    daemons: str
    database: str
    fleet: str
    release: str
    instance: str
    slot: int
    seed: Seed
    journal: Path
    before: tuple[Path, ...]

    @property
    def report(self) -> Path:
        """Where it says how it is."""
        return self.journal.with_suffix(".report")

    @property
    def over(self) -> Path:
        """There when the process has ended, however that was."""
        return over(self.journal)


def over(journal: Path) -> Path:
    """The mark that whoever wrote this journal has ended."""
    return journal.with_suffix(".over")


class Owner:
    """Takes its slot over when everybody before it has ended, and works until then on rows of its own."""

    def __init__(self, told: Told, workload: Workload, inventory: JournalledInventory, journal: Journal) -> None:
        self._told = told
        self._workload = workload
        self._inventory = inventory
        self._journal = journal
        self._has_slot = False
        self._report_at = 0.0
        self._failed = 0
        self._parent = os.getppid()

    def work(self) -> float:
        """One request, and how long to pause after it."""
        if not self._has_slot and all(over(journal).exists() for journal in self._told.before):
            self._take_over(chain(self._told.seed, self._told.slot, self._told.before))
        self._workload.request()
        self._journal.write(request=True)
        if self._workload.failed > self._failed:
            self._failed = self._workload.failed
            self._journal.write(failed=f"{datetime.now(UTC):%H:%M:%S.%f} {(self._workload.first_errors or ['?'])[-1]}")
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + REPORT_SECONDS
            self.report(State.WORKING)
            if os.getppid() != self._parent:
                raise SystemExit("the test is gone")
        return PAUSE_SECONDS

    def report(self, state: State) -> None:
        """Say how it is."""
        TrafficReport(state=state, requests=self._workload.requests, failed=self._workload.failed).write(
            self._told.report
        )

    def _take_over(self, rows: Rows) -> None:
        self._has_slot = True
        owned = rows.owned()
        self._workload.inherit(owned)
        self._inventory.titles |= {row_id: title for row_id, (title, _) in owned.items.items()}
        for (table, row_id), candidates in rows.open.items():
            if table == "customers":  # whichever it is: from now on it is this one
                name = f"Settled {self._told.instance}-{row_id}"
                self._inventory.rename_customer(row_id, name)
                self._workload.owned.customers[row_id] = name
            else:
                self._inventory.titles[row_id] = title = next(each[0] for each in candidates)
                self._inventory.set_status(row_id, STATUSES[0])
                self._workload.owned.items[row_id] = (title, STATUSES[0])


def run(told: Told, log: Path) -> None:
    """Be that process, until SIGTERM."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    words = logging.StreamHandler()
    words.setFormatter(logging.Formatter("%(asctime)s %(message)s %(code)s %(reason)s", defaults=NO_FIELDS))
    logging.basicConfig(level=logging.INFO, handlers=[words])
    service = service_module("service")
    engine = service.connect(told.database)
    member = Member(
        told.daemons, schema=SCHEMA, fleet=told.fleet, release=told.release, instance_id=told.instance, host="test"
    )
    journal = Journal(told.journal)
    inventory = JournalledInventory(service_module(f"inventory_v{told.release}").Inventory(engine, member), journal)
    workload = Workload(inventory, told.seed, told.instance, customers=0.5, chance=random.Random(told.instance))
    owner = Owner(told, workload, inventory, journal)
    owner.report(State.STARTING)
    service.serve(engine, member, owner.work)
    owner.report(State.LEFT)
    sys.exit(0)
