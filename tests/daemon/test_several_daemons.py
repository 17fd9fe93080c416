"""Several daemons on one state database: each serves, each moves rows, and one that dies gives its work back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.demo.example import SCHEMA, migrations_directory
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, FLEETS, assert_migrated, stocks
from tests.faults.points import PausePoint, Then

ROWS = 120
BATCH_ROWS = 4

NOTED_MIGRATION = """
import os
from pathlib import Path
from orchestrator.data_migrations import DataMigration

WORKERS = Path({workers!r})

class SplitName(DataMigration):
    table = "customers"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row):
        WORKERS.joinpath(str(os.getpid())).touch()
        first_name, _, last_name = row["name"].partition(" ")
        return {{"first_name": first_name, "last_name": last_name}}
"""

INSTANCES = f"/v1/schemas/{SCHEMA}/fleets/{API}/instances"


@pytest.fixture(
    params=[
        "postgresql",
        pytest.param("sqlite", marks=pytest.mark.kill),
        pytest.param("mysql", id="mariadb", marks=pytest.mark.kill),
    ]
)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Two databases whose rows are moved in many small batches; who moved any is noted."""
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    site = Site(tmp_path)
    site.state_url, site.databases = new_url(), {"east": new_url(), "west": new_url()}
    site.more["data_migrations"] = {"batch_rows": BATCH_ROWS, "pause_seconds": 0.05}
    site.more["leadership"] = {"ttl_seconds": 2}
    site.migrations = tmp_path / "migrations"
    shutil.copytree(migrations_directory(), site.migrations)
    workers_of(site).mkdir()
    (site.migrations / "data" / "split_name.py").write_text(NOTED_MIGRATION.format(workers=str(workers_of(site))))
    yield site
    site.close()


def workers_of(site: Site) -> Path:
    return site.directory / "workers"


def workers(site: Site) -> set[int]:
    """Who moved any rows."""
    return {int(path.name) for path in workers_of(site).iterdir()}


def leads(daemon: Daemon) -> bool:
    """Whether the daemons say of this one that it leads."""
    found = daemon.ask("GET", "/v1/daemons").body["daemons"]
    return bool(next(each for each in found if each["address"].endswith(f":{daemon.port}"))["leads"])


@pytest.mark.parametrize(
    "row_workers", [pytest.param(1, marks=pytest.mark.kill), 3], ids=["one worker", "three workers"]
)
def test_rows_are_moved_and_requests_are_answered_by_all_daemons(shared: Site, row_workers: int) -> None:
    site = shared
    site.more["data_migrations"]["workers"] = row_workers
    first, second = site.ready(), site.ready()
    mortal = site.ready(
        environment=PausePoint(site.directory / "mortal", "before commit of 'update customers'", Then.KILL).environment
    )
    until(lambda: [leads(each) for each in (first, second, mortal)].count(True) == 1, "one of them leads")
    with stocks(*site.databases.values()) as opened:
        second.orchestrator("schema", "init", SCHEMA, "--release", "1")
        for stock in opened:
            stock.fill(2 * ROWS)
        for fleet in FLEETS:
            second.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
        second.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        first.until_phase("backfill")
        joined = first.ask("POST", INSTANCES, {"id": "one", "nonce": "one", "release": "2"})
        lease, path = {"Lease-Epoch": joined.body["epoch"]}, f"{INSTANCES}/one/lease"

        def follow(daemon: Daemon) -> str:
            """Renew at any daemon, and ack what it says."""
            standing = daemon.ask("PUT", path, {"ack": None}, lease).body["standing"]
            daemon.ask("PUT", path, {"ack": standing["publication"]}, lease)
            phase: str = standing["phase"]
            return phase

        until(lambda: {follow(second), follow(first)} == {"sealed"}, "all rows are moved", also=second.account)
        assert mortal.ended() < 0
        assert workers(site) >= {first.pid, second.pid}
        for daemon in (first, second):
            found = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/data-migrations").body["data_migrations"]
            moved = [each for each in found if each["name"] in ("split_name", "link_status")]  # others lead back
            assert [(each["rows_done"], each["rows_verified"], each["state"]) for each in moved] == [
                (ROWS, ROWS, "complete")
            ] * 4
            assert daemon.ask("GET", f"/v1/schemas/{SCHEMA}/upgrade").body["revision"] == first.upgrade()["revision"]
        events = {each["action"] for each in first.ask("GET", "/v1/events?limit=1000").body["events"]}
        has_ranges = row_workers > 1 and not site.databases["east"].startswith("sqlite")
        assert ("tables.rely_on" in events) == has_ranges
        until(lambda: leads(first) != leads(second), "one of the two leads", also=first.account)
        leader, other = (first, second) if leads(first) else (second, first)
        leader.kill()
        assert other.ask("DELETE", path, headers=lease).status == 204
        other.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
        other.until_status("completed")
        assert leads(other)
        for stock in opened:
            assert_migrated(stock)
    assert other.stop() == 0
