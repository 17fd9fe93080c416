"""An upgrade of the orchestrator itself: a daemon of this version and one of the next on one state database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.cli.exits import Exit
from orchestrator.demo.example import SCHEMA
from tests.daemon import next_version
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, FLEETS, stocks

INSTANCES = f"/v1/schemas/{SCHEMA}/fleets/{API}/instances"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.kill),
        pytest.param("mysql", id="mariadb", marks=pytest.mark.kill),
    ]
)
def two_version_site(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Site]:
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")

    def make() -> Site:
        site = Site(tmp_path)
        site.is_prepared = False
        site.state_url = new_url()
        site.databases = {"main": new_url()}
        site.more["leadership"] = {"ttl_seconds": 1}
        request.addfinalizer(site.close)
        return site

    return make


def shapes(site: Site) -> tuple[set[str], set[str], set[str]]:
    """Columns of what the next version changes: schemas, and the copies in the state and in the managed database."""
    found = []
    for url, table in (
        (site.state_url, "schemas"),
        (site.state_url, "orchestrator_copies"),
        (site.databases["main"], "orchestrator_copies"),
    ):
        engine = sa.create_engine(url)
        found.append({column["name"] for column in sa.inspect(engine).get_columns(table)})
        engine.dispose()
    schemas, in_state, in_managed = found
    return schemas, in_state, in_managed


def is_contracted(site: Site) -> bool:
    schemas, in_state, in_managed = shapes(site)
    return "writes" not in schemas and "written_at" not in in_state | in_managed


def assert_expanded_only(site: Site) -> None:
    schemas, in_state, in_managed = shapes(site)
    assert {"writes", "joins"} <= schemas
    assert "written_at" in in_state & in_managed


def join(daemon: Daemon, name: str, release: str) -> dict[str, str]:
    joined = daemon.ask("POST", INSTANCES, {"id": name, "nonce": name, "release": release})
    assert joined.status == 201, joined.body
    return {"Lease-Epoch": joined.body["epoch"]}


def follow(daemon: Daemon, name: str, lease: dict[str, str]) -> None:
    """Renew, and ack what is published."""
    renewed = daemon.ask("PUT", f"{INSTANCES}/{name}/lease", {"ack": None}, lease)
    assert renewed.status == 200, renewed.body
    daemon.ask("PUT", f"{INSTANCES}/{name}/lease", {"ack": renewed.body["standing"]["publication"]}, lease)


def test_our_own_tables_are_contracted_when_no_older_daemon_may_be_alive(
    two_version_site: Callable[[], Site], tmp_path: Path
) -> None:
    site = two_version_site()
    environment = next_version.make(tmp_path / "next")
    old = site.ready()
    old.orchestrator("schema", "init", SCHEMA, "--release", "1")
    lease = join(old, "one", "1")

    new = site.ready(execute=True, environment=environment)
    for fleet in FLEETS:
        new.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
    new.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    follow(old, "one", lease)
    old.until_phase("expanded")  # the old one leads, on tables that the new one has expanded
    assert_expanded_only(site)
    follow(old, "one", lease)
    join(old, "two", "1")
    join(new, "three", "2")

    old.kill()
    until(lambda: leader(new) == new.port, "the new one leads", also=new.account)
    until(lambda: "release next of the state tables" in new.log, "it says what it waits for", also=lambda: new.log)
    restarted = site.ready()
    join(restarted, "four", "1")
    assert_expanded_only(site)
    assert restarted.stop() == 0

    (killed,) = (each for each in daemons(new) if each["version"] != next_version.VERSION)
    assert str(killed["id"]) in new.orchestrator("daemon", "list")
    new.orchestrator("daemon", "evict", killed["id"], "--attest-dead", "--reason", "the supervisor killed it")
    until(lambda: is_contracted(site), "our tables are contracted", also=new.account)

    late = site.start()
    assert late.ended() == Exit.NEVER
    assert "(daemon_too_old)" in late.log
    with stocks(site.databases["main"]) as (stock,):
        join(new, "five", "1")
        assert "first_name" in stock.columns("customers")
    assert new.stop() == 0


def daemons(daemon: Daemon) -> list[dict[str, Any]]:
    """The daemons that may be alive, oldest first."""
    found: list[dict[str, Any]] = daemon.ask("GET", "/v1/daemons").body["daemons"]
    return found


def leader(daemon: Daemon) -> int | None:
    """The port of who leads."""
    return next((int(str(each["address"]).rpartition(":")[2]) for each in daemons(daemon) if each["leads"]), None)
