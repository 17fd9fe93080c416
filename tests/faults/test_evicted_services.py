"""A service that is silent loses its right to write before its fleet advances, and learns that when it comes back.

It is held in the middle of a transaction: stopped (SIGSTOP), or cut off from database and daemon. Its lease runs out,
it is evicted, the fleet goes on to phases that its release cannot live in. Then it comes back and sends its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site
from tests.daemon.inventory import FLEETS, stocks
from tests.faults.held_service import FLEET, NAME, STALE, HeldService
from tests.faults.proxy import Proxy
from tests.recovery.place import execute

EVICT = f"orchestrator instance evict {SCHEMA} {FLEET} {NAME} --reason ..."


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb")])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose managed database is on a server; its state is a file that both daemon and test may write."""
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    site = Site(tmp_path)
    site.databases = {"main": new_url()}
    yield site
    site.close()


@dataclass
class Held:
    """The upgrade at expanded, with one service of the old release in the middle of a transaction."""

    site: Site
    daemon: Daemon
    service: HeldService
    wires: tuple[Proxy, Proxy]

    def lease_runs_out(self) -> None:
        """Five minutes go by."""
        execute(self.site.state_url, "UPDATE instances SET expires_at = expires_at - 300")
        blocker = self.daemon.until_blocked("instance_expired")
        assert EVICT in blocker["remedy"]

    def evict(self) -> None:
        """It is evicted, and the fleet advances."""
        self.daemon.orchestrator("instance", "evict", SCHEMA, FLEET, NAME, "--reason", "silent")
        self.daemon.until_phase("sealed")
        path = f"/v1/schemas/{SCHEMA}/instances?all=true"
        (instance,) = self.daemon.ask("GET", path).body["instances"]
        assert instance["state"] == "evicted"
        assert instance["proof"].startswith("its sessions in main were ended, and none was left at ")

    def assert_nothing_is_written(self) -> None:
        """Neither by the transaction that it had begun, nor by another one."""
        found = execute(self.site.databases["main"], f"SELECT name FROM customers WHERE name = '{STALE}'")
        assert found == []


@pytest.fixture
def held(site: Site, tmp_path: Path) -> Iterator[Held]:
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    with stocks(site.databases["main"]) as (stock,):
        stock.fill(20)
    url = sa.make_url(site.databases["main"])
    with Proxy.before(url) as to_database, Proxy(("127.0.0.1", daemon.port)) as to_daemon:
        address = f"http://{to_daemon.host}:{to_daemon.port}"
        service = HeldService(address, to_database.url(url), tmp_path / "service")
        try:
            for fleet in FLEETS:
                if fleet != FLEET:
                    daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
            daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
            daemon.until_phase("expanded")
            service.begin()
            daemon.until_blocked("instance_unsupported")
            yield Held(site, daemon, service, (to_database, to_daemon))
        finally:
            service.close()


def test_service_that_was_stopped_in_mid_transaction_cannot_commit(held: Held) -> None:
    held.service.stop()
    held.lease_runs_out()
    held.evict()
    held.service.let_commit()
    held.service.go_on()
    assert held.service.outcome("commit") != "done"
    held.assert_nothing_is_written()
    assert held.service.outcome("again").startswith(("LeaseLost", "Evicted"))
    held.assert_nothing_is_written()


@pytest.mark.kill
def test_service_that_was_cut_off_in_mid_transaction_cannot_commit(held: Held) -> None:
    for wire in held.wires:
        wire.fall_silent()
    held.lease_runs_out()
    held.evict()
    held.service.let_commit()
    for wire in held.wires:
        wire.accept()
    assert held.service.outcome("commit") != "done"
    held.assert_nothing_is_written()
    assert held.service.outcome("again").startswith(("LeaseLost", "Evicted"))
    held.assert_nothing_is_written()


@pytest.mark.kill
def test_service_that_answers_is_ended_all_the_same(held: Held) -> None:
    """Whoever is evicted loses its sessions, alive or not, and hears of it."""
    held.evict()
    held.service.let_commit()
    assert held.service.outcome("commit") != "done"
    assert held.service.outcome("again").startswith(("LeaseLost", "Evicted"))
    held.assert_nothing_is_written()
