"""Verifying: who asks for a comparison of rows is on record, and any daemon does it when no rows are to be moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import Conflict, NotFound, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.throttling import Reading
from orchestrator.domain.verifications import VerificationState
from orchestrator.domain.view import MigrationFacts, MigrationState
from orchestrator.domain.windows import Windows
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.throttling import Throttling
from orchestrator.services.verifying import LOOK_SECONDS, Verifying
from orchestrator.services.windows import MaintenanceWindows
from tests.fakes import Clock
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Site
from tests.windows import Every

NAME = "split_name"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """At rest, with everything moved long ago."""
    site = make_site(databases=("main",))
    found = site.managed.on["main"]
    found.migrations[NAME] = MigrationFacts(NAME, MigrationState.COMPLETE, witness=found.incarnation)
    found.rows = 300
    return site


def run(site: Site, migrations: DataMigrations) -> bool:
    return migrations.run(SCHEMA, "main", may_go_on=lambda: True)


def verify(migrations: DataMigrations, *, stop: bool = False, database: str | None = None) -> None:
    migrations.verify(SCHEMA, NAME, database, stop=stop, actor="alice", reason="after the failover")


def said(site: Site) -> list[tuple[str, str, str]]:
    events = site.store.read(lambda tx: tx.events(schema=SCHEMA, after=-1, limit=100))
    return [(each.action, each.actor, each.sentence) for each in events if each.action.startswith("data_migration")]


def test_rows_are_compared_while_no_upgrade_runs_and_both_ends_are_in_the_audit_log(site: Site) -> None:
    migrations = DataMigrations(site.context)
    verify(migrations)
    verify(migrations)
    assert not run(site, migrations)
    (shown,) = migrations.show(SCHEMA, NAME)
    assert shown.verification is not None
    assert (shown.verification.state, shown.verification.rows) == (VerificationState.DONE, 300)
    assert said(site) == [
        ("data_migration.verify", "alice", "alice asked for the rows of split_name to be compared in main"),
        (
            "data_migration.verified", "orchestrator",
            "the rows of split_name in main: 300 rows were compared, none differs",
        ),
    ]  # fmt: skip


def test_nothing_is_asked_of_a_database_of_which_nobody_wants_anything(site: Site) -> None:
    site.managed.calls.clear()
    run(site, DataMigrations(site.context))
    assert site.managed.calls == []


def test_another_daemon_goes_on_from_what_was_last_read(site: Site) -> None:
    other = DataMigrations(site.context)
    clock = Clock()
    other.verifying = Verifying(site.context, Throttling(site.context), MaintenanceWindows(site.context), clock=clock)
    verify(DataMigrations(site.context))
    site.daemon("first").cycle()
    found = site.managed.on["main"].verifications
    run(site, other)
    assert not found[NAME].is_running
    found[NAME] = replace(found[NAME], state=VerificationState.RUNNING, rows=0)
    site.daemon("second").cycle()
    run(site, other)
    assert found[NAME].is_running, "it looks at the readings now and then"
    clock.advance(LOOK_SECONDS)
    run(site, other)
    assert not found[NAME].is_running


def test_throttles_hold_it_as_they_hold_rows_that_move(site: Site) -> None:
    migrations = DataMigrations(site.context)
    verify(migrations)
    found = site.managed.on["main"]
    found.signals = (Reading("replica lag", 9.0, 5.0, "s"),)
    run(site, migrations)
    assert found.verifications[NAME].rows == 0
    found.signals = ()
    run(site, migrations)
    assert found.verifications[NAME].rows == 300


def test_what_it_waits_for_is_shown_with_what_ends_that(site: Site) -> None:
    migrations = DataMigrations(site.context)
    found = site.managed.on["main"]
    found.signals = (Reading("throttle gate", error="silent", remedy="Mend it.", option="throttle:gate"),)
    found.windows = Windows((Every(1000, 100, first=site.clock.now + 50),))
    verify(migrations)
    run(site, migrations)
    (shown,) = migrations.show(SCHEMA, NAME)
    first, second = [each.sentence for each in shown.verification_waits]
    assert first == "throttle gate cannot be read: silent"
    assert second.startswith("outside its maintenance windows; the next opens")
    assert shown.remedy.startswith("Mend it. To move rows before that, give it another window")
    assert f"set {SCHEMA} throttle:gate=off" in shown.remedy
    found.signals, found.windows = (), Windows()
    (shown,) = migrations.show(SCHEMA, NAME)
    assert (shown.verification_waits, shown.remedy) == ((), "")
    run(site, migrations)
    found.signals = (Reading("throttle gate", error="silent"),)
    (shown,) = migrations.show(SCHEMA, NAME)
    assert shown.verification_waits == (), "it is done"


def test_stopped_it_is_left_alone(site: Site) -> None:
    migrations = DataMigrations(site.context)
    with pytest.raises(NotFound) as refused:
        verify(migrations, stop=True)
    assert refused.value.code == "nothing_to_stop"
    verify(migrations)
    verify(migrations, stop=True)
    run(site, migrations)
    assert site.managed.on["main"].verifications[NAME].rows == 0


def test_what_a_database_refuses_is_told_and_nothing_is_on_record(site: Site) -> None:
    site.managed.on["main"].verify_fails = Conflict("verification_refused", "no columns", remedy="Wait.")
    migrations = DataMigrations(site.context)
    with pytest.raises(Conflict):
        verify(migrations)
    with pytest.raises(NotFound):
        verify(migrations, database="nowhere")
    with pytest.raises(NotFound):
        migrations.verify(SCHEMA, "nothing", None, stop=False, actor="alice", reason=None)
    assert said(site) == []


def test_batch_that_fails_for_now_is_tried_again_at_the_next_turn(site: Site) -> None:
    migrations = DataMigrations(site.context)
    verify(migrations)
    found = site.managed.on["main"]
    found.batch_fails = Unavailable("database_busy", "busy", remedy="Wait.")
    with pytest.raises(Unavailable):
        run(site, migrations)
    found.batch_fails = Conflict("batch_claimed", "another one", remedy="Wait.")
    assert not run(site, migrations)
    found.batch_fails = None
    run(site, migrations)
    assert found.verifications[NAME].rows == 300


def test_rows_that_are_to_be_moved_go_first(make_site: MakeSite) -> None:
    site = make_site(databases=("main",))
    daemon = site.nobody_runs().begin().daemon()
    while site.phase() is not Phase.BACKFILL:
        daemon.cycle()
    migrations = DataMigrations(site.context)
    verify(migrations)
    site.managed.calls.clear()
    assert run(site, migrations)
    run(site, migrations)
    batches = [call[0] for call in site.managed.calls if call[0] in ("run_batch", "verify_batch")]
    assert batches == ["run_batch", "run_batch", "verify_batch"]


def test_windows_hold_it_as_they_hold_rows_that_move(site: Site) -> None:
    migrations = DataMigrations(site.context)
    verify(migrations)
    found = site.managed.on["main"]
    found.windows = Windows((Every(1000, 100.0, first=site.clock.now + 1.0),))
    run(site, migrations)
    assert found.verifications[NAME].rows == 0
    site.clock.advance(1.0)
    run(site, migrations)
    assert found.verifications[NAME].rows == 300


def test_stop_that_one_database_does_not_answer_is_on_record_for_the_others(make_site: MakeSite) -> None:
    site = make_site(databases=("main", "other"))
    migrations = DataMigrations(site.context)
    verify(migrations)
    site.managed.on["main"].error = "connection refused"
    with pytest.raises(Unavailable):
        verify(migrations, stop=True)
    assert said(site)[-1][2] == "alice stopped the comparison of split_name in other"
