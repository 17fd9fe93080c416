"""Which copy in a managed database bears out what an instance says that it was told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.admission import Admitted, Stance, Standing
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.losses import Follows, bears_out, says_more
from orchestrator.domain.upgrades import Upgrade, begin
from orchestrator.domain.view import Copy, DatabaseFacts
from tests.fakes import three_releases

RELEASES = three_releases()
STANCE = Stance(7, 12, Phase.BACKFILL, Behaviour.A1)
COPY = Copy(7, Phase.READ_NEW, Phase.READ_NEW, 16, "x", (Admitted("2", STANCE, True),))
FACTS = DatabaseFacts("one", copy=COPY)


def standing(revision: int | None, publication: int = 0) -> Standing:
    """Of a state that knows so much of upgrade 7; with None it is at rest, and knows nothing of it."""
    upgrade: Upgrade | None = None
    if revision is not None:
        profile = RELEASES["2"].profile
        found = begin(
            schema="inventory", from_release="1", to_release="2", profile=profile, after_revision=0, now=1.0
        )  # fmt: skip
        upgrade = replace(found, id=7, revision=revision, publication=publication or revision, phase=Phase.EXPANDED)
    return Standing("inventory", "1", upgrade, RELEASES)


@pytest.mark.parametrize("revision", [None, 3, 16, 20])
def test_what_the_copy_tells_itself_is_borne_out(revision: int | None) -> None:
    assert bears_out([FACTS], standing(revision), Follows(7, 12, Phase.BACKFILL))


@pytest.mark.parametrize("told", [(8, 12, Phase.BACKFILL), (7, 13, Phase.BACKFILL), (7, 12, Phase.SEALED)])
def test_it_tells_nothing_else(told: tuple[int, int, Phase]) -> None:
    assert not bears_out([FACTS], standing(3), Follows(*told))


@pytest.mark.parametrize("publication", [4, 15, 16])
@pytest.mark.parametrize("revision", [None, 3, 15])
def test_a_copy_that_is_ahead_of_the_state_bears_out_its_phase(revision: int | None, publication: int) -> None:
    assert bears_out([FACTS], standing(revision), Follows(7, publication, Phase.READ_NEW))


@pytest.mark.parametrize("publication", [17, 2**62])
def test_it_bears_out_no_later_publication(publication: int) -> None:
    assert not bears_out([FACTS], standing(3), Follows(7, publication, Phase.READ_NEW))


@pytest.mark.parametrize("revision", [16, 17])
def test_a_copy_that_knows_no_more_than_the_state_lets_nobody_freeze_it(revision: int) -> None:
    known, claim = standing(revision, publication=12), Follows(7, 14, Phase.READ_NEW)
    assert says_more(known, claim)
    assert not bears_out([FACTS], known, claim)


def test_what_cannot_be_read_bears_nothing_out() -> None:
    for facts in (replace(FACTS, error="down"), replace(FACTS, copy=None)):
        assert not bears_out([facts], standing(3), Follows(7, 12, Phase.BACKFILL))


def test_who_is_behind_says_no_more() -> None:
    assert not says_more(standing(10), Follows(7, 10, Phase.EXPANDED))
    assert not says_more(standing(10), Follows(7, 9, Phase.SEALED))
    assert not says_more(standing(10), Follows(8, 99, Phase.SEALED)), "of another upgrade nothing is taken over"
    assert says_more(standing(10), Follows(7, 10, Phase.SEALED)), "the number was given again"
    assert says_more(standing(10), Follows(7, 11, Phase.EXPANDED))
    assert says_more(standing(None), Follows(7, 1, Phase.EXPANDED))
