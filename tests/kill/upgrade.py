"""One whole upgrade of the example while its processes, and the daemons', are killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from orchestrator.client import ClientError, Refused
from orchestrator.demo.content import Seed
from orchestrator.demo.example import SCHEMA, service_module
from orchestrator.demo.ports import free_port
from orchestrator.demo.servers import insert_seed
from orchestrator.demo.verification import verify
from tests.daemon.daemons import POLL_SECONDS, Site
from tests.faults.supervisor import Stage, Supervisor, schedule
from tests.kill.books import assert_books_equal_catalog
from tests.kill.rows import settled
from tests.kill.wards import Daemons, Fleets

PATIENCE_SECONDS = 400.0
"""How long a phase may take while its processes are killed, on a machine that has other things to do."""

CONFIGURATION: Mapping[str, Mapping[str, object]] = {
    "leadership": {"ttl_seconds": 1.2},
    "cycle": {"interval_seconds": 0.2},
    "policy": {"approve": "contracted"},
}


@dataclass(frozen=True)
class Size:
    """How large a run is: rows at the start, rows of a batch, processes of each fleet, and the kills of each stage."""

    ttl_seconds: float
    rows: int
    batch_rows: int
    fleet: int
    stages: Mapping[str, int]

    @property
    def kills(self) -> int:
        return sum(self.stages.values())


WHOLE = Size(
    ttl_seconds=2.0,
    rows=2000,
    batch_rows=20,
    fleet=2,
    stages={"at rest": 1, "base": 5, "expanded": 7, "backfill": 8, "sealed": 5, "contracting": 4},
)
SHORT = Size(
    ttl_seconds=10.0,  # it runs beside all other tests, and what they do to the machine is not its subject
    rows=300,
    batch_rows=30,
    fleet=1,
    stages={"base": 1, "expanded": 1, "backfill": 2, "sealed": 1, "contracting": 1},
)
LONGEST_PAUSE_SECONDS = {"at rest": 1.0, "base": 1.0, "expanded": 2.0, "backfill": 1.5, "sealed": 1.0}


class KilledUpgrade:
    """The upgrade, and everybody who is killed on its way."""

    def __init__(self, site: Site, seed: int, size: Size) -> None:
        self._site = site
        self._size = size
        self._url = site.databases["main"]
        site.more.update({name: dict(options) for name, options in CONFIGURATION.items()})
        site.more["leases"] = {"ttl_seconds": size.ttl_seconds, "renew_seconds": 0.3}
        site.more["data_migrations"] = {"batch_rows": size.batch_rows, "pause_seconds": 0.1}
        self._seed = Seed.of(size.rows, 2 * size.fleet)
        self._kills = schedule(seed, size.kills, {"daemon": 0.55, "service": 0.45})

    def run(self) -> str:
        """Go through all of it; what happened, in words."""
        daemons = Daemons(self._site, [free_port(), free_port()])
        daemons.any.orchestrator("schema", "init", SCHEMA, "--release", "1")
        engine = service_module("service").connect(self._url)
        insert_seed(engine, self._seed)
        fleets = Fleets(daemons, self._url, self._site.directory, self._seed, size=self._size.fleet)
        supervisor = Supervisor({"daemon": daemons, "service": fleets}, self._kills)
        upgrade = _Operator(daemons, supervisor, fleets, self._size)
        began = time.monotonic()
        supervisor.start()
        try:
            upgrade.run()
            fleets.stop()
            fleets.until_attested()
        finally:
            supervisor.stop()
        daemons.stop()
        seconds = time.monotonic() - began
        self._judge(engine, fleets)
        assert_books_equal_catalog(self._site.state_url, self._url)
        engine.dispose()
        requests = sum(rows.requests for rows in fleets.rows())
        words = [f"{len(supervisor.done)} kills in {seconds:.0f} s, {requests} requests, none failed"]
        for stage, victims in supervisor.tally().items():
            listed = ", ".join(f"{count} {victim}" for victim, count in sorted(victims.items()))
            words.append(f"  {stage}: {sum(victims.values())} ({listed})")
        return "\n".join(words)

    def _judge(self, engine: sa.Engine, fleets: Fleets) -> None:
        slots = fleets.rows()
        failures = [failure for rows in slots for failure in rows.failures]
        assert not failures, "\n".join((*failures, fleets.account()))
        for slot in fleets.slots:
            assert slot.owners[-1].told.release == "2"
        findings = verify(engine, self._seed, settled(engine, slots))
        assert not findings.rows_wrong, findings.wrong
        assert not findings.columns_left


class _Operator:
    """The person and the deployment tool. They ask again whenever nobody answers."""

    def __init__(self, daemons: Daemons, supervisor: Supervisor, fleets: Fleets, size: Size) -> None:
        self._daemons = daemons
        self._supervisor = supervisor
        self._fleets = fleets
        self._size = size

    def run(self) -> None:
        self._fleets.until_all_work()
        self._enter("at rest")
        self._until_killed()
        self._enter("base")
        self._ask("POST", "upgrade", {"release": "2"})
        self._until(lambda view: view["phase"] == "expanded", "expanded")
        self._enter("expanded")
        left, slots = self._size.stages.get("expanded", 0), self._fleets.slots
        for number, slot in enumerate(slots, 1):
            self._until_open(f"deploy:{slot.fleet}:2")
            self._fleets.roll(slot, "2")
            share = left * (len(slots) - number) // len(slots)  # a fleet is not rolled in a hurry
            if number < len(slots):
                self._until_killed(share)
        self._until(lambda view: view["phase"] != "expanded", "backfill")
        self._enter("backfill")
        self._until(lambda view: view["phase"] == "sealed", "sealed")
        self._enter("sealed")
        self._until_killed()  # all of those that an earlier stage was too short for
        self._enter("contracting")
        self._ask("POST", "upgrade/approve", {"phase": "contracted", "reason": "the test has seen enough"})
        self._until(lambda view: view["status"] == "completed", "completed")
        self._until_killed()
        self._fleets.until_all_work()

    def _enter(self, stage: str) -> None:
        self._supervisor.enter(Stage(stage, LONGEST_PAUSE_SECONDS.get(stage, 0.5), self._size.stages.get(stage, 0)))

    def _until_killed(self, but: int = 0) -> None:
        self._wait(lambda: self._supervisor.kills_left_of_stage <= but, "the kills of this stage")

    def _until_open(self, gate: str) -> None:
        self._wait(lambda: self._ask("GET", f"gates/{gate}")["open"], f"{gate} is open")

    def _until(self, holds: Any, what: str) -> None:
        self._wait(lambda: holds(self._ask("GET", "upgrade")), what)

    def _wait(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            self._supervisor.check()
            assert time.monotonic() < deadline, f"never happened: {what}\n{self._fleets.account()}"
            time.sleep(POLL_SECONDS)

    def _ask(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer: Mapping[str, Any] = self._daemons.api.request(method, f"/v1/schemas/{SCHEMA}/{path}", body).json
                return answer
            except ClientError as error:
                if isinstance(error, Refused) and error.status < 500:
                    raise
                assert time.monotonic() < deadline, f"{method} {path}: {error}"
            time.sleep(POLL_SECONDS)
