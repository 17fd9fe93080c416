"""Leases: many renewals in one request, for agents that speak for all instances of a host."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, View
from orchestrator.api.faults import STATUS_OF
from orchestrator.api.instances import FollowsRequest, LeaseView, follows_of, lease_view
from orchestrator.domain.errors import OrchestratorError
from orchestrator.services.leases import Lease
from orchestrator.services.renewing import Outcome, Renewal

MOST_RENEWALS = 5000


class HeldLease(Question, frozen=True, kw_only=True):
    """One lease with its secret, and what its holder has to say, as in a renewal of it alone."""

    schema: Name
    fleet: Name
    id: Name
    epoch: Name
    ack: Annotated[int, Meta(ge=0)] | None = None
    follows: FollowsRequest | None = None


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
    renewals = tuple(
        Renewal(each.schema, each.fleet, each.id, each.epoch, each.ack, follows_of(each.follows))
        for each in asked.body.leases
    )
    outcomes = await asked.desks.renew_all(renewals)
    views = tuple(_view(renewal, outcome) for renewal, outcome in zip(renewals, outcomes, strict=True))
    return Answer(RenewedList(leases=views))


def _view(renewal: Renewal, outcome: Outcome) -> RenewedView:
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
        schema=renewal.schema,
        fleet=renewal.fleet,
        id=renewal.instance_id,
        lease=lease_view(outcome) if isinstance(outcome, Lease) else None,
        refusal=refusal,
    )
