"""Records of the state that belong to no single rule: schemas, readings, the audit log, leadership."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.progress import Track
from orchestrator.domain.view import DatabaseFacts


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a schema stands. `release` is None until it is initialised; `upgrade_id` None while none is under way.

    `last_revision` is the revision at which its last upgrade ended: the next one goes on from there. `forgotten` says
    what the databases know that the state does not, at rest. Until `lost_until` some who joined may be unknown.
    """

    name: str
    release: str | None
    upgrade_id: int | None
    last_revision: int
    forgotten: str | None = None
    lost_until: float | None = None


@dataclass(frozen=True, slots=True)
class DatabaseReading:
    """The latest facts of one managed database, as the leading daemon read them.

    `tracks` is what is remembered of how far its data migrations came, and how fast.
    """

    schema: str
    database: str
    facts: DatabaseFacts
    observed_at: float
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The secret with which a daemon signs what it tells instances. There is one, number 1; nobody is shown it."""

    id: int
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log. `id` is 0 until it is stored."""

    id: int
    at: float
    action: str
    actor: str
    schema: str | None
    upgrade_id: int | None
    subject: str | None
    sentence: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Leadership:
    """The lease of the leading daemon, since `taken_at`. The epoch only grows and never repeats.

    The store raises `revision` with every change, a renewal too: who acts on a lease acts on it as it is. `clock_steps`
    is by how much in all the database's clock was seen to jump: the times in the state are good for that. `incarnation`
    is the one of the state database in which it was taken or renewed; None where that cannot be told.
    """

    holder: str
    epoch: int
    expires_at: float
    taken_at: float | None = None
    revision: int = 0
    clock_steps: float = 0.0
    incarnation: str | None = None

    def may_be_taken(self, now: float, *, unchanged_seconds: float, ttl_seconds: float) -> bool:
        """Whether another daemon may lead, which saw this lease unchanged for so long by a clock of its own.

        Nobody who lives renews that seldom: then the database's clock has gone back, and its time says nothing.
        """
        return self.expires_at <= now or unchanged_seconds >= 2 * ttl_seconds
