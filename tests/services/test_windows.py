"""Maintenance windows: outside of them no batch begins, nor one that would outlast them; all goes on by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import Conflict, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.overlay import Option
from orchestrator.domain.pacing import LOCK_TIMEOUT_SECONDS
from orchestrator.domain.progress import Eta, EtaState
from orchestrator.domain.view import MigrationState
from orchestrator.domain.windows import BATCH_MARGIN, Windows
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.rows_control import RowsControl
from orchestrator.services.status import StatusBoard
from orchestrator.services.throttling import Throttling
from orchestrator.services.windows import MaintenanceWindows
from tests.fakes import three_releases
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Site
from tests.services.test_throttling import GATE, Mover, batches, in_backfill, state
from tests.windows import Every

USUAL = BATCH_MARGIN * 0.2 + LOCK_TIMEOUT_SECONDS
"""What is to be left for a batch of usual size."""

CLOSED = "outside its maintenance windows; the next opens second "


class Timed(Mover):
    """A mover whose batches take as long as a test says, by its own monotonic clock and by the state's."""

    def __init__(self, site: Site, name: str = "one") -> None:
        super().__init__(site, name)
        self.windows = MaintenanceWindows(self.context, clock=self.clock)
        throttling = Throttling(self.context, name, clock=self.clock)
        self.migrations = DataMigrations(self.context, throttling, self.windows)

    def pass_by(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.site.clock.advance(seconds)


def waits_for(mover: Mover) -> str:
    """What this daemon found last, however long ago it renewed its lease."""
    return "; ".join(reason.sentence for reason in mover.migrations.throttled_by(SCHEMA, "main"))


def open_at(site: Site, seconds_from_now: float, *, database: str = "main", seconds: float = 100.0) -> Every:
    """Give the database a window that opens then."""
    window = Every(1000, seconds, first=site.clock.now + seconds_from_now)
    site.managed.on[database].windows = Windows((window,))
    return window


def moves_half(site: Site, database: str) -> None:
    """Of 100 rows 50 are moved, the last of them one each second."""
    found, leads = site.managed.on[database].migrations, site.daemon("leads")
    for done in (40, 50):
        found["split_name"] = replace(found["split_name"], state=MigrationState.RUNNING, rows_done=done, rows_total=100)
        leads.cycle()
        site.clock.advance(10 if done < 50 else 0)


def test_nothing_begins_outside_of_the_windows(make_stored_site: MakeSite) -> None:
    site = in_backfill(make_stored_site)
    mover, window = Mover(site), open_at(site, 1.0)
    assert not mover.run()
    said = f"{CLOSED}{window.first:g}"
    assert (batches(site), state(site), mover.shown) == (0, MigrationState.PENDING, [(said,)])
    assert mover.sentence == f"rows wait at 0%: {said}"
    site.clock.advance(1.0)
    assert mover.run()
    assert (state(site), mover.shown) == (MigrationState.COMPLETE, [()])
    assert site.store.read(lambda tx: tx.rows_waits(SCHEMA)) == ()


def test_a_window_that_closes_between_two_batches_stops_the_next(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.batch_rows = 10
    open_at(site, 0.0)
    left = iter([True] * 4)

    def go_on() -> bool:
        if next(left, None) is None:
            site.clock.advance(100)
        return True

    assert mover.migrations.run(SCHEMA, "main", may_go_on=go_on)
    assert (batches(site), state(site)) == (4, MigrationState.RUNNING)
    assert waits_for(mover).startswith(CLOSED)


def test_rows_are_verified_only_in_a_window_too(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.migrations["split_name"] = replace(main.migrations["split_name"], state=MigrationState.VERIFYING)
    open_at(site, 1.0)
    assert not mover.run()
    assert batches(site) == 0
    site.clock.advance(1.0)
    assert mover.run()
    assert state(site) is MigrationState.COMPLETE


def test_rows_are_moved_back_only_in_a_window_too(make_site: MakeSite) -> None:
    releases = three_releases()
    second = replace(releases["2"], reverse_data_migrations=("join_name",))
    releases = replace(releases, ordered=(releases["1"], second, releases["3"]))
    site = make_site(databases=("main",), releases=releases)
    site.nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    daemon = site.daemon("goes back")
    site.upgrades.rollback(SCHEMA, Phase.READ_NEW, actor="test", reason="no good", if_revision=None)
    while site.phase() is not Phase.READ_NEW:
        assert daemon.cycle().has_moved
    site.upgrades.rollback(SCHEMA, Phase.BACKFILL, actor="test", reason="no good", if_revision=None)
    daemon.cycle()
    mover = Mover(site)
    open_at(site, 1.0)
    site.managed.calls.clear()
    mover.run()
    assert batches(site) == 0
    site.clock.advance(1.0)
    mover.run()
    assert batches(site)


def test_throttles_and_windows_are_shown_together(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, window = Mover(site), open_at(site, 1.0)
    site.managed.on["main"].signals = (GATE,)
    mover.run()
    assert mover.shown == [(f"throttle gate cannot be read: {GATE.error}", f"{CLOSED}{window.first:g}")]


def test_only_the_database_whose_windows_are_closed_waits(make_site: MakeSite) -> None:
    site = in_backfill(make_site, "one", "two")
    mover = Mover(site)
    open_at(site, 1.0, database="two")
    assert mover.run("one")
    mover.run("two")
    assert (state(site, "one"), state(site, "two")) == (MigrationState.COMPLETE, MigrationState.PENDING)


@pytest.mark.parametrize(("left", "begins"), [(USUAL, True), (USUAL - 0.1, False)])
def test_a_batch_begins_only_where_it_has_time_to_end(make_site: MakeSite, left: float, begins: bool) -> None:
    site = in_backfill(make_site)
    mover = Mover(site)
    open_at(site, left - 100)
    assert mover.run() is begins
    assert mover.shown == [
        () if begins else (
            "its maintenance window closes in 2.3 s, too soon for another batch, which may take 2.4 s",
        )
    ]  # fmt: skip


def test_what_is_set_of_the_pace_counts_in_place_of_what_is_configured(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover, main = Mover(site), site.managed.on["main"]
    main.options = (Option("batch_seconds", 0.2, 0.001, 60.0, is_whole=False, help=""),)
    open_at(site, 40.0 - 100)
    control = RowsControl(mover.context)
    control.set(SCHEMA, None, {"batch_seconds": 20.0}, (), actor="test", reason=None)
    assert not mover.run()
    assert "closes in 40 s, too soon for another batch, which may take 42 s" in waits_for(mover)
    control.set(SCHEMA, None, {}, ("batch_seconds",), actor="test", reason=None)
    assert mover.run()


class Slow(Timed):
    """Each batch takes so long."""

    def __init__(self, site: Site, seconds: float) -> None:
        super().__init__(site)
        self.seconds = seconds
        self.ends: list[float] = []
        run_batch = site.managed.run_batch

        def slow(*given: object, **also: object) -> object:
            found = run_batch(*given, **also)  # type: ignore[arg-type]  # as it is called
            self.pass_by(self.seconds)
            self.ends.append(site.clock.now)
            return found

        site.managed.run_batch = slow  # type: ignore[assignment,method-assign]


def test_a_batch_that_took_long_is_not_repeated_where_it_would_outlast_the_window(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    main = site.managed.on["main"]
    main.batch_rows = 10
    main.migrations["split_name"] = replace(main.migrations["split_name"], state=MigrationState.RUNNING)
    mover, window = Slow(site, 20.0), open_at(site, 0.0)
    mover.run()
    assert mover.ends[-1] <= window.first + window.seconds
    assert len(mover.ends) == 3  # after 60 s of 100 a fourth one, with a margin, has no time to end
    assert "closes in 40 s, too soon for another batch, which may take 42 s" in waits_for(mover)
    mover.run()  # nor is it by the next call
    assert len(mover.ends) == 3


def test_the_next_opening_tries_again_what_took_too_long(make_site: MakeSite) -> None:
    """Slow once, in a window too short for that, is not slow for ever."""
    site = in_backfill(make_site)
    main = site.managed.on["main"]
    main.batch_rows = 10
    main.migrations["split_name"] = replace(main.migrations["split_name"], state=MigrationState.RUNNING)
    mover, window = Slow(site, 90.0), open_at(site, 0.0)
    mover.run()
    assert len(mover.ends) == 1
    mover.pass_by(window.first + window.period - site.clock.now)
    mover.seconds = 0.1
    mover.run()
    assert state(site) is MigrationState.COMPLETE


def test_a_batch_that_failed_after_a_long_time_counts_too(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    main = site.managed.on["main"]
    main.migrations["split_name"] = replace(main.migrations["split_name"], state=MigrationState.RUNNING)
    mover = Timed(site)
    open_at(site, 0.0)

    def fails(*given: object, **also: object) -> object:
        mover.pass_by(30.0)
        raise Unavailable("database_busy", "it was busy", remedy="Wait.")

    run_batch = site.managed.run_batch
    site.managed.run_batch = fails  # type: ignore[assignment,method-assign]
    mover.run()
    assert "it was busy" in waits_for(mover)
    site.managed.run_batch = run_batch  # type: ignore[method-assign]
    mover.pass_by(20.0)
    mover.run()
    assert "closes in 50 s, too soon for another batch, which may take 62 s" in waits_for(mover)


def test_what_a_slow_worker_saw_is_not_hidden_by_a_quick_one(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover = Timed(site)
    open_at(site, 0.0)
    over = site.managed.on["main"].over
    assert mover.windows.reasons(SCHEMA, "main", "split_name", over) == ()
    for seconds in (30.0, 1.0):
        with mover.windows.timed(SCHEMA, "main", "split_name"):
            mover.pass_by(seconds)
    with pytest.raises(Conflict), mover.windows.timed(SCHEMA, "main", "split_name"):
        raise Conflict("batch_claimed", "somebody else is at it", remedy="Wait.")  # that was no batch
    mover.pass_by(43.0)
    assert mover.windows.reasons(SCHEMA, "main", "another", over) == ()
    (reason,) = mover.windows.reasons(SCHEMA, "main", "split_name", over)
    assert "closes in 26 s" in reason.sentence
    assert "may take 32 s" in reason.sentence


def test_counting_the_rows_says_nothing_of_a_batch(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    site.managed.on["main"].batch_rows = 10
    mover = Slow(site, 40.0)
    open_at(site, 0.0)
    mover.seconds = 60.0
    left = iter([True])

    def go_on() -> bool:
        mover.seconds = 60.0 if next(left, None) else 0.1
        return True

    mover.migrations.run(SCHEMA, "main", may_go_on=go_on)
    assert state(site) is MigrationState.COMPLETE


def test_the_eta_knows_of_the_time_in_which_nothing_moves(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    board = StatusBoard(site.context)
    moves_half(site, "main")

    def eta() -> float:
        upgrade = board.schema(SCHEMA).upgrade
        assert upgrade is not None
        assert upgrade.eta_seconds is not None
        return upgrade.eta_seconds

    work_seconds = eta()
    assert work_seconds == 50.0 + 100.0, "the rows that are left to move, and all to verify"
    open_at(site, 500.0, seconds=work_seconds)
    assert eta() == 500.0 + work_seconds
    open_at(site, 500.0, seconds=work_seconds - 1)
    assert eta() == 1500.0 + 1


def test_the_eta_is_told_however_long_the_window_is_closed(make_site: MakeSite) -> None:
    """At the speed that rows had before it closed."""
    site = in_backfill(make_site)
    window = open_at(site, 900.0, seconds=200.0)
    moves_half(site, "main")
    site.clock.now = window.first - 300.0
    mover = Mover(site)
    mover.run()
    upgrade = StatusBoard(site.context).schema(SCHEMA).upgrade
    assert upgrade is not None and "outside its maintenance windows" in upgrade.sentence
    assert upgrade.eta_seconds == 300.0 + 150.0
    assert upgrade.progress is not None and upgrade.progress.rows_per_second == 0.0
    (found,) = mover.migrations.list(SCHEMA)
    assert found.progress.eta == Eta(EtaState.THROTTLED), "its reason is beside it"


def test_a_database_that_is_done_does_not_hold_the_eta_up(make_site: MakeSite) -> None:
    site = in_backfill(make_site, "one", "two")
    two = site.managed.on["two"]
    two.migrations["split_name"] = replace(two.migrations["split_name"], state=MigrationState.COMPLETE)
    moves_half(site, "one")
    without = StatusBoard(site.context).schema(SCHEMA).upgrade
    open_at(site, 500.0, database="two")
    upgrade = StatusBoard(site.context).schema(SCHEMA).upgrade
    assert upgrade is not None
    assert without is not None
    assert upgrade.eta_seconds == without.eta_seconds is not None


def test_windows_are_told_with_their_next_opening(make_site: MakeSite) -> None:
    site = in_backfill(make_site, "one", "two")
    mover = Mover(site)
    window = open_at(site, 10.0, database="two")
    (found,) = mover.migrations.windows(SCHEMA)
    assert (found.database, found.names, found.is_open) == ("two", ("night",), False)
    assert found.sentence == f"closed; opens second {window.first:g}, until second {window.first + 100:g}"
    site.clock.advance(10)
    (found,) = mover.migrations.windows(SCHEMA)
    assert found.is_open
    assert found.sentence == f"rows may be moved until second {window.first + 100:g}"


def test_the_state_database_says_what_time_it_is(make_site: MakeSite) -> None:
    site = in_backfill(make_site)
    mover = Timed(site)
    open_at(site, 0.0)
    mover.clock.advance(1000)  # of this machine
    assert mover.run()
