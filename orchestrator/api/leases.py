"""Leases: many renewals in one request, for agents that speak for all instances of a host."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, ValidationError, convert

from orchestrator.api.auth import Actor, require_scope
from orchestrator.api.endpoint import unusable_body
from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, View
from orchestrator.api.faults import STATUS_OF
from orchestrator.api.instances import LeaseView, RenewRequest, follows_of, lease_view
from orchestrator.domain.errors import OrchestratorError
from orchestrator.services.leases import Lease
from orchestrator.services.renewing import Outcome, Renewal

MOST_RENEWALS = 5000


_NULL = {"type": "null"}
_ACK = {"anyOf": [{"type": "integer", "minimum": 0}, _NULL]}
_FOLLOWS = {"anyOf": [{"$ref": "#/components/schemas/FollowsRequest"}, _NULL]}


class HeldLease(Question, frozen=True, kw_only=True):
    """One lease with its secret, and what its holder has to say, as in a renewal of it alone.

    What its holder says is checked for each alone: where it is not usable, that is the refusal of this one.
    """

    schema: Name
    fleet: Name
    id: Name
    epoch: Name
    ack: Annotated[Any, Meta(extra_json_schema=_ACK)] = None
    follows: Annotated[Any, Meta(extra_json_schema=_FOLLOWS)] = None


class RenewAllRequest(Question, frozen=True, kw_only=True):
    """Renew these leases."""

    leases: Annotated[tuple[HeldLease, ...], Meta(max_length=MOST_RENEWALS)]


class RefusalView(View, frozen=True, kw_only=True):
    """Why one lease was not renewed, as a renewal of it alone would have been answered."""

    status: int
    kind: str
    code: str
    detail: str
    remedy: str


class RenewedView(View, frozen=True, kw_only=True):
    """One lease of the request: renewed, or why not."""

    schema: str
    fleet: str
    id: str
    lease: LeaseView | None
    refusal: RefusalView | None


class RenewedList(View, frozen=True, kw_only=True):
    """All leases of the request, in its order."""

    leases: tuple[RenewedView, ...]


async def renew_all(asked: Asked[Nothing, RenewAllRequest]) -> Answer:
    """Renew many leases; 200, with a refusal for each that was not renewed."""
    held = asked.body.leases
    wanted = [_renewal(each, asked.actor) for each in held]
    renewed = iter(await asked.desks.renew_all([each for each in wanted if isinstance(each, Renewal)]))
    outcomes = (next(renewed) if isinstance(each, Renewal) else each for each in wanted)
    return Answer(RenewedList(leases=tuple(_view(each, outcome) for each, outcome in zip(held, outcomes, strict=True))))


def _renewal(held: HeldLease, actor: Actor | None) -> Renewal | OrchestratorError:
    """What is asked for one lease, or why it is not for this token, or its holder cannot be understood."""
    try:
        if actor is not None:
            require_scope(actor, held.schema, held.fleet)
        said = convert({"ack": held.ack, "follows": held.follows}, RenewRequest)
        return Renewal(held.schema, held.fleet, held.id, held.epoch, said.ack, follows_of(said.follows))
    except ValidationError as error:
        return unusable_body(error, RenewRequest)
    except OrchestratorError as error:
        return error


def _view(held: HeldLease, outcome: Outcome) -> RenewedView:
    refusal = None
    if isinstance(outcome, OrchestratorError):
        refusal = RefusalView(
            status=STATUS_OF[outcome.kind],
            kind=outcome.kind.value,
            code=outcome.code,
            detail=outcome.message,
            remedy=outcome.remedy,
        )
    return RenewedView(
        schema=held.schema,
        fleet=held.fleet,
        id=held.id,
        lease=lease_view(outcome) if isinstance(outcome, Lease) else None,
        refusal=refusal,
    )
