"""Leases: registering, renewing, acking, leaving, evicting, and reports of what holds none; on every store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from orchestrator.domain.errors import Conflict, Invalid, Never, NotFound, NotYet, OrchestratorError
from orchestrator.domain.fleets import EXPIRY_MARGIN_SECONDS, InstanceState
from orchestrator.domain.ladder import InStepBy, Phase, Step
from orchestrator.ports import Store, Transaction
from orchestrator.services.context import Context
from orchestrator.services.leases import Lease, Leases
from orchestrator.services.sweeping import Sweep
from tests.fakes import three_releases
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, WORKER, Process, Site

T = TypeVar("T")


def registered(site: Site, name: str = "web-1", *, nonce: str = "n1", release: str = "1", fleet: str = API) -> Lease:
    return site.leases.join(SCHEMA, fleet, instance_id=name, nonce=nonce, release=release, host="h1")


def evict(site: Site, name: str = "web-1", *, attested: bool = True, reason: str = "the host burnt") -> None:
    site.leases.evict(SCHEMA, API, name, actor="alice", reason=reason, attested_dead=attested)


def refusal_of(kind: type[OrchestratorError], act: Callable[[], object]) -> str:
    """The code of a refusal, which always says what to do."""
    with pytest.raises(kind) as refusal:
        act()
    assert refusal.value.remedy
    return refusal.value.code


# -- joining ---------------------------------------------------------------------------------------------------------


def test_joining_gives_a_lease_and_acks_what_it_tells(stored_site: Site) -> None:
    stored_site.begin()
    lease = registered(stored_site)
    assert lease.is_new
    assert lease.stance.publication == stored_site.upgrade.publication == lease.instance.acked
    assert lease.instance.expires_at == stored_site.clock() + lease.ttl_seconds
    assert lease.instance.label == "web-1 on h1"
    assert stored_site.leases.list(SCHEMA) == (lease.instance,)


def test_a_registration_whose_answer_was_lost_is_repeated(stored_site: Site) -> None:
    first = registered(stored_site)
    again = registered(stored_site)
    assert (again.instance, again.is_new) == (first.instance, False)
    assert len(stored_site.leases.list(SCHEMA)) == 1


def test_a_repeated_registration_hears_what_is_published_and_has_not_acked_it(site: Site) -> None:
    """It was admitted under an earlier publication; that one it acked."""
    site.nobody_runs(WORKER).begin()
    first = registered(site)
    site.daemon().work()
    again = registered(site)
    assert again.stance.publication > first.stance.publication
    assert again.instance.acked == first.instance.acked
    assert site.codes == ["instance_unsupported"]


@pytest.mark.parametrize(("nonce", "release"), [("n2", "1"), ("n1", "2")])
def test_an_id_belongs_to_one_incarnation(site: Site, nonce: str, release: str) -> None:
    registered(site)
    taken = refusal_of(Conflict, lambda: registered(site, nonce=nonce, release=release))
    assert taken == "instance_id_taken"


def test_a_restart_replaces_nothing(site: Site) -> None:
    registered(site, "web-1")
    registered(site, "web-1.2", nonce="n2")
    assert len(site.leases.list(SCHEMA)) == 2


@pytest.mark.parametrize("ending", ["left", "evicted"])
def test_an_ended_incarnation_does_not_register_again(site: Site, ending: str) -> None:
    lease = registered(site)
    if ending == "left":
        site.leases.leave(SCHEMA, API, "web-1", epoch=lease.epoch)
    else:
        evict(site)
    assert refusal_of(Never, lambda: registered(site)) == f"instance_{ending}"


@pytest.mark.parametrize(
    ("schema", "fleet", "name", "nonce", "kind", "code"),
    [
        ("nothing", API, "web-1", "n1", NotFound, "schema_unknown"),
        (SCHEMA, "nobody", "web-1", "n1", NotFound, "fleet_unknown"),
        (SCHEMA, API, "", "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "-rf", "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "..", "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "a b", "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "web\n", "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "x" * 65, "n1", Invalid, "name_invalid"),
        (SCHEMA, API, "web-1", "", Invalid, "name_invalid"),
        (SCHEMA, API, "web-1", "n 1", Invalid, "name_invalid"),
    ],
)
def test_bad_input_registers_nobody(
    site: Site, schema: str, fleet: str, name: str, nonce: str, kind: type[OrchestratorError], code: str
) -> None:
    found = refusal_of(kind, lambda: site.leases.join(schema, fleet, instance_id=name, nonce=nonce, release="1"))
    assert found == code
    assert site.leases.list(SCHEMA, all_states=True) == ()


@pytest.mark.parametrize(
    ("release", "kind", "code"),
    [("2", NotYet, "upgrade_not_begun"), ("3", Never, "release_too_new"), ("9", Never, "release_unknown")],
)
def test_at_rest_other_releases_are_refused(site: Site, release: str, kind: type[OrchestratorError], code: str) -> None:
    assert refusal_of(kind, lambda: registered(site, release=release)) == code


def test_a_refused_registration_makes_no_fleet_known(site: Site) -> None:
    site.begin()
    refusal_of(NotYet, lambda: registered(site, release="2"))
    site.daemon().work()
    assert site.codes == ["fleet_unknown", "fleet_unknown"]


# -- renewing and acking ---------------------------------------------------------------------------------------------


def test_renewing_extends_the_lease_and_tells_what_is_published(stored_site: Site) -> None:
    process = Process(stored_site, "web-1", "1")
    stored_site.clock.advance(20)
    stored_site.begin()
    lease = process.hear()
    assert lease.instance.expires_at == stored_site.clock() + lease.ttl_seconds
    assert lease.stance.upgrade_id == stored_site.upgrade.id
    assert process.instance.acked != lease.stance.publication, "hearing is not acking"
    process.hear()
    assert process.instance.acked == lease.stance.publication


def test_a_lease_that_ran_out_is_extended_while_nobody_acted_on_that(site: Site) -> None:
    process = Process(site, "web-1", "1")
    site.clock.advance(3600)
    assert process.instance.is_expired(site.clock())
    process.hear()
    assert not process.instance.is_expired(site.clock())


def test_expiry_comes_later_than_the_end_of_the_lease(site: Site) -> None:
    process = Process(site, "web-1", "1")
    end = process.lease.ttl_seconds + EXPIRY_MARGIN_SECONDS
    site.clock.advance(end)
    assert not process.instance.is_expired(site.clock())
    site.clock.advance(0.001)
    assert process.instance.is_expired(site.clock())


def test_the_ack_of_an_earlier_publication_counts_for_nothing(site: Site) -> None:
    process = Process(site, "web-1", "1")
    heard = process.lease.stance.publication
    site.begin()
    lease = site.leases.renew(SCHEMA, API, "web-1", epoch=process.lease.epoch, ack=heard)
    assert lease.instance.acked == heard != site.upgrade.publication
    site.nobody_runs(WORKER).daemon().work()
    assert site.codes == ["instance_not_acked"]


def test_an_ack_survives_a_renewal_without_one(site: Site) -> None:
    process = Process(site, "web-1", "1")
    site.begin()
    process.follow()
    lease = site.leases.renew(SCHEMA, API, "web-1", epoch=process.lease.epoch, ack=None)
    assert lease.instance.acked == site.upgrade.publication


def test_what_was_never_published_cannot_be_acked(site: Site) -> None:
    process = Process(site, "web-1", "1")
    before = process.instance
    epoch = process.lease.epoch
    site.clock.advance(5)
    future = process.lease.stance.publication + 1
    code = refusal_of(
        Invalid, lambda: site.leases.renew(SCHEMA, API, "web-1", epoch=epoch, ack=future)
    )  # fmt: skip
    assert code == "ack_unpublished"
    assert process.instance == before, "a refusal changes nothing"


@pytest.mark.parametrize("verb", ["renew", "leave"])
def test_only_the_holder_touches_a_lease(stored_site: Site, verb: str) -> None:
    leases = stored_site.leases
    act: Callable[[str, str], object] = (
        (lambda name, epoch: leases.renew(SCHEMA, API, name, epoch=epoch, ack=None))
        if verb == "renew"
        else (lambda name, epoch: leases.leave(SCHEMA, API, name, epoch=epoch))
    )
    epoch = registered(stored_site).epoch
    assert refusal_of(Conflict, lambda: act("web-1", "another")) == "epoch_foreign"
    assert refusal_of(Conflict, lambda: act("web-1", "é")) == "epoch_foreign"
    assert refusal_of(NotFound, lambda: act("web-9", epoch)) == "instance_unknown"
    evict(stored_site)
    assert refusal_of(Never, lambda: act("web-1", epoch)) == "instance_evicted"


# -- leaving and evicting --------------------------------------------------------------------------------------------


def test_leaving_ends_the_lease_and_may_be_repeated(stored_site: Site) -> None:
    process = Process(stored_site, "web-1", "1")
    process.leave()
    process.leave()
    assert process.instance.state is InstanceState.LEFT
    assert refusal_of(Never, process.hear) == "instance_left"
    assert stored_site.leases.list(SCHEMA) == ()
    assert [each.id for each in stored_site.leases.list(SCHEMA, all_states=True)] == ["web-1"]


def test_an_evicted_instance_is_out_and_the_audit_log_says_who_vouched(stored_site: Site) -> None:
    registered(stored_site)
    evict(stored_site)
    evict(stored_site)
    (instance,) = stored_site.leases.list(SCHEMA, all_states=True)
    assert (instance.state, instance.ended_by, instance.end_reason) == (
        InstanceState.EVICTED,
        "alice",
        "the host burnt",
    )
    events = stored_site.board.events(schema=SCHEMA, after=0, limit=100)
    (event,) = [each for each in events if each.action == "instance.evict"]
    assert (event.actor, event.reason, event.subject) == ("alice", "the host burnt", f"{API}/web-1")


@pytest.mark.parametrize(
    ("attested", "reason", "code"),
    [(False, "it is gone", "attestation_required"), (True, "", "reason_required"), (True, "  ", "reason_required")],
)
def test_nobody_is_evicted_without_a_word_and_a_reason(site: Site, attested: bool, reason: str, code: str) -> None:
    registered(site)
    assert refusal_of(Invalid, lambda: evict(site, attested=attested, reason=reason)) == code
    assert site.leases.list(SCHEMA)[0].is_possibly_alive


def test_evicting_nobody_is_said(site: Site) -> None:
    assert refusal_of(NotFound, lambda: evict(site, "web-9")) == "instance_unknown"


@pytest.mark.parametrize("phase", [Phase.BASE, Phase.EXPANDED, Phase.BACKFILL, Phase.READ_NEW, Phase.WRITE_NEW])
def test_eviction_works_in_every_phase_and_lets_the_upgrade_go_on(site: Site, phase: Phase) -> None:
    site.nobody_runs().begin().rest_at(phase)
    process = Process(site, "web-1", "1" if phase is Phase.BASE else "2")
    site.go_on()
    for _ in range(3):
        site.daemon("elevator").work()
    assert site.phase() > phase or site.phase() is Phase.CONTRACTED
    halted = site.phase()
    site.clock.advance(3600)
    site.daemon("elevator").work()
    assert site.phase() is halted, "expiry gives progress to nobody"
    assert process.instance.is_expired(site.clock())
    evict(site)
    site.daemon("elevator").work()
    assert site.release == "2"


def test_eviction_works_while_a_step_fails(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.WRITE_NEW)
    process = Process(site, "web-1", "2")
    site.managed.on["one"].fails[Step.CONTRACT] = Conflict("x", "it broke", remedy="Mend it.")
    daemon = site.go_on().daemon()
    daemon.work()
    process.follow()
    daemon.work()
    assert site.upgrade.is_past_return
    evict(site)
    assert process.instance.state is InstanceState.EVICTED


# -- expiry ----------------------------------------------------------------------------------------------------------


def test_a_lease_that_ran_out_is_written_down_once_and_nothing_else_changes(stored_site: Site) -> None:
    process = Process(stored_site, "web-1", "1")
    sweep = Sweep(stored_site.context)
    assert sweep.run() == ()
    stored_site.clock.advance(3600)
    assert [each.id for each in sweep.run()] == ["web-1"]
    assert sweep.run() == ()
    assert process.instance.is_possibly_alive
    assert stored_site.actions().count("lease.expire") == 1
    process.hear()
    assert sweep.run() == ()
    stored_site.clock.advance(3600)
    assert [each.id for each in sweep.run()] == ["web-1"], "it ran out once more"


# -- reports ---------------------------------------------------------------------------------------------------------


def report(site: Site, release: str, instances: int, fleet: str = API) -> str | None:
    return site.leases.report(
        SCHEMA, fleet, release=release, instances=instances, actor="alice", reason="ansible said so"
    ).violation


def test_a_report_takes_the_place_of_the_one_before_and_is_audited(stored_site: Site) -> None:
    report(stored_site, "1", 3)
    report(stored_site, "1", 0)
    (stored,) = stored_site.store.read(lambda tx: tx.reports(SCHEMA))
    assert (stored.instances, stored.actor, stored.reported_at) == (0, "alice", stored_site.clock())
    assert stored_site.actions().count("fleet.report") == 2


def test_a_report_of_what_may_not_run_is_stored_and_answered_with_why(site: Site) -> None:
    site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    assert "could live only up to expanded" in (report(site, "1", 3) or "")
    site.go_on().daemon().work()
    assert (site.phase(), "fleet_reported_unsupported" in site.codes) == (Phase.BACKFILL, True)
    assert report(site, "1", 0) is None


def test_a_release_that_switches_its_behaviour_cannot_be_reported(site: Site) -> None:
    site.begin()
    assert refusal_of(Invalid, lambda: report(site, "2", 3)) == "lease_required"
    assert report(site, "2", 0) is None


def test_a_service_may_be_reported_in_every_release(make_site: MakeSite) -> None:
    site = make_site(releases=three_releases(in_step_by=InStepBy.SERVICE)).nobody_runs().begin()
    site.rest_at(Phase.EXPANDED)
    assert report(site, "2", 3) is None


@pytest.mark.parametrize(
    ("release", "instances", "fleet", "kind", "code"),
    [
        ("9", 1, API, NotFound, "release_unknown"),
        ("1", -1, API, Invalid, "instances_negative"),
        ("1", 1, "nobody", NotFound, "fleet_unknown"),
    ],
)
def test_a_bad_report_is_refused(
    site: Site, release: str, instances: int, fleet: str, kind: type[OrchestratorError], code: str
) -> None:
    assert refusal_of(kind, lambda: report(site, release, instances, fleet)) == code
    assert site.store.read(lambda tx: tx.reports(SCHEMA)) == ()


# -- at the same time ------------------------------------------------------------------------------------------------


class Announcing:
    """A store that says when a transaction is about to begin."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.begins = threading.Event()

    def run(self, work: Callable[[Transaction], T]) -> T:
        self.begins.set()
        return self._store.run(work)

    def read(self, work: Callable[[Transaction], T]) -> T:
        return self._store.read(work)


