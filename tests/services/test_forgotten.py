"""A state that is at rest and has forgotten an upgrade: nobody joins, and an operator lets it recall what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.domain.errors import Conflict, Invalid, NotYet, StepFailed
from orchestrator.domain.ladder import InStepBy, Phase, Step
from orchestrator.domain.releases import Releases
from orchestrator.domain.upgrades import Move, Status
from orchestrator.domain.view import Policy
from orchestrator.ports import Store
from orchestrator.services.advancing import REST_SECONDS
from orchestrator.store.memory import MemoryStore
from tests.fakes import Clock, three_releases
from tests.services.conftest import MakeSite, NewStore
from tests.services.site import API, SCHEMA, Process, Site

FROZEN_SECONDS = 70.0


class Restored(Site):
    """The same databases, with a state that was made before any upgrade began."""

    def __init__(self, store: Store, clock: Clock, site: Site) -> None:
        known = site.managed.on
        super().__init__(store, clock, databases=tuple(known), releases=site.managed.releases, policy=site.policy)
        self.managed.on = known
        self.nobody_runs()


Restore = Callable[[Site], Restored]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site(databases=("one", "two"), policy=Policy(approve=())).nobody_runs().begin()


@pytest.fixture
def restore(new_store: NewStore, clock: Clock) -> Restore:
    """Makes the state new, on every store; a daemon has looked at the databases."""

    def restored(site: Site) -> Restored:
        found = Restored(new_store(), clock, site)
        found.daemon("after").cycle()
        return found

    return restored


@pytest.fixture
def remembered(clock: Clock) -> Restore:
    """The same in memory only."""

    def restored(site: Site) -> Restored:
        found = Restored(MemoryStore(clock), clock, site)
        found.daemon("after").cycle()
        return found

    return restored


def take_over(site: Site) -> None:
    site.upgrades.take_over(SCHEMA, actor="alice", reason="restored from last night")


def test_nobody_joins_and_no_upgrade_begins_while_a_database_knows_more(site: Site, restore: Restore) -> None:
    site.rest_at(Phase.BACKFILL)
    forgetful = restore(site)
    with pytest.raises(NotYet, match="holds revision") as refused:
        Process(forgetful, "a1", "1")
    assert refused.value.code == "copy_ahead"
    assert f"orchestrator schema take-over {SCHEMA}" in refused.value.remedy
    with pytest.raises(Conflict) as also:
        forgetful.begin()
    assert also.value.code == "copy_ahead"
    shown = forgetful.board.schema(SCHEMA)
    assert [each.code for each in shown.blockers] == ["copy_ahead"]
    assert "schema.forgotten" in forgetful.actions()
    assert forgetful.copies() == site.copies(), "what the databases know stays as it is"


def test_admission_opens_again_when_no_database_knows_more(site: Site, remembered: Restore, clock: Clock) -> None:
    forgetful = remembered(site.rest_at(Phase.EXPANDED))
    for database in forgetful.managed.on.values():
        database.copy = None
    forgetful.managed.on["two"].error = "down"
    clock.advance(REST_SECONDS)
    forgetful.daemon("still").cycle()
    with pytest.raises(NotYet):
        Process(forgetful, "a1", "1")
    forgetful.managed.on["two"].error = None
    clock.advance(REST_SECONDS)
    forgetful.daemon("later").cycle()
    Process(forgetful, "a1", "1")


STALE_SOON = {InStepBy.CLIENT: Phase.READ_NEW, InStepBy.TRIGGERS: Phase.WRITE_NEW, InStepBy.SERVICE: Phase.BACKFILL}
"""From that phase on the next one may have been published, and forgotten, in which the old shape goes stale."""


@pytest.mark.parametrize("phase", [Phase.BASE, Phase.EXPANDED, Phase.BACKFILL, Phase.READ_NEW, Phase.WRITE_NEW])
@pytest.mark.parametrize("in_step_by", list(InStepBy))
def test_an_upgrade_under_way_is_recalled_and_waits_for_everybody(
    make_site: MakeSite, remembered: Restore, in_step_by: InStepBy, phase: Phase
) -> None:
    releases: Releases = three_releases(in_step_by=in_step_by)
    site = make_site(databases=("one", "two"), releases=releases).nobody_runs().begin()
    if phase not in site.upgrade.profile.phases():
        return
    site.rest_at(phase) if phase is not Phase.BASE else site.rest_at(Phase.EXPANDED).rest_at(Phase.BASE)
    before = site.upgrade
    forgetful = remembered(site)
    take_over(forgetful)
    found = forgetful.upgrade
    assert (found.id, found.from_release, found.to_release) == (before.id, "1", "2")
    assert (found.phase, found.fence, found.goal, found.status) == (phase, phase, phase, Status.RUNNING)
    assert found.revision > before.revision
    assert found.frozen is not None
    assert found.old_valid == (phase < STALE_SOON[in_step_by]), "it is, where it cannot have gone stale yet"
    assert (forgetful.release, forgetful.board.standing(SCHEMA).upgrade) == ("1", found)
    forgetful.clock.advance(FROZEN_SECONDS)
    forgetful.daemon("later").work()
    assert forgetful.upgrade.frozen is None
    assert forgetful.phase() is phase, "nobody knows where it was sent"
    forgetful.upgrades.resume(SCHEMA, actor="alice", reason=None)
    forgetful.daemon("last").work()
    assert forgetful.upgrade.status is Status.COMPLETED
    assert forgetful.release == "2"


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_upgrade_that_had_ended_is_recalled_as_such(site: Site, restore: Restore, cancelled: bool) -> None:
    site.rest_at(Phase.EXPANDED)
    site.upgrades.cancel(SCHEMA, actor="alice", reason="enough") if cancelled else site.go_on()
    site.daemon("last").work()
    forgetful = restore(site)
    take_over(forgetful)
    found, release = forgetful.upgrade, "1" if cancelled else "2"
    assert found.status is (Status.CANCELLED if cancelled else Status.COMPLETED)
    assert found.revision > site.upgrade.revision
    assert forgetful.release == release
    Process(forgetful, "a1", release).hear()
    forgetful.daemon("later").cycle()
    assert not forgetful.board.schema(SCHEMA).blockers
    assert [revision for _, _, revision in forgetful.copies()] == [found.revision] * 2
    assert "schema.take_over" in forgetful.actions()


def test_the_intent_of_contracted_is_recalled_as_such(site: Site, remembered: Restore) -> None:
    site.managed.on["one"].fails[Step.CONTRACT] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    site.daemon("first").work()
    forgetful = remembered(site)
    take_over(forgetful)
    assert forgetful.upgrade.is_past_return
    forgetful.managed.on["one"].fails.clear()
    forgetful.clock.advance(FROZEN_SECONDS)
    forgetful.daemon("later").work()
    assert forgetful.upgrade.status is Status.COMPLETED


def test_a_renewal_that_knows_the_forgotten_upgrade_keeps_its_lease_and_acks_nothing(
    site: Site, restore: Restore
) -> None:
    site.rest_at(Phase.EXPANDED)
    known = Process(site, "a1", "2")
    site.rest_at(Phase.BACKFILL)
    known.follow()
    forgetful = restore(site)
    instance = replace(known.instance, acked=0, told=0)
    forgetful.store.run(lambda tx: tx.add_instance(instance))
    forgetful.clock.advance(30)
    known._site = forgetful
    told = known.lease.stance
    lease = known.hear()
    assert lease.instance.expires_at > instance.expires_at
    assert lease.stance.publication < told.publication, "whoever hears that keeps what it follows"
    assert lease.instance.acked == 0
    alone = forgetful.leases.renew(SCHEMA, API, "a1", epoch=known.lease.epoch, ack=told.publication)
    assert alone.instance.acked == 0, "at rest it says nothing of what it follows"


def test_an_ack_of_what_was_never_published_is_refused_at_rest(make_site: MakeSite) -> None:
    site = make_site(databases=("one",)).nobody_runs()
    member = Process(site, "a1", "1")
    with pytest.raises(Invalid) as refused:
        site.leases.renew(SCHEMA, API, "a1", epoch=member.lease.epoch, ack=7)
    assert refused.value.code == "ack_unpublished"


@pytest.mark.parametrize("why", ["unread", "never told", "another upgrade"])
def test_nothing_is_taken_over_where_the_databases_do_not_agree(site: Site, remembered: Restore, why: str) -> None:
    forgetful = remembered(site.rest_at(Phase.BACKFILL))
    two = forgetful.managed.on["two"]
    assert two.copy is not None
    if why == "unread":
        two.error = "down"
    else:
        two.copy = None if why == "never told" else replace(two.copy, upgrade_id=99)
    with pytest.raises(Conflict) as refused:
        take_over(forgetful)
    assert refused.value.code == "copies_differ"


def test_a_copy_a_few_changes_behind_agrees(site: Site, remembered: Restore) -> None:
    forgetful = remembered(site.rest_at(Phase.BACKFILL))
    two = forgetful.managed.on["two"]
    assert two.copy is not None
    two.copy = replace(two.copy, phase=Phase.EXPANDED, fence=Phase.BACKFILL, move=Move.FENCED,
                       revision=two.copy.revision - 1)  # fmt: skip
    take_over(forgetful)
    assert forgetful.phase() is Phase.BACKFILL


def test_nothing_is_taken_over_where_nothing_is_forgotten_nor_in_an_upgrade_nor_without_a_reason(site: Site) -> None:
    with pytest.raises(Conflict) as running:
        take_over(site)
    assert running.value.code == "upgrade_running"
    site.daemon("last").work()
    with pytest.raises(Conflict) as resting:
        take_over(site)
    assert resting.value.code == "nothing_forgotten"
    with pytest.raises(Invalid):
        site.upgrades.take_over(SCHEMA, actor="alice", reason=" ")


def test_numbers_of_upgrades_do_not_repeat_after_a_restore(site: Site, remembered: Restore) -> None:
    """The upgrade began, was told to one database, and ended there; the other one was restored as the state was."""
    site.daemon("last").work()
    forgetful = remembered(site)
    take_over(forgetful)
    forgetful.begin("3")
    assert forgetful.upgrade.id > site.upgrade.id


def test_a_number_that_only_a_database_knows_is_not_given_again(make_site: MakeSite) -> None:
    site = make_site(databases=("one",)).nobody_runs()
    site.begin().daemon("first").work()
    copy = site.managed.on["one"].copy
    assert copy is not None
    site.managed.on["one"].copy = replace(copy, upgrade_id=40)
    site.begin("3")
    assert site.upgrade.id == 41


@pytest.mark.parametrize("noticed", [True, False])
def test_who_joined_before_the_state_failed_over_at_rest_is_waited_for(make_site: MakeSite, noticed: bool) -> None:
    site = make_site(databases=("one",))
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().daemon("first").cycle()
    site.store.incarnation = "promoted"
    if noticed:
        site.daemon("second").cycle()
        events = site.board.events(schema=None, after=0, limit=99)
        assert "state.failover" in [each.action for each in events]
    site.begin()
    daemon = site.daemon("third")
    daemon.work()
    assert site.phase() is Phase.BASE
    assert site.codes == ["commits_lost"]
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("fourth").work()
    assert site.upgrade.status is Status.COMPLETED


def test_nobody_is_waited_for_long_after_a_failover(make_site: MakeSite) -> None:
    site = make_site(databases=("one",))
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().daemon("first").cycle()
    site.store.incarnation = "promoted"
    site.daemon("second").cycle()
    site.clock.advance(FROZEN_SECONDS + 60)
    site.begin()
    assert site.upgrade.frozen is None
