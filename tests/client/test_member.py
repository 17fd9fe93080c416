"""A member's promises, with a clock that only the test moves and a daemon that does what it is told."""

import asyncio
import logging
import os
import re
import signal
import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest

from orchestrator.client import (
    BadAnswer,
    ClientError,
    Conflict,
    Evicted,
    LeaseLost,
    Member,
    NotAMember,
    NotDrained,
    NotYet,
    Standing,
    Unavailable,
    Unreachable,
)
from tests.client.daemon_stand_in import Answer, Asked, DirectTransport, StandIn, Timeline, problem, unreachable


@pytest.fixture
def daemon() -> StandIn:
    return StandIn()


@pytest.fixture
def time() -> Timeline:
    return Timeline()


@pytest.fixture
def transport(daemon: StandIn) -> DirectTransport:
    return DirectTransport(daemon)


@pytest.fixture
def new_member(transport: DirectTransport, time: Timeline) -> Callable[[], Member]:
    def make() -> Member:
        return Member(
            "",
            schema="inventory",
            fleet="inventory-api",
            release="2",
            host="host one",
            transport=transport,
            clock=time.clock,
            pause=time.pause,
            chance=lambda: 0.5,  # the middle: no jitter
        )

    return make


@pytest.fixture
def member(new_member: Callable[[], Member]) -> Member:
    """A member that has joined and whose renewals the test makes."""
    made = new_member()
    made.join(in_background=False)
    return made


# -- joining ---------------------------------------------------------------------------------------------------------


def test_join_registers_under_a_new_id_and_returns_what_is_published(daemon: StandIn, member: Member) -> None:
    asked = daemon.asked[0]
    assert (asked.method, asked.path) == ("POST", "/v1/schemas/inventory/fleets/inventory-api/instances")
    assert asked.body["id"] == member.instance_id
    assert asked.body["id"].startswith(f"host-one.{os.getpid()}.")
    assert len(asked.body["nonce"]) == 32
    assert (asked.body["release"], asked.body["host"]) == ("2", "host one")
    assert str(member.standing.behaviour) == "reads old, writes both"
    assert (member.standing.publication, member.standing.upgrade, member.standing.phase) == (17, 3, "backfill")
    assert member.is_live


@pytest.mark.parametrize("host", ["-x", "...", "\u00fc-web", "", "_x"])
def test_an_id_begins_with_a_letter_or_digit_on_every_host(transport: DirectTransport, host: str) -> None:
    member = Member("", schema="inventory", fleet="inventory-api", release="2", host=host, transport=transport)
    member.join(in_background=False)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", member.instance_id or "")


def test_join_is_repeatable(daemon: StandIn, member: Member) -> None:
    assert member.join().publication == 17
    assert len(daemon.asked) == 1


def test_join_waits_while_the_daemon_says_not_yet(
    daemon: StandIn, new_member: Callable[[], Member], time: Timeline
) -> None:
    daemon.next_answers = [problem(503, "not_yet_admitted", retry_after=3), unreachable(), problem(502, "bad_gateway")]
    new_member().join(in_background=False)
    assert len({(asked.body["id"], asked.body["nonce"]) for asked in daemon.asked}) == 1
    assert time.pauses[0] >= 3, "never sooner than the daemon asked for"
    assert len(time.pauses) == 3


def test_repeated_join_acks_at_once_what_it_was_told(
    daemon: StandIn, new_member: Callable[[], Member], transport: DirectTransport, time: Timeline
) -> None:
    def lose_the_answer(asked: Asked) -> None:
        transport.on_request = lambda _: None
        daemon.answer(asked)
        daemon.publish("new", "both")
        raise unreachable(maybe_done=True)

    transport.on_request = lose_the_answer
    member = new_member()
    member.join(in_background=False)
    assert member.standing.publication == 18
    assert len(daemon.instances) == 1
    assert _is_due(member, time)


def test_join_gives_up_with_the_last_answer_and_can_be_called_again(
    daemon: StandIn, new_member: Callable[[], Member], time: Timeline
) -> None:
    member = new_member()
    daemon.next_answers = [problem(503, "not_yet_admitted", retry_after=4)] * 100
    with pytest.raises(NotYet) as caught:
        member.join(wait_seconds=10, in_background=False)
    assert caught.value.code == "not_yet_admitted"
    assert time.now == pytest.approx(1010)
    daemon.next_answers = []
    member.join(in_background=False)
    assert len({asked.body["nonce"] for asked in daemon.asked}) == 1


