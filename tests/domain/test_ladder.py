"""The ladder keeps neighbours neighbours, on the way up and on the way back, for every kind of upgrade."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from orchestrator.domain.errors import Invalid
from orchestrator.domain.guards import GUARDS
from orchestrator.domain.ladder import (
    EVERY_MOVE,
    POINT_OF_NO_RETURN,
    RUNG_OF,
    RUNGS,
    Behaviour,
    InStepBy,
    Phase,
    Profile,
    Side,
    Step,
)

B, E, BF, RN, WN, S, C = Phase
PROFILES = [
    Profile(in_step_by, has_data_migrations=data, has_contract=contract, seals=seals)
    for in_step_by, data, contract, seals in product(InStepBy, (False, True), (False, True), (False, True))
]
SWITCHING = [profile for profile in PROFILES if profile.in_step_by is InStepBy.CLIENT]


@pytest.mark.parametrize(
    ("in_step_by", "data", "contract", "seals", "phases"),
    [
        ("client", True, True, True, (B, E, BF, RN, WN, S, C)),
        ("client", True, True, False, (B, E, BF, RN, WN, C)),
        ("client", True, False, False, (B, E, BF, RN, WN)),
        ("client", False, True, False, (B, E, BF, RN, WN, C)),
        ("client", False, False, False, (B, E, BF, RN, WN)),
        ("service", True, True, False, (B, E, BF, WN, C)),
        ("service", True, False, False, (B, E, BF, WN)),
        ("service", False, True, False, (B, E, WN, C)),
        ("service", False, False, False, (B, E, WN)),
        ("service", False, False, True, (B, E, WN)),
    ],
)
def test_an_upgrade_has_the_rungs_that_it_needs(
    in_step_by: str, data: bool, contract: bool, seals: bool, phases: tuple[Phase, ...]
) -> None:
    profile = Profile(InStepBy(in_step_by), has_data_migrations=data, has_contract=contract, seals=seals)
    assert profile.phases() == phases
    assert profile.last() is phases[-1]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_phases_only_go_up_from_base(profile: Profile) -> None:
    phases = profile.phases()
    assert phases[0] is Phase.BASE
    assert all(lower < higher for lower, higher in pairwise(phases))


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_a_move_goes_one_rung_and_stops_at_its_goal(profile: Profile) -> None:
    phases = profile.phases()
    for here, goal in product(phases, repeat=2):
        target = profile.neighbour(here, goal)
        if here is goal:
            assert target is None
        else:
            assert target is phases[phases.index(here) + (1 if goal > here else -1)]


@pytest.mark.parametrize("profile", SWITCHING, ids=str)
def test_one_move_changes_what_code_does_by_one_behaviour(profile: Profile) -> None:
    """While a publication travels, some new instances follow it and some the one before."""
    live = [phase for phase in profile.phases() if phase in profile.support(Side.NEW)]
    for lower, higher in pairwise(live):
        assert abs(profile.behaviour(Side.NEW, lower) - profile.behaviour(Side.NEW, higher)) <= 1


@pytest.mark.parametrize("profile", SWITCHING, ids=str)
def test_old_code_never_meets_new_code_two_behaviours_apart(profile: Profile) -> None:
    """Wherever old code may start, new code has at least left every behaviour that is two away, on both ways."""
    phases = profile.phases()
    for here in (phase for phase in phases if phase in profile.support(Side.OLD)):
        at = phases.index(here)
        for left in phases[max(0, at - 1) : at + 2]:
            if left in profile.support(Side.NEW):
                assert profile.behaviour(Side.NEW, left) - profile.behaviour(Side.OLD, here) <= 1


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_somebody_can_live_on_every_rung(profile: Profile) -> None:
    for phase in profile.phases():
        assert phase in profile.support(Side.OLD) or phase in profile.support(Side.NEW)


def test_every_phase_has_one_rung_with_a_reason() -> None:
    assert [rung.phase for rung in RUNGS] == list(Phase)
    assert all(rung.why.endswith(".") for rung in RUNGS)


def test_every_guard_that_the_ladder_names_exists_and_none_is_forgotten() -> None:
    named = {*EVERY_MOVE}.union(*(rung.up for rung in RUNGS), *(rung.down or () for rung in RUNGS))
    assert named == set(GUARDS)


def test_only_the_last_rung_is_never_entered_from_above() -> None:
    assert [rung.phase for rung in RUNGS if rung.down is None] == [POINT_OF_NO_RETURN]


def test_steps_are_where_the_schema_changes() -> None:
    assert {phase: rung.step for phase, rung in RUNG_OF.items() if rung.step is not Step.NONE} == {
        Phase.EXPANDED: Step.EXPAND,
        Phase.SEALED: Step.SEAL,
        Phase.CONTRACTED: Step.CONTRACT,
    }
    assert {phase for phase, rung in RUNG_OF.items() if rung.step_down is Step.UNSEAL} == {
        Phase.WRITE_NEW, Phase.READ_NEW,
    }  # fmt: skip


def test_reading_the_new_shape_needs_the_proof_on_every_ladder_with_data() -> None:
    for profile in PROFILES:
        if profile.has_data_migrations and profile.in_step_by is not InStepBy.TRIGGERS:
            phases = profile.phases()
            after_backfill = phases[phases.index(Phase.BACKFILL) + 1]
            assert "data_migrated" in RUNG_OF[after_backfill].up


@pytest.mark.parametrize("phase", list(Phase))
def test_words_lead_back_to_the_phase(phase: Phase) -> None:
    assert Phase.from_word(phase.word) is phase


def test_an_unknown_word_is_answered_with_those_that_exist() -> None:
    with pytest.raises(Invalid) as refusal:
        Phase.from_word("backfil")
    assert refusal.value.code == "phase_unknown"
    assert "backfill, read_new" in refusal.value.remedy


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Behaviour.A0, "reads old, writes old"),
        (Behaviour.A1, "reads old, writes both"),
        (Behaviour.A2, "reads new, writes both"),
        (Behaviour.A3, "reads new, writes new"),
    ],
)
def test_behaviours_are_told_in_words(behaviour: Behaviour, words: str) -> None:
    assert behaviour.words == words