def test_a_join_that_began_before_the_fence_was_committed_sees_it(stored_site: Site) -> None:
    """Both write the schema's row, so the join waits for the fence and is judged by it."""
    site = stored_site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    upgrade_id = site.upgrade.id
    announcing = Announcing(site.store)
    leases = Leases(Context(announcing, {SCHEMA: site.managed}, {}))
    answers: list[str] = []

    def join() -> None:
        try:
            leases.join(SCHEMA, API, instance_id="late", nonce="n", release="1")
        except OrchestratorError as refusal:
            answers.append(refusal.code)
        else:
            answers.append("joined")

    thread = threading.Thread(target=join)

    def fence(tx: Transaction) -> None:
        tx.lock_schema(SCHEMA)
        upgrade = tx.upgrade(upgrade_id)
        assert upgrade is not None
        thread.start()
        assert announcing.begins.wait(60)
        tx.save_upgrade(upgrade.with_fence(Phase.BACKFILL), expected_revision=upgrade.revision)

    site.store.run(fence)
    thread.join(60)
    assert answers == ["not_yet_admitted"]
    assert site.leases.list(SCHEMA) == ()


def test_processes_that_start_together_are_all_registered(stored_site: Site) -> None:
    threads = [
        threading.Thread(target=registered, args=(stored_site, f"web-{number}"), kwargs={"nonce": f"n{number}"})
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(stored_site.leases.list(SCHEMA)) == 6
