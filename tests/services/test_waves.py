"""Waves, a canary and paused fleets, on every store: who is told what, and what the upgrade waits for."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Invalid, NotFound
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import Policy
from orchestrator.domain.waves import Canary, Waves
from orchestrator.services.fleets import Fleets
from tests.services.conftest import MakeSite
from tests.services.site import API, SCHEMA, WORKER, Daemon, Process, Site, is_over

PAUSING = ("fleet.pause", "fleet.resume")
WORKER_FIRST = Waves(((WORKER,), (API,)))


def in_waves(make: MakeSite, waves: Waves = WORKER_FIRST) -> Site:
    return make(policy=Policy(approve=(), waves=waves), databases=("one",))


def at_read_new(site: Site, *names: str) -> tuple[Daemon, dict[str, Process]]:
    """The upgrade has just entered read_new, and these processes of release 2 have drained into backfill."""
    site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    processes = {name: Process(site, name, "2", fleet=WORKER if name.startswith("w") else API) for name in names}
    daemon = site.go_on().daemon()
    daemon.work()
    assert site.phase() is Phase.READ_NEW
    return daemon, processes


def phases(processes: dict[str, Process]) -> dict[str, str]:
    """What each of them is told when it renews now."""
    return {name: process.hear().stance.phase.word for name, process in processes.items()}


def sentences(site: Site) -> list[str]:
    return [blocker.sentence for blocker in site.board.plan(SCHEMA).status.blockers]


def test_fleets_are_told_one_wave_after_the_other(make_stored_site: MakeSite) -> None:
    site = in_waves(make_stored_site)
    daemon, processes = at_read_new(site, "a1", "w1")
    assert phases(processes) == {"a1": "backfill", "w1": "read_new"}
    assert "wave 1 of 2 is told read_new: inventory-worker; 0 of 1 acked" in sentences(site)
    processes["w1"].hear()
    daemon.work()
    assert phases(processes) == {"a1": "read_new", "w1": "read_new"}
    assert site.phase() is Phase.READ_NEW
    processes["a1"].hear()
    daemon.work()
    assert site.phase() is Phase.WRITE_NEW
    assert site.actions().count("wave.open") >= 2


def test_a_whole_upgrade_passes_in_waves(make_stored_site: MakeSite) -> None:
    site = in_waves(make_stored_site, Waves(WORKER_FIRST.order, Canary(1)))
    site.nobody_runs().begin()
    old = [Process(site, "a0", "1"), Process(site, "w0", "1", fleet=WORKER)]
    daemon = site.daemon()
    for _ in range(6):
        daemon.work()
        for process in old:
            process.follow()
    assert site.phase() is Phase.EXPANDED
    new = [Process(site, "a1", "2"), Process(site, "w1", "2", fleet=WORKER), Process(site, "w2", "2", fleet=WORKER)]
    for process in old:
        process.leave()
    while not is_over(site) and site.clock() < 2_000_000:
        site.clock.advance(10_000)
        site.daemon().work()
        for process in new:
            process.follow()
    assert (site.upgrade.status, site.release) == (Status.COMPLETED, "2")


def test_a_wave_soaks_before_the_next_is_told(make_site: MakeSite) -> None:
    site = in_waves(make_site, Waves(WORKER_FIRST.order, soak_seconds=600))
    site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    processes = {"a1": Process(site, "a1", "2"), "w1": Process(site, "w1", "2", fleet=WORKER)}
    daemon = site.go_on().daemon()
    assert site.upgrade.telling is not None and site.upgrade.telling.wave is None
    daemon.work()
    assert site.phase() is Phase.READ_NEW
    phases(processes)
    assert phases(processes) == {"a1": "backfill", "w1": "read_new"}
    daemon.work()
    assert "600 s until the next wave" in sentences(site)[0]
    assert phases(processes)["a1"] == "backfill"
    site.clock.advance(600)
    site.daemon("second").work()
    assert phases(processes)["a1"] == "read_new"


def test_the_soak_of_a_wave_can_be_forced(make_site: MakeSite) -> None:
    site = in_waves(make_site, Waves(WORKER_FIRST.order, soak_seconds=600))
    site.nobody_runs().begin().rest_at(Phase.BACKFILL)
    process = Process(site, "w1", "2", fleet=WORKER)
    daemon = site.go_on().daemon()
    daemon.work()
    process.follow()
    daemon.work()
    assert site.codes == ["wave_open"]
    site.upgrades.approve(SCHEMA, phase=Phase.WRITE_NEW, actor="alice", reason="it is late", force=("waves_open",))
    daemon.work()
    assert site.phase() is Phase.WRITE_NEW


def test_a_canary_goes_first_and_stays_told_when_others_leave(make_stored_site: MakeSite) -> None:
    site = in_waves(make_stored_site, Waves(canary=Canary(2)))
    daemon, processes = at_read_new(site, *(f"a{number}" for number in range(5)))
    told = {name for name, phase in phases(processes).items() if phase == "read_new"}
    assert len(told) == 2
    for name in [name for name in processes if name not in told][:2]:
        processes.pop(name).leave()
    site.clock.advance(20)
    now_told = {name for name, phase in phases(processes).items() if phase == "read_new"}
    assert told == now_told
    site.daemon("second").work()
    assert set(phases(processes).values()) == {"read_new"}
    assert daemon.epoch


def test_a_canary_that_leaves_is_followed_by_another(make_site: MakeSite) -> None:
    site = in_waves(make_site, Waves(canary=Canary(1)))
    _, processes = at_read_new(site, "a1", "a2", "a3")
    (first,) = (name for name, phase in phases(processes).items() if phase == "read_new")
    processes.pop(first).leave()
    site.clock.advance(20)
    assert list(phases(processes).values()).count("read_new") == 1


def test_whoever_joins_is_told_what_its_fleet_is_told(make_site: MakeSite) -> None:
    site = in_waves(make_site)
    at_read_new(site, "w1")
    assert Process(site, "a9", "2").lease.stance.phase is Phase.BACKFILL
    assert Process(site, "w9", "2", fleet=WORKER).lease.stance.phase is Phase.READ_NEW
    late = Process(site, "a8", "2")
    assert late.instance.acked == late.instance.told == late.lease.stance.publication < site.upgrade.publication


def test_who_cannot_live_in_the_phase_before_is_told_the_present_one(make_site: MakeSite) -> None:
    """Release 2 cannot be at base; release 1 is held there."""
    site = in_waves(make_site)
    site.nobody_runs().begin()
    old = Process(site, "w1", "1", fleet=WORKER)
    site.daemon().work()
    assert site.phase() is Phase.EXPANDED
    assert Process(site, "a2", "2").lease.stance.phase is Phase.EXPANDED
    assert Process(site, "a1", "1").lease.stance.phase is Phase.BASE
    assert old.hear().stance.phase is Phase.EXPANDED


def test_an_ack_of_the_present_publication_counts_from_whoever_gives_it(make_site: MakeSite) -> None:
    """It may have heard of it in a managed database, while no daemon answered. It is not told less afterwards."""
    site = in_waves(make_site)
    _, processes = at_read_new(site, "a1", "w1")
    process = processes["a1"]
    published = site.upgrade.publication
    lease = site.leases.renew(SCHEMA, API, "a1", epoch=process.lease.epoch, ack=published)
    assert (lease.instance.acked, lease.instance.told, lease.stance.phase) == (published, published, Phase.READ_NEW)
    assert process.hear().stance.publication == published


def test_an_ack_of_what_was_never_published_is_refused(make_site: MakeSite) -> None:
    site = in_waves(make_site)
    _, processes = at_read_new(site, "a1")
    with pytest.raises(Invalid) as refused:
        site.leases.renew(SCHEMA, API, "a1", epoch=processes["a1"].lease.epoch, ack=site.upgrade.publication + 1)
    assert refused.value.code == "ack_unpublished"


def test_a_bad_wave_is_taken_back_without_telling_the_others(make_stored_site: MakeSite) -> None:
    site = in_waves(make_stored_site)
    daemon, processes = at_read_new(site, "a1", "w1")
    assert phases(processes) == {"a1": "backfill", "w1": "read_new"}
    processes["w1"].hear()
    site.upgrades.rollback(SCHEMA, Phase.BACKFILL, actor="alice", reason="the first wave fails")
    daemon.work()
    assert site.phase() is Phase.BACKFILL
    assert phases(processes) == {"a1": "backfill", "w1": "backfill"}


# -- pausing one fleet -----------------------------------------------------------------------------------------------


def test_a_paused_fleet_stays_where_it_is_and_holds_the_move_after(make_stored_site: MakeSite) -> None:
    site = make_stored_site().nobody_runs()
    fleets = Fleets(site.context)
    daemon, processes = at_read_new_paused(site)
    assert phases(processes) == {"a1": "backfill", "w1": "read_new"}
    processes["w1"].hear()
    daemon.work()
    assert site.codes == ["fleet_paused"]
    assert sentences(site) == ["fleet inventory-api is paused and stays at backfill: a bad disk"]
    fleets.resume(SCHEMA, API, actor="alice", reason=None)
    processes["a1"].follow()
    daemon.work()
    assert site.phase() is Phase.WRITE_NEW
    assert [each for each in site.actions() if each in PAUSING] == list(PAUSING)


def at_read_new_paused(site: Site) -> tuple[Daemon, dict[str, Process]]:
    """The same, without waves, where a fleet was paused at backfill."""
    site.begin().rest_at(Phase.BACKFILL)
    Fleets(site.context).pause(SCHEMA, API, actor="alice", reason="a bad disk")
    processes = {"a1": Process(site, "a1", "2"), "w1": Process(site, "w1", "2", fleet=WORKER)}
    daemon = site.go_on().daemon()
    daemon.work()
    assert site.phase() is Phase.READ_NEW
    return daemon, processes


def test_a_pause_made_at_rest_takes_effect_in_the_next_upgrade(make_site: MakeSite) -> None:
    site = make_site().nobody_runs()
    paused = Fleets(site.context).pause(SCHEMA, API, actor="alice", reason="a bad disk")
    assert (paused.phase, paused.is_held) == (None, False)
    site.begin()
    site.daemon().work()
    assert (site.phase(), site.codes) == (Phase.EXPANDED, ["fleet_paused"])
    (api, worker) = Fleets(site.context).list(SCHEMA)
    assert (api.phase, api.is_held) == (Phase.BASE, True)
    assert (worker.phase, worker.pause) == (Phase.EXPANDED, None)


def test_a_pause_after_the_publication_waits_for_the_next(make_site: MakeSite) -> None:
    """Its fleet was told, and a move under way may count on that."""
    site = make_site().nobody_runs().begin().rest_at(Phase.BACKFILL)
    process = Process(site, "a1", "2")
    paused = Fleets(site.context).pause(SCHEMA, API, actor="alice", reason="a bad disk")
    assert (paused.phase, paused.is_held) == (Phase.BACKFILL, False)
    assert process.hear().stance.phase is Phase.BACKFILL
    assert "fleet_paused" not in site.codes


def test_a_pause_of_a_fleet_whose_wave_has_not_come_takes_effect_at_once(make_site: MakeSite) -> None:
    site = in_waves(make_site)
    daemon, processes = at_read_new(site, "a1", "w1")
    paused = Fleets(site.context).pause(SCHEMA, API, actor="alice", reason="the first wave is slow")
    assert (paused.phase, paused.is_held) == (Phase.BACKFILL, True)
    assert phases(processes)["a1"] == "backfill"
    processes["w1"].hear()
    daemon.work()
    assert phases(processes)["a1"] == "backfill"
    assert site.codes == ["fleet_paused"]


def test_a_pause_while_a_move_is_under_way_splits_nothing(make_site: MakeSite) -> None:
    """Whoever joins its fleet while the fence stands is told the present phase, as everybody who was counted."""
    site = make_site().nobody_runs().begin().rest_at(Phase.READ_NEW)
    site.go_on()
    told: list[Phase] = []

    def at_the_fence(number: int) -> None:
        if site.upgrade.fence is Phase.WRITE_NEW and site.phase() is Phase.READ_NEW and not told:
            Fleets(site.context).pause(SCHEMA, API, actor="alice", reason="a bad disk")
            told.append(Process(site, "late", "2").lease.stance.phase)

    site.daemon(hook=at_the_fence).work()
    assert told == [Phase.READ_NEW]
    assert site.phase() is Phase.WRITE_NEW
    assert Process(site, "later", "2").lease.stance.phase is Phase.READ_NEW
    assert site.codes[0] == "fleet_paused"


def test_a_paused_fleet_does_not_hold_the_way_back(make_site: MakeSite) -> None:
    site = make_site().nobody_runs()
    daemon, processes = at_read_new_paused(site)
    phases(processes)
    processes["w1"].hear()
    site.upgrades.rollback(SCHEMA, Phase.EXPANDED, actor="alice", reason="it reads nonsense")
    for _ in range(3):
        daemon.work()
        for process in processes.values():
            process.follow()
    assert site.phase() is Phase.EXPANDED
    assert phases(processes) == {"a1": "expanded", "w1": "expanded"}


def test_pausing_again_keeps_what_it_holds_and_takes_the_new_reason(make_site: MakeSite) -> None:
    site = make_site().nobody_runs()
    at_read_new_paused(site)
    again = Fleets(site.context).pause(SCHEMA, API, actor="bob", reason="still bad")
    assert again.is_held and again.pause is not None
    assert (again.pause.actor, again.pause.reason) == ("bob", "still bad")


def test_resuming_what_is_not_paused_changes_nothing(make_site: MakeSite) -> None:
    site = make_site()
    Fleets(site.context).resume(SCHEMA, API, actor="alice", reason=None)
    assert "fleet.resume" not in site.actions()


def test_a_fleet_that_no_release_lists_is_refused(make_site: MakeSite) -> None:
    fleets = Fleets(make_site().context)
    with pytest.raises(NotFound) as unknown:
        fleets.pause(SCHEMA, "inventory-apo", actor="alice", reason="a bad disk")
    assert unknown.value.code == "fleet_unknown"
    with pytest.raises(Invalid) as silent:
        fleets.pause(SCHEMA, API, actor="alice", reason=" ")
    assert silent.value.code == "reason_required"


def test_an_upgrade_without_contract_ends_when_everybody_was_told_its_last_rung(make_site: MakeSite) -> None:
    site = in_waves(make_site)
    site.upgrades.initialise(SCHEMA, "1", actor="test")
    site.nobody_runs().begin().daemon().work()
    assert site.release == "2"
    for fleet in (API, WORKER):
        site.leases.report(SCHEMA, fleet, release="2", instances=0, actor="test", reason=None)
    site.begin("3").rest_at(Phase.READ_NEW)
    processes = {"a1": Process(site, "a1", "3"), "w1": Process(site, "w1", "3", fleet=WORKER)}
    daemon = site.go_on().daemon("second")
    for process in processes.values():
        process.follow()
    daemon.work()
    assert (site.phase(), site.upgrade.status) == (Phase.WRITE_NEW, Status.RUNNING)
    assert phases(processes) == {"a1": "read_new", "w1": "write_new"}
    assert "wave 1 of 2 is told write_new" in site.board.plan(SCHEMA).status.sentence
    processes["w1"].hear()
    daemon.work()
    assert (site.upgrade.status, site.release) == (Status.COMPLETED, "3")
