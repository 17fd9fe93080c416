"""Fleets: the running instances of each service, what they hold, and what is only known by report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

EXPIRY_MARGIN_SECONDS = 10.0
"""How much later than the lease's end the server declares it expired. The holder stops well before its end."""


class InstanceState(StrEnum):
    """What is known of one incarnation of a process."""

    ALIVE = "alive"  # possibly alive: registered, neither left nor evicted, whether its lease ran out or not
    LEFT = "left"  # it drained, closed its pools and said so
    EVICTED = "evicted"  # somebody proved or attested that it is gone


@dataclass(frozen=True, slots=True)
class Instance:
    """One incarnation of a process. A restart is another one and replaces nothing.

    `epoch` is the secret of its lease; `nonce` lets a registration be repeated whose answer was lost.
    `acked` is the publication that it follows with every earlier transaction ended. Times are database time.
    """

    schema: str
    fleet: str
    id: str
    epoch: str
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

    @property
    def is_possibly_alive(self) -> bool:
        """Whether it may still use the database. Expiry does not end that; leaving or eviction does."""
        return self.state is InstanceState.ALIVE

    def is_expired(self, now: float) -> bool:
        """Whether its lease ran out by the database's clock. It gives progress to people, not safety."""
        return self.is_possibly_alive and now > self.expires_at + EXPIRY_MARGIN_SECONDS

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
