"""The watch: how often signals are read, how long what they said is good, and that silence is no yes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.overlay import Overlay, Setting
from orchestrator.domain.throttling import Reading, reasons_to_wait
from orchestrator.throttles import Sample, Throttle
from orchestrator.throttles.watch import Watch, on_a_thread
from tests.fakes import Clock

Work = Callable[[], None]


@dataclass
class Dial:
    """A signal that a test sets."""

    samples: tuple[Sample, ...] = (Sample(1.0),)
    fails: Exception | None = None
    times: int = 0
    name: str = "dial"
    unit: str = "s"

    def read(self) -> tuple[Sample, ...]:
        self.times += 1
        if self.fails is not None:
            raise self.fails
        return self.samples


@dataclass
class Desk:
    """A watch whose readings end when the test lets them."""

    dial: Dial = field(default_factory=Dial)
    clock: Clock = field(default_factory=lambda: Clock(100.0))
    begun: list[Work] = field(default_factory=list)
    is_quick: bool = True

    def __post_init__(self) -> None:
        self.watch = Watch(
            [Throttle(self.dial, 5.0)], every_seconds=1.0, patience_seconds=0.001, clock=self.clock, begin=self.begin
        )

    def begin(self, work: Work) -> None:
        if self.is_quick:
            work()
        else:
            self.begun.append(work)

    @property
    def reading(self) -> Reading:
        (found,) = self.watch.readings()
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_signal_is_read_at_most_once_in_its_interval(desk: Desk) -> None:
    for _ in range(10):
        assert desk.reading == Reading("dial", 1.0, 5.0, "s")
        desk.clock.advance(0.25)
    assert desk.dial.times == 3


def test_nobody_waits_for_a_reading_while_the_last_one_is_good(desk: Desk) -> None:
    assert desk.reading.value == 1.0
    desk.dial.samples, desk.is_quick = (Sample(9.0),), False
    desk.clock.advance(2.0)
    assert desk.reading.value == 1.0
    desk.begun.pop()()
    assert desk.reading.value == 9.0


def test_a_signal_that_falls_silent_becomes_unreadable(desk: Desk) -> None:
    assert desk.reading.value == 1.0
    desk.is_quick = False
    desk.clock.advance(2.0)
    assert reasons_to_wait([desk.reading]) == ()
    desk.clock.advance(2.0)
    (reason,) = reasons_to_wait([desk.reading])
    assert reason.sentence == "dial cannot be read: it has not answered for 2.0 s"


def test_a_signal_that_never_answered_is_unreadable(desk: Desk) -> None:
    desk.is_quick = False
    assert desk.reading.error is not None


def test_a_silent_signal_is_not_asked_once_more(desk: Desk) -> None:
    desk.is_quick = False
    for _ in range(5):
        assert desk.reading.error is not None
        desk.clock.advance(10.0)
    assert len(desk.begun) == 1


def test_a_number_that_comes_too_late_is_old(desk: Desk) -> None:
    desk.is_quick = False
    assert desk.reading.error is not None
    desk.clock.advance(60.0)
    desk.begun.pop()()
    assert desk.reading.error is not None
    assert len(desk.begun) == 1


@pytest.mark.parametrize(
    ("fault", "said", "remedy"),
    [
        (Unavailable("away", "it does not answer", remedy="Wait."), "it does not answer", "Wait."),
        (ValueError("nonsense"), "ValueError: nonsense", ""),
    ],
)
def test_whatever_a_signal_raises_is_a_reason_to_wait(desk: Desk, fault: Exception, said: str, remedy: str) -> None:
    desk.dial.fails = fault
    assert desk.reading == Reading("dial", limit=5.0, error=said, remedy=remedy)
    desk.dial.fails = None
    assert desk.reading.error == said
    desk.clock.advance(1.0)
    assert desk.reading.error is None


def test_a_failure_that_took_long_is_said_all_the_same(desk: Desk) -> None:
    desk.is_quick, desk.dial.fails = False, Unavailable("away", "it does not answer", remedy="Wait.")
    assert "has not answered" in str(desk.reading.error)
    desk.clock.advance(60.0)
    desk.begun.pop()()
    assert desk.reading.error == "it does not answer"


def test_a_failed_start_is_tried_again(desk: Desk) -> None:
    def fail(work: Work) -> None:
        raise RuntimeError("no more threads")

    desk.watch = Watch([Throttle(desk.dial, 5.0)], every_seconds=1.0, patience_seconds=1, clock=desk.clock, begin=fail)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            desk.watch.readings()


def test_signals_are_read_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=30)

    class Meeting(Dial):
        def read(self) -> tuple[Sample, ...]:
            meeting.wait()
            return super().read()

    clock = Clock()
    watch = Watch(
        [Throttle(Meeting(), 5.0), Throttle(Meeting(), 5.0)],
        every_seconds=1.0, patience_seconds=30, clock=clock, begin=on_a_thread,
    )  # fmt: skip
    assert [reading.value for reading in watch.readings()] == [1.0, 1.0]


def test_every_sample_is_a_reading_of_its_own(desk: Desk) -> None:
    desk.dial.samples = (Sample(1.0, "db1"), Sample(of="db2", error="away"))
    assert desk.watch.readings() == (
        Reading("dial", 1.0, 5.0, "s", "db1"),
        Reading("dial", None, 5.0, "s", "db2", error="away"),
    )


def set_to(value: float) -> Overlay:
    return Overlay({"max_dials": Setting("s", "", "", "max_dials", value, "alice", None, 0.0)})


def test_a_limit_that_is_set_is_in_force_at_once(desk: Desk) -> None:
    watch = Watch(
        [Throttle(desk.dial, 5.0, "max_dials", is_none_below_zero=True)],
        every_seconds=1.0, patience_seconds=0.001, clock=desk.clock, begin=desk.begin,
    )  # fmt: skip
    assert not reasons_to_wait(watch.readings())
    assert reasons_to_wait(watch.readings(set_to(0.5)))
    assert not reasons_to_wait(watch.readings())
    assert desk.dial.times == 1


def test_a_signal_without_a_limit_is_not_asked_before_one_is_set(desk: Desk) -> None:
    watch = Watch(
        [Throttle(desk.dial, -1.0, "max_dials", is_none_below_zero=True)],
        every_seconds=1.0, patience_seconds=0.001, clock=desk.clock, begin=desk.begin,
    )  # fmt: skip
    assert (watch.readings(), desk.dial.times) == ((), 0)
    assert reasons_to_wait(watch.readings(set_to(0.5)))
    assert watch.readings(set_to(-1)) == ()


@pytest.mark.parametrize("limit", [None, 0.5, -7.0])
def test_a_throttle_that_is_set_off_is_not_asked_even_where_it_cannot_be_read(desk: Desk, limit: float | None) -> None:
    desk.dial.fails = ValueError("nonsense")
    watch = Watch(
        [Throttle(desk.dial, limit, "max_dials")],
        every_seconds=1.0, patience_seconds=0.001, clock=desk.clock, begin=desk.begin,
    )  # fmt: skip
    assert (watch.readings(set_to(-1)), desk.dial.times) == ((), 0)
    (reason,) = reasons_to_wait(watch.readings(set_to(1)))
    assert (reason.is_unreadable, reason.option) == (True, "max_dials")


def test_a_limit_below_zero_that_is_configured_is_compared(desk: Desk) -> None:
    watch = Watch(
        [Throttle(desk.dial, -7.0, "max_dials")],
        every_seconds=1.0, patience_seconds=0.001, clock=desk.clock, begin=desk.begin,
    )  # fmt: skip
    assert reasons_to_wait(watch.readings())
    desk.dial.samples = (Sample(-8.0),)
    desk.clock.advance(1.0)
    assert not reasons_to_wait(watch.readings())