def test_join_of_a_wrong_release_is_refused_at_once(
    daemon: StandIn, new_member: Callable[[], Member], time: Timeline
) -> None:
    daemon.next_answers = [problem(409, "release_too_old")]
    with pytest.raises(Conflict) as caught:
        new_member().join()
    assert caught.value.code == "release_too_old"
    assert time.pauses == []


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"epoch": "e"},
        {"epoch": "e", "ttl_seconds": 60, "renew_seconds": 0, "standing": {}},
        {"epoch": "e", "ttl_seconds": 60, "renew_seconds": 20, "standing": {"publication": "x"}},
        {
            "epoch": "e",
            "ttl_seconds": 60,
            "renew_seconds": 20,
            "standing": {"publication": 1, "reads": "old", "writes": "none"},
        },
        {"ttl_seconds": 60, "renew_seconds": 20, "standing": {"publication": 1, "reads": "old", "writes": "old"}},
    ],
)
def test_join_refuses_an_answer_that_it_does_not_understand(
    daemon: StandIn, new_member: Callable[[], Member], body: object
) -> None:
    member = new_member()
    daemon.next_answers = [Answer(201, body)]
    with pytest.raises(BadAnswer):
        member.join()
    with pytest.raises(NotAMember):
        member.transaction().__enter__()


def test_deadline_counts_from_the_first_request_that_may_have_been_granted(
    daemon: StandIn, new_member: Callable[[], Member], transport: DirectTransport, time: Timeline
) -> None:
    def slow(_: object) -> None:
        time.now += 30

    transport.on_request = slow
    daemon.next_answers = [unreachable(maybe_done=True)]
    member = new_member()
    member.join(in_background=False)
    # 30.5 s after the first request, the second one left: its own deadline would be later than the truth.
    assert [asked.method for asked in daemon.asked] == ["POST", "POST", "PUT"], "renewed at once, to be sure"
    assert member.is_live


# -- behaviour and draining ------------------------------------------------------------------------------------------


def test_transaction_keeps_its_behaviour_while_the_next_one_has_the_new(daemon: StandIn, member: Member) -> None:
    elsewhere = copy_context()  # as another thread or task would have
    with member.transaction() as first:
        daemon.publish("new", "both")
        assert member.renew()
        assert (first.reads_new, first.writes_old, first.writes_new) == (False, True, True)
        second = member.transaction()
        assert elsewhere.run(second.__enter__).reads_new
        elsewhere.run(second.__exit__, None, None, None)


def test_ack_follows_only_when_everything_older_has_ended(daemon: StandIn, member: Member, time: Timeline) -> None:
    old = member.transaction()
    old.__enter__()
    daemon.publish("new", "both")
    member.renew()
    member.renew()
    assert daemon.acks == [17, None]
    time.now += 1
    old.__exit__(None, None, None)
    assert member.renew()
    assert daemon.acks == [17, None, 18]


def test_newer_transactions_do_not_hold_the_ack_back(daemon: StandIn, member: Member) -> None:
    daemon.publish("new", "both")
    member.renew()
    with member.transaction() as behaviour:
        assert behaviour.reads_new
        member.renew()
    assert daemon.acks == [17, 18]


def test_ack_is_sent_without_waiting_for_the_next_renewal(daemon: StandIn, member: Member, time: Timeline) -> None:
    with member.transaction():
        daemon.publish("new", "both")
        member.renew()
        assert not _is_due(member, time), "not while something older is open"
    assert _is_due(member, time), "at once when it has ended"
    member.renew()
    assert not _is_due(member, time)
    daemon.publish("new", "new")
    member.renew()
    assert _is_due(member, time), "at once when nothing was open"


def _is_due(member: Member, time: Timeline) -> bool:
    lease = member._book.lease
    return lease is not None and lease.renew_at <= time.now


def test_inner_transaction_belongs_to_the_outer_one(daemon: StandIn, member: Member) -> None:
    with member.transaction() as outer:
        daemon.publish("new", "both")
        member.renew()
        with member.transaction() as inner:
            assert inner == outer
            member.renew()
    assert daemon.acks == [17, None]


def test_tasks_have_transactions_of_their_own(daemon: StandIn, member: Member) -> None:
    async def work() -> tuple[str, str]:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def first() -> str:
            async with member.transaction() as behaviour:
                entered.set()
                await go_on.wait()
                return behaviour.reads

        task = asyncio.create_task(first())
        await entered.wait()
        daemon.publish("new", "both")
        member.renew()
        with member.transaction() as behaviour:
            second = behaviour.reads
        go_on.set()
        return await task, second

    assert asyncio.run(work()) == ("old", "new")
    member.renew()
    assert daemon.acks == [17, 18]


