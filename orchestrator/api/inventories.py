"""Inventories: what runs in each fleet, and which source says so."""

from __future__ import annotations

from orchestrator.api.exchange import Answer, Asked, Name, Nothing, Question, View
from orchestrator.domain.errors import NotFound
from orchestrator.services.inventories import FleetInventory, Member, SourceLine


class InventoryQuestion(Question, frozen=True, kw_only=True):
    """`fleet` narrows the answer to one, and adds its instances."""

    fleet: Name | None = None


class SourceLineView(View, frozen=True, kw_only=True):
    """What one source says of one release in the fleet. Source is leases, report or query.

    `name` is who reported it, or the section of a query. `instances` counts those that are not down, `silent` those of
    them that gave no sign of life for too long. With `error` the source says nothing, or not all, and release is null.
    """

    source: str
    name: str | None
    release: str | None
    instances: int
    silent: int
    down: int
    oldest_seconds: float | None
    error: str | None
    remedy: str | None


class MemberView(View, frozen=True, kw_only=True):
    """One instance as one source knows it: sign is alive, silent or down. `age_seconds` is that of its last sign."""

    id: str
    host: str | None
    source: str
    database: str | None
    release: str
    sign: str
    age_seconds: float | None


class FleetInventoryView(View, frozen=True, kw_only=True):
    """One fleet; without `lines` nothing was ever reported of it. `members` only where one fleet is asked for."""

    fleet: str
    lines: tuple[SourceLineView, ...]
    members: tuple[MemberView, ...]


class InventoryList(View, frozen=True, kw_only=True):
    """The fleets of a schema."""

    schema: str
    fleets: tuple[FleetInventoryView, ...]


def list_(asked: Asked[InventoryQuestion, Nothing]) -> Answer:
    """What is known of each fleet, by name."""
    found, wanted = asked.services.board.inventories(asked.schema), asked.query.fleet
    if wanted is not None:
        known = ", ".join(each.fleet for each in found)
        found = tuple(each for each in found if each.fleet == wanted)
        if not found:
            raise NotFound(
                "fleet_unknown",
                f"no release of {asked.schema} lists a fleet {wanted!r}, and nothing was ever reported of one",
                remedy=f"Fleets of it: {known or 'none'}.",
            )
    views = tuple(_view(each, with_members=wanted is not None) for each in found)
    return Answer(InventoryList(schema=asked.schema, fleets=views))


def _view(found: FleetInventory, *, with_members: bool) -> FleetInventoryView:
    return FleetInventoryView(
        fleet=found.fleet,
        lines=tuple(_line(line) for line in found.lines),
        members=tuple(_member(member) for member in found.members) if with_members else (),
    )


def _line(line: SourceLine) -> SourceLineView:
    return SourceLineView(
        source=line.source.value,
        name=line.name,
        release=line.release,
        instances=line.instances,
        silent=line.silent,
        down=line.down,
        oldest_seconds=line.oldest_seconds,
        error=line.error,
        remedy=line.remedy,
    )


def _member(member: Member) -> MemberView:
    return MemberView(
        id=member.id,
        host=member.host,
        source=member.source.value,
        database=member.database,
        release=member.release,
        sign=member.sign.value,
        age_seconds=member.age_seconds,
    )
