"""What one instance knows of its own membership, and what follows from each thing that it hears.

Decisions only: no clock, no threads, no requests. `Member` brings the time, holds the lock, and performs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.client.errors import FINAL_CODES, ClientError, Evicted, LeaseLost, NotAMember, Refused
from orchestrator.client.lease import Lease
from orchestrator.client.standing import Grant, Standing
from orchestrator.client.transactions import OpenTransactions, Period


class State(StrEnum):
    """Where an instance is in its one life."""

    NEW = "new"
    JOINED = "joined"
    LEAVING = "leaving"  # begins nothing, still renews
    LOST = "lost"  # for good
    LEFT = "left"


RENEWING = frozenset({State.JOINED, State.LEAVING})


@dataclass(frozen=True, slots=True)
class Heard:
    """What a granted renewal changed: another standing, a lost lease that holds again, or a daemon that is behind."""

    standing: Standing
    is_switched: bool
    is_revived: bool
    is_behind: bool


class Membership:
    """One instance's lease, standing and open transactions. Not locked: its owner's lock covers every call."""

    def __init__(self, fleet: str, chance: Callable[[], float]) -> None:
        self._fleet = fleet
        self._chance = chance
        self._acked: int | None = None
        self._lost: LeaseLost | None = None
        self.name = ""
        self.state = State.NEW
        self.lease: Lease | None = None
        self.period: Period | None = None
        self.open = OpenTransactions()

    # -- what a daemon says --------------------------------------------------------------------------------------

    def admit(self, grant: Grant, *, epoch: str, sent_at: float, is_first: bool = True) -> None:
        """The join was granted. Joining acks the standing that it returns: nothing began before.

        A repeated join (`is_first` false) finds what its first request acked, which may be older: it acks at once.
        """
        self.lease = Lease.granted(grant, epoch=epoch, sent_at=sent_at, chance=self._chance())
        self.period = Period(1, grant.standing)
        self.state = State.JOINED
        if is_first:
            self._acked = grant.standing.publication
        else:
            self.hasten_ack(sent_at)

    @property
    def acked(self) -> int:
        """The publication that it has acknowledged last; 0 before the first."""
        return self._acked or 0

    def ack(self) -> int | None:
        """The publication to acknowledge now, or None while a transaction is open that began before it."""
        if self.period is None or not self.open.are_drained_before(self.period):
            return None
        return self.period.standing.publication

    def renewed(self, grant: Grant, *, sent_at: float, ack: int | None, now: float) -> Heard | None:
        """A renewal was granted. New transactions begin under its standing from now on; open ones keep theirs.

        A lost lease is revived by this: the daemon knows that it did not evict the instance. None if there is
        nothing to renew.
        """
        if self.lease is None or self.period is None:
            return None
        self.lease = Lease.granted(grant, epoch=self.lease.epoch, sent_at=sent_at, chance=self._chance())
        if ack is not None:
            self._acked = ack
        is_revived = self._lost is not None and self.lease.is_live(now)
        if is_revived:
            self._lost = None
        known = self.period.standing
        # A daemon that is behind lost its last commits. Our acks of the later publication tell it so.
        is_behind = grant.standing.publication < known.publication and not _is_at_rest_after(grant.standing, known)
        is_switched = grant.standing != known and not is_behind
        if is_switched:
            self.period = Period(self.period.number + 1, grant.standing)
        elif grant.standing == known and grant.standing.signature is not None:
            self.period = Period(self.period.number, grant.standing)  # told again: the newest signature is the good one
        self.hasten_ack(now)
        return Heard(self.period.standing, is_switched=is_switched, is_revived=is_revived, is_behind=is_behind)

    def refused(self, error: ClientError, now: float) -> LeaseLost | None:
        """A renewal failed. Returns the loss if this answer is final; otherwise the renewal is tried again later."""
        if not (isinstance(error, Refused) and error.code in FINAL_CODES):
            wish = error.retry_after if isinstance(error, Refused) else None
            self.missed(now, retry_after=wish)
            return None
        kind = Evicted if error.code == "instance_evicted" else LeaseLost
        self.state = State.LOST
        self._lost = kind(
            error.code,
            f"instance {self.name} of {self._fleet} lost its lease for good: {error.message}",
            remedy="Roll back, drop the database connections, and start this process anew.",
            final=True,
        )
        return self._lost

    def missed(self, now: float, *, retry_after: float | None = None) -> None:
        """A renewal did not happen. The deadline stays where it is."""
        if self.lease is not None:
            self.lease = self.lease.missed(now, chance=self._chance(), retry_after=retry_after)

    def expired(self, now: float) -> LeaseLost | None:
        """The loss when the deadline has passed, told once until the lease is revived."""
        if self._lost is not None or self.state not in RENEWING or self.lease is None or self.lease.is_live(now):
            return None
        self._lost = self._expiry()
        return self._lost

    def hasten_ack(self, now: float) -> bool:
        """Make the renewal due at once if there is something to acknowledge, and tell whether there is.

        Called when that may have become so, and only then: an ack that fails is repeated like any renewal.
        """
        if self.lease is None or self.state is not State.JOINED:
            return False
        ack = self.ack()
        if ack is None or ack == self._acked:
            return False
        self.lease = self.lease.due(now)
        return True

    # -- what the service does -----------------------------------------------------------------------------------

    def begin(self, outer: Period | None, now: float) -> Period:
        """Count a transaction in, and return its period: that of the transaction around it, or the present one.

        Raises `LeaseLost` or `NotAMember`. While leaving, only what is inside an open transaction may begin. One
        around it that has ended since the caller looked, in another thread, does not count: its end may be acked.
        """
        if outer is not None and not self.open.holds(outer):
            outer = None
        self.require_lease(now, is_inner=outer is not None)
        period = outer or self.period
        if period is None:
            raise self.absence()
        self.open.began(period)
        return period

    def end(self, period: Period, now: float) -> bool:
        """Count a transaction out. True if somebody may be waiting for that."""
        self.open.ended(period)
        is_old = self.period is not None and period.number != self.period.number
        return (is_old and self.hasten_ack(now)) or (self.state is not State.JOINED and not self.open.count)

    def require_lease(self, now: float, *, is_inner: bool = False) -> None:
        """Raise `LeaseLost` or `NotAMember` unless transactions may begin."""
        if self.state is State.LOST:
            raise self._lost or self._expiry()
        if self.state is not State.JOINED and not (is_inner and self.state is State.LEAVING):
            raise self.absence()
        if self.lease is None or not self.lease.is_live(now):
            raise self._expiry()

    def is_live(self, now: float) -> bool:
        """True while transactions may begin."""
        return self.state is State.JOINED and self.lease is not None and self.lease.is_live(now)

    def absence(self) -> NotAMember:
        """Why there is no membership to work under."""
        if self.state is State.NEW:
            return NotAMember("not_joined", f"this process has not joined {self._fleet}", remedy="Call join() first.")
        if self.state is State.LEAVING:
            message = f"instance {self.name} is leaving {self._fleet}"
            return NotAMember("leaving", message, remedy="Begin nothing more.")
        message = f"instance {self.name} has left {self._fleet}"
        return NotAMember("left", message, remedy="Make a new Member and join.")

    def _expiry(self) -> LeaseLost:
        return LeaseLost(
            "lease_expired",
            f"instance {self.name} of {self._fleet} could not renew its lease in time and may not begin a transaction",
            remedy="Roll back, drop the database connections, report not ready; it goes on trying to renew.",
            final=False,
        )


def _is_at_rest_after(heard: Standing, known: Standing) -> bool:
    """True if no upgrade is under way and nothing changes by believing it: then no publication matters."""
    return heard.upgrade is None and heard.behaviour == known.behaviour
