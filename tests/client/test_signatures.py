"""What a member was told with comes back as it was: the daemon knows by it again that this was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.client import Member
from orchestrator.client.registry import Admittance, Identity
from orchestrator.client.standing import Grant
from tests.client.daemon_stand_in import Answer, DirectTransport, StandIn, Timeline, problem, unreachable


class Signing(StandIn):
    """A daemon that signs what it tells."""

    def __init__(self) -> None:
        super().__init__()
        self.signature: object = "first"

    def _grant(self, name: str) -> dict[str, Any]:
        grant = super()._grant(name)
        grant["standing"]["signature"] = self.signature
        return grant

    @property
    def signatures(self) -> list[str | None]:
        """What renewals brought back."""
        return [(each.body["follows"] or {}).get("signature") for each in self.asked if each.method == "PUT"]


@pytest.fixture
def daemon() -> Signing:
    return Signing()


@pytest.fixture
def transport(daemon: Signing) -> DirectTransport:
    return DirectTransport(daemon)


@pytest.fixture
def new_member(transport: DirectTransport) -> Callable[..., Member]:
    time = Timeline()
    ours: dict[str, Any] = {"transport": transport, "clock": time.clock, "pause": time.pause, "chance": lambda: 0.5}
    return lambda **more: Member("", schema="inventory", fleet="inventory-api", release="2", **ours, **more)


@pytest.fixture
def member(new_member: Callable[..., Member]) -> Member:
    made = new_member()
    made.join(in_background=False)
    return made


def test_it_comes_back_with_what_it_signs(daemon: Signing, member: Member) -> None:
    assert member.renew()
    assert daemon.asked[-1].body["follows"] == {
        "upgrade": 3, "publication": 17, "phase": "backfill", "signature": "first"
    }  # fmt: skip


def test_a_new_standing_brings_its_own(daemon: Signing, member: Member) -> None:
    daemon.publish("new", "both")
    daemon.signature = "second"
    member.renew()
    member.renew()
    assert daemon.signatures == ["first", "second"]


def test_the_newest_one_of_the_same_standing_is_kept(daemon: Signing, member: Member) -> None:
    """A daemon that has another key by now has told it again."""
    heard: list[object] = []
    member.on_change(heard.append)
    with member.transaction():
        daemon.signature = "second"
        member.renew()
        member.renew()
    member.renew()
    assert daemon.signatures == ["first", "second", "second"]
    assert daemon.acks == [17, 17, 17], "nothing has changed that would have to be drained"
    assert heard == []


def test_a_daemon_that_signs_nothing_takes_none_away(daemon: Signing, member: Member) -> None:
    daemon.signature = None
    member.renew()
    member.renew()
    assert daemon.signatures == ["first", "first"]


def test_a_daemon_that_is_behind_changes_nothing(daemon: Signing, member: Member) -> None:
    daemon.publish("old", "old", publication=5)
    daemon.signature = "second"
    member.renew()
    member.renew()
    assert daemon.signatures == ["first", "first"]


def test_none_is_sent_where_none_was_given(daemon: Signing, new_member: Callable[..., Member]) -> None:
    daemon.signature = None
    member = new_member()
    member.join(in_background=False)
    member.renew()
    assert "signature" not in daemon.asked[-1].body["follows"]


def test_a_daemon_of_an_earlier_version_is_asked_without(daemon: Signing, member: Member) -> None:
    daemon.next_answers = [problem(422, "body_invalid")]
    assert member.renew()
    assert daemon.signatures == ["first", None]
    assert daemon.acks == [17]
    assert member.renew()
    assert daemon.signatures == ["first", None, "first"]


@pytest.mark.parametrize("answers", [[problem(422, "ack_unpublished")], [problem(422, "body_invalid")] * 2])
def test_other_refusals_stay_refusals(daemon: Signing, member: Member, answers: list[Answer | Exception]) -> None:
    daemon.next_answers = list(answers)
    assert not member.renew()
    assert len(daemon.signatures) == len(answers)
    assert member.is_live, "it is tried again until the deadline"


def test_who_is_not_believed_stops_at_its_deadline(daemon: Signing, member: Member) -> None:
    daemon.next_answers = [problem(409, "told_unproven")]
    assert not member.renew()
    assert member.is_live
    assert member.renew(), "it is not lost for good"


class CopyOnly:
    """A managed database that answers what the daemon told, and signs nothing."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    def join(self, identity: Identity) -> Admittance:
        return Admittance(self.grant, identity.epoch, is_first=True)

    def renew(self, identity: Identity, epoch: str, ack: int | None, *, has_lapsed: bool) -> Grant:
        return self.grant

    def leave(self, identity: Identity, epoch: str) -> None:
        """Nothing is kept."""

    def admits(self, schema: str, release: str) -> None:
        """Everything is."""


def unsigned(daemon: Signing) -> CopyOnly:
    told = StandIn()._grant("any")
    return CopyOnly(Grant.read(told))


def test_a_renewal_without_a_daemon_keeps_what_a_daemon_signed(
    daemon: Signing, new_member: Callable[..., Member]
) -> None:
    member = new_member(copy=unsigned(daemon))
    member.join(in_background=False)
    daemon.next_answers = [unreachable()]
    assert member.renew()
    assert member.renew()
    assert daemon.signatures == ["first", "first"]


def test_who_joined_without_a_daemon_has_none_until_one_answers(
    daemon: Signing, new_member: Callable[..., Member]
) -> None:
    member = new_member(copy=unsigned(daemon), instance_id="a1")
    daemon.next_answers = [unreachable()]
    member.join(in_background=False)
    epoch = member._book.lease.epoch if member._book.lease else ""
    daemon.instances["a1"] = {"epoch": epoch, "nonce": ""}
    assert member.renew() and member.renew()
    assert daemon.signatures == [None, "first"]


def test_it_is_shown_to_nobody(member: Member) -> None:
    assert member.standing.signature == "first"
    assert "first" not in repr(member.standing)
    assert "first" not in str(member.standing)


def test_an_empty_answer_is_none(daemon: Signing) -> None:
    body = StandIn()._grant("any")
    assert Grant.read(body).standing.signature is None
    body["standing"]["signature"] = None
    assert Grant.read(body).standing.signature is None