def test_transaction_ends_once_and_is_entered_once(member: Member) -> None:
    transaction = member.transaction()
    transaction.__enter__()
    with pytest.raises(RuntimeError):
        transaction.__enter__()
    transaction.__exit__(None, None, None)
    transaction.__exit__(None, None, None)
    member.leave()


def test_transaction_that_fails_is_counted_out(daemon: StandIn, member: Member) -> None:
    with pytest.raises(ZeroDivisionError), member.transaction():
        raise ZeroDivisionError
    daemon.publish("new", "both")
    member.renew()
    member.renew()
    assert daemon.acks == [17, 18]


def test_daemon_that_is_behind_does_not_turn_the_behaviour_back(daemon: StandIn, member: Member) -> None:
    daemon.publish("old", "old", publication=16)
    assert member.renew()
    assert str(member.standing.behaviour) == "reads old, writes both"
    member.renew()
    assert daemon.acks == [17, 17], "the ack tells the daemon what it has forgotten"


def test_end_of_an_upgrade_is_no_step_back(daemon: StandIn, member: Member, caplog: pytest.LogCaptureFixture) -> None:
    daemon.publish("new", "new")
    member.renew()
    daemon.upgrade = None
    daemon.publish("new", "new", publication=0)
    member.renew()
    assert (member.standing.upgrade, member.standing.publication) == (None, 0)
    daemon.upgrade = 4
    daemon.publish("new", "new", publication=30)
    member.renew()
    assert member.standing.publication == 30
    assert "behind" not in caplog.text


def test_rest_out_of_the_middle_of_an_upgrade_is_not_believed(daemon: StandIn, member: Member) -> None:
    daemon.upgrade = None
    daemon.publish("new", "new", publication=0)
    member.renew()
    assert str(member.standing.behaviour) == "reads old, writes both"


def test_hooks_hear_of_a_change_once_and_cannot_stop_the_renewals(daemon: StandIn, member: Member) -> None:
    heard: list[Standing] = []

    def broken(standing: Standing) -> None:
        raise ValueError(standing)

    member.on_change(broken)
    member.on_change(heard.append)
    daemon.publish("new", "both")
    assert member.renew()
    assert member.renew()
    assert [standing.publication for standing in heard] == [18]


# -- the deadline ----------------------------------------------------------------------------------------------------


def test_nothing_begins_after_the_deadline(member: Member, time: Timeline) -> None:
    time.now += 47.9
    with member.transaction():
        pass
    time.now += 0.1
    with pytest.raises(LeaseLost) as caught:
        member.transaction().__enter__()
    assert (caught.value.code, caught.value.final) == ("lease_expired", False)
    assert not member.is_live


def test_deadline_counts_from_before_the_request_left(
    member: Member, transport: DirectTransport, time: Timeline
) -> None:
    def slow(_: object) -> None:
        time.now += 9

    transport.on_request = slow
    assert member.renew()
    time.now += 48 - 9 - 0.1
    assert member.is_live
    time.now += 0.1
    assert not member.is_live


def test_long_transaction_learns_before_its_commit_that_the_lease_is_gone(member: Member, time: Timeline) -> None:
    with member.transaction():
        member.check()
        time.now += 48
        with pytest.raises(LeaseLost):
            member.check()
        with pytest.raises(LeaseLost):
            member.transaction().__enter__()


def test_renewal_revives_a_lease_that_was_lost_by_its_deadline(daemon: StandIn, member: Member, time: Timeline) -> None:
    lost: list[LeaseLost] = []
    heard: list[Standing] = []
    member.on_lost(lost.append)
    member.on_change(heard.append)
    time.now += 50
    daemon.next_answers = [unreachable(), problem(503, "database_unreachable")]
    assert not member.renew()
    assert not member.renew()
    assert [loss.code for loss in lost] == ["lease_expired"], "told once"
    assert member.renew()
    with member.transaction():
        assert [standing.publication for standing in heard] == [17]
    time.now += 50
    daemon.next_answers = [unreachable()]
    member.renew()
    assert len(lost) == 2, "told again the next time"


