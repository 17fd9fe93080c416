"""Waves: what the site may ask for, who is told what, and when the next wave follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import planner
from orchestrator.domain.errors import Invalid
from orchestrator.domain.fleets import Instance
from orchestrator.domain.guards import GUARDS
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.telling import Hearer, held_fleets, is_told, teller
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import Blocker, Policy, View
from orchestrator.domain.waves import (
    CANARY,
    EVERYBODY_AT_ONCE,
    Canary,
    FleetPause,
    Telling,
    Waves,
    canaries,
    parse_canary,
    parse_order,
)
from tests.domain.views import NEW, NOW, PUBLICATION, a_view, an_approval, an_instance, an_upgrade

BEFORE = PUBLICATION - 4
LADDER = an_upgrade().profile.phases()
API_FIRST = Waves((("api",), ("worker",)))
THREE = Waves((("conductor",), ("scheduler", "api"), ("compute",)), Canary(2), 60.0)


def told_in_waves(
    phase: Phase = Phase.READ_NEW, *, wave: int | None = 1, since: float = NOW - 100, **more: object
) -> Upgrade:
    """An upgrade that has just entered this phase from below."""
    upgrade = an_upgrade(phase, **more)  # type: ignore[arg-type]
    below = upgrade.profile.neighbour(phase, Phase.BASE)
    assert below is not None
    return replace(upgrade, telling=Telling(below, BEFORE, wave, since))


def in_waves(upgrade: Upgrade, *instances: Instance, waves: Waves = API_FIRST, paused: tuple[str, ...] = ()) -> View:
    """A view of it, with these fleets paused since before its publication."""
    pauses = tuple(a_pause(fleet) for fleet in paused)
    return replace(a_view(upgrade, instances=instances, policy=Policy(approve=(), waves=waves)), pauses=pauses)


def a_pause(fleet: str, revision: int = PUBLICATION - 1) -> FleetPause:
    return FleetPause("inventory", fleet, revision, "alice", "a bad disk", NOW - 50)


def at_the_phase_before(name: str = "w1", fleet: str = "worker", release: str = "2") -> Instance:
    return an_instance(name, release, fleet=fleet, acked=BEFORE)


def asked(view: View, target: Phase = Phase.WRITE_NEW) -> tuple[Blocker, ...]:
    return planner.blockers(view, target)


# -- what the site asks for ------------------------------------------------------------------------------------------


def test_an_order_is_read() -> None:
    assert parse_order(" conductor; scheduler,api ;compute ") == (("conductor",), ("scheduler", "api"), ("compute",))


@pytest.mark.parametrize("text", ["", "a;", ";a", "a,;b", "a, b; a"])
def test_an_order_that_names_nobody_or_somebody_twice_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_order(text)
    assert refused.value.code == "waves_invalid" and refused.value.remedy


@pytest.mark.parametrize(
    ("text", "canary"), [("2", Canary(2)), (" 10% ", Canary(percent=10)), ("0.5 %", Canary(percent=0.5))]
)
def test_a_canary_is_a_number_or_a_percentage(text: str, canary: Canary) -> None:
    assert parse_canary(text) == canary


@pytest.mark.parametrize("text", ["", "0", "0%", "1.5", "101%", "-1", "two", "1e3", "\u0661"])
def test_anything_else_is_no_canary(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_canary(text)
    assert refused.value.code == "canary_invalid" and refused.value.remedy


@pytest.mark.parametrize(
    ("canary", "total", "expected"),
    [
        (Canary(2), 5, 2),
        (Canary(2), 1, 1),
        (Canary(percent=10), 30, 3),
        (Canary(percent=10), 31, 4),
        (Canary(percent=0.1), 3, 1),
        (Canary(percent=100), 3, 3),
        (Canary(percent=10), 0, 0),
    ],
)
def test_a_canary_is_at_least_one_of_any(canary: Canary, total: int, expected: int) -> None:
    assert canary.of(total) == expected


def test_waves_follow_each_other_and_the_last_one_is_everybody() -> None:
    assert (THREE.first, THREE.after(CANARY), THREE.after(1), THREE.after(2)) == (CANARY, 1, 2, None)
    assert (API_FIRST.first, API_FIRST.after(1)) == (1, None)
    assert EVERYBODY_AT_ONCE.first is None
    only_canary = Waves(canary=Canary(1))
    assert (only_canary.first, only_canary.after(CANARY)) == (CANARY, None)


def test_a_fleet_that_no_wave_names_is_in_the_last_one() -> None:
    assert [THREE.number_of(fleet) for fleet in ("conductor", "api", "compute", "cinder")] == [1, 2, 3, 3]
    assert EVERYBODY_AT_ONCE.number_of("api") == 1


def test_canaries_are_drawn_anew_and_stay_when_others_go() -> None:
    fleet = tuple(an_instance(f"a{number}") for number in range(20))
    drawn = canaries(Canary(3), 41, fleet)
    assert len(drawn) == 3
    assert drawn != canaries(Canary(3), 42, fleet)
    others = tuple(each for each in fleet if each.id in drawn or each.id > "a5")
    assert canaries(Canary(3), 41, others) == drawn


# -- who is told what ------------------------------------------------------------------------------------------------


def tells(upgrade: Upgrade, hearer: Hearer, *, waves: Waves = API_FIRST, held: tuple[str, ...] = ()) -> bool:
    return is_told(upgrade, waves, held, hearer)


def test_a_wave_is_told_when_it_is_open() -> None:
    worker = Hearer("worker", "2", BEFORE)
    assert tells(told_in_waves(), Hearer("api", "2", BEFORE))
    assert not tells(told_in_waves(), worker)
    assert tells(told_in_waves(wave=None), worker)


def test_everybody_is_told_where_nothing_leads_up() -> None:
    assert tells(an_upgrade(Phase.READ_NEW), Hearer("worker", "2"), held=("worker",))


def test_nobody_is_told_less_than_before() -> None:
    assert tells(told_in_waves(), Hearer("worker", "2", PUBLICATION))


def test_everybody_is_told_while_a_fence_stands_above() -> None:
    fenced = told_in_waves(fence=Phase.WRITE_NEW)
    assert tells(fenced, Hearer("worker", "2", BEFORE), held=("worker",))


def test_nobody_more_is_told_what_is_about_to_be_left_again() -> None:
    assert not tells(told_in_waves(fence=Phase.BACKFILL), Hearer("worker", "2", BEFORE))


def test_who_cannot_live_in_the_phase_before_is_told_the_present_one() -> None:
    expanded = told_in_waves(Phase.EXPANDED)
    assert tells(expanded, Hearer("worker", "2"), held=("worker",))
    assert not tells(expanded, Hearer("worker", "1"))


def test_a_canary_is_told_in_the_first_wave_only() -> None:
    waves = replace(API_FIRST, canary=Canary(1))
    upgrade = told_in_waves(wave=CANARY)
    assert not tells(upgrade, Hearer("api", "2", BEFORE), waves=waves)
    assert tells(upgrade, Hearer("api", "2", BEFORE, is_canary=True), waves=waves)
    assert not tells(upgrade, Hearer("worker", "2", BEFORE, is_canary=True), waves=waves)


@pytest.mark.parametrize(("later", "held"), [(-1, True), (0, False), (2, False)])
def test_a_pause_holds_what_is_published_after_it(later: int, held: bool) -> None:
    pause = a_pause("worker", PUBLICATION + later)
    assert held_fleets(told_in_waves(wave=None), (pause,)) == ({"worker"} if held else set())


def test_a_pause_does_not_hold_the_way_back() -> None:
    assert held_fleets(an_upgrade(Phase.BACKFILL), (a_pause("worker"),)) == frozenset()


# -- publishing ------------------------------------------------------------------------------------------------------


def fenced(phase: Phase, target: Phase, *, goal: Phase = Phase.CONTRACTED) -> View:
    return in_waves(an_upgrade(phase, fence=target, goal=goal))


def test_the_way_up_is_published_in_waves_and_the_way_back_is_not() -> None:
    assert planner.decide(fenced(Phase.BACKFILL, Phase.READ_NEW)) == planner.Publish(Phase.READ_NEW, 1)
    back = fenced(Phase.BACKFILL, Phase.EXPANDED, goal=Phase.EXPANDED)
    assert planner.decide(back) == planner.Publish(Phase.EXPANDED)


def test_publishing_remembers_the_phase_before_on_the_way_up_only() -> None:
    up = an_upgrade(Phase.BACKFILL, fence=Phase.READ_NEW)
    assert up.published(NOW, wave=1).telling == Telling(Phase.BACKFILL, PUBLICATION, 1, NOW)
    assert up.published(NOW).telling == Telling(Phase.BACKFILL, PUBLICATION, None, NOW)
    assert an_upgrade(Phase.BACKFILL, fence=Phase.EXPANDED).published(NOW).telling is None


def test_the_last_rung_ends_an_upgrade_when_everybody_was_told_what_it_changes() -> None:
    short = replace(NEW, has_contract=False)
    upgrade = replace(an_upgrade(Phase.READ_NEW, fence=Phase.WRITE_NEW, goal=Phase.WRITE_NEW), profile=short.profile)
    assert planner.decide(in_waves(upgrade)) == planner.Publish(Phase.WRITE_NEW, 1, stays=True)
    assert planner.decide(in_waves(upgrade, waves=EVERYBODY_AT_ONCE)) == planner.Publish(Phase.WRITE_NEW)
    held = in_waves(upgrade, waves=EVERYBODY_AT_ONCE, paused=("worker",))
    assert planner.decide(held) == planner.Publish(Phase.WRITE_NEW, None, stays=True)
    entered = upgrade.published(NOW, wave=1, stays=True)
    assert entered.status is Status.RUNNING
    assert planner.decide(in_waves(entered)) == planner.OpenWave(None, "wave 2 of 2: worker")
    everybody = entered.with_wave(None, NOW)
    assert planner.decide(in_waves(everybody)) == planner.Complete()
    waiting = planner.decide(in_waves(everybody, paused=("worker",)))
    assert isinstance(waiting, planner.Refusal) and [each.code for each in waiting.blockers] == ["fleet_paused"]
    assert everybody.completed(NOW).status is Status.COMPLETED


def test_contracted_changes_nothing_that_anybody_does_so_its_end_is_told_at_once() -> None:
    upgrade = an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED)
    assert planner.decide(in_waves(upgrade, paused=("worker",))) == planner.BeginStep(Phase.CONTRACTED, upgrade.step)
    assert upgrade.published(NOW).status is Status.COMPLETED


# -- the next wave ---------------------------------------------------------------------------------------------------


def test_the_next_wave_follows_when_everybody_who_was_told_has_acked() -> None:
    worker = at_the_phase_before()
    waiting = in_waves(told_in_waves(), an_instance("a1", acked=BEFORE), an_instance("a2"), worker)
    assert [blocker.code for blocker in asked(waiting)] == ["wave_open", "instance_not_acked"]
    first = asked(waiting)[0]
    assert first.sentence == "wave 1 of 2 is told read_new: api; 1 of 2 acked"
    assert first.culprits == ("a1",) and not first.policy
    assert isinstance(planner.decide(waiting), planner.Refusal)
    drained = in_waves(told_in_waves(), an_instance("a1"), an_instance("a2"), worker)
    assert planner.decide(drained) == planner.OpenWave(None, "wave 2 of 2: worker")


def test_the_next_wave_waits_for_the_soak_of_the_one_before() -> None:
    soaking = replace(API_FIRST, soak_seconds=140)
    view = in_waves(told_in_waves(), an_instance("a1"), waves=soaking)
    (blocker,) = asked(view)
    assert blocker.sentence == "wave 1 of 2 is told read_new: api; 1 of 1 acked; 40 s until the next wave"
    assert blocker.policy and "--phase write_new --force waves_open" in blocker.remedy
    later = replace(view, now=NOW + 40)
    assert isinstance(planner.decide(later), planner.OpenWave)


def test_an_operator_may_force_the_soak_of_a_wave_and_not_its_acks() -> None:
    soaking = replace(API_FIRST, soak_seconds=140)
    forced = (an_approval(Phase.WRITE_NEW, forced=("waves_open",)),)
    drained = replace(in_waves(told_in_waves(), an_instance("a1"), waves=soaking), approvals=forced)
    assert isinstance(planner.decide(drained), planner.OpenWave)
    waiting = in_waves(told_in_waves(), an_instance("a1", acked=BEFORE), waves=soaking)
    assert isinstance(planner.decide(replace(waiting, approvals=forced)), planner.Refusal)


def test_a_wave_that_told_nobody_needs_no_time() -> None:
    view = in_waves(told_in_waves(since=NOW), at_the_phase_before(), waves=replace(API_FIRST, soak_seconds=1e6))
    assert isinstance(planner.decide(view), planner.OpenWave)


def test_the_first_wave_waits_for_its_canary() -> None:
    waves = replace(API_FIRST, canary=Canary(1))
    fleet = tuple(an_instance(f"a{number}", acked=BEFORE) for number in range(4))
    view = in_waves(told_in_waves(wave=CANARY), *fleet, waves=waves)
    (first, second) = asked(view)
    assert first.sentence == "the canary is told read_new: 1 instance of api; 0 of 1 acked"
    assert second.code == "instance_not_acked" and second.culprits == first.culprits
    chosen = teller(view)
    acked = tuple(replace(each, acked=PUBLICATION) if chosen(each) else each for each in fleet)
    assert planner.decide(replace(view, instances=acked)) == planner.OpenWave(1, "wave 1 of 2: api")


def test_no_wave_follows_while_the_upgrade_is_paused() -> None:
    assert isinstance(planner.decide(in_waves(told_in_waves(paused="lunch"))), planner.Refusal)


def test_waves_go_on_where_the_upgrade_was_sent_to() -> None:
    resting = in_waves(told_in_waves(goal=Phase.READ_NEW), an_instance("a1"))
    assert isinstance(planner.decide(resting), planner.OpenWave)
    waiting = planner.decide(in_waves(told_in_waves(goal=Phase.READ_NEW), an_instance("a1", acked=BEFORE)))
    assert isinstance(waiting, planner.Refusal) and waiting.blockers[0].code == "wave_open"
    told = in_waves(told_in_waves(goal=Phase.READ_NEW, wave=None), at_the_phase_before(), paused=("worker",))
    assert isinstance(planner.decide(told), planner.Idle)


def test_no_move_up_begins_before_the_last_wave_is_open() -> None:
    """Also where those who were not told yet would not be missed by any other guard."""
    (blocker,) = GUARDS["waves_open"](in_waves(told_in_waves()), Phase.WRITE_NEW)
    assert blocker.code == "wave_open"
    assert asked(in_waves(told_in_waves(wave=None))) == ()


def test_a_paused_fleet_holds_the_next_move_and_says_what_to_type() -> None:
    view = in_waves(told_in_waves(wave=None), an_instance("a1"), at_the_phase_before(), paused=("worker",))
    (blocker,) = asked(view)
    assert (blocker.code, blocker.culprits) == ("fleet_paused", ("worker",))
    assert blocker.sentence == "fleet worker is paused and stays at backfill: a bad disk"
    assert blocker.remedy == "orchestrator fleet resume inventory worker"
    resumed = replace(view, pauses=())
    assert [blocker.code for blocker in asked(resumed)] == ["instance_not_acked"]


# -- going back ------------------------------------------------------------------------------------------------------


def test_going_back_does_not_wait_for_those_who_were_never_told() -> None:
    upgrade = told_in_waves(goal=Phase.EXPANDED)
    view = in_waves(upgrade, an_instance("a1"), at_the_phase_before(), paused=("worker",))
    assert planner.decide(view) == planner.SetFence(Phase.BACKFILL)
    not_acked = in_waves(upgrade, an_instance("a1", acked=BEFORE), at_the_phase_before())
    assert [blocker.code for blocker in asked(not_acked, Phase.BACKFILL)] == ["instance_not_acked"]


def test_who_was_not_told_has_drained_into_the_phase_before() -> None:
    """Unless what was acked does not count any more."""
    view = in_waves(told_in_waves(goal=Phase.EXPANDED), replace(at_the_phase_before(), acked=3))
    assert [blocker.code for blocker in asked(view, Phase.BACKFILL)] == ["instance_not_acked"]


# -- any view --------------------------------------------------------------------------------------------------------


@st.composite
def views_in_waves(draw: st.DrawFn) -> View:
    """Any upgrade at rest that is told in waves."""
    phase = draw(st.sampled_from(LADDER[1:-1]))
    upgrade = told_in_waves(
        phase, wave=draw(st.sampled_from([CANARY, 1, None])), since=NOW - draw(st.sampled_from([0, 1000])),
        goal=draw(st.sampled_from(LADDER)), paused=draw(st.sampled_from([None, None, "lunch"])),
    )  # fmt: skip
    instances = tuple(
        replace(
            an_instance(
                f"i{number}", draw(st.sampled_from(["1", "2", "2"])), fleet=draw(st.sampled_from(["api", "worker"])),
                acked=draw(st.sampled_from([PUBLICATION, BEFORE])),
                expires_at=draw(st.sampled_from([NOW + 50, NOW - 50])),
            ),
            told=draw(st.sampled_from([0, BEFORE, PUBLICATION])),
        )
        for number in range(draw(st.integers(0, 4)))
    )  # fmt: skip
    waves = replace(API_FIRST, canary=draw(st.sampled_from([None, Canary(1)])), soak_seconds=60.0)
    return in_waves(upgrade, *instances, waves=waves, paused=draw(st.sampled_from([(), ("worker",), ("api",)])))


@settings(max_examples=100)
@given(views_in_waves())
def test_no_move_up_leaves_anybody_two_phases_behind(view: View) -> None:
    decision = planner.decide(view)
    if isinstance(decision, planner.SetFence) and decision.target > view.upgrade.phase:
        assert all(instance.acked == view.upgrade.publication for instance in view.instances)


@settings(max_examples=100)
@given(views_in_waves())
def test_who_is_not_told_supports_the_phase_before(view: View) -> None:
    telling, chosen = view.upgrade.telling, teller(view)
    assert telling is not None
    for instance in view.instances:
        side = view.upgrade.side_of(instance.release)
        assert side is not None
        assert chosen(instance) or telling.phase_before in view.upgrade.profile.support(side)


@settings(max_examples=100)
@given(views_in_waves())
def test_expiry_opens_no_wave(view: View) -> None:
    renewed = replace(view, instances=tuple(replace(each, expires_at=NOW + 99) for each in view.instances))
    assert type(planner.decide(view)) is type(planner.decide(renewed))


@settings(max_examples=100)
@given(views_in_waves())
def test_every_wait_for_a_wave_is_explained(view: View) -> None:
    decision = planner.decide(view)
    if isinstance(decision, planner.Refusal):
        assert decision.blockers and all(blocker.sentence and blocker.remedy for blocker in decision.blockers)


def test_triggers_keep_the_old_release_in_the_phase_before() -> None:
    """It knows nothing of phases; the new one cannot live below read_new and is told at once."""
    by_triggers = replace(NEW, in_step_by=InStepBy.TRIGGERS)
    upgrade = replace(told_in_waves(), profile=by_triggers.profile)
    assert tells(upgrade, Hearer("worker", "2"))
    assert not tells(upgrade, Hearer("worker", "1", BEFORE))
