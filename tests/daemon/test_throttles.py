"""Data migrations that wait for signals of the site, with real daemons that read them."""

from __future__ import annotations

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, stocks

SECTION = f"throttle:{SCHEMA}:jobs"
UNREADABLE = "throttle jobs cannot be read: "
TOO_MANY = "throttle jobs is 101, more than 100"


def throttled(daemon: Daemon) -> list[str]:
    """What the rows of the first data migration wait for, as this daemon says."""
    found = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/data-migrations").body["data_migrations"]
    return list(found[0]["throttled_by"])


def test_rows_wait_for_a_query_and_go_on_by_themselves(any_site: Site) -> None:
    site = any_site
    site.more[SECTION] = {"query": "SELECT waiting FROM jobs", "max": 100}
    site.more["throttling"] = {"interval_seconds": 0.1}
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
        stock.fill(20)
        for fleet in FLEETS:
            daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
        until(lambda: any(each.startswith(UNREADABLE) for each in throttled(daemon)), "what cannot be read is shown")
        assert UNREADABLE in daemon.orchestrator("status")
        stock.execute("CREATE TABLE jobs (waiting INTEGER)", "INSERT INTO jobs VALUES (101)")
        until(lambda: throttled(daemon) == [TOO_MANY], "the number is shown")
        assert f"rows wait: {TOO_MANY}" in daemon.orchestrator("status")
        assert stock.scalar("SELECT count(*) FROM customers WHERE first_name IS NOT NULL") == 0
        stock.execute("UPDATE jobs SET waiting = 100")
        daemon.until_phase("sealed")
        assert throttled(daemon) == []
        assert stock.scalar("SELECT count(*) FROM customers WHERE first_name IS NULL") == 0
    assert daemon.log.count(f"rows wait: {TOO_MANY}") == 1
    assert daemon.log.count("rows do not wait any more") == 1


def test_a_replica_of_another_kind_is_refused_at_the_start(site: Site) -> None:
    site.databases = {"main": "postgresql://nobody@127.0.0.1:1/none"}
    replica = "mysql://nobody:secret@127.0.0.1:1/none"
    site.more["throttling"] = {"max_replica_lag_seconds": 5}
    site.more[f"database:{SCHEMA}:main"] = {"connection": site.databases["main"], "replicas": replica}
    process = site.serve(site.configure())
    until(lambda: process.exit_code is not None, "it ends", also=lambda: process.log)
    assert f"option replicas of database main of schema {SCHEMA}" in process.log
    assert "secret" not in process.log
