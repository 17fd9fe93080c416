"""Data migrations that wait for their maintenance window, with real daemons that read it from their configuration."""

from __future__ import annotations

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, stocks

SECTION = f"window:{SCHEMA}:leap-day"
CLOSED = "outside its maintenance windows; the next opens "


def waits_for(daemon: Daemon) -> list[str]:
    """What the rows of the first data migration wait for, as this daemon says."""
    found = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/data-migrations").body["data_migrations"]
    return list(found[0]["throttled_by"])


def test_rows_wait_for_their_window_and_are_moved_when_it_is_open(site: Site) -> None:
    site.more[SECTION] = {"cron": "0 2 29 feb *", "duration": "1h", "timezone": "Europe/Berlin"}
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
        stock.fill(20)
        for fleet in FLEETS:
            daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        until(lambda: any(each.startswith(CLOSED) for each in waits_for(daemon)), "what rows wait for is shown")
        assert "-02-29 02:00 Europe/Berlin" in waits_for(daemon)[0]
        assert CLOSED in daemon.orchestrator("status")
        assert stock.scalar("SELECT count(*) FROM customers WHERE first_name IS NOT NULL") == 0
        assert daemon.log.count(f"rows wait: {CLOSED}") == 1
        daemon.stop()
        site.more[SECTION] = {"cron": "*/5 * * * *", "duration": "10m"}
        daemon = site.ready()
        daemon.until_phase("sealed")
        assert waits_for(daemon) == []
        assert stock.scalar("SELECT count(*) FROM customers WHERE first_name IS NULL") == 0