def test_failed_renewals_come_sooner_and_then_back_off(daemon: StandIn, member: Member, time: Timeline) -> None:
    daemon.next_answers = [unreachable() for _ in range(6)]
    waits = []
    for _ in range(6):
        member.renew()
        lease = member._book.lease
        assert lease is not None
        waits.append(lease.renew_at - time.now)
    assert waits == [1, 2, 4, 5, 5, 5]
    member.renew()
    assert member._book.lease is not None
    assert member._book.lease.renew_at - time.now == 20


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_renewals_that_fail_are_told_once_with_the_time_that_is_left_and_so_is_their_end(
    daemon: StandIn, member: Member, time: Timeline, caplog: pytest.LogCaptureFixture
) -> None:
    for moved in (7.5, 5, 5):
        time.now += moved
        daemon.next_answers = [unreachable()]
        member.renew()
    assert warnings(caplog) == [
        "a renewal failed: nobody is there (daemon_unreachable); unless one succeeds, transactions stop in 40 s"
    ]
    assert vars(caplog.records[0])["seconds_left"] == 40
    caplog.clear()
    member.renew()
    member.renew()
    assert warnings(caplog) == ["renewed again"]
    caplog.clear()
    daemon.next_answers = [unreachable()]
    member.renew()
    assert len(warnings(caplog)) == 1, "told again the next time"


def test_renewal_that_fails_for_another_reason_is_told_too(
    daemon: StandIn, member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    for answer in (unreachable(), problem(401, "token_unknown"), unreachable(), problem(401, "token_unknown")):
        daemon.next_answers = [answer]
        member.renew()
    (_, refused) = warnings(caplog)
    assert refused.startswith("a renewal failed: here: because token_unknown (token_unknown); ")


def test_renewal_that_fails_past_the_deadline_says_that_nothing_begins(
    daemon: StandIn, member: Member, time: Timeline, caplog: pytest.LogCaptureFixture
) -> None:
    time.now += 100  # it was suspended
    daemon.next_answers = [unreachable()]
    member.renew()
    (failed, lost) = warnings(caplog)
    assert failed.endswith("; no transaction begins until one succeeds")
    assert lost.startswith("the lease is lost: ") and "could not renew its lease in time" in lost


def test_renewal_does_not_wait_far_beyond_the_deadline(daemon: StandIn, member: Member, time: Timeline) -> None:
    timeouts = []
    for moved in (0.0, 40.0, 7.5, 10.0):
        time.now += moved
        daemon.next_answers = [unreachable()]
        member.renew()
        timeouts.append(daemon.asked[-1].timeout)
    assert timeouts == [10, 8, 1, 10]


# -- losing it for good ----------------------------------------------------------------------------------------------


def test_evicted_instance_never_begins_again(daemon: StandIn, member: Member, time: Timeline) -> None:
    lost: list[LeaseLost] = []
    member.on_lost(lost.append)
    assert member.instance_id is not None
    daemon.evicted.add(member.instance_id)
    assert not member.renew()
    assert isinstance(lost[0], Evicted)
    assert lost[0].final
    daemon.evicted.clear()
    assert not member.renew()
    with pytest.raises(Evicted):
        member.transaction().__enter__()
    time.now += 100
    member.renew()
    assert len(lost) == 1
    asked = len(daemon.asked)
    member.leave()
    assert len(daemon.asked) == asked, "there is nobody left to sign off"
    with pytest.raises(NotAMember, match="Make a new Member"):
        member.join()


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "epoch_foreign"), (409, "instance_left"), (404, "instance_unknown"), (410, "instance_evicted")],
)
def test_lease_that_the_daemon_does_not_know_is_lost_for_good(
    daemon: StandIn, member: Member, status: int, code: str
) -> None:
    daemon.next_answers = [problem(status, code)]
    member.renew()
    with pytest.raises(LeaseLost) as caught:
        member.transaction().__enter__()
    assert (caught.value.code, caught.value.final) == (code, True)


@pytest.mark.parametrize("answer", [problem(404, "schema_unknown"), problem(401, "token_unknown"), Answer(200, {})])
def test_other_refusals_of_a_renewal_are_tried_again(daemon: StandIn, member: Member, answer: Answer) -> None:
    daemon.next_answers = [answer]
    assert not member.renew()
    assert member.is_live
    assert member.renew()


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_leave_drains_then_closes_then_tells(daemon: StandIn, member: Member, time: Timeline) -> None:
    order: list[str] = []
    member.on_leave(lambda: order.append(f"pools closed, {len(daemon.instances)} registered"))
    context = copy_context()
    transaction = member.transaction()
    context.run(transaction.__enter__)

    def while_draining() -> None:
        order.append("draining")
        with pytest.raises(NotAMember) as caught:
            member.transaction().__enter__()
        assert caught.value.code == "leaving"
        with pytest.raises(NotAMember):
            member.join()
        assert context.run(_work_inside, member), "what is open may go on"
        assert member.renew(), "the lease is kept meanwhile"
        context.run(transaction.__exit__, None, None, None)

    time.during_pauses = [lambda: None, while_draining]
    member.leave()
    assert order == ["draining", "pools closed, 1 registered"]
    assert daemon.instances == {}
    assert daemon.asked[-1].method == "DELETE"
    member.leave()
    assert not member.renew()
    with pytest.raises(NotAMember) as caught:
        member.transaction().__enter__()
    assert caught.value.code == "left"


