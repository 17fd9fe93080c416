"""Load: what a server says of itself and its replicas, for those who want to go gently. Nothing waits for locks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Protocol

from sqlalchemy import Connection

from orchestrator.domain.errors import Forbidden, Invalid


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a server.

    `position` is how far it has replayed the server's log, None where the two cannot be compared. `lag_seconds` is what
    the servers say themselves, None where they say nothing.
    """

    name: str
    position: int | None = None
    lag_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class KeptLog:
    """How much of its log a server keeps for one who has not read it yet."""

    name: str
    size: int
    """In bytes."""


class Load(Protocol):
    """What one kind of database tells. Each raises `Invalid` where it has no such thing, `Forbidden` where we are not
    shown it, `Unavailable` where it says nothing now."""

    knows_replicas: bool  # a server tells how far its replicas are

    def written(self, connection: Connection) -> int | None:
        """How far the server has written its log, None where that cannot be compared with a replica's position."""
        ...

    def replicas(self, connection: Connection) -> tuple[Replica, ...]:
        """The replicas that are connected to this server."""
        ...

    def replica(self, connection: Connection, name: str) -> Replica:
        """This server itself, which is a replica."""
        ...

    def active_sessions(self, connection: Connection) -> int:
        """How many sessions of others run a statement on this server just now."""
        ...

    def lock_waits(self, connection: Connection) -> int:
        """How many sessions wait for a lock that a session of ours holds, in this database."""
        ...

    def oldest_transaction_seconds(self, connection: Connection) -> float:
        """How long the oldest transaction of others is open that keeps this database from cleaning up; 0 for none."""
        ...

    def kept_log(self, connection: Connection) -> tuple[KeptLog, ...]:
        """What the server keeps of its log for those who are behind."""
        ...


class NoLoad:
    """A file has no load."""

    knows_replicas = False

    def written(self, connection: Connection) -> None:
        return None

    def replicas(self, connection: Connection) -> tuple[Replica, ...]:
        self._refuse("replicas")

    def replica(self, connection: Connection, name: str) -> Replica:
        self._refuse("replicas")

    def active_sessions(self, connection: Connection) -> int:
        self._refuse("sessions")

    def lock_waits(self, connection: Connection) -> int:
        self._refuse("sessions")

    def oldest_transaction_seconds(self, connection: Connection) -> float:
        self._refuse("sessions")

    def kept_log(self, connection: Connection) -> tuple[KeptLog, ...]:
        self._refuse("replicas")

    def _refuse(self, what: str) -> NoReturn:
        raise no_such_load(f"a file of SQLite has no {what}")


def no_such_load(why: str) -> Invalid:
    """The answer of a kind of database that has no such thing."""
    return Invalid("load_unknown", why, remedy="Do not ask for it: remove the limit.")


def hidden(why: str, grant: str) -> Forbidden:
    """The answer of a server that does not show it to us."""
    return Forbidden("load_hidden", f"{why}; to be shown it: {grant}", remedy=grant)
