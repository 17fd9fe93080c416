"""What passes between a route and its handler: the question as asked, the answer, and a line of the route table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

from orchestrator.api.auth import Actor, Role
from orchestrator.api.desks import LeaseDesks
from orchestrator.api.watch import Watch
from orchestrator.domain.visible import UNSEEN
from orchestrator.services.daemons import Daemons
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.fleets import Fleets
from orchestrator.services.leases import Leases
from orchestrator.services.renewing import Renewing
from orchestrator.services.rows_control import RowsControl
from orchestrator.services.status import StatusBoard
from orchestrator.services.upgrades import Upgrades

JSON = "application/json"
PROBLEM = "application/problem+json"
HTML = "text/html; charset=utf-8"

LONGEST_WAIT_SECONDS = 300

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=rf"^[^{UNSEEN}]+$(?!\n)")]
"""A name of something, as requests may give it."""

Reason = Annotated[str, Meta(max_length=1000, pattern=rf"^[^{UNSEEN}]*$(?!\n)")]
"""A sentence for the audit log."""

Wait = Annotated[float, Meta(ge=0, le=LONGEST_WAIT_SECONDS, description="seconds to wait for another answer")]


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the API calls. `nudge` tells the daemon that a schema changed, so that it looks at once."""

    upgrades: Upgrades
    leases: Leases
    renewing: Renewing
    fleets: Fleets
    board: StatusBoard
    data_migrations: DataMigrations
    rows_control: RowsControl
    daemons: Daemons
    is_healthy: Callable[[], bool]
    nudge: Callable[[str], None]


class Question(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of everything that is read from outside: query strings and bodies."""


class Nothing(Question, frozen=True, kw_only=True):
    """No query, or no body."""


class View(Struct, kw_only=True, frozen=True):
    """Base of everything that is answered. Fields may be added to it; none changes its meaning."""


Q = TypeVar("Q", bound=Question)
B = TypeVar("B", bound=Question)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Q, B]):
    """One request, checked and authorised. `actor` is None only on routes that are open to all.

    `gone` returns when the client hangs up.
    """

    path: Mapping[str, str]
    query: Q
    body: B
    headers: Mapping[str, str]
    actor: Actor | None
    services: ApiServices
    watch: Watch
    desks: LeaseDesks
    gone: Callable[[], Awaitable[None]]

    @property
    def schema(self) -> str:
        """The schema that the path names."""
        return self.path["schema"]

    @property
    def who(self) -> str:
        """Who asks, as the audit log names them."""
        return self.actor.name if self.actor is not None else "nobody"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and a body: a `View` or mapping that becomes JSON, bytes as they are, pieces of them as they
    come, or nothing."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON


# The table pairs each handler with the types that its `Asked` names; a test holds them together.
Handler = Callable[[Asked[Any, Any]], Answer] | Callable[[Asked[Any, Any]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table. A plain function runs in a thread of its own, a coroutine function in the loop.

    `role` None lets everybody in; `needs` names request headers beyond the usual; `asks_databases` marks handlers
    that ask managed databases, which may not answer for long; `streams` those that answer with server-sent events,
    `many_places` those whose body names several schemas or fleets, for each of which the token's scope is looked at.
    """

    method: str
    path: str
    handler: Handler
    role: Role | None
    summary: str
    answer: type[View] | None
    body: type[Question] = Nothing
    query: type[Question] = Nothing
    statuses: tuple[int, ...] = (200,)
    needs: tuple[str, ...] = ()
    asks_databases: bool = False
    streams: bool = False
    many_places: bool = False
    most_body_bytes: int = 64 * 1024

    @property
    def changes(self) -> bool:
        """Whether it changes anything: a role above the reader's is for that."""
        return self.method != "GET" and self.role is not None and self.role > Role.READER

    @property
    def steers(self) -> bool:
        """Whether it changes where the schema of its path stands, or what is in its way."""
        return self.method != "GET" and self.role in (Role.DEPLOYER, Role.OPERATOR) and "{schema}" in self.path

    @property
    def noun(self) -> str:
        """The noun that it belongs to: the module of its handler."""
        return self.handler.__module__.rpartition(".")[2]
