"""How far rows are is kept with the state: whichever daemon leads, and whoever asks, goes on with the same measure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.progress import Eta, EtaState
from orchestrator.domain.view import MigrationState
from orchestrator.services.data_migrations import DataMigrations, MigrationStatus
from orchestrator.services.rows_control import RowsControl
from orchestrator.services.status import StatusBoard, UpgradeStatus
from tests.fakes import Clock
from tests.services.conftest import MakeSite
from tests.services.site import LEADERSHIP_SECONDS, SCHEMA, Daemon, Site

ROWS = 10_000


@pytest.fixture
def moving_site(make_stored_site: MakeSite) -> Site:
    """One database, in which rows are to be moved: 10,000 of them."""
    site = make_stored_site(databases=("one",))
    database = site.managed.on["one"]
    database.rows, database.batch_rows = ROWS, 100
    site.nobody_runs()
    site.begin("2")
    site.daemon("first").cycle()
    return site


def moves(site: Site, daemon: Daemon, clock: Clock, seconds: int) -> None:
    """A batch of 100 rows each second, and the leading daemon looks on."""
    for _ in range(seconds):
        clock.advance(1)
        site.managed.run_batch("one", "split_name", site.upgrade.id, leads=True)
        daemon.cycle()


def one(site: Site) -> MigrationStatus:
    (found,) = DataMigrations(site.context).list(SCHEMA)
    return found


def whole(site: Site) -> UpgradeStatus:
    found = StatusBoard(site.context).schema(SCHEMA).upgrade
    assert found is not None
    return found


def test_speed_and_time_left_are_measured_and_told_of_the_whole_and_of_each(moving_site: Site, clock: Clock) -> None:
    daemon = moving_site.daemon("first")
    assert one(moving_site).progress.eta == Eta(EtaState.MEASURING)
    moves(moving_site, daemon, clock, 30)
    found = one(moving_site).progress
    assert found.share == 0.15
    assert found.rows_per_second == pytest.approx(100)
    assert found.eta.state is EtaState.ESTIMATED
    assert found.eta.seconds == pytest.approx(70 + 100)
    all_of_it = whole(moving_site)
    assert all_of_it.progress == found
    assert all_of_it.eta_seconds == found.eta.seconds
    assert all_of_it.sentence == "moving rows: 15%"


def test_next_leader_goes_on_with_the_measure(moving_site: Site, clock: Clock) -> None:
    moves(moving_site, moving_site.daemon("first"), clock, 30)
    later = moving_site.daemon("second")
    for _ in range(int(LEADERSHIP_SECONDS) + 1):  # rows moved on while nobody led
        moving_site.managed.run_batch("one", "split_name", moving_site.upgrade.id, leads=False)
    moves(moving_site, later, clock, 1)
    assert one(moving_site).progress.rows_per_second == pytest.approx(100)


def test_hour_without_a_daemon_begins_the_measure_anew_and_takes_nothing_back(moving_site: Site, clock: Clock) -> None:
    moves(moving_site, moving_site.daemon("first"), clock, 30)
    clock.advance(3600)
    before = one(moving_site).progress
    assert (before.share, before.rows_per_second, before.eta) == (0.15, 0.0, Eta(EtaState.MEASURING))
    later = moving_site.daemon("second")
    moves(moving_site, later, clock, 1)
    assert one(moving_site).progress.rows_per_second is None
    moves(moving_site, later, clock, 6)
    found = one(moving_site).progress
    assert found.rows_per_second == pytest.approx(100)
    assert found.share == pytest.approx(0.185)


def test_time_left_is_not_told_of_what_is_held_waits_or_failed(moving_site: Site, clock: Clock) -> None:
    daemon, control = moving_site.daemon("first"), RowsControl(moving_site.context)
    moves(moving_site, daemon, clock, 30)
    control.pause(SCHEMA, "split_name", None, actor="alice", reason="month-end")
    assert one(moving_site).progress.eta == Eta(EtaState.HELD)
    assert whole(moving_site).eta_seconds is None
    control.resume(SCHEMA, "split_name", None, actor="alice", reason=None)
    moving_site.upgrades.pause(SCHEMA, actor="alice", reason="later")
    assert one(moving_site).progress.eta == Eta(EtaState.HELD)
    assert whole(moving_site).progress == one(moving_site).progress
    moving_site.upgrades.resume(SCHEMA, actor="alice", reason=None)
    assert one(moving_site).progress.eta.state is EtaState.ESTIMATED
    database = moving_site.managed.on["one"]
    facts = database.migrations["split_name"]
    database.migrations["split_name"] = replace(facts, state=MigrationState.FAILED, error="row 7")
    daemon.cycle()
    failed = one(moving_site).progress
    assert (failed.share, failed.eta) == (0.15, Eta(EtaState.FAILED))


def test_retry_is_a_new_run(moving_site: Site, clock: Clock) -> None:
    daemon, database = moving_site.daemon("first"), moving_site.managed.on["one"]
    moves(moving_site, daemon, clock, 30)
    database.migrations["split_name"] = replace(database.migrations["split_name"], state=MigrationState.FAILED)
    daemon.cycle()
    DataMigrations(moving_site.context).retry(SCHEMA, "split_name", None, actor="alice", reason=None)
    moves(moving_site, daemon, clock, 1)
    found = one(moving_site).progress
    assert (found.share, found.rows_per_second) == (0.005, None)


def test_database_that_is_away_takes_nothing_from_the_whole(make_site: MakeSite, clock: Clock) -> None:
    site = make_site(databases=("one", "two"))
    for database in site.managed.on.values():
        database.rows, database.batch_rows = ROWS, ROWS // 2
    site.nobody_runs()
    site.begin("2")
    daemon = site.daemon("first")
    daemon.cycle()
    site.managed.run_batch("one", "split_name", site.upgrade.id, leads=True)
    daemon.cycle()
    assert (found := whole(site).progress) is not None and found.share == 0.125
    site.managed.on["one"].error = "connection refused"
    clock.advance(1)
    daemon.cycle()
    assert (found := whole(site).progress) is not None and found.share == 0.125
