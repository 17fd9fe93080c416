"""Who may start: an instance that supports both the phase and the fence. Readiness and gates get the same answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from orchestrator.domain.admission import Standing, Verdict, admit, may_join, stance
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.upgrades import Upgrade
from tests.domain.views import NEW, PUBLICATION, RELEASES, an_upgrade

LADDER = NEW.profile.phases()
READY, NOT_YET, NEVER = Verdict


def standing(upgrade: Upgrade | None = None, *, release: str | None = "1", last_revision: int = 0) -> Standing:
    """Where inventory stands."""
    return Standing("inventory", release, upgrade, RELEASES, last_revision)


@pytest.mark.parametrize(
    ("at", "release", "verdict", "code"),
    [
        ("1", "1", READY, "ready"),
        ("1", "2", NOT_YET, "upgrade_not_begun"),
        ("1", "3", NEVER, "release_too_new"),
        ("2", "1", NEVER, "release_too_old"),
        ("3", "1", NEVER, "release_too_old"),
        ("2", "2", READY, "ready"),
        ("1", "7", NEVER, "release_unknown"),
        (None, "1", NOT_YET, "schema_uninitialised"),
    ],
)
def test_at_rest_only_the_schemas_own_release_starts(at: str | None, release: str, verdict: Verdict, code: str) -> None:
    answer = admit(standing(release=at), release)
    assert (answer.verdict, answer.code) == (verdict, code)
    assert answer.sentence
    assert answer.remedy or verdict is READY


def test_old_code_does_not_start_while_the_old_shape_is_gone() -> None:
    gone = replace(standing(an_upgrade(Phase.EXPANDED)), removed="somebody contracted it by hand")
    assert (admit(gone, "1").verdict, admit(gone, "1").code) == (NOT_YET, "old_shape_gone")
    assert "contracted it by hand" in admit(gone, "1").sentence
    assert admit(gone, "2").verdict is READY
    assert not may_join(gone, "1")


def in_reach(phase: Phase) -> list[Phase]:
    """The fences that can stand at a phase."""
    at = LADDER.index(phase)
    return list(LADDER[max(0, at - 1) : at + 2])


MOMENTS = [(phase, fence) for phase in LADDER for fence in in_reach(phase)]


@pytest.mark.parametrize(("phase", "fence"), MOMENTS)
def test_old_code_starts_up_to_expanded_and_before_the_fence_of_backfill(phase: Phase, fence: Phase) -> None:
    answer = admit(standing(an_upgrade(phase, fence=fence)), "1")
    if phase > Phase.EXPANDED:
        assert (answer.verdict, answer.code) == (NEVER, "release_too_old")
        assert answer.remedy == "Start release 2."
    elif fence > Phase.EXPANDED:
        assert (answer.verdict, answer.code) == (NOT_YET, "fenced")
        assert "release 2" in answer.remedy
    else:
        assert answer.verdict is READY


@pytest.mark.parametrize(("phase", "fence"), MOMENTS)
def test_new_code_starts_from_expanded_on_unless_base_is_fenced(phase: Phase, fence: Phase) -> None:
    answer = admit(standing(an_upgrade(phase, fence=fence)), "2")
    if phase is Phase.BASE:
        assert (answer.verdict, answer.code) == (NOT_YET, "phase_not_reached")
    elif fence is Phase.BASE:
        assert (answer.verdict, answer.code) == (NOT_YET, "fenced")
        assert "release 1" in answer.remedy
    else:
        assert answer.verdict is READY


@pytest.mark.parametrize(("moment", "release"), list(product(MOMENTS, ("1", "2"))))
def test_an_admitted_instance_supports_the_phase_and_the_fence(moment: tuple[Phase, Phase], release: str) -> None:
    upgrade = an_upgrade(moment[0], fence=moment[1])
    side = upgrade.side_of(release)
    assert side is not None
    support = upgrade.profile.support(side)
    assert may_join(standing(upgrade), release) == (moment[0] in support and moment[1] in support)


@pytest.mark.parametrize("moment", MOMENTS)
def test_somebody_may_start_at_every_moment(moment: tuple[Phase, Phase]) -> None:
    """A fence never shuts everybody out: the new release takes over where the old one may not start any more."""
    found = standing(an_upgrade(moment[0], fence=moment[1]))
    assert may_join(found, "1") or may_join(found, "2")


@pytest.mark.parametrize(("release", "code"), [("3", "release_too_new"), ("0", "release_too_old")])
def test_releases_that_an_upgrade_does_not_touch_never_start(release: str, code: str) -> None:
    releases = Releases("inventory", (Release("0"), *RELEASES.ordered))
    answer = admit(Standing("inventory", "1", an_upgrade(Phase.EXPANDED), releases), release)
    assert (answer.verdict, answer.code) == (NEVER, code)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.EXPANDED, "reads old, writes both"),
        (Phase.BACKFILL, "reads old, writes both"),
        (Phase.READ_NEW, "reads new, writes both"),
        (Phase.WRITE_NEW, "reads new, writes new"),
        (Phase.CONTRACTED, "reads new, writes new"),
    ],
)
def test_new_code_is_told_what_to_do_in_each_phase(phase: Phase, words: str) -> None:
    told = stance(standing(an_upgrade(phase)), "2")
    assert told.behaviour.words == words
    assert (told.upgrade_id, told.publication, told.phase) == (3, PUBLICATION, phase)


def test_old_code_is_told_that_its_own_change_is_over() -> None:
    assert stance(standing(an_upgrade(Phase.EXPANDED)), "1").behaviour.words == "reads new, writes new"


def test_a_service_that_vouches_for_itself_has_no_behaviour_to_switch_to_read_new() -> None:
    service = Release("2", data_migrations=("m",), in_step_by=InStepBy.SERVICE, has_contract=True)
    assert Phase.READ_NEW not in an_upgrade(release=service).profile.phases()


def test_publications_do_not_fall_when_an_upgrade_ends() -> None:
    """Otherwise an instance would take the end for a state database that lost its last commits."""
    told = stance(standing(release="2", last_revision=41), "2")
    assert told.upgrade_id is None
    assert told.publication == 41


def test_nobody_is_admitted_by_a_state_database_that_took_over_and_may_have_lost_a_fence() -> None:
    upgrade = replace(an_upgrade(Phase.EXPANDED), incarnation="first")
    assert may_join(replace(standing(upgrade), incarnation="first"), "1")
    assert may_join(standing(upgrade), "1"), "it cannot be told"
    answer = admit(replace(standing(upgrade), incarnation="promoted"), "1")
    assert (answer.verdict, answer.code) == (NOT_YET, "frozen")
    noticed = upgrade.with_lost_commits("it failed over", now=0.0, until=70.0, revision=0, incarnation="promoted")
    noticed = noticed.thawed()
    assert may_join(replace(standing(noticed), incarnation="promoted"), "1")
