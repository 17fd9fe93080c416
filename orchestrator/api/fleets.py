"""Fleets: which phase each is told, keeping one from going further, saying what runs where nobody holds a lease."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, Reason, View
from orchestrator.services.fleets import FleetStatus


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


class PauseRequest(Question, frozen=True, kw_only=True):
    """Tell a fleet no further phase, with a reason for the audit log."""

    reason: Reason


class ResumeFleetRequest(Question, frozen=True, kw_only=True):
    """Tell a fleet what was published meanwhile."""

    reason: Reason | None = None


class PauseView(View, frozen=True, kw_only=True):
    """Who paused a fleet and why. `holds`: it is kept from the present phase; if not, then from the next one on."""

    actor: str
    reason: str
    paused_at: float
    holds: bool


class FleetView(View, frozen=True, kw_only=True):
    """One fleet in the upgrade under way: which phase all of it may reach.

    `wave` counts from 1, null where everybody is told at once. Of its `instances` that hold leases so many are `told`
    the present phase, and so many have `acked` what they were told. At rest `phase` is null.
    """

    schema: str
    fleet: str
    wave: int | None
    phase: str | None
    instances: int
    told: int
    acked: int
    pause: PauseView | None


class FleetList(View, frozen=True, kw_only=True):
    """The fleets of a schema."""

    schema: str
    fleets: tuple[FleetView, ...]


def list_(asked: Asked[Nothing, Nothing]) -> Answer:
    found = asked.services.fleets.list(asked.schema)
    return Answer(FleetList(schema=asked.schema, fleets=tuple(_fleet_view(each) for each in found)))


def pause(asked: Asked[Nothing, PauseRequest]) -> Answer:
    """It keeps what it was told already. Audited; repeatable."""
    fleet = asked.path["fleet"]
    found = asked.services.fleets.pause(asked.schema, fleet, actor=asked.who, reason=asked.body.reason)
    asked.services.nudge(asked.schema)
    return Answer(_fleet_view(found))


def resume(asked: Asked[Nothing, ResumeFleetRequest]) -> Answer:
    """Audited; repeatable."""
    fleet = asked.path["fleet"]
    found = asked.services.fleets.resume(asked.schema, fleet, actor=asked.who, reason=asked.body.reason)
    asked.services.nudge(asked.schema)
    return Answer(_fleet_view(found))


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


def _fleet_view(fleet: FleetStatus) -> FleetView:
    pause = fleet.pause
    return FleetView(
        schema=fleet.schema,
        fleet=fleet.fleet,
        wave=fleet.wave,
        phase=fleet.phase.word if fleet.phase is not None else None,
        instances=fleet.instances,
        told=fleet.told,
        acked=fleet.acked,
        pause=None
        if pause is None
        else PauseView(actor=pause.actor, reason=pause.reason, paused_at=pause.paused_at, holds=fleet.is_held),
    )
