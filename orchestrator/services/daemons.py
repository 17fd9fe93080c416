"""Daemons: each registers before it uses our tables, renews, leaves; and says when a tree of ours may be contracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.daemons import (
    Daemon,
    DaemonState,
    OwnTree,
    OwnTreeState,
    may_be_contracted,
    older_daemons,
)
from orchestrator.domain.errors import Never, NotFound
from orchestrator.domain.records import Leadership
from orchestrator.domain.releases import Releases
from orchestrator.ports import Store, Transaction
from orchestrator.services.clocks import ClockWatch
from orchestrator.services.context import event
from orchestrator.services.vouching import check_attested

REMEMBERED_SECONDS = 30 * 24 * 3600.0
"""For how long a daemon that ended is still listed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One running of a daemon: its name, where it runs and listens, its version, and the own releases that it knows.

    `place` is what it holds while it lives, and nobody else can; None where it holds none.
    """

    id: str
    host: str
    address: str
    version: str
    trees: Mapping[OwnTree, Releases]
    place: str | None = None

    def newest(self, tree: OwnTree) -> str:
        """The newest release of that tree that this version knows."""
        return self.trees[tree].ordered[-1].name


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """One daemon as it is shown. `leads_since` is None where it does not lead.

    `silent_seconds` is how long ago it was last heard of.
    """

    daemon: Daemon
    is_expired: bool
    leads: bool
    leads_since: float | None
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A daemon that keeps our tables from being contracted, in a sentence, and what clears it."""

    daemon: Daemon
    is_expired: bool
    sentence: str
    remedy: str


