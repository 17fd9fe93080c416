"""When rows may be moved: openings from windows that overlap, what fits into them, when so much work is done."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.pacing import LOCK_TIMEOUT_SECONDS
from orchestrator.domain.windows import (
    ALWAYS,
    FURTHEST_SECONDS,
    MOST_OPENINGS,
    Opening,
    Windows,
    batch_needs_seconds,
    eta_seconds,
    reasons_to_wait,
)
from tests.windows import Every


def first(windows: Windows, number: int, since: float = 0.0) -> list[tuple[float, float]]:
    return [(each.opens_at, each.closes_at) for each in islice(windows.openings(since), number)]


def test_the_present_opening_comes_before_the_next() -> None:
    windows = Windows((Every(100, 10),))
    assert windows.opening(9.9) == Opening(0, 10)
    assert windows.opening(10) == Opening(100, 110)
    assert windows.opening(100) == Opening(100, 110)


def test_it_is_open_from_its_first_moment_and_before_its_last() -> None:
    assert [Opening(10, 20).holds(now) for now in (9.9, 10, 19.9, 20)] == [False, True, True, False]


def test_windows_that_overlap_or_adjoin_are_one_opening() -> None:
    assert first(Windows((Every(100, 10), Every(100, 10, first=5))), 2) == [(0, 15), (100, 115)]
    assert first(Windows((Every(100, 10), Every(100, 10, first=10))), 2) == [(0, 20), (100, 120)]
    assert first(Windows((Every(100, 30), Every(100, 10, first=5))), 2) == [(0, 30), (100, 130)]
    assert first(Windows((Every(100, 10), Every(100, 10, first=11))), 3) == [(0, 10), (11, 21), (100, 110)]


def test_whoever_looks_for_the_end_of_windows_without_a_gap_comes_to_one() -> None:
    """As of one that opens every minute for an hour. Others that it is beside are looked at no further."""
    always = Windows((Every(60, 3600), Every(86_400, 7200)))
    (opening,) = always.openings(0)
    assert opening.opens_at == 0
    assert opening.seconds > (MOST_OPENINGS - 100) * 60
    assert always.after(0, 3 * 86_400) == 3 * 86_400
    assert always.after(0, 4 * 86_400) is None


@pytest.mark.parametrize(
    ("now", "work_seconds", "done"),
    [
        (0, 10, 10), (0, 10.5, 100.5), (4, 6, 10), (4, 7, 101), (10, 1, 101), (50, 10, 110), (50, 25, 305), (50, 0, 50),
    ],
)  # fmt: skip
def test_work_goes_on_only_while_it_is_open(now: float, work_seconds: float, done: float) -> None:
    assert Windows((Every(100, 10),)).after(now, work_seconds) == done


def test_without_windows_it_is_always_open() -> None:
    assert ALWAYS.opening(5) is None
    assert ALWAYS.after(5, 10) == 15


def test_what_is_further_away_than_a_year_is_not_told() -> None:
    yearly = Windows((Every(FURTHEST_SECONDS, 10, first=100),))
    assert yearly.after(0, 10) == 110
    assert yearly.after(0, 11) is None
    assert Windows((Every(1000, 1),)).after(0, 10_000) is None  # its openings are counted no further


@given(
    st.lists(st.tuples(st.integers(10, 60), st.integers(1, 70), st.integers(0, 50)), min_size=1, max_size=3),
    st.integers(0, 100),
    st.integers(1, 30),
)
def test_openings_are_what_the_windows_hold_second_by_second(
    given_windows: list[tuple[int, int, int]], now: int, work_seconds: int
) -> None:
    windows = Windows(tuple(Every(*each) for each in given_windows))

    def is_open(second: int) -> bool:
        return any(
            found.opens_at <= second < found.closes_at
            for window in windows.each
            for found in islice(window.openings(second), 3)
        )

    opening = windows.opening(now)
    assert opening is not None
    assert opening.holds(now) is is_open(now)
    left, second = work_seconds, now
    while left:
        left -= is_open(second)
        second += 1
    assert windows.after(now, work_seconds) == second


NIGHT = Windows((Every(1000, 100),))


def said(now: float, needs_seconds: float) -> list[str]:
    opening = NIGHT.opening(now)
    assert opening is not None
    return [reason.sentence for reason in reasons_to_wait(NIGHT, opening, now, needs_seconds)]


def test_a_batch_begins_only_where_it_has_time_to_end() -> None:
    assert said(0, 100) == []
    assert said(97.5, 2.5) == []
    assert said(97.6, 2.5) == [
        "its maintenance window closes in 2.4 s, too soon for another batch, which may take 2.5 s"
    ]
    assert said(100, 2.5) == ["outside its maintenance windows; the next opens second 1000"]


def test_a_window_that_is_too_short_for_any_batch_is_called_so() -> None:
    (sentence,) = said(0, 150)
    assert sentence == "its maintenance window is open for 100 s and no batch fits in it: one may take 2 min"


def test_reasons_of_another_kind_are_news() -> None:
    opening = Opening(0, 100)
    closed, closing = (reasons_to_wait(NIGHT, opening, now, 10)[0] for now in (100, 99))
    assert closed.mark != closing.mark
    assert not closed.is_unreadable


def test_a_batch_is_reckoned_with_a_margin_and_the_wait_for_its_locks() -> None:
    assert batch_needs_seconds(0.2) == 0.4 + LOCK_TIMEOUT_SECONDS
    assert batch_needs_seconds(0.2, 0.1) == batch_needs_seconds(0.2)
    assert batch_needs_seconds(0.2, 30) == 60 + LOCK_TIMEOUT_SECONDS


def test_the_eta_is_that_of_the_database_that_is_done_last() -> None:
    assert eta_seconds([ALWAYS, NIGHT], 50, 60) == 960
    assert eta_seconds([ALWAYS], 50, 60) == 60
    assert eta_seconds([], 50, 60) == 60
    assert eta_seconds([NIGHT], 50, None) is None
    assert eta_seconds([ALWAYS, Windows((Every(1000, 1),))], 50, 10_000) is None
