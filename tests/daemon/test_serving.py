"""Serving: how a daemon starts and stops, whatever it is doing, and how the next one goes on."""

from __future__ import annotations

import http.client
import shutil
import socket
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.client import Unreachable
from orchestrator.demo.example import SCHEMA, migrations_directory
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, Stock, assert_migrated, stocks

ROWS = 200
"""Customers, and items: of each so many."""

HELD_MIGRATION = """
import time
from pathlib import Path
from orchestrator.data_migrations import DataMigration

PLACE = Path({place!r})

class SplitName(DataMigration):
    table = "customers"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row):
        if row["name"].endswith("-120"):
            (PLACE / "reached").touch()
            while not (PLACE / "go").exists():
                time.sleep(0.01)
        first_name, _, last_name = row["name"].partition(" ")
        return {{"first_name": first_name, "last_name": last_name}}
"""


class Held:
    """A data migration that stops in the middle of a batch, until it is let go."""

    def __init__(self, site: Site) -> None:
        self._place = site.directory
        site.migrations = site.directory / "migrations"
        shutil.copytree(migrations_directory(), site.migrations)
        (site.migrations / "data" / "split_name.py").write_text(HELD_MIGRATION.format(place=str(self._place)))
        site.more["data_migrations"] = {"batch_rows": 50}

    def until_reached(self, daemon: Daemon) -> None:
        """Return when a daemon is in the middle of the third batch."""
        until((self._place / "reached").exists, "a batch is under way", also=daemon.account)

    def let_go(self) -> None:
        """Let it go on."""
        (self._place / "go").touch()


def begin(daemon: Daemon, stock: Stock, *, then: Callable[[], object] = lambda: None) -> None:
    """Begin the upgrade of a schema that nobody uses; `then` happens just before."""
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    stock.fill(2 * ROWS)
    for fleet in FLEETS:
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
    then()
    daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")


def finish(daemon: Daemon) -> None:
    """Let the upgrade go on to its end."""
    daemon.until_blocked("approval_required")
    daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
    daemon.until_status("completed")


def counts_of(daemon: Daemon) -> dict[str, tuple[int, int, int]]:
    """Rows in all, moved and verified, of each data migration."""
    found = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/data-migrations").body["data_migrations"]
    return {
        each["name"]: (each["rows_total"], each["rows_done"], each["rows_verified"])
        for each in found
        if each["state"] != "pending"  # those that lead back
    }


def said(daemon: Daemon, sentence: str) -> bool:
    """Whether its log says so. Never twice."""
    found = [line for line in daemon.log.splitlines() if line.endswith(sentence)]
    assert len(found) <= 1, daemon.log
    return bool(found)


def leases_of(site: Site) -> list[float]:
    """When the leadership ends, as the state database has it."""
    engine = sa.create_engine(site.state_url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT expires_at FROM leadership").scalars().all()
    engine.dispose()
    return list(found)


def test_executed_program_serves_and_stops(site: Site) -> None:
    site.is_prepared = False
    daemon = site.ready(execute=True)
    assert daemon.ask("GET", "/healthz").body == {"ok": True}
    assert daemon.stop() == 0
    lines = daemon.log.splitlines()
    assert [line for line in lines if "serving at" in line and str(daemon.port) in line]
    assert lines[-1].endswith(" stopped")
    assert not [line for line in lines if "uvicorn" in line or "WARNING" in line]


def test_stop_sends_waiting_readers_away(site: Site) -> None:
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    revision = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/upgrade").headers["etag"]
    readers = []
    for path in ("upgrade?wait=300", "readiness?release=2&wait=300", "readiness?release=2&wait=300"):
        reader = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=250)
        reader.request("GET", f"/v1/schemas/{SCHEMA}/{path}", headers={"If-None-Match": revision})
        readers.append(reader)
    for _ in readers:  # it answers in the order in which it was asked, so it has heard the others by now
        assert daemon.ask("GET", "/healthz").status == 200
    assert daemon.stop() == 0
    assert [reader.getresponse().status for reader in readers] == [304, 503, 503]
    assert leases_of(site) == [0.0]


