"""Leaders that are paused in the middle of their work, and come back when others have ended it: a relay.

In one upgrade each leader is stopped (SIGSTOP) at another moment, and the next daemon is started. Where the stopped
one holds locks in a database, its sessions are ended there, as its operator, a firewall or a limit would. At each of
these moments a process of either release tries to start: nobody leads then, so the database itself answers. In the end
all of them are woken at once, each in the middle of what it was doing, and nothing at all may change any more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.client import Member, Unreachable
from orchestrator.client.sqlalchemy import FenceTable
from orchestrator.demo.example import SCHEMA
from orchestrator.demo.ports import free_port
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import FLEETS, Stock, assert_migrated, stocks
from tests.faults.points import PausePoint, Then, is_stopped

ROWS = 100

LEADS = "after 'update leadership'"


@dataclass(frozen=True)
class Moment:
    """Where a leader is stopped, how the upgrade stands then, who may start, and whether it holds locks there.

    Whoever starts is counted by the next leader, with writes of their own: nobody does where the next moment is a
    number of writes.
    """

    name: str
    point: str
    phase: str
    fence: str
    admits: str
    locks: bool = False


MOMENTS = (
    Moment("fence", "before execute 1 of 'set writes' after 'insert into upgrades'", "base", "base", "1"),
    Moment("expand", f"before execute of 'alter table customers add' {LEADS}", "base", "expanded", "1", locks=True),
    Moment("batch", "before commit of 'update customers' after 'skip locked'", "backfill", "backfill", "2", locks=True),
    Moment("verification", "before execute of '{differs}' " + LEADS, "backfill", "backfill", "", locks=True),
    Moment("publication", "before execute of 'set writes' after 'update upgrades'", "backfill", "read_new", "2"),
    Moment("seal", f"before execute of 'create trigger' {LEADS}", "write_new", "sealed", "2", locks=True),
    Moment("contract", f"before execute of 'drop column' {LEADS}", "sealed", "contracted", "2", locks=True),
)

STATE_TABLES = ("schemas", "upgrades", "steps", "approvals", "readings", "events", "instances", "reports")
MANAGED_TABLES = ("orchestrator_steps", "orchestrator_copies", "orchestrator_data_migrations", "customers", "items")


class Server:
    """One kind of database, and how to end sessions there."""

    def __init__(self, kind: str, new_url: Callable[[], str]) -> None:
        self.differs = {"postgresql": "is distinct from", "mysql": "<=>"}[kind]
        self.state_url, self.managed_url = new_url(), new_url()
        self._engines = [sa.create_engine(url, poolclass=sa.NullPool) for url in (self.state_url, self.managed_url)]

    def end_sessions(self) -> None:
        """End every session but our own: those of processes that do not run just now."""
        for engine in self._engines:
            with engine.connect() as connection:
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    ).all()
                    continue
                for (number,) in connection.exec_driver_sql(
                    "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
                ).all():
                    connection.exec_driver_sql(f"KILL {number}")

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All that a leader could change."""
        found = {}
        for engine, tables in zip(self._engines, (STATE_TABLES, MANAGED_TABLES), strict=True):
            with engine.connect() as connection:
                quote = connection.dialect.identifier_preparer.quote
                for table in tables:
                    rows = connection.exec_driver_sql(f"SELECT * FROM {quote(table)}").all()
                    found[table] = sorted((tuple(row) for row in rows), key=repr)
        return found

    def where(self) -> tuple[str, str]:
        """Phase and fence of the upgrade."""
        with self._engines[0].connect() as connection:
            phase, fence = connection.exec_driver_sql("SELECT phase, fence FROM upgrades").one()
        return phase, fence

    def renewals(self) -> dict[str, float]:
        """When each daemon renewed its own lease, by its address."""
        with self._engines[0].connect() as connection:
            return {
                address: at
                for address, at in connection.exec_driver_sql("SELECT address, renewed_at FROM daemons").all()
            }


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb", marks=pytest.mark.kill)])
def server(request: pytest.FixtureRequest) -> Server:
    return Server(request.param, request.getfixturevalue(f"new_{request.param}_url"))


@pytest.fixture
def relay(server: Server, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.state_url, site.databases = server.state_url, {"main": server.managed_url}
    site.more["leadership"] = {"ttl_seconds": 1}
    site.more["data_migrations"] = {"batch_rows": 50, "pause_seconds": 0.4}
    yield site
    site.close()


def begin(daemon: Daemon, stock: Stock) -> None:
    """Begin the upgrade of a schema that nobody uses."""
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    stock.fill(2 * ROWS)
    for fleet in FLEETS:
        daemon.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
    until(lambda: stock.scalar("SELECT COUNT(*) FROM orchestrator_copies") == 1, "the database is told")
    daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")


def may_start(release: str, stock: Stock) -> bool:
    """Whether a process of that release is let in while no daemon answers; it leaves at once."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    copy = FenceTable(stock.engine, schema=SCHEMA)
    member = Member(nowhere, schema=SCHEMA, fleet=FLEETS[0], release=release, copy=copy)
    try:
        member.join(wait_seconds=0, in_background=False)
    except Unreachable as refused:
        assert f"does not admit release {release} now" in str(refused)
        return False
    member.leave(wait_seconds=0)
    return True


def test_leaders_that_were_paused_anywhere_do_nothing_when_they_come_back(relay: Site, server: Server) -> None:
    paused: list[Daemon] = []
    with stocks(server.managed_url) as (stock,):
        for moment in MOMENTS:
            text = moment.point.format(differs=server.differs)
            point = PausePoint(relay.directory / moment.name, text, Then.STOP)
            daemon = relay.ready(environment=point.environment)
            if not paused:
                begin(daemon, stock)
            if moment.name == "contract":
                daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
            point.until_reached()
            until(lambda pid=daemon.pid: is_stopped(pid), "it is paused")  # type: ignore[misc]
            assert server.where() == (moment.phase, moment.fence), moment
            paused.append(daemon)
            if moment.locks:
                stock.engine.dispose()
                server.end_sessions()
            tries = ("1", "2") if moment.admits else ("1",)
            assert "".join(each for each in tries if may_start(each, stock)) == moment.admits, moment

        last = relay.ready()
        last.until_status("completed")
        assert_migrated(stock)
    before = settled(last, server)
    for daemon in paused:
        os.kill(daemon.pid, signal.SIGCONT)
    for _ in range(2):  # by then, whatever they were about to do is done or refused
        renewals = server.renewals()

        def all_renewed(before: dict[str, float] = renewals) -> bool:
            now = server.renewals()
            return all(now[address_of(daemon)] > before[address_of(daemon)] for daemon in paused)

        until(all_renewed, "they are awake", also=lambda: "\n".join(daemon.log for daemon in paused))
    assert server.everything() == before
    for daemon in paused:
        assert "another daemon leads" in daemon.log
        assert daemon.ask("GET", f"/v1/schemas/{SCHEMA}").body["release"] == "2"
    for daemon in (*paused, last):
        assert daemon.stop() == 0


def address_of(daemon: Daemon) -> str:
    return f"127.0.0.1:{daemon.port}"


def settled(daemon: Daemon, server: Server) -> dict[str, list[tuple[object, ...]]]:
    """Everything, once the end of the upgrade is known to the database."""

    def is_known() -> bool:
        (database,) = daemon.ask("GET", f"/v1/schemas/{SCHEMA}/databases").body["databases"]
        return bool(database["copy_revision"] == daemon.upgrade()["revision"])

    until(is_known, "the database knows of the end", also=daemon.account)
    return server.everything()
