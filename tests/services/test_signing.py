"""What an instance says that it was told is believed only where a daemon signed it, or a copy tells the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.errors import Conflict, OrchestratorError
from orchestrator.domain.fleets import InstanceState, Registration, hashed
from orchestrator.domain.ladder import Phase
from orchestrator.domain.losses import Follows
from orchestrator.domain.signatures import LENGTH
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Policy
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.renewing import Renewal, Renewing
from orchestrator.services.signing import is_signed
from orchestrator.store import rows
from orchestrator.store.transaction import StoreTransaction
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, Process, Site
from tests.services.test_lost_commits import restore
from tests.services.test_renewing import all_renewed

MOST = 2**63 - 1


@pytest.fixture
def site(make_stored_site: MakeSite) -> Site:
    """Release 2 runs, and the upgrade is driven rung by rung."""
    return make_stored_site(databases=("one", "two"), policy=Policy(approve=())).nobody_runs().begin()


def said(lease: Lease, **changes: object) -> Follows:
    """What the holder of the lease says from outside, or a forger instead of it."""
    told = lease.stance
    assert told.upgrade_id is not None
    honest = Follows(told.upgrade_id, told.publication, told.phase, is_vouched=False, signature=lease.signature)
    return replace(honest, **changes)  # type: ignore[arg-type]


def renew(site: Site, process: Process, follows: Follows, ack: int | None = None) -> Lease:
    return site.leases.renew(SCHEMA, API, process.name, epoch=process.lease.epoch, ack=ack, follows=follows)


def forget_key(site: Site) -> None:
    """The state is from before it had a key."""
    _forget(site, rows.SIGNING_KEYS, 1)


def put_back(site: Site, backup: Upgrade) -> None:
    """The state is restored, and no daemon has looked at the databases since."""
    restore(site, backup)
    for database in site.managed.on:
        _forget(site, rows.READINGS, SCHEMA, database)


def _forget(site: Site, kind: rows.Kind[Any], *key: object) -> None:
    def work(tx: object) -> None:
        assert isinstance(tx, StoreTransaction)
        tx._rows.delete(kind, *key)

    site.store.run(work)


def refuse(site: Site, process: Process, follows: Follows, ack: int | None = None) -> Conflict:
    """It is refused, and nothing changes but what the audit log says."""
    before, upgrade = process.instance, site.upgrade
    with pytest.raises(Conflict) as refused:
        renew(site, process, follows, ack)
    assert refused.value.code == "told_unproven"
    assert process.instance == replace(before, is_disbelieved=True)
    assert site.upgrade == upgrade
    return refused.value


@pytest.mark.parametrize("ahead", [0, 1, 5, MOST - 10**6])
@pytest.mark.parametrize("phase", [Phase.EXPANDED, Phase.SEALED, Phase.CONTRACTED])
def test_what_nobody_told_moves_nothing_up_or_down(site: Site, phase: Phase, ahead: int) -> None:
    site.rest_at(Phase.WRITE_NEW)
    forger = Process(site, "evil", "2")
    for signature in (None, "", "x" * LENGTH, "ü", "\ud800", forger.lease.signature):
        claim = said(forger.lease, publication=site.upgrade.publication + ahead, phase=phase, signature=signature)
        error = refuse(site, forger, claim, ack=MOST)
    assert "evil" in error.message and phase.word in error.message
    assert error.remedy
    site.daemon("after").work()
    assert site.phase() is Phase.WRITE_NEW


def test_one_line_of_the_audit_log_names_who_is_not_believed(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    forger, other = Process(site, "evil", "2"), Process(site, "other", "2")
    for _ in range(3):
        for each in (forger, other):
            refuse(site, each, said(each.lease, publication=10**6))
    lines = [each for each in site.board.events(schema=SCHEMA, after=0, limit=1000) if "disbelieve" in each.action]
    assert [(each.action, each.subject) for each in lines] == [
        ("instance.disbelieve", f"{API}/evil"),
        ("instance.disbelieve", f"{API}/other"),
    ]


def test_who_is_not_believed_goes_on_with_the_truth(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    process = Process(site, "a1", "2")
    refuse(site, process, said(process.lease, publication=10**6))
    lease = renew(site, process, said(process.lease), ack=process.lease.stance.publication)
    assert lease.stance == process.lease.stance
    assert site.actions().count("instance.disbelieve") == 1


def test_who_says_no_more_than_the_state_knows_needs_no_signature(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    process = Process(site, "a1", "2")
    site.rest_at(Phase.BACKFILL)
    for signature in (None, "wrong"):
        assert renew(site, process, said(process.lease, signature=signature)).stance.phase is Phase.BACKFILL


def test_what_a_daemon_told_is_believed_after_a_restore(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    put_back(site, backup)
    lease = renew(site, member, said(member.lease), ack=member.lease.stance.publication)
    assert (site.phase(), lease.stance.phase) == (Phase.BACKFILL, Phase.BACKFILL)
    assert site.upgrade.frozen is not None
    assert site.upgrade.publication == member.lease.stance.publication + 1
    assert "instance.disbelieve" not in site.actions()


def test_the_same_claim_again_moves_no_revision(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    put_back(site, backup)
    renew(site, member, said(member.lease))
    found = site.upgrade
    for _ in range(3):
        renew(site, member, said(member.lease))
    assert site.upgrade == found


@pytest.mark.parametrize("change", ["upgrade_id", "publication", "phase", "schema"])
def test_a_signature_is_good_for_just_what_was_told(site: Site, change: str) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    told = said(member.lease)
    put_back(site, backup)
    others = {
        "publication": replace(told, publication=told.publication + 1),
        "phase": replace(told, phase=Phase.SEALED),
    }
    if change in others:
        refuse(site, member, others[change])
        return
    schema, claim = ("another", told) if change == "schema" else (SCHEMA, replace(told, upgrade_id=2))
    assert not site.store.run(lambda tx: is_signed(tx, schema, claim))
    assert site.store.run(lambda tx: is_signed(tx, SCHEMA, told))


def test_signatures_of_a_key_that_is_lost_are_good_for_nothing(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    put_back(site, backup)
    forget_key(site)
    refuse(site, member, said(member.lease))
    again = Process(site, "a2", "2").lease.signature
    assert again is not None and again != member.lease.signature


def test_what_a_copy_tells_is_believed_without_a_signature(site: Site) -> None:
    """As of a member that joined without a daemon, or whose client keeps none."""
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    site.daemon("reader").cycle()  # it has read what the databases hold
    restore(site, backup)
    told = said(member.lease, signature=None)
    refuse(site, member, replace(told, publication=told.publication + 1))
    refuse(site, member, replace(told, phase=Phase.SEALED))
    assert renew(site, member, told).stance.phase is Phase.BACKFILL
    assert site.upgrade.frozen is not None


def test_a_database_that_cannot_be_read_bears_nothing_out(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    backup = site.upgrade
    site.rest_at(Phase.BACKFILL)
    member = Process(site, "a1", "2")
    for database in site.managed.on.values():
        database.error = "down"
    site.daemon("reader").cycle()
    restore(site, backup)
    refuse(site, member, said(member.lease, signature=None))


def test_at_rest_a_forged_claim_lets_no_ack_pass(make_stored_site: MakeSite) -> None:
    site = make_stored_site()
    forger = Process(site, "evil", "1")
    for publication, ack in ((2**53, 2**62), (1, 1), (MOST, MOST)):
        before = forger.instance
        with pytest.raises(Conflict) as refused:
            renew(site, forger, Follows(1, publication, Phase.BASE, is_vouched=False), ack)
        assert refused.value.code == "told_unproven"
        assert forger.instance == replace(before, is_disbelieved=True)


@pytest.mark.parametrize("ack", [1, 2**62, MOST, 2**63, 10**30])
def test_told_does_not_grow_from_an_ack_of_what_nobody_published(make_stored_site: MakeSite, ack: int) -> None:
    site = make_stored_site()
    process = Process(site, "a1", "1")
    state = site.store.read(lambda tx: tx.schema(SCHEMA))
    assert state is not None
    site.store.run(lambda tx: tx.save_schema(replace(state, forgotten="a database knows more")))
    code = ""
    try:
        site.leases.renew(SCHEMA, API, "a1", epoch=process.lease.epoch, ack=ack)
    except OrchestratorError as error:
        code = error.code
    assert code == ("ack_unpublished" if ack > MOST else "")
    assert process.instance.told == 0


def test_one_forger_ends_no_lease_of_the_others(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    members = [Process(site, name, "2") for name in ("a1", "evil", "a2")]
    site.clock.advance(20)
    asked = [
        Renewal(SCHEMA, API, each.name, each.lease.epoch, MOST if each.name == "evil" else None,
                said(each.lease, publication=MOST) if each.name == "evil" else said(each.lease))
        for each in members
    ]  # fmt: skip
    found = all_renewed(Renewing(site.context, Leases(site.context)), asked)
    assert [isinstance(each, Lease) for each in found] == [True, False, True]
    assert isinstance(found[1], Conflict) and found[1].code == "told_unproven"
    assert site.upgrade.frozen is None


def test_who_is_imported_is_not_believed_for_that(make_site: MakeSite) -> None:
    """Whoever may write in a managed database can write itself down there: that is no telling."""
    site = make_site(databases=("one",), policy=Policy(approve=())).nobody_runs().begin().rest_at(Phase.EXPANDED)
    written = Registration(
        API, "evil", hashed("epoch"), "nonce", "2", None, InstanceState.ALIVE, acked=MOST, renewed_at=0.0
    )
    site.managed.on["one"].registrations[API, "evil"] = written
    claim = Follows(site.upgrade.id, MOST, Phase.CONTRACTED, is_vouched=False)
    with pytest.raises(Conflict) as refused:
        site.leases.renew(SCHEMA, API, "evil", epoch="epoch", ack=MOST, follows=claim)
    assert refused.value.code == "told_unproven"
    assert (site.phase(), site.upgrade.frozen) == (Phase.EXPANDED, None)


def test_at_rest_nothing_is_signed(make_site: MakeSite) -> None:
    assert Process(make_site(), "a1", "1").lease.signature is None


def test_everybody_who_is_told_the_same_gets_the_same_signature(site: Site) -> None:
    site.rest_at(Phase.EXPANDED)
    first, second = Process(site, "a1", "2"), Process(site, "a2", "2")
    assert first.lease.signature == second.lease.signature == first.hear().signature
    assert first.lease.signature is not None and len(first.lease.signature) == LENGTH
    again = site.leases.join(SCHEMA, API, instance_id="a1", nonce="nonce-a1", release="2")
    assert again.signature == first.lease.signature


def test_the_key_is_shown_nowhere(site: Site) -> None:
    key = site.store.run(lambda tx: tx.signing_key)
    assert key == site.store.run(lambda tx: tx.signing_key), "it is made once"
    assert len(key.secret) == 64
    assert key.secret not in repr(key)
    site.rest_at(Phase.EXPANDED)
    lease = Process(site, "a1", "2").lease
    assert lease.signature is not None and lease.signature not in repr(said(lease))
