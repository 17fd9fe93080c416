"""Fleets: the running instances of each service, what they hold, and what is only known by report."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

EXPIRY_MARGIN_SECONDS = 10.0
"""How much later than the lease's end the server declares it expired. The holder stops well before its end."""


class InstanceState(StrEnum):
    """What is known of one incarnation of a process."""

    ALIVE = "alive"  # possibly alive: registered, neither left nor evicted, whether its lease ran out or not
    EVICTING = "evicting"  # possibly alive still: it gets no renewal any more, and its sessions are being ended
    LEFT = "left"  # it drained, closed its pools and said so
    EVICTED = "evicted"  # its sessions were ended, or somebody attests that it is gone


POSSIBLY_ALIVE = (InstanceState.ALIVE, InstanceState.EVICTING)


class Sessions(StrEnum):
    """What an instance said of its database sessions when it joined."""

    TAGGED = "tagged"  # each can be told by its lease's epoch, and looks whether that was evicted before it works


def hashed(secret: str) -> str:
    """How a secret of an instance is kept: whoever shows it is known, and nobody can tell it from this."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Instance:
    """One incarnation of a process. A restart is another one and replaces nothing.

    `tag` is the hash of its lease's epoch, by which its sessions are told too. `nonce` is the hash of what lets a
    registration be repeated whose answer was lost; the epoch follows from that and `salt`, and is not kept.
    `acked` is the publication that it follows with every earlier transaction ended. `sessions` is None where nobody can
    tell which sessions are its. While it is evicting, `unproven` says why there is no proof yet, with `remedy`; `proof`
    is how it was proven in the end, None where somebody attested it. `is_refused` is false from its eviction on until
    every managed database refuses its lease. Times are database time.

    `told` is the last publication that it was told. `is_disbelieved`: it said that it was told what nobody knows, and
    the audit log says so.
    """

    schema: str
    fleet: str
    id: str
    tag: str
    nonce: str
    release: str
    host: str | None
    state: InstanceState
    acked: int
    joined_at: float
    renewed_at: float
    expires_at: float
    ended_at: float | None = None
    ended_by: str | None = None
    end_reason: str | None = None
    salt: str = ""
    told: int = 0
    sessions: Sessions | None = None
    proof: str | None = None
    unproven: str | None = None
    remedy: str | None = None
    is_refused: bool = True
    is_disbelieved: bool = False

    @property
    def is_possibly_alive(self) -> bool:
        """Whether it may still use the database. Expiry does not end that; leaving or eviction does."""
        return self.state in POSSIBLY_ALIVE

    def is_expired(self, now: float) -> bool:
        """Whether its lease ran out by the database's clock. It gives progress to people, not safety."""
        return self.state is InstanceState.ALIVE and now > self.expires_at + EXPIRY_MARGIN_SECONDS

    @property
    def label(self) -> str:
        """How it is named to people."""
        return f"{self.id} on {self.host}" if self.host else self.id


@dataclass(frozen=True, slots=True)
class Registration:
    """What an instance wrote of itself in a managed database while it found no daemon, and the state may not know.

    `nonce` is the hash of that of its registration. `renewed_at` tells two readings of it apart; it is the time of that
    database, and compared with no other.
    """

    fleet: str
    id: str
    tag: str
    nonce: str
    release: str
    host: str | None
    state: InstanceState
    acked: int
    renewed_at: float
    sessions: Sessions | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """ "Fleet F runs release R everywhere", said by an operator or a deployment tool of what holds no lease."""

    schema: str
    fleet: str
    release: str
    instances: int
    actor: str
    reason: str | None
    reported_at: float
