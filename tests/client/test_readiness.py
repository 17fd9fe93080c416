"""Asking whether a release may start."""

import pytest

from orchestrator.client import Conflict, NotYet, ask_readiness, wait_until_ready
from tests.client.daemon_stand_in import DirectTransport, StandIn, Timeline, problem, unreachable


def test_readiness_asks_for_release_and_fleet() -> None:
    daemon = StandIn()
    ask_readiness(DirectTransport(daemon), schema="inventory", fleet="inventory api", release="2")
    assert daemon.asked[0].path == "/v1/schemas/inventory/readiness?release=2&fleet=inventory+api"


def test_not_ready_yet_says_when_to_ask_again() -> None:
    daemon = StandIn()
    daemon.next_answers = [problem(503, "not_yet_admitted", retry_after=5)]
    with pytest.raises(NotYet) as caught:
        ask_readiness(DirectTransport(daemon), schema="inventory", fleet="inventory-api", release="2")
    assert caught.value.retry_after == 5


def wait(daemon: StandIn, time: Timeline, wait_seconds: float) -> None:
    wait_until_ready(
        DirectTransport(daemon),
        schema="inventory",
        fleet="inventory-api",
        release="2",
        wait_seconds=wait_seconds,
        clock=time.clock,
        pause=time.pause,
        chance=lambda: 0.0,
    )


def test_waiting_ends_when_the_release_may_start() -> None:
    daemon, time = StandIn(), Timeline()
    daemon.next_answers = [problem(503, "not_yet_admitted", retry_after=5), unreachable()]
    wait(daemon, time, 60)
    assert [asked.path.partition("wait=")[2] for asked in daemon.asked] == ["30", "30", "30"]
    assert all(asked.timeout is not None and asked.timeout > 30 for asked in daemon.asked)
    assert time.pauses[0] == 5


def test_waiting_ends_with_the_last_answer_when_the_time_is_over() -> None:
    daemon, time = StandIn(), Timeline()
    daemon.next_answers = [problem(503, "not_yet_admitted", retry_after=5)] * 10
    with pytest.raises(NotYet):
        wait(daemon, time, 12)
    assert time.now == 1012
    assert daemon.asked[-2].path.endswith("wait=2")
    assert "wait=" not in daemon.asked[-1].path


def test_waiting_ends_at_once_for_a_release_that_never_may_start() -> None:
    daemon, time = StandIn(), Timeline()
    daemon.next_answers = [problem(409, "release_too_old")]
    with pytest.raises(Conflict):
        wait(daemon, time, 60)
    assert time.pauses == []
