"""Evicting with proof: counted out when no session is left in any database, and not before."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict, Forbidden, Invalid, Never
from orchestrator.domain.fleets import Instance, InstanceState, Sessions, hashed
from orchestrator.domain.ladder import Phase
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, Daemon, Process, Site
from tests.services.test_importing import wrote_itself_down
from tests.services.test_leases import refusal_of

STAYS = Forbidden("session_stays", "session 812 of database two stays", remedy="GRANT pg_signal_backend TO x;")


def tagged(site: Site, name: str = "web-1", release: str = "1") -> Process:
    """A process whose sessions can be told, with one session in each database."""
    process = Process(site, name, release, sessions=Sessions.TAGGED)
    for database in site.managed.on.values():
        database.sessions[process.instance.tag] = 1
    return process


def evict(site: Site, name: str = "web-1", *, attested: bool = False, actor: str = "alice") -> Instance:
    return site.leases.evict(SCHEMA, API, name, actor=actor, reason="silent", attested_dead=attested)


def sessions(site: Site) -> int:
    return sum(sum(database.sessions.values()) for database in site.managed.on.values())


def test_an_instance_is_evicted_when_its_sessions_are_gone_everywhere(stored_site: Site) -> None:
    process = tagged(stored_site)
    assert evict(stored_site).state is InstanceState.EVICTING
    assert process.instance.is_possibly_alive
    assert refusal_of(Never, process.hear) == "instance_evicted"
    assert sessions(stored_site) == 3, "nothing is ended before somebody leads"
    (ended,) = stored_site.daemon().evict()
    assert (ended.id, process.instance.state, sessions(stored_site)) == ("web-1", InstanceState.EVICTED, 0)
    assert process.instance.proof is not None
    assert process.instance.proof.startswith("its sessions in one, two, three were ended, and none was left at ")
    assert all(process.instance.tag in database.refused for database in stored_site.managed.on.values())
    assert (process.instance.ended_by, process.instance.end_reason) == ("alice", "silent")
    events = stored_site.board.events(schema=SCHEMA, after=0, limit=100)
    first, last = (each for each in events if each.action.startswith("instance.evict"))
    assert (first.action, first.actor, first.reason) == ("instance.evict", "alice", "silent")
    assert (last.action, last.actor) == ("instance.evicted", "orchestrator")
    assert process.instance.proof in last.sentence


def test_it_may_be_asked_again_and_is_written_down_once(site: Site) -> None:
    tagged(site)
    daemon = site.daemon()
    for _ in range(2):
        assert evict(site).state is InstanceState.EVICTING
    assert len(daemon.evict()) == 1
    assert daemon.evict() == ()
    assert evict(site).state is InstanceState.EVICTED
    assert site.actions().count("instance.evict") == site.actions().count("instance.evicted") == 1


def test_sessions_that_nobody_can_tell_are_no_proof(site: Site) -> None:
    process = Process(site, "web-1", "1")
    assert refusal_of(Invalid, lambda: evict(site)) == "attestation_required"
    assert process.hear()
    assert evict(site, attested=True).state is InstanceState.EVICTED


def test_a_database_that_is_away_keeps_it_possibly_alive_and_is_named(stored_site: Site) -> None:
    site = stored_site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    process = tagged(site)
    site.go_on()
    site.managed.on["two"].error = "it is off"
    evict(site)
    daemon = site.daemon()
    assert daemon.evict() == ()
    assert process.instance.state is InstanceState.EVICTING
    assert "two: it is off" in str(process.instance.unproven)
    site.managed.on["two"].error = None  # what it would say of itself is another story
    (blocker,) = site.board.plan(SCHEMA).status.blockers
    assert blocker.code == "instance_evicting"
    assert blocker.culprits == ("web-1",)
    assert "inventory-api web-1 with release 1 is being evicted and may still be alive: two: it is off" in (
        blocker.sentence
    )
    assert blocker.remedy.startswith("Start it again. Or, when you know that the process is gone: orchestrator ")
    assert "--attest-dead" in blocker.remedy
    daemon.work()
    assert site.phase() is Phase.EXPANDED
    assert len(daemon.evict()) == 1
    daemon.work()
    assert site.phase() > Phase.EXPANDED


def test_the_others_are_ended_meanwhile(site: Site) -> None:
    tagged(site)
    site.managed.on["two"].error = "it is off"
    evict(site)
    site.daemon().evict()
    assert sessions(site) == 1


def test_a_session_that_may_not_be_ended_is_told_with_what_to_type(site: Site) -> None:
    process, other = tagged(site), tagged(site, "web-2")
    site.managed.on["two"].end_fails = STAYS
    for name in ("web-1", "web-2"):
        evict(site, name)
    site.daemon().evict()
    assert [(each.instance.unproven, each.instance.remedy) for each in (process, other)] == [
        (STAYS.message, STAYS.remedy)
    ] * 2
    assert sessions(site) == 2
    site.managed.on["two"].end_fails = None
    assert [each.id for each in site.daemon("second").evict()] == ["web-1", "web-2"]
    assert (process.instance.unproven, process.instance.remedy) == (None, None)


def test_somebodys_word_ends_an_eviction_that_does_not_come_to_an_end(site: Site) -> None:
    process = tagged(site)
    site.managed.on["two"].error = "it burnt"
    evict(site)
    site.daemon().evict()
    assert evict(site, attested=True, actor="bob").state is InstanceState.EVICTED
    assert (process.instance.ended_by, process.instance.proof, process.instance.unproven) == ("bob", None, None)
    assert site.daemon("second").evict() == ()


@pytest.mark.parametrize("sessions_are_told", [True, False])
def test_one_that_somebody_attests_dead_is_refused_by_every_database_too(
    stored_site: Site, sessions_are_told: bool
) -> None:
    """The word may be wrong, and an instance that finds no daemon may ask a database for its lease."""
    site = stored_site
    process = tagged(site) if sessions_are_told else Process(site, "web-1", "1")
    site.managed.on["two"].error = "it is off"
    assert evict(site, attested=True).state is InstanceState.EVICTED
    daemon = site.daemon()
    assert daemon.evict() == ()
    assert process.instance.unproven is None, "nothing waits for that"
    site.managed.on["two"].error = None
    daemon.evict()
    assert all(process.instance.tag in database.refused for database in site.managed.on.values())
    assert sessions(site) == 0
    calls = len(site.managed.calls)
    daemon.evict()
    assert len(site.managed.calls) == calls, "once is enough"
    assert process.instance.proof is None


def test_an_instance_that_leaves_first_is_not_evicted(site: Site) -> None:
    process = tagged(site)
    process.leave()
    assert evict(site).state is InstanceState.LEFT


def test_one_that_follows_what_is_published_holds_up_nothing_before_the_next_phase(site: Site) -> None:
    """It counts as what it acked last: it cannot learn of another phase."""
    site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    tagged(site, release="2")
    site.managed.on["two"].end_fails = STAYS
    evict(site)
    site.go_on()
    daemon = site.daemon()
    daemon.evict()
    daemon.work()
    assert site.phase() is Phase.BACKFILL
    assert site.codes == ["instance_evicting"]
    site.managed.on["two"].end_fails = None
    daemon.evict()
    daemon.work()
    assert site.release == "2"


@pytest.mark.parametrize("phase", [None, Phase.BASE, Phase.EXPANDED, Phase.BACKFILL, Phase.WRITE_NEW])
def test_it_works_in_every_phase_and_while_paused(site: Site, phase: Phase | None) -> None:
    if phase is not None:
        site.nobody_runs().begin().rest_at(phase)
        site.upgrades.pause(SCHEMA, actor="test", reason="lunch")
    process = tagged(site, release="2" if phase is not None and phase > Phase.BASE else "1")
    evict(site)
    site.daemon().evict()
    assert process.instance.state is InstanceState.EVICTED


class Died(Exception):
    pass


def test_a_daemon_that_dies_at_any_point_leaves_nothing_that_the_next_one_cannot_end(make_site: MakeSite) -> None:
    def evicting(hook: object) -> tuple[Site, Process, Daemon]:
        site = make_site(databases=("one", "two"))
        process = tagged(site)
        evict(site)
        return site, process, site.daemon("first", hook)  # type: ignore[arg-type]

    def die(number: int) -> None:
        if number == at:
            raise Died

    _, _, undisturbed = evicting(lambda number: None)
    undisturbed.evict()
    points = undisturbed.pauses.crossed
    assert len(points) == 6
    for at in range(len(points)):
        site, process, daemon = evicting(die)
        with pytest.raises(Died):
            daemon.evict()
        if process.instance.state is InstanceState.EVICTED:
            assert points[at] == "go on from the state"
        else:
            assert process.instance.proof is None
            assert len(site.daemon("second").evict()) == 1
        assert (process.instance.state, sessions(site)) == (InstanceState.EVICTED, 0)
        assert site.actions().count("instance.evicted") == 1


def test_a_daemon_that_does_not_lead_any_more_counts_nobody_out(site: Site) -> None:
    process = tagged(site)
    evict(site)
    first = site.daemon("first")
    site.daemon("second")
    with pytest.raises(Conflict) as caught:
        first.evict()
    assert caught.value.code == "not_leader"
    assert process.instance.state is InstanceState.EVICTING


@pytest.mark.parametrize("ended", ["left", "evicted"])
def test_the_word_holds_for_a_second_process_under_the_id_of_one_that_has_ended(stored_site: Site, ended: str) -> None:
    site = stored_site.nobody_runs().begin().rest_at(Phase.EXPANDED)
    first = tagged(site)
    if ended == "left":
        first.leave()
    else:
        evict(site, attested=True)
        site.daemon("evicting").evict()
    second = wrote_itself_down(site, "web-1", tag=hashed("another"), nonce=hashed("another"))
    site.go_on().daemon("early").cycle()
    assert "instance_not_imported" in site.codes
    assert evict(site).state is first.instance.state, "only somebody's word ends what is not counted"
    assert evict(site, attested=True).state is InstanceState.EVICTED
    events = [each for each in site.board.events(schema=SCHEMA, after=0, limit=100) if each.action == "instance.evict"]
    assert "another process under its id in two" in events[-1].sentence
    daemon = site.daemon("late")
    daemon.evict()
    daemon.cycle()
    assert second not in site.managed.on["two"].registrations.values()
    assert "instance_not_imported" not in site.codes
    assert evict(site, attested=True).state is InstanceState.EVICTED
    assert len([each for each in site.actions() if each == "instance.evict"]) == len(events), "nothing is left to do"
