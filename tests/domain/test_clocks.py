"""Clocks: a jump is found whatever its size, and a slow answer is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.clocks import TOLERANCE_SECONDS, Reading, jump_between

SECONDS = st.floats(0, 1e5)


def reading(real: float, *, offset: float, early: float, late: float) -> Reading:
    """The database was asked `early` seconds before that moment, and its answer came `late` seconds after."""
    return Reading(real + offset, real - early, real + late)


@given(SECONDS, SECONDS, SECONDS, SECONDS, SECONDS, st.floats(-4, 4))
def test_steady_clock_never_jumps_however_slow_the_answers_are(
    passed: float, early: float, late: float, early_again: float, late_again: float, adjusted: float
) -> None:
    first = reading(0, offset=1e9, early=early, late=late)
    second = reading(passed, offset=1e9 + adjusted, early=early_again, late=late_again)
    assert jump_between(first, second) == 0


@given(SECONDS, st.floats(0, 0.5), st.floats(0, 0.5), st.floats(2 * TOLERANCE_SECONDS, 1e7), st.booleans())
def test_jump_is_measured(passed: float, early: float, late: float, size: float, forward: bool) -> None:
    jump = size if forward else -size
    first = reading(0, offset=1e9, early=early, late=late)
    second = reading(passed, offset=1e9 + jump, early=late, late=early)
    assert abs(jump_between(first, second) - jump) <= 1
