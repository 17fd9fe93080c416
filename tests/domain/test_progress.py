"""Progress comes from our own counts: it does not fall, is whole only when proven, and says when it measures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.progress import (
    KEPT_SECONDS,
    SAMPLE_SECONDS,
    WINDOW_SECONDS,
    Eta,
    EtaState,
    Progress,
    Sample,
    Track,
    after,
    followed,
    progress_of,
    progress_of_all,
)
from orchestrator.domain.view import DatabaseFacts, MigrationFacts, MigrationState

PENDING, RUNNING, VERIFYING, COMPLETE, ASSUMED, FAILED = MigrationState
NOW = 1_000_000.0

Past = list[tuple[float, MigrationFacts]]


def facts(state: MigrationState, done: int = 0, total: int | None = 100, verified: int = 0) -> MigrationFacts:
    return MigrationFacts("split_name", state, rows_done=done, rows_total=total, rows_verified=verified)


def moving(past: Past) -> Track | None:
    """The track of what a daemon read then: seconds ago, and what it read."""
    track: Track | None = None
    for ago, found in past:
        track = after(track, found, NOW - ago)
    return track


def seen(past: Past, *, later: float = 0.0, waits: EtaState | None = None) -> Progress:
    """What is said now, or later, of the last thing that was read."""
    return progress_of(past[-1][1], moving(past), now=NOW + later, waits=waits)


def steadily(seconds: int, rate: int, total: int = 1_000_000, every: float = 1.0) -> Past:
    """It has moved so many rows a second for so long, and was read every second."""
    times = [number * every for number in range(int(seconds / every) + 1)]
    return [(seconds - at, facts(RUNNING, int(rate * at), total)) for at in times]


# -- shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("migrations", "share"),
    [
        ([facts(RUNNING)], 0.0),
        ([facts(RUNNING, 50)], 0.25),
        ([facts(VERIFYING, 100)], 0.5),
        ([facts(VERIFYING, 100, verified=50)], 0.75),
        ([facts(VERIFYING, 100, verified=100)], 0.99),
        ([facts(VERIFYING, 140, verified=140)], 0.99),
        ([facts(COMPLETE, 100, verified=100)], 1.0),
        ([facts(COMPLETE, 100, verified=100), facts(RUNNING)], 0.5),
        ([facts(ASSUMED, total=None)], 1.0),
        ([facts(PENDING, total=None)], None),
        ([facts(COMPLETE, 100, verified=100), facts(PENDING, total=None)], None),
        ([facts(RUNNING, total=0)], 0.99),
        ([], 1.0),
    ],
)
def test_moving_and_verifying_a_row_count_the_same(migrations: list[MigrationFacts], share: float | None) -> None:
    found = progress_of_all(progress_of(each, after(None, each, NOW), now=NOW) for each in migrations)
    assert found.share == share
    unknown_to_tracks = progress_of_all(progress_of(each, None, now=NOW) for each in migrations)
    assert unknown_to_tracks.share == share


counts = st.integers(0, 10**9)
anything = st.builds(facts, st.sampled_from(MigrationState), counts, st.none() | counts, counts)


@given(st.lists(anything, max_size=5))
def test_progress_is_a_share_and_one_means_proven(migrations: list[MigrationFacts]) -> None:
    share = progress_of_all(progress_of(each, None, now=NOW) for each in migrations).share
    is_proven = all(each.state in (COMPLETE, ASSUMED) for each in migrations)
    assert share is None or 0 <= share <= 1
    assert (share == 1) == is_proven


steps = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.floats(-5, 100)), max_size=40)


@given(steps, st.lists(st.none() | st.integers(0, 2000), min_size=41, max_size=41))
def test_share_does_not_fall_in_a_run_whatever_becomes_of_the_total(
    grows: list[tuple[int, int, float]], totals: list[int | None]
) -> None:
    done = verified = 0
    now, share, track = NOW, 0.0, None
    for (more_done, more_verified, seconds), total in zip(grows, totals, strict=False):
        done, verified, now = done + more_done, verified + more_verified, now + seconds
        found = facts(VERIFYING if verified else RUNNING, done, total, verified)
        track = after(track, found, now)
        shown = progress_of(found, track, now=now)
        assert shown.share is None or share <= shown.share <= 0.99
        share = shown.share or share


@given(st.lists(st.tuples(anything, st.floats(-5, 100)), max_size=30))
def test_nothing_that_is_read_gives_nonsense(reads: list[tuple[MigrationFacts, float]]) -> None:
    now, track = NOW, None
    for found, seconds in reads:
        now += seconds
        track = after(track, found, now)
        shown = progress_of(found, track, now=now)
        assert shown.share is None or 0 <= shown.share <= 1
        assert (shown.share == 1) == (found.state in (COMPLETE, ASSUMED))
        assert shown.rows_per_second is None or shown.rows_per_second >= 0
        assert (shown.eta.seconds is not None) == (shown.eta.state is EtaState.ESTIMATED)
        assert shown.eta.seconds is None or shown.eta.seconds >= 0
        assert len(track.samples) <= KEPT_SECONDS / SAMPLE_SECONDS + 2
        assert all(one.at < other.at for one, other in zip(track.samples, track.samples[1:], strict=False))


@given(steps, steps, st.integers(1, 2000), st.integers(1, 2000))
def test_share_of_the_whole_does_not_fall_either(
    one: list[tuple[int, int, float]], other: list[tuple[int, int, float]], rows: int, others: int
) -> None:
    share, now = 0.0, NOW
    first, second = facts(RUNNING, total=rows), facts(RUNNING, total=others)
    tracks: list[Track | None] = [None, None]
    for (moved, _, seconds), (_, verified, _) in zip(one, other, strict=False):
        now += max(0.0, seconds)
        first = replace(first, rows_done=first.rows_done + moved)
        second = replace(second, state=VERIFYING, rows_done=others, rows_verified=second.rows_verified + verified)
        tracks = [after(track, each, now) for track, each in zip(tracks, (first, second), strict=True)]
        parts = [progress_of(each, track, now=now) for track, each in zip(tracks, (first, second), strict=True)]
        whole = progress_of_all(parts)
        assert whole.share is not None and share - 1e-12 <= whole.share <= 0.99
        share = whole.share


def test_one_that_failed_in_ranges_does_not_fall_back() -> None:
    """Its ranges are not counted in any more: they belong to nobody."""
    past = [(10.0, facts(RUNNING, 80)), (0.0, facts(FAILED, 30))]
    assert seen(past).share == 0.4
    retried = [*past, (0.0, facts(RUNNING, 85))]
    assert seen(retried, later=0.1).share == 0.425, "it went on where it was"


@pytest.mark.parametrize(
    ("before", "now", "share"),
    [
        (facts(RUNNING, 80), facts(PENDING, total=None), None),
        (facts(RUNNING, 80), facts(RUNNING, 5), 0.025),
        (facts(FAILED, 80), facts(RUNNING, 5), 0.025),
        (facts(COMPLETE, 100, verified=100), facts(VERIFYING, 100), 0.5),
        (facts(VERIFYING, 100, verified=60), facts(VERIFYING, 100, verified=10), 0.55),
    ],
)
def test_new_run_begins_where_it_is(before: MigrationFacts, now: MigrationFacts, share: float | None) -> None:
    past = [(8.0, facts(RUNNING, 20)), (4.0, before), (0.0, now)]
    assert seen(past).share == share
    assert seen(past).rows_per_second is None


# -- speeds ----------------------------------------------------------------------------------------------------------


@given(st.integers(7, 100), st.integers(1, 10_000), st.floats(1, 9))
def test_steady_speed_is_found_whenever_it_is_looked_at(seconds: int, rate: int, every: float) -> None:
    shown = seen(steadily(seconds + int(2 * every), rate, total=10**9, every=every))
    assert shown.rows_per_second == pytest.approx(rate, rel=0.1, abs=1)
    assert shown.eta.state is EtaState.ESTIMATED


def test_speed_is_that_of_the_last_minute_and_not_of_all_time() -> None:
    slow, done = steadily(600, 10), 6000
    fast = [(ago - 60, facts(RUNNING, done + found.rows_done, 10**6)) for ago, found in steadily(60, 1000)]
    past = [*((ago + 60, found) for ago, found in slow), *((ago + 60, found) for ago, found in fast)]
    assert seen(past).rows_per_second == pytest.approx(1000, rel=0.1)


def test_rest_takes_as_long_as_the_speed_says_for_moving_and_for_proving() -> None:
    shown = seen(steadily(30, 100, total=10_000))
    assert shown.eta.state is EtaState.ESTIMATED
    assert shown.eta.seconds == pytest.approx(7000 / 100 + 10_000 / 100)


def test_proving_has_a_speed_of_its_own_as_soon_as_it_is_measured() -> None:
    past = [(ago + 12, found) for ago, found in steadily(30, 100, total=3000)]
    past += [(10.0, facts(VERIFYING, 3000, 3000)), (9.0, facts(VERIFYING, 3000, 3000, 50))]
    begun = seen(past[:-1], later=-10)
    assert begun.eta.seconds == pytest.approx(30, rel=0.1), "at the speed of moving"
    assert begun.rows_per_second is None
    past += [(9.0 - number, facts(VERIFYING, 3000, 3000, 50 * (number + 1))) for number in range(1, 10)]
    shown = seen(past)
    assert shown.rows_per_second == pytest.approx(50, rel=0.2)
    assert shown.eta.seconds == pytest.approx((3000 - 500) / 50, rel=0.2)


@pytest.mark.parametrize("seconds", [0, 1, 4])
def test_few_samples_are_measuring(seconds: int) -> None:
    shown = seen(steadily(seconds, 100))
    assert (shown.eta, shown.rows_per_second) == (Eta(EtaState.MEASURING), None)


def test_what_does_not_move_any_more_slows_down_and_is_measured_anew() -> None:
    past = steadily(60, 100)
    rates = [seen(past, later=later).rows_per_second or 0 for later in (0, 9, 20, 40)]
    assert rates[0] == rates[1] == pytest.approx(100, rel=0.1)
    assert rates[1] > rates[2] > rates[3] > 0
    stuck = seen(past, later=WINDOW_SECONDS + 1)
    assert (stuck.rows_per_second, stuck.eta) == (0.0, Eta(EtaState.MEASURING))
    assert stuck.share == seen(past).share


@pytest.mark.parametrize("jump", [3600.0, -3600.0, WINDOW_SECONDS + 1, -0.5])
def test_gap_or_a_clock_that_goes_back_begins_the_measure_anew(jump: float) -> None:
    track = moving(steadily(60, 100, total=10**6))
    later = facts(RUNNING, 7000, 10**6)
    after_it = after(track, later, NOW + jump)
    assert after_it.samples == (Sample(NOW + jump, 7000, 0),)
    shown = progress_of(later, after_it, now=NOW + jump)
    assert (shown.rows_per_second, shown.eta) == (None, Eta(EtaState.MEASURING))
    assert shown.share == 0.0035
    for seconds in range(1, 12):
        later = replace(later, rows_done=7000 + 20 * seconds)
        after_it = after(after_it, later, NOW + jump + seconds)
    again = progress_of(later, after_it, now=NOW + jump + 11)
    assert again.rows_per_second == pytest.approx(20)


def test_samples_that_lie_in_the_future_are_not_looked_at() -> None:
    assert seen(steadily(60, 100), later=-3600).eta == Eta(EtaState.MEASURING)


def test_samples_are_few_and_far_between() -> None:
    track = moving(steadily(1000, 7))
    assert track is not None
    assert len(track.samples) <= KEPT_SECONDS / SAMPLE_SECONDS + 2
    gaps = [other.at - one.at for one, other in zip(track.samples, track.samples[1:], strict=False)]
    assert all(gap >= SAMPLE_SECONDS for gap in gaps[:-1])
    assert NOW - track.samples[0].at <= KEPT_SECONDS


# -- what is said where nothing is estimated -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "waits", "state"),
    [
        (facts(RUNNING, 5), EtaState.HELD, EtaState.HELD),
        (facts(RUNNING, 5), EtaState.THROTTLED, EtaState.THROTTLED),
        (facts(RUNNING, 5, total=None), None, EtaState.UNCOUNTED),
        (facts(PENDING, total=None), None, EtaState.MEASURING),
        (facts(FAILED, 5), EtaState.HELD, EtaState.FAILED),
        (facts(COMPLETE, 5), EtaState.HELD, EtaState.COMPLETE),
        (facts(ASSUMED), None, EtaState.COMPLETE),
    ],
)
def test_no_seconds_are_told_of_what_does_not_move(
    found: MigrationFacts, waits: EtaState | None, state: EtaState
) -> None:
    past = [*steadily(30, 100), (0.0, found)] if found.state is not PENDING else [(0.0, found)]
    assert seen(past, waits=waits).eta == Eta(state)


def test_database_that_cannot_be_read_is_where_it_was() -> None:
    before = DatabaseFacts("main", migrations=(facts(RUNNING, 50),))
    tracks = followed((), before, NOW)
    gone = DatabaseFacts("main", error="it is down")
    assert followed(tracks, gone, NOW + 1) == tracks
    shown = progress_of(None, tracks[0], now=NOW + 1)
    assert (shown.share, shown.rows, shown.eta) == (0.25, 100, Eta(EtaState.MEASURING))
    whole = progress_of_all([shown, progress_of(facts(COMPLETE, 100), None, now=NOW)])
    assert whole.share == 0.625


def test_database_that_was_never_read_leaves_the_whole_unknown() -> None:
    whole = progress_of_all([progress_of(None, None, now=NOW), progress_of(facts(RUNNING, 50), None, now=NOW)])
    assert whole.share is None


def test_whole_takes_as_long_as_the_database_with_the_most_work_left() -> None:
    short, long = seen(steadily(30, 100, total=10_000)), seen(steadily(30, 100, total=20_000))
    whole = progress_of_all([short, long, progress_of(facts(COMPLETE), None, now=NOW)])
    assert whole.eta == long.eta
    assert whole.rows_per_second == pytest.approx(200)
    waits = progress_of(facts(RUNNING, 5), None, now=NOW, waits=EtaState.THROTTLED)
    assert progress_of_all([short, waits]).eta == Eta(EtaState.THROTTLED)


def test_daemon_that_keeps_no_tracks_is_followed_by_one_that_does() -> None:
    """It wrote what it read, and left the tracks as they were."""
    track = moving(steadily(30, 100, total=10_000))
    begun_anew = progress_of(facts(RUNNING, 10, 10_000), track, now=NOW)
    assert (begun_anew.share, begun_anew.eta) == (0.0005, Eta(EtaState.MEASURING))
    gone_on = progress_of(facts(RUNNING, 3500, 10_000), track, now=NOW + 5)
    assert gone_on.share == 0.175
    assert gone_on.rows_per_second == pytest.approx(100)
