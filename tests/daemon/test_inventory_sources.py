"""A fleet that is known by the service's own table only, with a real daemon that asks it."""

from __future__ import annotations

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Site, until
from tests.daemon.inventory import API, WORKER, stocks

SECTION = f"inventory:{SCHEMA}:{WORKER}"


def test_upgrade_waits_for_whom_the_query_lists(site: Site) -> None:
    site.more[SECTION] = {
        "query": "SELECT host AS instance, version, forced_down AS down\n    FROM services",
        "releases": "66:1, 67:2",
    }
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    daemon.orchestrator("fleet", "report", SCHEMA, API, "--release", "1", "--instances", "0")
    daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    blocker = daemon.until_blocked("inventory_unreadable")
    failed = f"[{SECTION}] does not tell what fleet {WORKER} runs: its query failed: no such table: services"
    assert failed in blocker["sentence"]
    with stocks(site.databases["main"]) as (stock,):
        stock.execute(
            "CREATE TABLE services (host VARCHAR(255), version INTEGER, forced_down BOOLEAN)",
            "INSERT INTO services VALUES ('worker-1', 66, 0), ('worker-2', 66, 1)",
        )
        daemon.until_phase("expanded")
        blocker = daemon.until_blocked("instance_seen_unsupported")
        assert blocker["culprits"] == ["worker-1"]
        assert f"[{SECTION}]: 1 of 1, 1 down" in daemon.orchestrator("fleet", "show", SCHEMA, WORKER)
        stock.execute("UPDATE services SET forced_down = 1 WHERE host = 'worker-1'")
        daemon.until_phase("sealed")


def test_fleet_that_no_release_lists_is_refused_at_the_start(site: Site) -> None:
    site.more[f"inventory:{SCHEMA}:inventory-worke"] = {"query": "SELECT 1 AS instance, 1 AS release"}
    process = site.serve(site.configure())
    until(lambda: process.exit_code is not None, "it ends", also=lambda: process.log)
    assert process.exit_code == 1
    assert f"[inventory:{SCHEMA}:inventory-worke]: no release of {SCHEMA} lists a fleet" in process.log
    assert f"Did you mean {WORKER}?" in process.log
