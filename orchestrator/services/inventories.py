"""Inventories: what runs in each fleet, and from which source that is known. It only reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.fleets import Instance, Report
from orchestrator.domain.inventories import Inventory
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import latest_readings


class SourceKind(StrEnum):
    """Who tells what a fleet runs."""

    LEASES = "leases"
    REPORT = "report"
    QUERY = "query"


class Sign(StrEnum):
    """What is known of one instance. Only a lease that has ended, or `down`, takes one for gone."""

    ALIVE = "alive"
    SILENT = "silent"  # its lease ran out, or its last sign of life is too old; it may be alive all the same
    DOWN = "down"  # somebody said so in the service's own records


@dataclass(frozen=True, slots=True)
class Member:
    """One instance as one source knows it; `database` is where a query found it. `age_seconds` is how long ago it gave
    its last sign of life, None where that is not known."""

    id: str
    host: str | None
    source: SourceKind
    database: str | None
    release: str
    sign: Sign
    age_seconds: float | None


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What one source says of one release in a fleet, or why it says nothing (`error`; `release` is None then).

    `name` is who reported it, or the section of a query. `instances` counts those that are not down, `silent` those of
    them that are. `oldest_seconds` is the age of the oldest sign of life, or of the report.
    """

    source: SourceKind
    name: str | None
    release: str | None
    instances: int = 0
    silent: int = 0
    down: int = 0
    oldest_seconds: float | None = None
    error: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class FleetInventory:
    """One fleet; without `lines` nothing was ever reported of it."""

    fleet: str
    lines: tuple[SourceLine, ...]
    members: tuple[Member, ...]


def inventories(tx: Transaction, managed: ManagedSchema) -> Iterator[FleetInventory]:
    """Every fleet that the manifest lists, and every one of which anything is known, by name."""
    instances: dict[str, list[Instance]] = defaultdict(list)
    for instance in tx.possibly_alive(managed.name):
        instances[instance.fleet].append(instance)
    reports = {report.fleet: report for report in tx.reports(managed.name)}
    inventories: dict[str, list[tuple[str, Inventory]]] = defaultdict(list)
    for facts in latest_readings(tx, managed):
        for inventory in facts.inventories:
            inventories[inventory.fleet].append((facts.name, inventory))
    listed = {fleet for release in managed.releases.ordered for fleet in release.fleets}
    for fleet in sorted(listed | set(instances) | set(reports) | set(inventories)):
        leased = tuple(_leased(instance, tx.now) for instance in instances[fleet])
        seen = tuple(_seen(database, inventory, tx.now) for database, inventory in inventories[fleet])
        sections = {inventory.source: inventory for _, inventory in inventories[fleet]}
        lines = [*_lines(leased, None), *_reported(reports.get(fleet), tx.now)]
        for section in sections:
            of_section = zip(inventories[fleet], seen, strict=True)
            members = tuple(each for (_, found), group in of_section if found.source == section for each in group)
            lines += [*_lines(members, section), *_unread(inventories[fleet], section)]
        yield FleetInventory(fleet, tuple(lines), (*leased, *(each for group in seen for each in group)))


def _leased(instance: Instance, now: float) -> Member:
    sign = Sign.SILENT if instance.is_expired(now) else Sign.ALIVE
    age = max(0.0, now - instance.renewed_at)
    return Member(instance.id, instance.host, SourceKind.LEASES, None, instance.release, sign, age)


def _seen(database: str, inventory: Inventory, now: float) -> tuple[Member, ...]:
    since = max(0.0, now - inventory.observed_at)
    return tuple(
        Member(
            each.id,
            None,
            SourceKind.QUERY,
            database,
            each.release,
            Sign.DOWN if each.is_down else Sign.SILENT if inventory.is_silent(each) else Sign.ALIVE,
            None if each.age_seconds is None else each.age_seconds + since,
        )
        for each in inventory.sightings
    )


def _lines(members: Iterable[Member], name: str | None) -> Iterator[SourceLine]:
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        groups[member.release].append(member)
    for release, group in sorted(groups.items()):
        counted = [member for member in group if member.sign is not Sign.DOWN]
        yield SourceLine(
            group[0].source,
            name,
            release,
            instances=len(counted),
            silent=sum(member.sign is Sign.SILENT for member in counted),
            down=len(group) - len(counted),
            oldest_seconds=max((each.age_seconds for each in counted if each.age_seconds is not None), default=None),
        )


def _reported(report: Report | None, now: float) -> Iterator[SourceLine]:
    if report is not None:
        age = max(0.0, now - report.reported_at)
        yield SourceLine(SourceKind.REPORT, report.actor, report.release, report.instances, oldest_seconds=age)


def _unread(found: Iterable[tuple[str, Inventory]], section: str) -> Iterator[SourceLine]:
    """What could not be read, once for each reason."""
    reasons: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for database, inventory in found:
        if inventory.source == section and inventory.error is not None:
            reasons[inventory.error, inventory.remedy].append(database)
    for (error, remedy), databases in reasons.items():
        yield SourceLine(SourceKind.QUERY, section, None, error=f"in {', '.join(databases)}: {error}", remedy=remedy)
