"""What the supervisor keeps running: two daemons and the fleets of the example service."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import sqlalchemy as sa

from orchestrator.client import ClientError, HttpTransport, Refused, Unreachable
from orchestrator.demo.content import Seed
from orchestrator.demo.example import FLEETS, SCHEMA
from orchestrator.demo.reports import State, TrafficReport
from tests.daemon.daemons import Daemon, Site, loaded, until
from tests.kill.rows import Rows, chain
from tests.kill.service import Told, over, run

LOOK_SECONDS = 0.1
REASON = "the supervisor killed it and saw it end"


class Daemons:
    """Daemons on one state database. Only one is killed at a time: then the others are there to be asked."""

    def __init__(self, site: Site, ports: Sequence[int]) -> None:
        self._site = site
        self._configs = {port: site.configure(port=port) for port in ports}
        self._running = {port: site.start(port=port, config=config) for port, config in self._configs.items()}
        self._state = sa.create_engine(site.state_url)
        self._stopping = False
        self.urls = ",".join(daemon.url for daemon in self._running.values())
        self.api = HttpTransport(self.urls, timeout=5.0)
        for daemon in self._running.values():
            daemon.until_ready()

    @property
    def any(self) -> Daemon:
        """One that answers just now."""
        return next((each for each in self._running.values() if _answers(each)), next(iter(self._running.values())))

    def account(self) -> str:
        """How they are, for a test that fails."""
        return self.any.account() if not self._stopping else "the daemons were stopped"

    def victims(self) -> Sequence[_DaemonVictim]:
        """The leader first."""
        if not all(_answers(each) for each in self._running.values()):
            return ()
        leader = self._leader()
        victims = [_DaemonVictim(each, "leader" if each.pid == leader else "other") for each in self._running.values()]
        return sorted(victims, key=lambda victim: victim.name)

    def mend(self) -> None:
        """Start again what was killed, on the same port."""
        for port, daemon in self._running.items():
            if daemon.exit_code is not None and not self._stopping:
                assert daemon.exit_code == -signal.SIGKILL, f"it ended with {daemon.exit_code}:\n{daemon.log}"
                self._running[port] = self._site.start(port=port, config=self._configs[port])

    def stop(self) -> None:
        """Stop all; each ends well."""
        self._stopping = True
        for daemon in self._running.values():
            daemon.until_ready()
            assert daemon.stop() == 0, daemon.log
        self._state.dispose()

    def _leader(self) -> int | None:
        with self._state.connect() as connection:
            holder = connection.exec_driver_sql("SELECT holder FROM leadership").scalar()
        return int(holder.split(":")[-2]) if holder else None


@dataclass(frozen=True)
class _DaemonVictim:
    daemon: Daemon
    name: str

    def kill(self) -> None:
        self.daemon.kill()


def _answers(daemon: Daemon) -> bool:
    try:
        return daemon.exit_code is None and daemon.ask("GET", "/readyz").status == 200
    except Unreachable:
        return False


TOO_OLD = "(release_too_old)"


@dataclass(eq=False)
class Process:
    """One process of the service, and its end."""

    told: Told
    process: BaseProcess
    log: Path
    is_over: bool = False
    _asking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return f"{self.told.fleet} of release {self.told.release}"

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        with self._asking:  # of two that ask at the same time, one would read nothing
            return self.process.exitcode

    @property
    def runs(self) -> bool:
        return self.exit_code is None

    @property
    def came_too_late(self) -> bool:
        """It was refused: the last of the old release was killed, and the upgrade had gone on before it was back."""
        return self.exit_code == 1 and self.told.release == "1" and TOO_OLD in self.log.read_text()

    @property
    def works(self) -> bool:
        """It has joined, and makes requests."""
        return self.runs and TrafficReport.read(self.told.report).state is State.WORKING

    def kill(self) -> None:
        self.process.kill()
        until(lambda: not self.runs, f"{self.told.instance} is gone")


@dataclass(eq=False)
class Slot:
    """A place in a fleet: which release is to run there, and everybody that ran there."""

    number: int
    fleet: str
    release: str
    owners: list[Process] = field(default_factory=list)

    @property
    def running(self) -> list[Process]:
        return [each for each in self.owners if each.runs]

    def of(self, release: str) -> list[Process]:
        return [each for each in self.running if each.told.release == release]


class Fleets:
    """All processes of the service. Whoever is killed is attested dead, and another one takes its slot over."""

    def __init__(self, daemons: Daemons, database: str, directory: Path, seed: Seed, *, size: int) -> None:
        self.seed = seed
        self._daemons = daemons
        self._database = database
        self._directory = directory
        self._lock = threading.RLock()
        self._stopping = False
        self._dead: set[str] = set()
        self._counted_dead: set[str] = set()
        self._look_at = 0.0
        self.slots = [Slot(number, FLEETS[number // size], "1") for number in range(size * len(FLEETS))]

    def victims(self) -> Sequence[Process]:
        """Everybody that runs, in no order."""
        with self._lock:
            return [each for slot in self.slots for each in slot.running]

    def mend(self) -> None:
        """See who has ended; attest their deaths; fill the slots."""
        with self._lock:
            for slot in self.slots:
                for owner in slot.owners:
                    if not owner.runs and not owner.is_over:
                        self._end(slot, owner)
                if not slot.of(slot.release) and not self._stopping:
                    self._start(slot)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._attest_deaths()

    def roll(self, slot: Slot, release: str) -> None:
        """Replace whoever works in the slot by a process of that release, which works first."""
        slot.release = release
        until(lambda: any(each.works for each in slot.of(release)), f"{slot.number} works", also=self.account)
        self.stop([each for each in slot.running if each.told.release != release])

    def stop(self, processes: Sequence[Process] | None = None) -> None:
        """Let these leave, or all."""
        self._stopping = processes is None
        leaving = self.victims() if processes is None else processes
        for each in leaving:
            with suppress(ProcessLookupError):
                os.kill(each.process.pid or 0, signal.SIGTERM)
        for each in leaving:
            until(lambda each=each: not each.runs, f"{each.told.instance} ends", also=self.account)  # type: ignore[misc]
            assert each.came_too_late or each.exit_code in (0, -signal.SIGKILL), each.log.read_text()

    def until_all_work(self) -> None:
        """Return when there is somebody at work in every slot."""
        until(
            lambda: all(any(each.works for each in slot.of(slot.release)) for slot in self.slots),
            "all work",
            also=self.account,
        )

    def until_attested(self) -> None:
        """Return when the death of everybody who was killed is known."""
        until(lambda: not self._counted_dead, "every death is attested", also=self.account)

    def rows(self) -> list[Rows]:
        """What each slot holds."""
        return [chain(self.seed, slot.number, [each.told.journal for each in slot.owners]) for slot in self.slots]

    def account(self) -> str:
        """How everybody is, for a test that fails."""
        owners = [each for slot in self.slots for each in slot.owners]
        logs = [
            f"{each.told.instance}: {each.exit_code}\n{each.log.read_text()}" for each in owners if each.log.exists()
        ]
        return "\n".join((*logs, self._daemons.account()))

    def _start(self, slot: Slot) -> None:
        name = f"{slot.fleet}-{slot.number}-{len(slot.owners)}"
        told = Told(
            daemons=self._daemons.urls,
            database=self._database,
            fleet=slot.fleet,
            release=slot.release,
            instance=name,
            slot=slot.number,
            seed=self.seed,
            journal=self._directory / f"{name}.journal",
            before=tuple(each.told.journal for each in slot.owners),
        )
        log = self._directory / f"{name}.log"
        process = loaded().Process(target=run, args=(told, log), daemon=True)
        process.start()
        slot.owners.append(Process(told, process, log))

    def _end(self, slot: Slot, owner: Process) -> None:
        owner.is_over = True
        code = owner.exit_code
        if owner.came_too_late:
            slot.release = "2"
            over(owner.told.journal).touch()
            return
        assert code in (0, -signal.SIGKILL), f"{owner.told.instance} ended with {code}:\n{owner.log.read_text()}"
        over(owner.told.journal).touch()
        if code != 0:
            self._dead.add(owner.told.instance)

    def _attest_deaths(self) -> None:
        """Evict whoever is counted as alive and is known to be dead: also those whose request to join was under way."""
        schema = f"/v1/schemas/{SCHEMA}"
        try:
            found = self._daemons.api.request("GET", f"{schema}/instances").json["instances"]
            counted = {each["id"]: each["fleet"] for each in found}
            for name in self._dead & counted.keys():
                path = f"{schema}/fleets/{counted[name]}/instances/{name}/evict"
                self._daemons.api.request("POST", path, {"reason": REASON, "attest_dead": True})
        except ClientError as error:
            if isinstance(error, Refused) and error.status < 500:
                raise
            return  # nobody answers just now
        self._counted_dead = self._dead & counted.keys()
