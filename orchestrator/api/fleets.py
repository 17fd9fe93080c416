"""Fleets: saying what runs where no instance holds a lease."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, Reason, View


class ReportRequest(Question, frozen=True, kw_only=True):
    """ "This fleet runs this release everywhere", in so many instances; 0 when there are none."""

    release: Name
    instances: Annotated[int, Meta(ge=0, le=10_000_000)]
    reason: Reason | None = None


class ReportView(View, frozen=True, kw_only=True):
    """The stored report. `violation` says why the reported release may not run now; it then blocks every move."""

    schema: str
    fleet: str
    release: str
    instances: int
    actor: str
    reason: str | None
    reported_at: float
    violation: str | None


def report(asked: Asked[Nothing, ReportRequest]) -> Answer:
    """Store what somebody knows; it replaces the fleet's last report and is in the audit log."""
    body = asked.body
    outcome = asked.services.leases.report(
        asked.schema,
        asked.path["fleet"],
        release=body.release,
        instances=body.instances,
        actor=asked.who,
        reason=body.reason,
    )
    asked.services.nudge(asked.schema)
    stored = outcome.report
    return Answer(
        ReportView(
            schema=stored.schema,
            fleet=stored.fleet,
            release=stored.release,
            instances=stored.instances,
            actor=stored.actor,
            reason=stored.reason,
            reported_at=stored.reported_at,
            violation=outcome.violation,
        )
    )
