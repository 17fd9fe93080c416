"""Services that cannot reach the daemon for a while: whatever becomes of their connections, their leases go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, Instance, Stock, stocks
from tests.faults.proxy import Proxy


@pytest.fixture
def daemon(site: Site) -> Daemon:
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    return daemon


@pytest.fixture
def stock(site: Site, daemon: Daemon) -> Iterator[Stock]:
    with stocks(site.databases["main"]) as (stock,):
        stock.fill(20)
        yield stock


@pytest.fixture
def proxy(daemon: Daemon) -> Iterator[Proxy]:
    """In front of the daemon's API."""
    with Proxy(("127.0.0.1", daemon.port)) as proxy:
        yield proxy


def renewed_at(daemon: Daemon) -> float:
    """When the only instance last renewed its lease."""
    (found,) = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/instances").body["instances"]
    return float(found["renewed_at"])


FAILURES: dict[str, Callable[[Proxy], None]] = {
    "cut": Proxy.cut,
    "half-closed": Proxy.half_close,
    "half-closed towards the daemon": lambda proxy: proxy.half_close(towards="server"),
    "refused": Proxy.refuse,
    "silent": Proxy.fall_silent,
}


def test_lease_goes_on_whatever_becomes_of_the_connection(daemon: Daemon, stock: Stock, proxy: Proxy) -> None:
    instance = Instance(f"http://{proxy.host}:{proxy.port}", API, "1", stock).start()
    for name, fail in FAILURES.items():
        fail(proxy)
        rounds = instance.rounds
        until(lambda rounds=rounds: instance.rounds > rounds + 5, f"it works while {name}")  # type: ignore[misc]
        proxy.accept()
        before = renewed_at(daemon)
        until(lambda before=before: renewed_at(daemon) > before, f"it renews after {name}")  # type: ignore[misc]
    instance.stop()


def test_join_waits_for_a_daemon_that_does_not_answer(daemon: Daemon, stock: Stock, proxy: Proxy) -> None:
    proxy.fall_silent()
    instance = Instance(f"http://{proxy.host}:{proxy.port}", API, "1", stock)
    thread = threading.Thread(target=instance.start)
    thread.start()
    until(lambda: proxy.open, "it asks to join")
    proxy.accept()
    thread.join()
    assert len(daemon.ask("GET", f"/v1/schemas/{SCHEMA}/instances").body["instances"]) == 1
    instance.stop()