def _work_inside(member: Member) -> bool:
    with member.transaction():
        return True


def test_leave_that_cannot_drain_does_not_leave(daemon: StandIn, member: Member) -> None:
    context = copy_context()
    transaction = member.transaction()
    context.run(transaction.__enter__)
    with pytest.raises(NotDrained, match="1 transactions"):
        member.leave(drain_seconds=12)
    assert len(daemon.instances) == 1
    assert member.renew()
    context.run(transaction.__exit__, None, None, None)
    member.leave()
    assert daemon.instances == {}


def test_leave_inside_a_transaction_is_refused(member: Member) -> None:
    with member.transaction(), pytest.raises(NotAMember) as caught:
        member.leave()
    assert caught.value.code == "leave_in_transaction"
    member.leave()


def test_leave_is_told_again_until_it_is_heard(daemon: StandIn, member: Member) -> None:
    daemon.next_answers = [unreachable(), problem(503, "database_unreachable")]
    member.leave()
    assert daemon.instances == {}


def test_leave_that_nobody_hears_can_be_repeated(daemon: StandIn, member: Member) -> None:
    daemon.next_answers = [unreachable() for _ in range(50)]
    with pytest.raises(Unreachable):
        member.leave(wait_seconds=5)
    assert member._book.state == "leaving"
    daemon.next_answers = [problem(500, "broken")] * 50
    with pytest.raises(Unavailable):
        member.leave(wait_seconds=5)
    daemon.next_answers = []
    member.leave()
    assert daemon.instances == {}


def test_leave_of_an_instance_that_is_gone_already_is_no_error(daemon: StandIn, member: Member) -> None:
    daemon.instances.clear()
    member.leave()


def test_leave_before_join_does_nothing(daemon: StandIn, new_member: Callable[[], Member]) -> None:
    new_member().leave()
    assert daemon.asked == []


def test_member_as_a_context_joins_and_leaves(daemon: StandIn, new_member: Callable[[], Member]) -> None:
    member = new_member()
    member.join(in_background=False)
    with member:
        assert len(daemon.instances) == 1
    assert daemon.instances == {}


# -- forks -----------------------------------------------------------------------------------------------------------


def _in_a_child(work: Callable[[], str], member: Member) -> str:
    """What `work` returns in a forked child, or its error.

    If the member has joined, one of its threads is renewing just then: its locks are locked for ever in the child.
    """
    reader, writer = os.pipe()
    locked, go_on = threading.Event(), threading.Event()

    def renew_for_ever() -> None:
        with member._one_request, member._changed:
            locked.set()
            go_on.wait()

    if member.instance_id is not None:
        threading.Thread(target=renew_for_ever).start()
        locked.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs in a lock is a failure, not a hanging test
        try:
            answer = work()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    go_on.set()
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as heard:
        return heard.read()


@pytest.mark.parametrize("use", ["transaction", "check", "renew", "join", "leave"])
def test_forked_child_cannot_use_the_lease(daemon: StandIn, member: Member, use: str) -> None:
    def work() -> str:
        assert not member.is_live
        try:
            getattr(member, use)().__enter__()
        except ClientError as error:
            return str(error)
        return "allowed"

    said = _in_a_child(work, member)
    assert f"was forked from {os.getpid()}, which holds the lease of {member.instance_id}" in said
    assert "join in the child" in said
    assert len(daemon.asked) == 1


def test_fork_inside_a_transaction_leaves_the_parents_count_alone(daemon: StandIn, member: Member) -> None:
    transaction = member.transaction()
    transaction.__enter__()

    def work() -> str:
        transaction.__exit__(None, None, None)
        return "ended"

    assert _in_a_child(work, member) == "ended"
    transaction.__exit__(None, None, None)
    member.leave()


def test_member_made_before_the_fork_can_join_after_it(new_member: Callable[[], Member]) -> None:
    member = new_member()

    def work() -> str:
        member.join(in_background=False)
        return str(member.instance_id)

    assert f".{os.getpid()}." not in _in_a_child(work, member)
    assert member.instance_id is None
