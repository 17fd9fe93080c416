"""Joining again after a join that gave up: the lease may be older than the request that learns of it."""

from collections.abc import Mapping

import pytest

from orchestrator.client import Member, Response, Unreachable

from .daemon_stand_in import DirectTransport, StandIn, Timeline, unreachable


class LosingAnswers(DirectTransport):
    """Requests arrive, and some answers do not."""

    loses: tuple[str, ...] = ()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        response = super().request(method, path, body, headers, timeout)
        if method in self.loses:
            raise unreachable(maybe_done=True)
        return response


def test_deadline_counts_from_a_request_of_an_earlier_join_that_gave_up() -> None:
    daemon, time = StandIn(), Timeline()
    transport = LosingAnswers(daemon)
    member = Member(
        "", schema="inventory", fleet="inventory-api", release="2", transport=transport,
        clock=time.clock, pause=time.pause, chance=lambda: 0.5,
    )  # fmt: skip
    transport.loses = ("POST",)
    with pytest.raises(Unreachable):
        member.join(wait_seconds=0, in_background=False)
    time.now += 100
    transport.loses = ("PUT",)
    member.join(in_background=False)
    # The daemon counts from the first request, 100 s ago. Nobody has renewed since.
    assert not member.is_live
    transport.loses = ()
    assert member.renew()
    assert member.is_live
