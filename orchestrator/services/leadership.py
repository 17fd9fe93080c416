"""Leadership: at most one daemon at a time moves upgrades on. A lease with an epoch that only grows.

Two daemons may both believe that they lead for a moment; the epoch is checked in every transaction that matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.domain.errors import Conflict
from orchestrator.domain.losses import frozen_seconds
from orchestrator.domain.records import Leadership
from orchestrator.ports import Store, Transaction
from orchestrator.services.clocks import ClockWatch, put_on_record
from orchestrator.services.context import event
from orchestrator.services.recording import DAEMON


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lease of another daemon as it was last seen; since when it is unchanged, and when that was, by our clock."""

    revision: int
    since: float
    at: float


class Elections:
    """Takes, renews and gives up leadership for one daemon, named `holder`. One caller at a time.

    Who leads also puts on record that the database's clock jumped, as this daemon's `watch` saw it; leases last
    `grant_seconds` longer then.
    """

    def __init__(
        self,
        store: Store,
        holder: str,
        *,
        ttl_seconds: float,
        watch: ClockWatch | None = None,
        grant_seconds: float = 0.0,
    ) -> None:
        self._store = store
        self._holder = holder
        self._ttl_seconds = ttl_seconds
        self._watch = watch or ClockWatch()
        self._grant_seconds = grant_seconds
        self._seen: _Seen | None = None

    def campaign(self) -> int | None:
        """Renew the lease if it is ours, take it if it is free or ran out. Returns our epoch, or None."""

        def work(tx: Transaction) -> Leadership | None:
            found = tx.leadership()  # before the time: where the times moved since, the lease has changed too
            if found is not None and found.holder != self._holder and not self._may_take(found, tx.now):
                return found
            lease = self._renewed(found, tx.now, tx.incarnation)
            if not tx.save_leadership(lease, expected=found):
                return None
            jump = lease.clock_steps - (found.clock_steps if found is not None else 0.0)
            if found is not None and found.incarnation not in (None, lease.incarnation):
                note_loss(tx, actor=DAEMON, until=tx.now + frozen_seconds(self._grant_seconds))
            if jump:
                put_on_record(tx, jump, actor=DAEMON, grant_seconds=self._grant_seconds)
            return lease

        lease = self._store.run(work)
        if lease is None:  # somebody was faster
            return None
        if lease.holder != self._holder:
            self._follow(lease)
            return None
        self._seen = None
        self._watch.unrecorded(lease.clock_steps)
        return lease.epoch

    def resign(self) -> None:
        """Let another daemon take over at once. Does nothing when the lease is not ours."""

        def work(tx: Transaction) -> None:
            found = tx.leadership()
            if found is not None and found.holder == self._holder:
                tx.save_leadership(replace(found, expires_at=0.0, taken_at=None), expected=found)

        self._store.run(work)

    def _may_take(self, lease: Leadership, now: float) -> bool:
        seen = self._seen
        unchanged = self._watch.now() - seen.since if seen is not None and seen.revision == lease.revision else 0.0
        return lease.may_be_taken(now, unchanged_seconds=unchanged, ttl_seconds=self._ttl_seconds)

    def _renewed(self, found: Leadership | None, now: float, incarnation: str | None) -> Leadership:
        """The lease as it is ours from now on. Its end is by the clock as it is after the jump that it records."""
        if found is None:
            return Leadership(self._holder, 1, now + self._ttl_seconds, now, incarnation=incarnation)
        is_ours = found.holder == self._holder
        jump = self._watch.unrecorded(found.clock_steps)
        return Leadership(
            holder=self._holder,
            epoch=found.epoch if is_ours else found.epoch + 1,
            expires_at=now + jump + self._ttl_seconds,
            taken_at=found.taken_at if is_ours else now + jump,
            clock_steps=found.clock_steps + jump,
            incarnation=found.incarnation if incarnation is None else incarnation,
        )

    def _follow(self, lease: Leadership) -> None:
        """Remember the lease of who leads: whoever renewed it since this daemon saw a jump knows if there was one."""
        seen, now = self._seen, self._watch.now()
        if seen is not None and seen.revision == lease.revision:
            self._seen = replace(seen, at=now)
            return
        if seen is not None and self._watch.jumped_before(seen.at):
            self._watch.agree(lease.clock_steps)
        else:
            self._watch.unrecorded(lease.clock_steps)
        self._seen = _Seen(lease.revision, now, now)


def check_leader(tx: Transaction, leader_epoch: int) -> None:
    """Refuse to write for a daemon that does not lead any more. Raises `Conflict` (code `not_leader`)."""
    leadership = tx.leadership()
    if leadership is None or leadership.epoch != leader_epoch:
        raise not_leader()


def not_leader() -> Conflict:
    """What a daemon is told whose leadership is over."""
    return Conflict("not_leader", "another daemon leads by now", remedy="Nothing to do: it goes on there.")


def outgrow(tx: Transaction, leader_epoch: int, passed: int) -> None:
    """Give whoever leads with that epoch one above `passed`, which a managed database knows. Repeatable; audited.

    A state that was restored counts epochs again that were given before. The leader learns of its new one when it
    renews; until then it does nothing.
    """
    found = tx.leadership()
    if found is None or found.epoch != leader_epoch or passed < leader_epoch:
        return
    if tx.save_leadership(replace(found, epoch=passed + 1), expected=found):
        event(
            tx, "leader.outgrow",
            f"the leader's epoch {leader_epoch} was given before, as the databases know: {passed + 1} follows",
            actor=DAEMON, schema=None,
        )  # fmt: skip


def note_loss(tx: Transaction, *, actor: str, until: float) -> None:
    """The state database is another one than before, which may have lost the last joins. Audited.

    An upgrade under way finds that out by itself; one that begins before `until` has to wait for who may be unknown.
    """
    for state in tx.schemas():
        tx.save_schema(replace(tx.lock_schema(state.name), lost_until=until))
    event(
        tx, "state.failover", "the state database is not the one that it was: it was restored, or failed over",
        actor=actor, schema=None,
    )  # fmt: skip