class Daemons:
    """The daemons of one state database, seen by the one named `me`. A contract that was allowed stays allowed."""

    def __init__(self, store: Store, me: Identity, *, ttl_seconds: float, watch: ClockWatch | None = None) -> None:
        self._store = store
        self._watch = watch or ClockWatch()
        self.me = me
        self._ttl_seconds = ttl_seconds
        self._allowed: set[tuple[OwnTree, str]] = set()

    # -- this daemon ---------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Register, before the first use of our tables. Raises `Never` (code `daemon_too_old`).

        Writes the row of each tree first: a join, and the decision to contract, come one after the other.
        """
        self._store.run(self._join)

    def renew(self) -> None:
        """Extend the lease, also one that ran out: nothing has acted on its absence. Raises `Never` (`daemon_evicted`).

        A row that was lost with the state database's last commits is written anew, as by a join. Who held this
        daemon's place before, and does not renew, has ended.
        """

        def work(tx: Transaction) -> None:
            mine = tx.daemon(self.me.id)
            if mine is None:
                self._join(tx)
                return
            self._check_alive(mine)
            renewed = replace(mine, renewed_at=tx.now, expires_at=tx.now + self._ttl_seconds)
            if not tx.save_daemon(renewed):
                raise self._evicted(mine)
            _end_predecessors(tx, renewed)

        self._store.run(work)

    def leave(self) -> None:
        """This daemon has stopped using our tables. Repeatable."""

        def work(tx: Transaction) -> None:
            mine = tx.daemon(self.me.id)
            if mine is not None and mine.is_possibly_alive:
                tx.save_daemon(replace(mine, state=DaemonState.LEFT, ended_at=tx.now, end_reason="it stopped"))

        self._store.run(work)

    # -- our own tables ------------------------------------------------------------------------------------------------

    def may_contract(self, tree: OwnTree, release: str) -> bool:
        """Whether the contract revisions of this release may run, in every database. Once they may, they may for ever.

        Decided in one transaction with the daemons as they are then: from its commit on, no daemon registers that
        does not know the release.
        """
        what = f"what release {release} of the {tree.value} tables leaves unused is removed: no older daemon runs"
        return self._without_older(tree, release, "tables.contract", what)

    def may_rely_on(self, tree: OwnTree, release: str) -> bool:
        """Whether every daemon knows this release, so that its tables may be used in ways that an older one breaks.

        Decided as by `may_contract`: once it may, it may for ever, and no older daemon registers any more.
        """
        what = f"release {release} of the {tree.value} tables is relied on: no older daemon runs"
        return self._without_older(tree, release, "tables.rely_on", what)

    def _without_older(self, tree: OwnTree, release: str, action: str, what: str) -> bool:
        if (tree, release) in self._allowed:
            return True
        releases = self.me.trees[tree]

        def look(tx: Transaction) -> bool | None:
            if may_be_contracted(tx.own_tree(tree), release, releases):
                return True
            return False if self._older(tx, tree, release) else None

        def work(tx: Transaction) -> bool:
            state = tx.lock_own_tree(tree)
            seen = look(tx)
            if seen is None:
                tx.save_own_tree(OwnTreeState(state.name, release))
                event(
                    tx, action, what, actor=self.me.id, schema=None, subject=f"{tree.value}/{release}",
                )  # fmt: skip
            return seen is not False

        seen = self._store.read(look)
        allowed = self._store.run(work) if seen is None else seen
        if allowed:
            self._allowed.add((tree, release))
        return allowed

    def waiting(self) -> tuple[Wait, ...]:
        """Who keeps our tables from being contracted."""

        def work(tx: Transaction) -> tuple[Wait, ...]:
            kept: dict[Daemon, list[str]] = {}
            for tree, releases in self.me.trees.items():
                for release in releases.ordered:
                    if not release.has_contract or may_be_contracted(tx.own_tree(tree), release.name, releases):
                        continue
                    for daemon in self._older(tx, tree, release.name):
                        kept.setdefault(daemon, []).append(f"release {release.name} of the {tree.value} tables")
            return tuple(_wait(daemon, kept[daemon], tx.now) for daemon in kept)

        has_contract = any(release.has_contract for tree in self.me.trees.values() for release in tree.ordered)
        return self._store.read(work) if has_contract else ()

    @property
    def clock(self) -> str | None:
        """What people should know of the state database's clock, as this daemon sees it; None for nothing."""
        return self._watch.sentence

    # -- all daemons ---------------------------------------------------------------------------------------------------

    def list(self, *, all_states: bool = False) -> tuple[DaemonStatus, ...]:
        """The daemons that may be alive, or with `all_states` also those that left or were evicted; oldest first."""

        def work(tx: Transaction) -> tuple[DaemonStatus, ...]:
            leadership = tx.leadership()
            found = tx.daemons(state=None if all_states else DaemonState.ALIVE)
            return tuple(
                _status(daemon, leadership, tx.now) for daemon in sorted(found, key=lambda each: each.started_at)
            )

        return self._store.read(work)

    def evict(self, daemon_id: str, *, actor: str, reason: str, attested_dead: bool) -> Daemon:
        """Count a daemon out, on somebody's word that it is gone; its leadership ends with it. Audited.

        One that runs nevertheless stops when it hears of it. Raises `NotFound`, and `Invalid` without the attestation
        or a reason: expiry alone proves nothing.
        """
        check_attested("a daemon", attested_dead=attested_dead, reason=reason)

        def work(tx: Transaction) -> Daemon:
            daemon = tx.daemon(daemon_id)
            if daemon is None:
                raise NotFound(
                    "daemon_unknown", f"there is no daemon {daemon_id!r}", remedy="orchestrator daemon list --all"
                )
            if not daemon.is_possibly_alive:
                return daemon
            ended = replace(daemon, state=DaemonState.EVICTED, ended_at=tx.now, ended_by=actor, end_reason=reason)
            if tx.save_daemon(ended):
                _depose(tx, daemon_id)
                event(
                    tx, "daemon.evict", f"{daemon.label} was evicted; {actor} attests that it is dead",
                    actor=actor, schema=None, subject=daemon_id, reason=reason,
                )  # fmt: skip
            return ended

        return self._store.run(work)

    # -- within a transaction ------------------------------------------------------------------------------------------

    def _join(self, tx: Transaction) -> None:
        for tree in OwnTree:
            contracting = tx.lock_own_tree(tree).contracting
            if contracting is not None and contracting not in self.me.trees[tree]:
                raise self.too_old(tree, contracting)
        known = tx.daemon(self.me.id)
        if known is not None:
            self._check_alive(known)
            return
        mine = Daemon(
            id=self.me.id, host=self.me.host, address=self.me.address, version=self.me.version,
            state_release=self.me.newest(OwnTree.STATE), bookkeeping_release=self.me.newest(OwnTree.BOOKKEEPING),
            state=DaemonState.ALIVE, started_at=tx.now, renewed_at=tx.now, expires_at=tx.now + self._ttl_seconds,
            place=self.me.place,
        )  # fmt: skip
        tx.add_daemon(mine)
        _end_predecessors(tx, mine)
        for daemon in tx.daemons():
            if daemon.ended_at is not None and tx.now - daemon.ended_at > REMEMBERED_SECONDS:
                tx.forget_daemon(daemon.id)

    def too_old(self, tree: OwnTree, release: str) -> Never:
        """Why this version may not use tables that were contracted to that release, which it does not know."""
        return Never(
            "daemon_too_old",
            f"the orchestrator's own {tree.value} tables are at release {release}, which has removed what this version "
            f"({self.me.version}) uses",
            remedy="Install the version that brought it, here too: `orchestrator daemon list --all` names it.",
        )

    def _older(self, tx: Transaction, tree: OwnTree, release: str) -> tuple[Daemon, ...]:
        return older_daemons(tx.daemons(state=DaemonState.ALIVE), tree, release, self.me.trees[tree])

    def _check_alive(self, mine: Daemon) -> None:
        if not mine.is_possibly_alive:
            raise self._evicted(mine)

    def _evicted(self, mine: Daemon) -> Never:
        by = f" by {mine.ended_by}: {mine.end_reason}" if mine.ended_by else ""
        return Never(
            "daemon_evicted",
            f"this daemon, {mine.id}, was counted out{by}",
            remedy="It stops. Start it again: it registers anew.",
        )


