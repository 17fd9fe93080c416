"""Databases that fail stop only themselves: of a schema of many, most go on whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, stocks
from tests.faults.proxy import Proxy

IN_THE_WAY = "CREATE TABLE statuses (something INTEGER)"
CANARY, FAILING, DOWN, SLOW, SILENT, LOCKED = (f"cell{number:02}" for number in range(6))


@pytest.fixture(params=[8, pytest.param(20, marks=pytest.mark.kill)])
def proxied(
    site: Site, new_postgresql_url: Callable[[], str], request: pytest.FixtureRequest
) -> Iterator[dict[str, Proxy]]:
    """So many databases: four on PostgreSQL, each behind a proxy of its own, the others in files."""
    with ExitStack() as stack:
        proxies: dict[str, Proxy] = {}
        names = [f"cell{number:02}" for number in range(request.param)]
        site.databases = {name: f"sqlite:///{site.directory}/{name}.sqlite" for name in names}
        for name in (DOWN, SLOW, SILENT, LOCKED):
            url = new_postgresql_url()
            proxies[name] = stack.enter_context(Proxy.before(sa.make_url(url)))
            site.databases[name] = proxies[name].url(url)
        yield proxies
        for proxy in proxies.values():
            proxy.accept()


def steps_of(daemon: Daemon, state: str) -> set[str]:
    """The databases whose step is in that state."""
    found = daemon.upgrade()["databases"]
    return {each["database"] for each in found if each["step"] and each["step"]["state"] == state}


def test_most_databases_go_on_whatever_happens_to_the_others(site: Site, proxied: dict[str, Proxy]) -> None:
    well = set(site.databases) - {FAILING, DOWN, SILENT, LOCKED}
    done = f"{len(well)}/{len(site.databases)}"
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    for fleet in FLEETS:
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
    with stocks(*(site.databases[name] for name in (CANARY, FAILING, LOCKED))) as (canary, failing, locked):
        canary.execute(IN_THE_WAY)
        failing.execute(IN_THE_WAY)
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        until_blocked(daemon, "step_failed")

        proxied[SLOW].delay_seconds = 0.02
        proxied[SILENT].fall_silent()
        proxied[DOWN].refuse()
        with locked.engine.connect() as somebody:
            somebody.exec_driver_sql("LOCK TABLE customers")
            canary.execute("DROP TABLE statuses")
            daemon.orchestrator("upgrade", "retry", SCHEMA, "--database", CANARY)

            until(lambda: steps_of(daemon, "done") == well, "all that can go on have gone on", also=daemon.account)
            until(lambda: steps_of(daemon, "failed") == {FAILING}, "one has failed", also=daemon.account)
            waits = f"waits for its locks in {LOCKED}: session"
            until(lambda: waits in daemon.log, "it says who holds the lock", also=daemon.account)
            status = daemon.orchestrator("status")
            assert_said(status, done, f"orchestrator upgrade retry {SCHEMA} --database {FAILING}", "e002_new_shape")
        # Whoever held the lock has ended: that database goes on by itself.
        until(lambda: LOCKED in steps_of(daemon, "done"), "the lock is free", also=daemon.account)

    until_blocked(daemon, "database_unreachable", "step_failed")
    status = daemon.orchestrator("status")
    assert_said(status, f"database {DOWN} cannot be read", f"database {SILENT} cannot be read: it has not answered")
    proxied[DOWN].accept()
    proxied[SILENT].accept()
    until_blocked(daemon, "step_failed")
    with stocks(site.databases[FAILING]) as (failing,):
        failing.execute("DROP TABLE statuses")
    daemon.orchestrator("upgrade", "retry", SCHEMA, "--database", FAILING)
    proxied[SLOW].accept()
    daemon.until_open("phase:expanded")
    assert daemon.stop() == 0


def until_blocked(daemon: Daemon, *codes: str) -> None:
    """Return when exactly that is in the way. Not asked of the plan, which reads every database."""
    wanted = set(codes)
    until(lambda: {each["code"] for each in daemon.upgrade()["blockers"]} == wanted, str(codes), also=daemon.account)


def assert_said(status: str, *words: str) -> None:
    for word in words:
        assert word in status, status
