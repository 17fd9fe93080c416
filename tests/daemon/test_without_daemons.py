"""Services that start, live and end while no daemon runs; a daemon that comes back counts all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.client import Member, Unreachable
from orchestrator.client.sqlalchemy import FenceTable, guard
from orchestrator.demo.example import SCHEMA
from orchestrator.demo.ports import free_port
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, FLEETS, Stock, stocks

NOTHING_RUNS = ("--release", "1", "--instances", "0")


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb", marks=pytest.mark.kill)])
def mixed_site(request: pytest.FixtureRequest, site: Site) -> Site:
    """A site whose managed database is of that kind."""
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    site.databases = {"main": new_url()}
    return site


def a_member(url: str, release: str, stock: Stock) -> Member:
    member = Member(
        url, schema=SCHEMA, fleet=API, release=release, copy=FenceTable(stock.engine, schema=SCHEMA), host="rack7"
    )
    return member


def possibly_alive(daemon: Daemon) -> set[str]:
    found = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/instances").body["instances"]
    return {each["id"] for each in found}


def test_what_starts_while_no_daemon_runs_is_counted_by_the_next_one(mixed_site: Site) -> None:
    site, port = mixed_site, free_port()
    daemon = site.ready(port=port)
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    for fleet in FLEETS:
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, *NOTHING_RUNS)
    with stocks(site.databases["main"]) as (stock,):
        until(lambda: stock.scalar("SELECT COUNT(*) FROM orchestrator_copies") == 1, "it is told", also=daemon.account)
        daemon.kill()
        url = daemon.url

        too_new = a_member(url, "2", stock)
        with pytest.raises(Unreachable, match="does not admit release 2 now"):
            too_new.join(wait_seconds=0)
        leaving, working = a_member(url, "1", stock), a_member(url, "1", stock)
        guard(stock.engine, working)
        leaving.join(wait_seconds=0)
        working.join(wait_seconds=0)
        with working.transaction(), stock.engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO customers (name) VALUES ('of nobody')"))
        until(working.renew, "it is renewed", also=daemon.account)

        daemon = site.ready(port=port)
        until(working.renew, "it is renewed", also=daemon.account)
        both = {str(working.instance_id), str(leaving.instance_id)}
        until(lambda: possibly_alive(daemon) == both, "both are counted", also=daemon.account)
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        daemon.until_phase("expanded")
        daemon.until_blocked("instance_unsupported")

        daemon.kill()
        leaving.leave(wait_seconds=0)
        daemon = site.ready(port=port)
        until(lambda: possibly_alive(daemon) == {working.instance_id}, "one has left", also=daemon.account)
        assert daemon.upgrade()["phase"] == "expanded"
        working.leave()
        daemon.until_phase("sealed")
    assert daemon.stop() == 0