def _end_predecessors(tx: Transaction, mine: Daemon) -> None:
    """Who registered with this place has ended: it held the place until then, and now this daemon does.

    One that renews is left alone all the same, in case that two kernels give the same names to their places.
    """
    for other in tx.daemons(state=DaemonState.ALIVE):
        if other.is_followed_by(mine) and other.is_expired(tx.now):
            why = f"it does not renew, and daemon {mine.id} is at its place"
            tx.save_daemon(replace(other, state=DaemonState.LEFT, ended_at=tx.now, end_reason=why))


def _depose(tx: Transaction, daemon_id: str) -> None:
    leadership = tx.leadership()
    if leadership is not None and leadership.holder == daemon_id:
        tx.save_leadership(replace(leadership, expires_at=0.0), expected=leadership)


def _status(daemon: Daemon, leadership: Leadership | None, now: float) -> DaemonStatus:
    leads = leadership is not None and leadership.holder == daemon.id and leadership.expires_at > now
    since = leadership.taken_at if leads and leadership is not None else None
    return DaemonStatus(daemon, daemon.is_expired(now), leads, since, max(0.0, now - daemon.renewed_at))


def _wait(daemon: Daemon, kept: Sequence[str], now: float) -> Wait:
    is_expired = daemon.is_expired(now)
    if is_expired:
        how = f", which stopped renewing {round(now - daemon.renewed_at)} s ago and may still be alive"
        remedy = f"When you know that it is dead: orchestrator daemon evict {daemon.id} --attest-dead --reason ..."
    else:
        how, remedy = "", "Stop it, or start this version in its place."
    sentence = f"what {' and '.join(kept)} removes is kept for {daemon.label}{how}"
    return Wait(daemon, is_expired, sentence, remedy)
