"""Whether rows have to wait: every reading above its limit, or that cannot be read, is a reason of its own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.throttling import LONGEST_SENTENCE, Reading, Reason, RowsWait, newest_reasons, reasons_to_wait

LAG = Reading("replica lag", 12.4, 5.0, "s", "replica db2")


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        (LAG, "replica lag is 12.4 s, more than 5 s on replica db2"),
        (Reading("number of active sessions", 41, 40), "number of active sessions is 41, more than 40"),
        (Reading("WAL backlog", 123456.7, 1000, "MiB"), "WAL backlog is 123457 MiB, more than 1000 MiB"),
        (Reading("replica lag", math.inf, 5.0, "s"), "replica lag is inf s, more than 5 s"),
        (Reading("throttle gate", objection="answers 503"), "throttle gate answers 503"),
        (Reading("replica lag", error="no route", limit=5), "replica lag cannot be read: no route"),
        (Reading("replica lag", of="db2", error="no route"), "replica lag on db2 cannot be read: no route"),
        (Reading("replica lag", None, 5.0), "replica lag cannot be read: there is no number"),
        (Reading("replica lag", math.nan, 5.0), "replica lag cannot be read: there is no number"),
        (Reading("replica lag", 1.0, 5.0, error="half read"), "replica lag cannot be read: half read"),
    ],
)
def test_a_reason_is_one_sentence(reading: Reading, sentence: str) -> None:
    (reason,) = reasons_to_wait([reading])
    assert reason.sentence == sentence
    assert reason.is_unreadable == ("cannot be read" in sentence)


@pytest.mark.parametrize(
    "reading",
    [Reading("n", 5.0, 5.0), Reading("n", 0.0, 0.0), Reading("n", -1.0, 0.0), Reading("says yes"), Reading("n", 9)],
)
def test_nothing_is_a_reason_up_to_the_limit(reading: Reading) -> None:
    assert reasons_to_wait([reading]) == ()


def test_no_signals_are_no_reason() -> None:
    assert reasons_to_wait([]) == ()


def test_a_long_sentence_is_cut() -> None:
    (reason,) = reasons_to_wait([Reading("replica lag", error="x" * 10_000)])
    assert len(reason.sentence) == LONGEST_SENTENCE


readings = st.builds(
    Reading,
    st.sampled_from(["a", "b"]),
    st.none() | st.floats(),
    st.none() | st.floats(min_value=0, allow_nan=False),
    objection=st.none() | st.just("says no"),
    error=st.none() | st.just("broken"),
)


@given(st.lists(readings))
def test_each_reading_that_is_no_clear_yes_is_shown(found: list[Reading]) -> None:
    def is_yes(each: Reading) -> bool:
        is_in_limit = each.limit is None or (each.value is not None and each.value <= each.limit)
        return each.error is None and each.objection is None and is_in_limit

    assert [reason.signal for reason in reasons_to_wait(found)] == [each.signal for each in found if not is_yes(each)]


def wait(daemon: str, seen_at: float, *reasons: Reason) -> RowsWait:
    return RowsWait("inventory", "main", daemon, reasons, 0.0, seen_at)


def because(signal: str, sentence: str, *, is_unreadable: bool = False) -> Reason:
    return Reason(signal, "", is_unreadable, sentence)


def test_what_all_daemons_find_is_said_once_in_the_newest_words() -> None:
    waits = [wait("two", 2.0, because("lag", "lag is 7")), wait("one", 1.0, because("lag", "lag is 6"))]
    assert [each.sentence for each in newest_reasons(waits, {"one", "two"})] == ["lag is 7"]


def test_what_only_some_daemons_find_names_them() -> None:
    waits = [wait("two", 2.0, because("gate", "gate cannot be read")), wait("one", 1.0)]
    assert [each.sentence for each in newest_reasons(waits, {"one", "two"})] == ["gate cannot be read (so daemon two)"]


def test_a_daemon_that_is_gone_does_not_wait() -> None:
    assert newest_reasons([wait("gone", 1.0, because("lag", "lag is 6"))], {"one"}) == ()
