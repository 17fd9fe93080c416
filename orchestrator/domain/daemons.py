"""Daemons: which of them may be alive, what each knows of our own tables, and who still needs what a contract removes.

A contract revision of our own tables removes what daemons of the release before use. It runs only when no daemon that
knows no more than an older release is possibly alive. Expiry does not end that, as with every lease: a daemon leaves,
is evicted on somebody's word, or is followed by another one at its own place, which it held as long as it lived.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.fleets import EXPIRY_MARGIN_SECONDS
from orchestrator.domain.releases import Releases


class OwnTree(StrEnum):
    """A migration tree of our own."""

    STATE = "state"  # the tables of the state database
    BOOKKEEPING = "bookkeeping"  # our tables in every database, the state database included


class DaemonState(StrEnum):
    """What is known of one running of a daemon."""

    ALIVE = "alive"  # possibly alive: it neither left nor was evicted, whether its lease ran out or not
    LEFT = "left"  # it said that it stops, or its successor found its place free
    EVICTED = "evicted"  # somebody attested that it is gone


@dataclass(frozen=True, slots=True)
class Daemon:
    """One running of a daemon; a restart is another one. Times are database time.

    `address` is where it listens. The two releases are the newest of each tree that its version knows. `place` is what
    it holds from before it registers until it ends, and nobody else can hold meanwhile; None where there is no such
    thing, or somebody else had it.
    """

    id: str
    host: str
    address: str
    version: str
    state_release: str
    bookkeeping_release: str
    state: DaemonState
    started_at: float
    renewed_at: float
    expires_at: float
    ended_at: float | None = None
    ended_by: str | None = None
    end_reason: str | None = None
    place: str | None = None

    @property
    def is_possibly_alive(self) -> bool:
        """Whether it may still use our tables. Expiry does not end that."""
        return self.state is DaemonState.ALIVE

    def is_expired(self, now: float) -> bool:
        """Whether its lease ran out by the database's clock."""
        return self.is_possibly_alive and now > self.expires_at + EXPIRY_MARGIN_SECONDS

    def knows(self, tree: OwnTree) -> str:
        """The newest release of that tree that its version knows."""
        return self.state_release if tree is OwnTree.STATE else self.bookkeeping_release

    def is_followed_by(self, other: Daemon) -> bool:
        """Whether the other one is another running at the same place: this one has ended, then.

        Equal hosts and addresses prove nothing: containers and network namespaces may have them in common.
        """
        return self.id != other.id and self.place is not None and self.place == other.place

    @property
    def label(self) -> str:
        """How it is named to people."""
        return f"daemon {self.id} (version {self.version} on {self.host})"


@dataclass(frozen=True, slots=True)
class OwnTreeState:
    """How far a tree of our own may be contracted, by whoever comes to it: up to that release; None for not at all.

    Written before the first contract revision of the release runs anywhere; it only grows.
    """

    name: OwnTree
    contracting: str | None


def older_daemons(daemons: Iterable[Daemon], tree: OwnTree, release: str, releases: Releases) -> tuple[Daemon, ...]:
    """Those that may be alive and know no more than an older release: they may use what this one's contract removes.

    A daemon whose newest release is none of ours is newer than we are.
    """
    wanted = releases.index(release)
    return tuple(
        daemon
        for daemon in daemons
        if daemon.is_possibly_alive and daemon.knows(tree) in releases and releases.index(daemon.knows(tree)) < wanted
    )


def may_be_contracted(state: OwnTreeState, release: str, releases: Releases) -> bool:
    """Whether it was decided before that the contract revisions of this release may run."""
    if state.contracting is None:
        return False
    return state.contracting not in releases or releases.index(state.contracting) >= releases.index(release)
