"""The lease's arithmetic."""

import pytest

from orchestrator.client.lease import Lease, jittered
from orchestrator.client.standing import Behaviour, Grant, Standing

GRANT = Grant(60.0, 20.0, Standing(1, Behaviour("new", "new")), "e")


@pytest.mark.parametrize(("chance", "renew_at"), [(0.0, 115.0), (0.5, 120.0), (1.0, 125.0)])
def test_renewals_are_spread_by_a_quarter(chance: float, renew_at: float) -> None:
    assert Lease.granted(GRANT, epoch="e", sent_at=100.0, chance=chance).renew_at == renew_at


def test_holder_stops_at_four_fifths_of_the_time_to_live() -> None:
    lease = Lease.granted(GRANT, epoch="e", sent_at=100.0, chance=0.5)
    assert lease.is_live(147.999)
    assert not lease.is_live(148.0)


def test_missed_renewal_leaves_the_deadline_alone() -> None:
    lease = Lease.granted(GRANT, epoch="e", sent_at=100.0, chance=0.5)
    assert lease.missed(125.0, chance=0.5).deadline == lease.deadline


@pytest.mark.parametrize(("wish", "wait"), [(None, 1.0), (0.2, 1.0), (7.0, 7.0), (300.0, 20.0)])
def test_daemons_wish_is_honoured_up_to_one_interval(wish: float | None, wait: float) -> None:
    lease = Lease.granted(GRANT, epoch="e", sent_at=100.0, chance=0.5)
    assert lease.missed(120.0, chance=0.5, retry_after=wish).renew_at == 120.0 + wait


def test_jitter_is_symmetric() -> None:
    assert (jittered(8, 0.0), jittered(8, 0.5)) == (6, 8)


def test_slow_daemon_gets_longer_chances_until_the_deadline() -> None:
    lease = Lease.granted(GRANT, epoch="e", sent_at=100.0, chance=0.5)
    assert lease.request_timeout(100.0) == 10.0
    for longest in (20.0, 40.0, 40.0):
        lease = lease.missed(101.0, chance=0.5)
        assert lease.request_timeout(101.0) == longest
    assert lease.request_timeout(140.0) == 8.0
    assert lease.request_timeout(150.0) == 40.0
