"""Lost commits: the upgrade freezes, takes over what others know of it, and goes on when everybody was heard of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import Conflict, Invalid, NotYet, StepFailed
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import Copy, MigrationFacts, MigrationState, Policy
from orchestrator.store.memory import MemoryStore
from tests.services.conftest import MakeSite
from tests.services.site import SCHEMA, Process, Site

FROZEN_SECONDS = 70.0


def restore(site: Site, backup: Upgrade) -> None:
    """What the restore of a backup of the state database does to the upgrade."""
    present = site.upgrade
    site.store.run(lambda tx: tx.save_upgrade(backup, expected_revision=present.revision))


def state_of_rows(site: Site) -> MigrationState:
    return site.managed.on["one"].migrations["split_name"].state


@pytest.fixture
def site(make_stored_site: MakeSite) -> Site:
    """Release 2 runs, and the upgrade is driven rung by rung."""
    return make_stored_site(databases=("one", "two"), policy=Policy(approve=())).nobody_runs().begin()


def test_what_the_databases_know_of_the_upgrade_is_taken_over(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    lost = site.upgrade
    restore(site, backup)
    site.go_on().daemon("after").cycle()
    found = site.upgrade
    assert (found.phase, found.fence) == (Phase.BACKFILL, Phase.BACKFILL)
    assert found.revision > lost.revision, "revisions never repeat"
    assert found.publication == found.revision, "what was acked counts no more"
    assert "commits_lost" in site.codes
    assert "upgrade.freeze" in site.actions()


def test_nobody_joins_and_nothing_moves_until_every_forgotten_lease_is_over(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    member = Process(site, "a1", "2")
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    restore(site, backup)
    daemon = site.go_on().daemon("after")
    daemon.cycle()
    with pytest.raises(NotYet, match="everybody was heard of") as refused:
        Process(site, "a2", "2")
    assert refused.value.code == "frozen"
    member.follow()
    daemon.work()
    assert site.codes == ["commits_lost"]
    site.clock.advance(FROZEN_SECONDS)
    daemon = site.daemon("later")
    daemon.work()
    assert site.upgrade.frozen is None
    Process(site, "a2", "2")


def test_who_was_not_heard_of_keeps_it_frozen(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    member = Process(site, "a1", "2")
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    restore(site, backup)
    site.go_on().daemon("after").cycle()
    site.clock.advance(FROZEN_SECONDS)
    daemon = site.daemon("later")
    daemon.work()
    assert site.upgrade.frozen is not None
    assert site.codes == ["instance_expired"]
    member.follow()
    daemon.work()
    assert site.upgrade.frozen is None


def test_rows_are_moved_and_proven_anew(site: Site) -> None:
    site.rest_at(Phase.BACKFILL)
    backup = site.upgrade
    site.daemon("mover").move_rows()
    assert state_of_rows(site) is MigrationState.COMPLETE
    site.store.run(lambda tx: tx.save_upgrade(replace(backup, paused="x", revision=backup.revision + 1),
                                              expected_revision=backup.revision))  # fmt: skip
    site.daemon("writer").cycle()
    restore(site, backup)
    daemon = site.daemon("after")
    daemon.cycle()
    assert state_of_rows(site) is MigrationState.PENDING
    assert not daemon.move_rows(), "nothing moves while commits may be lost"
    site.clock.advance(FROZEN_SECONDS)
    daemon = site.daemon("later")
    daemon.cycle()
    assert daemon.move_rows()
    site.go_on().daemon("last").work()
    assert site.upgrade.phase is Phase.CONTRACTED


def test_what_cannot_be_moved_any_more_is_proven_anew_where_it_is_read(site: Site) -> None:
    site.rest_at(Phase.READ_NEW)
    site.managed.on["one"].incarnation = "restored"
    daemon = site.go_on().daemon("after")
    daemon.cycle()
    assert state_of_rows(site) is MigrationState.VERIFYING
    site.clock.advance(FROZEN_SECONDS)
    daemon = site.daemon("later")
    daemon.cycle()
    assert site.phase() is Phase.READ_NEW
    assert site.codes == ["data_migration_running", "data_migration_running"]
    daemon.work()
    assert site.upgrade.phase is Phase.CONTRACTED


@pytest.mark.parametrize("identity", ["incarnation-1", "restored"])
@pytest.mark.parametrize("rows_done", [0, 40])
def test_a_database_put_back_to_before_its_rows_were_moved_sends_everybody_back_to_backfill(
    site: Site, identity: str, rows_done: int
) -> None:
    one = site.managed.on["one"]
    site.rest_at(Phase.BACKFILL)
    earlier = one.copy
    site.rest_at(Phase.READ_NEW)
    member = Process(site, "a1", "2")
    one.copy, one.incarnation = earlier, identity
    state = MigrationState.RUNNING if rows_done else MigrationState.PENDING
    one.migrations["split_name"] = MigrationFacts("split_name", state, rows_done=rows_done, rows_total=one.rows)
    site.go_on().daemon("after").cycle()
    assert site.phase() is Phase.BACKFILL
    assert site.upgrade.old_valid
    assert site.upgrade.frozen is not None and "database one" in site.upgrade.frozen
    back = site.board.events(schema=SCHEMA, after=-1, limit=1)[0]
    assert (back.action, back.subject) == ("phase.back", "backfill")
    assert back.sentence == f"{SCHEMA} went back to backfill: {site.upgrade.frozen}"
    assert member.hear().stance.phase is Phase.BACKFILL
    member.hear()
    site.clock.advance(FROZEN_SECONDS)
    member.hear()
    daemon = site.daemon("later")
    daemon.work()
    for _ in range(4):
        member.follow()
        daemon.work()
    assert one.migrations["split_name"].witness == identity
    assert site.phase() is Phase.CONTRACTED


@pytest.mark.parametrize("copy_is_left", [True, False])
def test_a_database_that_knows_less_than_it_did_lost_commits_whatever_its_identity(
    site: Site, copy_is_left: bool
) -> None:
    one = site.managed.on["one"]
    site.rest_at(Phase.EXPANDED)
    earlier = one.copy if copy_is_left else None
    site.rest_at(Phase.BACKFILL)
    one.error = "it is being restored"
    site.daemon("meanwhile").cycle()
    one.error, one.copy = None, earlier
    site.daemon("after").cycle()
    frozen = site.upgrade
    assert frozen.frozen is not None and "knows less" in frozen.frozen
    site.clock.advance(FROZEN_SECONDS)
    site.go_on().daemon("later").work()
    assert site.upgrade.frozen is None
    assert site.upgrade.publication > frozen.revision
    assert site.actions().count("upgrade.freeze") == 1
    assert site.phase() is Phase.CONTRACTED


def test_a_database_put_back_at_rest_is_told_again_and_freezes_nothing(site: Site) -> None:
    one = site.managed.on["one"]
    site.rest_at(Phase.EXPANDED)
    earlier = one.copy
    site.go_on().daemon("first").work()
    assert site.upgrade.status is Status.COMPLETED
    one.copy = earlier
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("after").cycle()
    assert one.copy == site.managed.on["two"].copy
    site.begin("3").daemon("later").work()
    assert "upgrade.freeze" not in site.actions()


def test_the_way_back_to_the_old_shape_stays_open_where_it_cannot_have_gone_stale(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    site.managed.on["one"].incarnation = "promoted"
    site.daemon("after").cycle()
    assert site.upgrade.frozen is not None
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("later").work()
    site.rest_at(Phase.READ_NEW)
    site.upgrades.cancel(SCHEMA, actor="alice", reason="enough")
    site.daemon("last").work()
    assert site.upgrade.status is Status.CANCELLED


def test_a_database_that_knows_that_contract_began_is_believed_whatever_was_decided_since(site: Site) -> None:
    one, two = site.managed.on["one"], site.managed.on["two"]
    site.rest_at(Phase.SEALED)
    backup, told_before = site.upgrade, two.copy
    for each in (one, two):
        each.fails[Step.CONTRACT] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    site.go_on().daemon("first").work()
    assert site.upgrade.is_past_return
    one.error, two.copy = "it is down", told_before
    restore(site, backup)
    site.upgrades.rollback(SCHEMA, Phase.READ_NEW, actor="alice", reason="never mind")
    for _ in range(5):  # its numbers pass that of what was lost
        site.upgrades.pause(SCHEMA, actor="alice", reason="lunch")
        site.upgrades.resume(SCHEMA, actor="alice", reason=None)
    site.daemon("after").work()
    assert site.upgrade.fence is not Phase.CONTRACTED, "nobody who can be asked knows"
    one.error = None
    site.daemon("later").cycle()
    assert site.upgrade.is_past_return
    assert site.upgrade.frozen is not None
    for each in (one, two):
        each.fails.clear()
    site.upgrades.retry(SCHEMA, None, actor="alice", reason=None)
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("last").work()
    assert site.release == "2"


def test_the_intent_of_contracted_is_taken_over_as_such(site: Site) -> None:
    site.rest_at(Phase.WRITE_NEW)
    backup = site.upgrade
    site.managed.on["one"].fails[Step.CONTRACT] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    site.go_on().daemon("first").work()
    assert site.upgrade.is_past_return
    restore(site, backup)
    site.daemon("after").cycle()
    assert site.upgrade.is_past_return
    with pytest.raises(Conflict) as refused:
        site.upgrades.rollback(SCHEMA, Phase.READ_NEW, actor="alice", reason="never mind")
    assert refused.value.code == "no_way_back"
    site.managed.on["one"].fails.clear()
    site.upgrades.retry(SCHEMA, None, actor="alice", reason=None)
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("later").work()
    assert site.upgrade.phase is Phase.CONTRACTED


def test_a_renewal_that_knows_more_than_the_state_repairs_it(site: Site) -> None:
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    backup = site.upgrade
    site.rest_at(Phase.READ_NEW)
    member.follow()
    restore(site, backup)
    for database in site.managed.on.values():  # their last commits are lost too
        assert database.copy is not None
        database.copy = replace(
            database.copy, phase=backup.phase, fence=backup.fence, revision=backup.revision, move=backup.move
        )
    told = member.hear()
    assert site.upgrade.frozen is not None
    assert site.phase() is Phase.READ_NEW
    assert told.stance.phase is Phase.READ_NEW
    assert told.stance.publication == site.upgrade.publication


def test_an_ack_of_what_was_never_published_is_refused_and_freezes_nothing(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    member = Process(site, "a1", "2")
    with pytest.raises(Invalid, match="never published"):
        site.leases.renew(SCHEMA, member.fleet, "a1", epoch=member.lease.epoch, ack=site.upgrade.publication + 1)
    assert site.upgrade.frozen is None


def test_a_state_database_that_is_another_one_freezes_the_upgrade_once(make_site: MakeSite) -> None:
    site = make_site()
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    site.store.incarnation = "promoted"
    site.daemon("after").cycle()
    frozen = site.upgrade
    assert frozen.frozen is not None and "state database" in frozen.frozen
    site.daemon("later").cycle()
    assert site.upgrade == frozen


def test_the_way_back_from_backfill_stays_open(site: Site) -> None:
    site.rest_at(Phase.BACKFILL)
    site.managed.on["one"].incarnation = "restored"
    site.daemon("after").cycle()
    site.upgrades.cancel(SCHEMA, actor="alice", reason="enough")
    site.clock.advance(FROZEN_SECONDS)
    site.daemon("later").work()
    assert site.upgrade.status is Status.CANCELLED


def test_no_upgrade_is_begun_over_one_that_the_state_has_forgotten(make_site: MakeSite) -> None:
    site = make_site(databases=("one",)).nobody_runs()
    site.managed.on["one"].copy = Copy(7, Phase.WRITE_NEW, Phase.WRITE_NEW, 40, "incarnation-1")
    site.daemon("reader").cycle()
    with pytest.raises(Conflict, match="lost commits") as refused:
        site.begin()
    assert refused.value.code == "copy_ahead"


@pytest.mark.parametrize("phase", [Phase.WRITE_NEW, Phase.READ_NEW])
def test_an_unsealing_that_a_database_lost_is_done_again(make_stored_site: MakeSite, phase: Phase) -> None:
    site = unsealed(make_stored_site, phase)
    site.managed.on["two"].sealed = True
    site.managed.on["two"].incarnation = "promoted"
    daemon = site.daemon("after")
    daemon.cycle()
    assert site.codes == ["commits_lost"]
    site.clock.advance(FROZEN_SECONDS)
    daemon = site.daemon("later")
    published = site.upgrade.publication
    daemon.work()
    assert not site.managed.on["two"].sealed
    assert site.phase() is phase
    assert site.upgrade.move is Move.RESTING
    assert site.upgrade.publication == published, "nobody has to ack anything for that"
    assert ("run_step", "two", "unseal") in site.managed.calls
    site.go_on().daemon("last").work()
    assert site.phase() is Phase.CONTRACTED


def test_an_unsealing_that_fails_when_it_is_done_again_names_the_database(make_stored_site: MakeSite) -> None:
    site = unsealed(make_stored_site, Phase.READ_NEW)
    two = site.managed.on["two"]
    two.sealed = True
    site.upgrades.pause(SCHEMA, actor="alice", reason="lunch")
    site.daemon("paused").work()
    assert site.codes == ["paused", "database_still_sealed"]
    assert "two" in site.culprits
    two.fails[Step.UNSEAL] = StepFailed("right_missing", "no right", remedy="Grant it.")
    site.upgrades.resume(SCHEMA, actor="alice", reason=None)
    site.daemon("resumed").work()
    assert (site.codes, site.culprits) == (["step_failed"], ["two"])
    two.fails.clear()
    site.upgrades.retry(SCHEMA, "two", actor="alice", reason=None)
    site.daemon("last").work()
    assert not two.sealed
    assert (site.phase(), site.codes) == (Phase.READ_NEW, [])


def unsealed(make_site: MakeSite, phase: Phase) -> Site:
    """The upgrade was sealed, and then sent back to that phase, which is told to everybody."""
    site = make_site(databases=("one", "two"), policy=Policy(approve=())).nobody_runs().begin().rest_at(Phase.SEALED)
    return site.rest_at(phase)


def test_a_number_that_is_given_twice_shows_what_was_lost(site: Site) -> None:
    site.rest_at(Phase.WRITE_NEW)
    backup = site.upgrade
    site.managed.on["one"].fails[Step.CONTRACT] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    site.go_on().daemon("first").work()
    lost = site.upgrade
    assert lost.is_past_return
    given_again = replace(backup, paused="never mind", revision=lost.revision)
    site.store.run(lambda tx: tx.save_upgrade(given_again, expected_revision=lost.revision))
    site.daemon("after").cycle()
    assert site.upgrade.is_past_return, "what is being removed is not forgotten"
    assert "commits_lost" in site.codes


def test_copies_tell_what_a_state_that_failed_over_has_lost_whatever_was_typed_since(make_site: MakeSite) -> None:
    site = make_site(policy=Policy(approve=()))
    assert isinstance(site.store, MemoryStore)
    site.store.incarnation = "first"
    site.nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    backup = site.upgrade
    site.managed.on["one"].fails[Step.CONTRACT] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    site.go_on().daemon("first").work()
    lost = site.upgrade
    assert lost.is_past_return
    typed_since = replace(backup, paused="never mind", revision=lost.revision + 1)
    site.store.run(lambda tx: tx.save_upgrade(typed_since, expected_revision=lost.revision))
    site.store.incarnation = "promoted"
    site.daemon("after").cycle()
    assert site.upgrade.is_past_return, "what is being removed is not forgotten"
    assert "commits_lost" in site.codes
