"""An upgrade changes by its transitions only, and each of them is a new revision."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import InStepBy, Phase, Profile, Side, Stage, Step
from orchestrator.domain.upgrades import Move, Status, Upgrade, begin, check_way_back
from tests.domain.views import NOW, REVISION, an_upgrade

PROFILE = Profile(InStepBy.CLIENT, has_data_migrations=True, has_contract=True)


def begun() -> Upgrade:
    return begin(schema="inventory", from_release="1", to_release="2", profile=PROFILE, after_revision=7, now=NOW)


def test_an_upgrade_begins_at_base_after_every_earlier_revision() -> None:
    upgrade = begun()
    assert (upgrade.phase, upgrade.fence, upgrade.goal) == (Phase.BASE, Phase.BASE, Phase.CONTRACTED)
    assert (upgrade.revision, upgrade.publication) == (8, 8)
    assert upgrade.move is Move.RESTING
    assert upgrade.status is Status.RUNNING


@pytest.mark.parametrize(
    "changed",
    [
        an_upgrade().with_fence(Phase.EXPANDED),
        an_upgrade(fence=Phase.EXPANDED).without_fence(),
        an_upgrade(fence=Phase.EXPANDED).with_step_begun(),
        an_upgrade(fence=Phase.EXPANDED).published(NOW),
        an_upgrade().ended_at_base(NOW),
        an_upgrade().with_goal(Phase.BASE),
        an_upgrade().with_pause("lunch"),
    ],
)
def test_every_transition_is_a_new_revision(changed: Upgrade) -> None:
    assert changed.revision == REVISION + 1


def test_only_a_publication_is_one() -> None:
    fenced = begun().with_fence(Phase.EXPANDED).with_step_begun()
    assert fenced.publication == begun().publication
    published = fenced.published(NOW)
    assert published.publication == published.revision
    assert (published.phase, published.fence, published.move) == (Phase.EXPANDED, Phase.EXPANDED, Move.RESTING)
    assert published.phase_since == NOW


@pytest.mark.parametrize("phase", list(Phase))
def test_the_old_shape_is_valid_until_write_new_and_never_again(phase: Phase) -> None:
    entered = an_upgrade(Phase.BASE, fence=phase, old_valid=True).published(NOW)
    assert entered.old_valid == (phase < Phase.WRITE_NEW)
    back = an_upgrade(Phase.WRITE_NEW, fence=Phase.READ_NEW, old_valid=False).published(NOW)
    assert not back.old_valid


def test_the_last_rung_completes_the_upgrade() -> None:
    done = an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED).published(NOW)
    assert (done.status, done.ended_at) == (Status.COMPLETED, NOW)


def test_base_ends_a_cancelled_upgrade_and_no_other() -> None:
    back = an_upgrade(Phase.EXPANDED, fence=Phase.BASE, goal=Phase.BASE)
    assert back.published(NOW).status is Status.RUNNING
    assert back.with_goal(Phase.BASE, cancelling=True).published(NOW).status is Status.CANCELLED


@pytest.mark.parametrize(
    ("upgrade", "past"),
    [
        (an_upgrade(Phase.WRITE_NEW), False),
        (an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED), False),
        (an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED, move=Move.STEPPING), True),
        (an_upgrade(Phase.CONTRACTED), True),
    ],
)
def test_the_intent_of_contracted_is_the_point_of_no_return(upgrade: Upgrade, past: bool) -> None:
    assert upgrade.is_past_return is past


@pytest.mark.parametrize("phase", list(Phase))
def test_a_doubt_stands_until_a_phase_below_backfill_is_published(phase: Phase) -> None:
    doubtful = an_upgrade(Phase.BACKFILL, fence=phase).with_doubt("an old process ran")
    assert (doubtful.published(NOW).doubt is None) == (phase < Phase.BACKFILL)


@pytest.mark.parametrize("release", ["0", "1", "2"])
@pytest.mark.parametrize("phase", list(Phase))
def test_rows_are_doubtful_once_anything_but_the_new_release_ran_beside_their_proof(phase: Phase, release: str) -> None:
    is_harmful = release != "2" and phase in (Phase.BACKFILL, Phase.READ_NEW)
    assert an_upgrade(phase).is_harmed_by(release) is is_harmful


def test_only_the_way_up_has_a_step() -> None:
    assert an_upgrade(Phase.BASE, fence=Phase.EXPANDED).step is Step.EXPAND
    assert an_upgrade(Phase.BACKFILL, fence=Phase.EXPANDED).step is Step.NONE
    assert an_upgrade(Phase.EXPANDED).step is Step.NONE
    assert an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED).step is Step.CONTRACT


def test_a_release_is_on_one_side_or_on_none() -> None:
    assert [an_upgrade().side_of(name) for name in ("0", "1", "2", "3")] == [None, Side.OLD, Side.NEW, None]


@pytest.mark.parametrize(
    ("phase", "stage"), [(Phase.BASE, Stage.NONE), (Phase.READ_NEW, Stage.MIGRATE), (Phase.CONTRACTED, Stage.CONTRACT)]
)
def test_operators_see_stages(phase: Phase, stage: Stage) -> None:
    assert an_upgrade(phase).stage is stage


@pytest.mark.parametrize(
    ("upgrade", "to"),
    [
        (an_upgrade(Phase.EXPANDED), Phase.BASE),
        (an_upgrade(Phase.READ_NEW), Phase.BASE),
        (an_upgrade(Phase.WRITE_NEW), Phase.READ_NEW),
        (an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED), Phase.READ_NEW),
    ],
)
def test_ways_back_that_lead_somewhere(upgrade: Upgrade, to: Phase) -> None:
    check_way_back(upgrade, to)


@pytest.mark.parametrize(
    ("upgrade", "to", "code"),
    [
        (an_upgrade(Phase.WRITE_NEW), Phase.BACKFILL, "old_shape_stale"),
        (an_upgrade(Phase.WRITE_NEW), Phase.BASE, "old_shape_stale"),
        (an_upgrade(Phase.READ_NEW, old_valid=False), Phase.BASE, "old_shape_stale"),
        (an_upgrade(Phase.WRITE_NEW, fence=Phase.CONTRACTED, move=Move.STEPPING), Phase.READ_NEW, "no_way_back"),
        (an_upgrade(Phase.CONTRACTED), Phase.BASE, "no_way_back"),
    ],
)
def test_ways_back_that_lead_nowhere_are_refused(upgrade: Upgrade, to: Phase, code: str) -> None:
    with pytest.raises(Conflict) as refusal:
        check_way_back(upgrade, to)
    assert refusal.value.code == code
    assert refusal.value.remedy


@pytest.mark.parametrize("phase", [Phase.WRITE_NEW, Phase.CONTRACTED])
def test_nobody_who_slept_through_a_loss_leads_back_from_the_removal(phase: Phase) -> None:
    moving = Move.STEPPING if phase is Phase.WRITE_NEW else Move.RESTING
    removing = an_upgrade(phase, fence=Phase.CONTRACTED, move=moving)
    heard = removing.with_lost_commits("", now=NOW, until=NOW, revision=REVISION, phase=Phase.READ_NEW)
    assert heard.phase is phase
    assert heard.is_past_return
    finished = removing.with_lost_commits("", now=NOW, until=NOW, revision=REVISION + 9, phase=Phase.CONTRACTED)
    assert (finished.phase, finished.move) == (Phase.CONTRACTED, Move.RESTING)