def test_stop_lets_the_batch_end_and_the_next_daemon_goes_on_at_once(any_site: Site) -> None:
    site, held = any_site, Held(any_site)
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        begin(daemon, stock)
        held.until_reached(daemon)
        daemon.ask_to_stop()
        until(lambda: "stopping" in daemon.log, "it is about to stop")
        held.let_go()
        assert daemon.ended() == 0
        assert leases_of(site) == [0.0]
        assert stock.scalar("SELECT count(*) FROM customers WHERE first_name IS NOT NULL") == 150

        following = site.ready()
        finish(following)
        assert "leads, with epoch 2" in following.log
        assert said(daemon, "inventory entered backfill") and not said(following, "inventory entered backfill")
        assert said(following, "inventory is at release 2") and not said(daemon, "inventory is at release 2")
        assert counts_of(following) == {"split_name": (ROWS,) * 3, "link_status": (ROWS,) * 3}
        assert_migrated(stock)


def test_another_daemon_takes_over_from_one_that_was_killed_in_the_middle_of_a_batch(any_site: Site) -> None:
    site, held = any_site, Held(any_site)
    site.more["leadership"] = {"ttl_seconds": 1.5}
    daemon = site.ready()
    following = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        begin(following, stock)  # any daemon may be asked, whoever leads
        held.until_reached(following)
        daemon.kill()
        held.let_go()
        finish(following)
        assert "another daemon leads" in following.log
        assert "this daemon leads" in following.log
        assert counts_of(following) == {"split_name": (ROWS,) * 3, "link_status": (ROWS,) * 3}
        assert_migrated(stock)
    assert following.stop() == 0


def test_neither_a_locked_table_nor_a_step_that_waits_for_it_holds_the_daemon_up(
    site: Site, new_postgresql_url: Callable[[], str]
) -> None:
    site.databases = {"main": new_postgresql_url()}
    daemon = site.ready()
    with stocks(site.databases["main"]) as (stock,):
        with stock.engine.connect() as somebody:
            begin(daemon, stock, then=lambda: somebody.exec_driver_sql("LOCK TABLE customers"))

            def is_running() -> bool:
                step = daemon.upgrade()["databases"][0]["step"]
                return step is not None and step["state"] == "running"

            until(is_running, "the step is under way", also=daemon.account)
            assert daemon.stop() == 0
        following = site.ready()
        finish(following)
        events = [each["action"] for each in following.ask("GET", "/v1/events?limit=500").body["events"]]
        assert "step.failed" not in events
        assert_migrated(stock)


def test_signal_during_the_start_ends_it(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        site.state_url = f"postgresql://orchestrator:secret@127.0.0.1:{port}/state"
        daemon = site.start()
        silent.settimeout(120)
        connection, _ = silent.accept()  # it is about to read its state
        with connection:
            assert daemon.stop() == 0
    assert "secret" not in daemon.log


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(site: Site) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        path = str(site.directory / "notify")
        channel.bind(path)
        channel.settimeout(120)
        daemon = site.start(environment={"NOTIFY_SOCKET": path})

        def heard(line: str) -> None:
            while line not in channel.recv(4096).decode().splitlines():
                pass

        heard("READY=1")
        assert daemon.ask("GET", "/readyz").status == 200
        heard("WATCHDOG=1")
        daemon.ask_to_stop()
        heard("STOPPING=1")
        assert daemon.ended() == 0


def test_daemons_that_start_together_prepare_one_state(any_site: Site) -> None:
    daemons = [any_site.start() for _ in range(2)]
    for daemon in daemons:
        daemon.until_ready()
    assert sorted("this daemon leads" in daemon.log for daemon in daemons) == [False, True]
    assert sorted("another daemon leads" in daemon.log for daemon in daemons) == [False, True]


def test_daemon_that_is_only_starting_refuses_so_that_another_one_is_asked(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.state_url = f"postgresql://orchestrator:secret@127.0.0.1:{silent.getsockname()[1]}/state"
        daemon = site.start()
        silent.settimeout(120)
        connection, _ = silent.accept()  # it is about to read its state
        with connection:
            with pytest.raises(Unreachable) as refused:
                daemon.ask("GET", "/healthz")
            with socket.socket() as channel, pytest.raises(OSError, match="in use"):
                channel.bind(("127.0.0.1", daemon.port))
        assert not refused.value.maybe_done
        daemon.kill()
