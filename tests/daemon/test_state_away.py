"""The state database is away: services go on, nothing advances, and everything resumes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.copies import read_copy
from orchestrator.client import Unavailable, Unreachable
from orchestrator.demo.example import SCHEMA
from orchestrator.dialects import open_database
from orchestrator.domain.view import Copy
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, Instance, Stock, assert_migrated, stocks
from tests.faults.proxy import Proxy


@pytest.fixture(params=["postgresql", pytest.param("mysql", marks=pytest.mark.kill)])
def proxy(site: Site, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """In front of the state database."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    url = create()
    with Proxy.before(sa.make_url(url)) as proxy:
        site.state_url = proxy.url(url)
        yield proxy


def copy_of(site: Site) -> Copy | None:
    """What the managed database knows of the upgrade."""
    database = open_database("main", site.databases["main"])
    with database.reading() as connection:
        found = read_copy(connection, SCHEMA)
    database.engine.dispose()
    return found


def begin(site: Site, daemon: Daemon, stock: Stock) -> list[Instance]:
    """An upgrade that waits for its fleets to be rolled, and the instances of release 1 at work."""
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    stock.fill(200)
    running = [Instance(daemon.url, fleet, "1", stock).start() for fleet in FLEETS]
    daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    daemon.until_phase("expanded")

    def is_told() -> bool:
        found = copy_of(site)
        return found is not None and found.revision == daemon.upgrade()["revision"]

    until(is_told, "the managed database knows of it", also=daemon.account)
    return running


def finish(daemon: Daemon, running: list[Instance], stock: Stock) -> None:
    """Roll the fleets, and let the upgrade go on to its end."""
    rolled = []
    for old, fleet in zip(running, FLEETS, strict=True):
        rolled.append(Instance(daemon.url, fleet, "2", stock).start())
        old.stop()
    daemon.until_blocked("approval_required")
    daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
    daemon.until_status("completed")
    for instance in rolled:
        instance.stop()
    assert_migrated(stock)


def is_ready(daemon: Daemon) -> bool:
    """Whether the daemon can use its state."""
    try:
        return daemon.ask("GET", "/readyz").status == 200
    except (Unavailable, Unreachable):
        return False


def rounds(running: list[Instance], more: int) -> None:
    """Return when each instance has done so many more."""
    before = [each.rounds for each in running]

    def is_done() -> bool:
        assert not [failure for each in running for failure in each.failures]
        return all(each.rounds >= was + more for each, was in zip(running, before, strict=True))

    until(is_done, f"{more} more rounds", also=lambda: str([each.failures for each in running]))


def test_services_go_on_while_the_state_database_is_down(site: Site, proxy: Proxy) -> None:
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        running = begin(site, daemon, stock)
        before = copy_of(site)
        proxy.refuse()
        until(lambda: not is_ready(daemon), "it says that it is not ready", also=lambda: daemon.log)
        assert daemon.ask("GET", "/healthz").status == 200, "a restart would not help"
        rounds(running, 40)
        assert copy_of(site) == before
        proxy.accept()
        until(lambda: is_ready(daemon), "it is ready again", also=lambda: daemon.log)
        finish(daemon, running, stock)
    assert daemon.log.count("state database") < 20, "it says it once, not at every turn"
    assert daemon.stop() == 0


@pytest.mark.kill
def test_services_go_on_while_the_state_database_is_frozen(site: Site, proxy: Proxy) -> None:
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        running = begin(site, daemon, stock)
        before = copy_of(site)
        proxy.fall_silent()
        rounds(running, 40)
        assert daemon.ask("GET", "/healthz").status == 200, "what needs no state is answered"
        assert copy_of(site) == before
        proxy.accept()
        until(lambda: is_ready(daemon), "it is ready again", also=lambda: daemon.log)
        finish(daemon, running, stock)
    assert daemon.stop() == 0


@pytest.mark.kill
def test_connections_to_the_state_that_are_cut_or_half_closed_cost_nobody_anything(site: Site, proxy: Proxy) -> None:
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        running = begin(site, daemon, stock)
        for fail in (proxy.cut, proxy.half_close) * 3:
            fail()
            rounds(running, 3)
        until(lambda: is_ready(daemon), "it is ready again", also=lambda: daemon.log)
        finish(daemon, running, stock)
    assert daemon.stop() == 0


@pytest.mark.kill
def test_state_database_away_for_a_minute(site: Site, proxy: Proxy) -> None:
    site.more["leases"] = {"ttl_seconds": 90, "renew_seconds": 5}
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        running = begin(site, daemon, stock)
        before = copy_of(site)
        proxy.refuse()
        back_at = time.monotonic() + 60
        until(lambda: not is_ready(daemon), "it says that it is not ready", also=lambda: daemon.log)
        while time.monotonic() < back_at:
            rounds(running, 10)
        assert copy_of(site) == before
        proxy.accept()
        until(lambda: is_ready(daemon), "it is ready again", also=lambda: daemon.log)
        finish(daemon, running, stock)
    assert daemon.stop() == 0


@pytest.mark.kill
def test_leases_that_end_meanwhile_hold_again_by_themselves(site: Site, proxy: Proxy) -> None:
    site.more["leases"] = {"ttl_seconds": 5, "renew_seconds": 0.5}
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        running = begin(site, daemon, stock)
        proxy.refuse()
        until(lambda: not any(each.member.is_live for each in running), "no service begins anything any more")
        proxy.accept()
        until(lambda: all(each.member.is_live for each in running), "all leases hold again", also=daemon.account)
        for each in running:  # what was refused meanwhile was refused before it began
            assert all("could not renew its lease in time" in failure for failure in each.failures)
            each.failures.clear()
            each.stop()
        again = [Instance(daemon.url, fleet, "1", stock).start() for fleet in FLEETS]
        finish(daemon, again, stock)
    assert daemon.stop() == 0
