"""Throttled data migrations: nothing begins while one reason exists, everybody is shown it, all goes on by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.daemons import Daemon as DaemonRow
from orchestrator.domain.daemons import DaemonState
from orchestrator.domain.errors import Conflict, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.throttling import Reading
from orchestrator.domain.view import MigrationState
from orchestrator.ports import Transaction
from orchestrator.services.context import Context
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.status import StatusBoard
from orchestrator.services.throttling import RENEW_SECONDS, Throttling
from tests.fakes import Clock
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, WORKER, Process, Site

LAG = Reading("replica lag", 12.4, 5.0, "s", "replica db2")
GATE = Reading("throttle gate", error="127.0.0.1:80 does not answer: refused")
SAID = "replica lag is 12.4 s, more than 5 s on replica db2"


class Mover:
    """The part of one daemon that moves rows, with a clock of its own."""

    def __init__(self, site: Site, name: str = "one") -> None:
        self.site, self.name = site, name
        self.context = Context(site.store, {SCHEMA: site.managed}, {SCHEMA: site.policy})
        self.clock = Clock(0.0)
        self.migrations = DataMigrations(self.context, Throttling(self.context, name, clock=self.clock))
        row = DaemonRow(name, "host", "address", "1", "1", "1", DaemonState.ALIVE, 0.0, 0.0, site.clock.now + 10)
        site.store.run(lambda tx: tx.add_daemon(row))

    def run(self, database: str = "main") -> bool:
        return self.migrations.run(SCHEMA, database, may_go_on=lambda: True)

    def end(self, state: DaemonState = DaemonState.LEFT) -> None:
        def work(tx: Transaction) -> None:
            found = tx.daemon(self.name)
            assert found is not None
            tx.save_daemon(replace(found, state=state))

        self.site.store.run(work)

    @property
    def shown(self) -> list[tuple[str, ...]]:
        """What is shown of each database, by whichever daemon is asked."""
        found = self.migrations.show(SCHEMA, "split_name")
        return [tuple(reason.sentence for reason in each.throttled_by) for each in found]

    @property
    def sentence(self) -> str:
        upgrade = StatusBoard(self.context).schema(SCHEMA).upgrade
        assert upgrade is not None
        return upgrade.sentence


def in_backfill(make_site: MakeSite, *databases: str) -> Site:
    """Rows are about to be moved, none has been."""
    site: Site = make_site(databases=databases or ("main",))
    old = Process(site, "old", "1")
    daemon = site.nobody_runs(WORKER).daemon()
    site.begin()
    old.follow()
    daemon.cycle()
    new = Process(site, "new", "2")
    old.leave()
    while site.phase() is not Phase.BACKFILL:
        daemon.cycle()
        new.follow()
    site.managed.calls.clear()
    return site


def batches(site: Site) -> int:
    return sum(call[0] == "run_batch" for call in site.managed.calls)


def state(site: Site, database: str = "main") -> MigrationState:
    return site.managed.on[database].migrations["split_name"].state


def test_nothing_begins_while_one_reason_exists(make_stored_site: MakeSite) -> None:
    site = in_backfill(make_stored_site)
    mover = Mover(site)
    site.managed.on["main"].signals = (Reading("number of active sessions", 1, 40), LAG)
    assert not mover.run()
    assert batches(site) == 0
    assert state(site) is MigrationState.PENDING
    assert mover.shown == [(SAID,)]
    assert mover.sentence == f"rows wait at 0%: {SAID}"


def test_all_reasons_are_shown_and_it_goes_on_when_the_last_is_gone(make_stored_site: MakeSite) -> None:
    site = in_backfill(make_stored_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.signals = (LAG, GATE)
    mover.run()
    unread = "throttle gate cannot be read: 127.0.0.1:80 does not answer: refused"
    assert mover.shown == [(SAID, unread)]
    main.signals = (replace(LAG, value=1.0), GATE)
    mover.run()
    assert (mover.shown, batches(site)) == ([(unread,)], 0)
    main.signals = (replace(LAG, value=1.0),)
    assert mover.run()
    assert mover.shown == [()]
    assert state(site) is MigrationState.COMPLETE
    assert site.store.read(lambda tx: tx.rows_waits(SCHEMA)) == ()


def test_a_reason_that_comes_up_between_two_batches_stops_the_next(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.batch_rows = 10
    left = iter([True] * 4)

    def go_on() -> bool:
        if next(left, None) is None:
            main.signals = (LAG,)
        return True

    assert mover.migrations.run(SCHEMA, "main", may_go_on=go_on)
    assert batches(site) == 4
    assert state(site) is MigrationState.RUNNING
    assert mover.shown == [(SAID,)]


def test_rows_rest_for_as_long_as_the_last_batch_asks(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.batch_fails = Conflict("batch_too_soon", "too soon", remedy="Wait.", wait_seconds=7.5)
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        main.batch_fails = None

    assert mover.migrations.run(SCHEMA, "main", may_go_on=lambda: True, rest=rest)
    assert rests == [7.5]
    assert state(site) is MigrationState.COMPLETE


def test_only_the_database_that_is_throttled_waits(make_site: MakeSite) -> None:
    site = in_backfill(make_site, "one", "two")
    mover = Mover(site)
    site.managed.on["two"].signals = (LAG,)
    assert mover.run("one")
    mover.run("two")
    assert (state(site, "one"), state(site, "two")) == (MigrationState.COMPLETE, MigrationState.PENDING)
    assert mover.shown == [(), (SAID,)]
    site.daemon("leads").cycle()
    assert mover.sentence == f"moving rows: 50%; some wait: two: {SAID}"


def test_a_daemon_that_does_not_lead_shows_its_reasons_on_every_daemon(make_stored_site: MakeSite) -> None:
    site = in_backfill(make_stored_site)
    one, two = Mover(site), Mover(site, "two")
    site.managed.on["main"].signals = (GATE,)
    two.run()
    assert one.shown == two.shown == [(f"throttle gate cannot be read: {GATE.error} (so daemon two)",)]
    one.run()
    assert one.shown == two.shown == [(f"throttle gate cannot be read: {GATE.error}",)]


@pytest.mark.parametrize("ending", [DaemonState.LEFT, DaemonState.EVICTED, None])
def test_a_daemon_that_ended_or_stopped_renewing_waits_no_more(make_site: MakeSite, ending: DaemonState | None) -> None:
    site = in_backfill(make_site)
    mover = Mover(site)
    site.managed.on["main"].signals = (LAG,)
    mover.run()
    if ending is None:
        site.clock.advance(60)
    else:
        mover.end(ending)
    assert mover.shown == [()]


def test_what_an_ended_daemon_wrote_is_removed_by_the_next(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    one = Mover(site)
    site.managed.on["main"].signals = (LAG,)
    one.run()
    one.end()
    Mover(site, "two").run()
    assert [wait.daemon for wait in site.store.read(lambda tx: tx.rows_waits(SCHEMA))] == ["two"]


def test_the_same_reasons_are_written_again_only_after_a_while(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.signals = (LAG,)
    mover.run()
    main.signals = (replace(LAG, value=13.5),)
    mover.run()
    assert mover.shown == [(SAID,)]
    mover.clock.advance(RENEW_SECONDS)
    mover.run()
    assert mover.shown == [("replica lag is 13.5 s, more than 5 s on replica db2",)]
    (wait,) = site.store.read(lambda tx: tx.rows_waits(SCHEMA))
    assert wait.since == site.clock.now


def test_rows_that_are_complete_wait_for_nothing(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover = Mover(site)
    mover.run()
    site.managed.on["main"].signals = (LAG,)
    before = batches(site)
    assert not mover.run()
    assert (mover.shown, batches(site)) == ([()], before)


def test_rows_of_a_failed_data_migration_wait_for_its_retry_alone(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.migrations["split_name"] = replace(main.migrations["split_name"], state=MigrationState.FAILED)
    main.signals = (LAG,)
    mover.run()
    assert mover.shown == [()]


def test_a_paused_upgrade_is_not_throttled_too(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover = Mover(site)
    site.managed.on["main"].signals = (LAG,)
    mover.run()
    site.upgrades.pause(SCHEMA, actor="test", reason="lunch")
    mover.run()
    assert mover.shown == [()]
    assert site.store.read(lambda tx: tx.rows_waits(SCHEMA)) == ()


def test_reasons_are_on_record_also_where_the_database_is_away(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.signals = (GATE,)
    main.error = "connection refused"
    with pytest.raises(Unavailable):
        mover.run()
    assert batches(site) == 0
    assert mover.shown == [(f"throttle gate cannot be read: {GATE.error}",)]


@pytest.mark.parametrize("code", ["database_busy", "disk_full"])
def test_what_a_batch_waits_for_is_shown_until_it_gets_through(make_site: MakeSite, code: str) -> None:
    site = in_backfill(make_site)
    mover = Mover(site)
    run_batch, tries = site.managed.run_batch, []

    def refused(*given: Any, **also: Any) -> Any:
        tries.append(mover.shown)
        raise Unavailable(code, "split_name waits for locks on customers, the row id=5", remedy="To end it: KILL 7;")

    site.managed.run_batch = refused  # type: ignore[method-assign]
    said = "split_name waits for locks on customers, the row id=5"
    for _ in range(2):
        mover.run()
        assert mover.shown == [(said,)]
    assert tries == [[()], [(said,)]], "it stays shown while it is tried again"
    site.managed.run_batch = run_batch  # type: ignore[method-assign]
    mover.run()
    assert mover.shown == [()]
