"""What counts as inside an open transaction, when the outer one ends at the same moment."""

import threading
from contextvars import copy_context

import pytest

from orchestrator.client import Member, NotAMember
from orchestrator.client.standing import Behaviour
from orchestrator.client.transactions import Period

from .daemon_stand_in import DirectTransport, StandIn


class HeldAtBegin(Member):
    """Stops where a transaction has found the one around it, and is not counted in yet."""

    held: threading.Event | None = None
    go_on: threading.Event

    def _begin(self, outer: Period | None) -> Period:
        if self.held is not None and outer is not None:
            self.held.set()
            assert self.go_on.wait(10)
        return super()._begin(outer)


@pytest.fixture
def daemon() -> StandIn:
    return StandIn()


@pytest.fixture
def member(daemon: StandIn) -> HeldAtBegin:
    member = HeldAtBegin(
        "http://unused", schema="inventory", fleet="inventory-api", release="2", transport=DirectTransport(daemon),
        clock=lambda: 0.0,
    )  # fmt: skip
    member.join(in_background=False)
    return member


class Late:
    """A thread that begins inside the caller's transaction, which ends before the thread is counted in."""

    def __init__(self, member: HeldAtBegin) -> None:
        self.begun: list[object] = []
        self._member = member
        member.held, member.go_on = threading.Event(), threading.Event()
        with member.transaction():
            context = copy_context()  # as asyncio.to_thread does; whoever waits for it may time out and go on
            self._thread = threading.Thread(target=context.run, args=(self._work,))
            self._thread.start()
            assert member.held.wait(10)

    def _work(self) -> None:
        try:
            with self._member.transaction() as behaviour:
                self.begun.append(behaviour)
        except NotAMember as error:
            self.begun.append(error.code)

    def goes_on(self) -> None:
        self._member.go_on.set()
        self._thread.join(10)


def test_nothing_begins_under_a_standing_that_an_ack_has_left_behind(daemon: StandIn, member: HeldAtBegin) -> None:
    late = Late(member)
    daemon.publish("new", "both")
    member.renew()
    member.renew()
    assert daemon.acks[-1] == 18, "the daemon was told that everything earlier has ended"
    late.goes_on()
    assert late.begun == [Behaviour("new", "both")]


def test_nothing_begins_once_leaving_has_drained(member: HeldAtBegin) -> None:
    late = Late(member)
    member.on_leave(late.goes_on)  # drained: the pools are closed here
    member.leave()
    assert late.begun == ["leaving"]
