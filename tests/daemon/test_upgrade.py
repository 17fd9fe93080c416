"""A whole upgrade under one daemon: both releases of the example at work, and all that may stand in the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.client import Conflict, Member
from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, FLEETS, WORKER, Instance, Stock, assert_migrated, stocks

IN_THE_WAY = "CREATE TABLE statuses (something INTEGER)"


def retry_of(database: str) -> str:
    return f"orchestrator upgrade retry {SCHEMA} --database {database}"


def do(daemon: Daemon, command: str) -> None:
    """Do what a person is told to do."""
    daemon.orchestrator(*command.split()[1:])


def roll(daemon: Daemon, running: list[Instance]) -> list[Instance]:
    """Replace each instance of release 1 by one of release 2, when the gate allows it."""
    rolled = []
    for old, fleet in zip(running, FLEETS, strict=True):
        daemon.until_open(f"deploy:{fleet}:2")
        rolled.append(Instance(daemon.url, fleet, "2", old.stock).start())
        old.stop()
        assert old.rounds
    return rolled


def test_three_databases_go_from_release_to_release_while_both_work(
    any_site: Site, new_database_url: Callable[[], str]
) -> None:
    site = any_site
    site.databases = {name: new_database_url() for name in ("canary", "east", "west")}
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    with stocks(*site.databases.values()) as (canary, east, west):
        for stock in (canary, east, west):
            stock.fill(400)
        running = [Instance(daemon.url, API, "1", east).start(), Instance(daemon.url, WORKER, "1", west).start()]
        canary.execute(IN_THE_WAY)
        west.execute(IN_THE_WAY)
        daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")

        assert_canary_goes_first(daemon, canary, (east, west))
        assert_failure_stops_only_itself(daemon, east, west)

        running = roll(daemon, running)
        approval = daemon.until_blocked("approval_required")
        with pytest.raises(Conflict, match="could live only up to expanded"):
            Member(daemon.url, schema=SCHEMA, fleet=API, release="1").join()
        assert "no way back" in approval["sentence"] and "not sealed" not in approval["sentence"]
        daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
        daemon.until_status("completed")
        for instance in running:
            instance.stop()
            assert instance.rounds
        for stock in (canary, east, west):
            assert_migrated(stock)
    assert daemon.stop() == 0


def assert_canary_goes_first(daemon: Daemon, canary: Stock, others: tuple[Stock, ...]) -> None:
    """The step fails in the first database, and is not begun in the others."""
    blocker = daemon.until_blocked("step_failed")
    assert blocker["culprits"] == ["canary"]
    assert "e002_new_shape.py:" in blocker["sentence"]
    assert retry_of("canary") in daemon.orchestrator("status")
    assert all("first_name" not in stock.columns("customers") for stock in (canary, *others))
    canary.execute("DROP TABLE statuses")
    do(daemon, retry_of("canary"))


def assert_failure_stops_only_itself(daemon: Daemon, well: Stock, failing: Stock) -> None:
    """The others end their step; the phase waits for the one; `status` names the command that clears it."""

    def west_alone_failed() -> bool:
        states = {each["database"]: each["step"] for each in daemon.upgrade()["databases"]}
        return [name for name, step in states.items() if step and step["state"] == "failed"] == ["west"]

    until(west_alone_failed, "the step fails in west", also=daemon.account)
    daemon.until_blocked("step_failed")
    assert "first_name" in well.columns("customers")
    assert daemon.upgrade()["phase"] == "base"
    status = daemon.orchestrator("status")
    assert retry_of("west") in status
    assert "2/3" in status
    failing.execute("DROP TABLE statuses")
    do(daemon, retry_of("west"))
    daemon.until_phase("expanded")
    done = [
        each["subject"]
        for each in daemon.ask("GET", f"/v1/events?schema={SCHEMA}&limit=200").body["events"]
        if each["action"] == "step.done"
    ]
    assert done == ["canary", "east", "west"]
