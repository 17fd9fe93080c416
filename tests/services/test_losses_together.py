"""Lost commits beside something else: another loss, somebody who should not be there, what an operator has typed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import NotFound
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.roles import Role, RoleSession
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import MigrationFacts, MigrationState, Policy
from orchestrator.ports import Transaction
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.store.memory import MemoryStore
from tests.fakes import three_releases
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, Process, Site
from tests.services.test_lost_commits import FROZEN_SECONDS, restore

DAY_SECONDS = 86_400.0


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site(databases=("one", "two")).nobody_runs().begin()


def thaw(site: Site) -> None:
    """Every lease that may have been forgotten is over, and a daemon works."""
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("thawing").work()


def unmoved(site: Site, database: str) -> None:
    """The database is from before its rows were moved."""
    found = site.managed.on[database]
    found.migrations["split_name"] = MigrationFacts("split_name", MigrationState.PENDING, rows_total=found.rows)


def states(site: Site) -> set[MigrationState]:
    return {each.migrations["split_name"].state for each in site.managed.on.values()}


@pytest.mark.parametrize("lost", ["one", "two"])
def test_rows_that_are_lost_while_the_upgrade_is_frozen_send_everybody_back_to_backfill(site: Site, lost: str) -> None:
    second = site.managed.on[lost]
    site.rest_at(Phase.BACKFILL)
    earlier = second.copy
    site.rest_at(Phase.READ_NEW)
    member = Process(site, "a1", "2")
    site.managed.on["one"].incarnation = "promoted"
    site.daemon("first").cycle()
    assert site.phase() is Phase.READ_NEW
    second.error = "it is being restored"
    site.daemon("meanwhile").cycle()
    second.error, second.copy, second.incarnation = None, earlier, "restored"
    unmoved(site, lost)
    site.daemon("second").cycle()
    assert site.phase() is Phase.BACKFILL
    assert member.follow().stance.phase is Phase.BACKFILL
    site.clock.advance(FROZEN_SECONDS)
    member.follow()
    site.go_on()
    daemon = site.daemon("last")
    for _ in range(5):
        daemon.work()
        member.follow()
    assert states(site) == {MigrationState.COMPLETE}
    assert site.phase() is Phase.CONTRACTED
    assert site.actions().count("upgrade.freeze") == 2


def test_nothing_thaws_while_somebody_is_reported_who_cannot_live_there(site: Site) -> None:
    site.rest_at(Phase.BACKFILL).go_on()
    site.leases.report(SCHEMA, API, release="1", instances=3, actor="bob", reason="they never stopped")
    site.managed.on["one"].incarnation = "promoted"
    site.daemon("first").cycle()
    thaw(site)
    assert site.upgrade.frozen is not None
    assert site.codes == ["fleet_reported_unsupported"]
    assert states(site) == {MigrationState.PENDING}, "rows move while every writer writes the new shape"
    site.leases.report(SCHEMA, API, release="1", instances=0, actor="bob", reason="stopped now")
    thaw(site)
    assert site.phase() is Phase.CONTRACTED


def with_old_role(site: Site) -> Site:
    for database in site.managed.on.values():
        database.roles["app1"] = Role("app1", "1")
    return site.rest_at(Phase.BACKFILL).go_on()


def connect(site: Site, sessions: int) -> None:
    """So many sessions of the old release work in one database, which somebody unlocked its role in."""
    one = site.managed.on["one"]
    found = tuple(RoleSession(number) for number in range(sessions))
    one.roles["app1"] = replace(one.roles["app1"], is_locked=not sessions, sessions=found, count=sessions)


def test_nothing_thaws_while_the_old_role_is_in_use(site: Site) -> None:
    with_old_role(site)
    site.managed.on["one"].incarnation = "promoted"
    connect(site, 1)
    site.daemon("first").cycle()
    thaw(site)
    assert site.upgrade.frozen is not None
    assert "role_in_use" in site.codes
    connect(site, 0)
    thaw(site)
    assert site.upgrade.frozen is None


def test_what_was_proven_while_the_old_role_was_in_use_counts_no_more(site: Site) -> None:
    with_old_role(site)
    connect(site, 1)
    site.daemon("first").work()
    connect(site, 0)
    site.daemon("second").work()
    assert site.phase() is Phase.BACKFILL
    assert site.upgrade.doubt is not None and "app1" in site.upgrade.doubt
    assert site.codes[0] == "proof_doubtful"


def test_databases_put_back_to_what_the_state_knows_hide_nothing(make_site: MakeSite) -> None:
    site = make_site(databases=("one",)).nobody_runs()
    one = site.managed.on["one"]
    site.daemon("first").work()
    earlier = one.copy
    assert earlier is not None
    one.copy = replace(earlier, revision=60, upgrade_id=7)  # the state was put back
    site.clock.advance(11)
    site.daemon("second").cycle()
    one.copy = earlier  # and then the database, to the same night
    site.clock.advance(11)
    site.daemon("third").cycle()
    site.begin().daemon("last").work()
    assert "upgrade.freeze" not in site.actions()
    assert site.phase() is Phase.CONTRACTED


def test_a_state_that_fails_over_at_read_new_leaves_the_way_back_open(make_site: MakeSite) -> None:
    site = make_site(databases=("one", "two"))
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().begin().rest_at(Phase.READ_NEW)
    site.store.incarnation = "promoted"
    site.daemon("first").cycle()
    assert site.upgrade.frozen is not None
    assert site.upgrade.old_valid, "every copy holds the fence of write_new before that is entered, and none does"
    thaw(site)
    site.upgrades.cancel(SCHEMA, actor="alice", reason="enough")
    site.daemon("last").work()
    assert site.upgrade.status is Status.CANCELLED


def test_a_state_that_fails_over_behind_the_fence_of_write_new_trusts_no_old_shape(make_site: MakeSite) -> None:
    site = make_site(databases=("one", "two"))
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().begin().rest_at(Phase.READ_NEW)
    fenced = site.upgrade.with_fence(Phase.WRITE_NEW)
    restore(site, fenced)
    for database in site.managed.on.values():
        assert database.copy is not None
        database.copy = replace(database.copy, fence=fenced.fence, move=fenced.move, revision=fenced.revision)
    site.store.incarnation = "promoted"
    site.daemon("first").cycle()
    assert site.upgrade.frozen is not None
    assert not site.upgrade.old_valid, "it may have been published, and forgotten"


def test_a_phase_that_was_forgotten_is_soaked_in_from_its_return_on(make_site: MakeSite) -> None:
    policy = Policy(approve=(), soak_seconds=DAY_SECONDS)
    site = make_site(databases=("one", "two"), policy=policy).nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    site.clock.advance(2 * DAY_SECONDS)
    backup = site.upgrade
    site.rest_at(Phase.SEALED).go_on()
    restore(site, replace(backup, goal=Phase.CONTRACTED))
    site.daemon("first").cycle()
    thaw(site)
    assert site.phase() is Phase.SEALED
    assert site.codes == ["soaking"]
    site.clock.advance(DAY_SECONDS)
    site.daemon("last").work()
    assert site.phase() is Phase.CONTRACTED


def test_a_copy_of_another_phase_shows_a_loss_also_under_a_number_that_was_passed(make_site: MakeSite) -> None:
    site = make_site(databases=("one",)).nobody_runs().begin().rest_at(Phase.READ_NEW)
    one = site.managed.on["one"]
    backup = site.upgrade
    site.rest_at(Phase.WRITE_NEW)
    lost = site.upgrade
    one.error = "it is down"
    restore(site, backup)
    site.upgrades.cancel(SCHEMA, actor="alice", reason="enough")
    while site.upgrade.revision <= lost.revision:
        site.upgrades.pause(SCHEMA, actor="alice", reason="lunch")
        site.upgrades.resume(SCHEMA, actor="alice", reason=None)
    one.error = None
    site.daemon("first").cycle()
    assert site.upgrade.frozen is not None
    assert site.phase() is Phase.WRITE_NEW, "code that reads the old shape may not run again"


def test_a_doubt_is_forgotten_only_where_everything_is_proven_anew(make_site: MakeSite) -> None:
    releases = three_releases(in_step_by=InStepBy.TRIGGERS)
    site = make_site(databases=("one", "two"), releases=releases).nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    one = site.managed.on["one"]
    one.expanded_to = "1"  # somebody drops the new column, and makes it anew
    site.daemon("first").cycle()
    one.expanded_to = "2"
    doubt = site.upgrade.doubt
    assert doubt is not None
    one.incarnation = "promoted"
    site.go_on().daemon("second").cycle()
    thaw(site)
    assert site.upgrade.frozen is None
    assert site.upgrade.doubt == doubt
    assert site.phase() is Phase.WRITE_NEW


def test_approvals_from_before_a_loss_that_leads_back_count_no_more(make_site: MakeSite) -> None:
    policy = Policy(approve=(Phase.CONTRACTED,))
    site = make_site(databases=("one", "two"), policy=policy).nobody_runs().begin().rest_at(Phase.BACKFILL)
    earlier = site.managed.on["one"].copy
    site.rest_at(Phase.READ_NEW)
    site.upgrades.approve(SCHEMA, phase=Phase.CONTRACTED, actor="alice", reason="all is well")
    site.managed.on["one"].copy = earlier
    unmoved(site, "one")
    site.daemon("first").cycle()
    assert site.phase() is Phase.BACKFILL
    assert site.store.read(lambda tx: tx.approvals(site.upgrade.id)) == ()


@pytest.mark.parametrize(("phase", "may"), [(Phase.BACKFILL, False), (Phase.READ_NEW, True)])
def test_rows_held_as_under_way_are_tried_again_only_where_none_moves_by_itself(
    site: Site, phase: Phase, may: bool
) -> None:
    site.rest_at(phase)
    unmoved(site, "one")
    site.store.run(lambda tx: _read_as_unmoved(tx, "one"))
    if may:
        migrations(site).retry(SCHEMA, "split_name", "one", actor="alice", reason=None)
        assert site.managed.on["one"].migrations["split_name"].state is MigrationState.VERIFYING
    else:
        with pytest.raises(NotFound) as refused:
            migrations(site).retry(SCHEMA, "split_name", "one", actor="alice", reason=None)
        assert refused.value.code == "nothing_to_retry"
        assert "data_migration.retry" not in site.actions()


def migrations(site: Site) -> DataMigrations:
    return DataMigrations(site.context)


def _read_as_unmoved(tx: Transaction, database: str) -> None:
    """The leading daemon has read it so."""
    (found,) = (each for each in tx.readings(SCHEMA) if each.database == database)
    pending = (MigrationFacts("split_name", MigrationState.PENDING, rows_total=100),)
    tx.save_reading(replace(found, facts=replace(found.facts, migrations=pending)))
