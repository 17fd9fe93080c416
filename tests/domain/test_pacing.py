"""Batches hold their locks for as long as they may and no longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.overlay import Overlay, Setting
from orchestrator.domain.pacing import (
    FIRST_ROWS,
    LONGEST_REST_SECONDS,
    BatchSizes,
    known_total,
    rest_seconds,
)

counts = st.integers(0, 10**9)


@given(st.none() | counts, counts)
def test_no_more_rows_are_done_than_there_are(counted: int | None, done: int) -> None:
    total = known_total(counted, done)
    assert (total is None) == (counted is None)
    assert total is None or (total >= done and total in (counted, done))


TARGET = 0.2
SIZES = BatchSizes(10, 20_000, TARGET)
bounds = st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)).map(sorted)
seconds = st.floats(0, 1e6)


@given(bounds, st.floats(0.001, 60), st.none() | st.integers(1, 10**9), st.lists(seconds, max_size=20))
def test_batch_never_leaves_its_bounds(between: list[int], target: float, rows: int | None, times: list[float]) -> None:
    least, most = between
    sizes = BatchSizes(least, most, target)
    size = sizes.within(rows)
    assert least <= size <= most
    for took in times:
        following = sizes.after(size, took)
        assert least <= following <= most
        assert following <= 2 * size
        assert took <= target or following == least or following < size
        size = following


@given(st.integers(1, 10**6), st.lists(seconds, max_size=5))
def test_fixed_size_stays_as_it_is(rows: int, times: list[float]) -> None:
    sizes = BatchSizes.fixed(rows)
    assert sizes.within(None) == rows
    assert all(sizes.after(rows, took) == rows for took in times)


def settled(per_row: float, constant: float = 0.0, rows: int | None = None, batches: int = 300) -> int:
    """The size that batches come to where they cost so much, and that they stay at."""
    size = SIZES.within(rows)
    for _ in range(batches):
        size = SIZES.after(size, constant + per_row * size)
    assert SIZES.after(size, constant + per_row * size) == size
    return size


costs = st.floats(1e-7, 0.05)


@given(costs)
def test_batches_come_to_take_most_of_their_time_where_each_row_costs_the_same(per_row: float) -> None:
    size = settled(per_row)
    assert size * per_row <= TARGET or size == SIZES.least
    assert (size + 1) * per_row >= 0.7 * TARGET or size == SIZES.most or size < 20


@given(costs, st.floats(0, 0.6 * TARGET))
def test_batches_come_to_take_most_of_their_time_where_each_costs_something_too(per_row: float, each: float) -> None:
    size = settled(per_row, each)
    assert each + size * per_row <= TARGET or size == SIZES.least
    assert each + size * per_row >= 0.6 * TARGET or size == SIZES.most or size < 20


@given(st.floats(1e-6, 1e-4), st.floats(2, 1000))
def test_batches_give_way_at_once_where_rows_become_slower(per_row: float, slower: float) -> None:
    size = settled(per_row)
    took = size * per_row * slower
    following = SIZES.after(size, took)
    if took > TARGET:
        assert following * per_row * slower <= 0.75 * TARGET or following == SIZES.least
    assert settled(per_row * slower, rows=size) == pytest.approx(settled(per_row * slower), rel=0.34, abs=2)


@given(st.floats(0.25, 10))
def test_batches_shrink_to_the_least_where_no_size_is_in_time(each: float) -> None:
    assert settled(1e-6, each) == SIZES.least


def test_first_batch_is_small_and_the_following_ones_grow_slowly() -> None:
    assert SIZES.within(None) == FIRST_ROWS == 100
    sizes = [100]
    for _ in range(9):
        sizes.append(SIZES.after(sizes[-1], 0.001))
    assert sizes == [100, 200, 400, 800, 1600, 3200, 6400, 12800, 20_000, 20_000]


@pytest.mark.parametrize(
    ("batch_seconds", "nice_ratio", "pause_seconds", "rest"),
    [
        (0.2, 0.0, 0.0, 0.0),
        (0.2, 1.0, 0.0, 0.2),
        (0.2, 5.0, 0.5, 1.0),
        (0.2, 1.0, 0.5, 0.5),
        (3600.0, 10.0, 0.0, LONGEST_REST_SECONDS),
        (1.0, 1.0, 9000.0, 9000.0),
    ],
)
def test_rows_rest_as_their_batch_took_and_no_less_than_the_pause(
    batch_seconds: float, nice_ratio: float, pause_seconds: float, rest: float
) -> None:
    assert rest_seconds(batch_seconds, nice_ratio, pause_seconds) == pytest.approx(rest)


def test_what_is_set_goes_before_what_is_configured_and_the_most_before_the_least() -> None:
    def set_to(option: str, value: float) -> Setting:
        return Setting("s", "", "", option, value, "alice", None, 0.0)

    over = Overlay({each.option: each for each in (set_to("batch_rows", 5.0), set_to("batch_seconds", 0.05))})
    assert BatchSizes(10, 20_000, 0.2).under(over) == BatchSizes(5, 5, 0.05)
    assert BatchSizes(10, 20_000, 0.2).under(Overlay()) == BatchSizes(10, 20_000, 0.2)
    over = Overlay({"batch_bytes": set_to("batch_bytes", 1000.0)})
    assert BatchSizes(10, 20_000, 0.2, 4000).under(over).most_bytes == 1000
    assert BatchSizes(10, 20_000, 0.2).under(over).most_bytes is None
