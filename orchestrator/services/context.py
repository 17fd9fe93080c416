"""What every service works with: the store, the managed schemas, the site's settings; and how it reads a view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.fleets import InstanceState
from orchestrator.domain.ladder import Phase, Side
from orchestrator.domain.records import DatabaseReading, Event, SchemaState
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import DatabaseFacts, Policy, View
from orchestrator.ports import ManagedSchema, Store, Transaction
from orchestrator.services.waits import reasons_in


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a lease lasts, and how often its holder renews it."""

    ttl_seconds: float = 60.0
    renew_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every service at its composition; holds no state of its own."""

    store: Store
    schemas: Mapping[str, ManagedSchema]
    policies: Mapping[str, Policy] = field(default_factory=dict)
    lease_terms: LeaseTerms = field(default_factory=LeaseTerms)

    def managed(self, schema: str) -> ManagedSchema:
        """The schema of that name as it is configured. Raises `NotFound` (code `schema_unknown`)."""
        found = self.schemas.get(schema)
        if found is None:
            known = ", ".join(self.schemas) or "none"
            raise NotFound(
                "schema_unknown",
                f"there is no schema {schema!r}",
                remedy=f"Schemas are named in [orchestrator] schemas. Configured: {known}.",
                schema=schema,
            )
        return found

    def policy(self, schema: str) -> Policy:
        """What the site asks for in upgrades of this schema."""
        return self.policies.get(schema, Policy())

    def register_schemas(self) -> None:
        """Give every configured schema its row. Repeatable."""

        def work(tx: Transaction) -> None:
            known = {state.name for state in tx.schemas()}
            for name in self.schemas:
                if name not in known:
                    tx.add_schema(SchemaState(name, None, None, 0))

        self.store.run(work)


def check_fleet(managed: ManagedSchema, fleet: str) -> None:
    """Raise `NotFound` (code `fleet_unknown`) for a fleet that no release lists."""
    listed = {each for release in managed.releases.ordered for each in release.fleets}
    if fleet not in listed:
        raise NotFound(
            "fleet_unknown",
            f"no release of {managed.name} lists a fleet {fleet!r}",
            remedy=f"Fleets in its manifest: {', '.join(sorted(listed)) or 'none'}.",
        )


def standing_of(tx: Transaction, managed: ManagedSchema, state: SchemaState, *, for_joining: bool = True) -> Standing:
    """Where the schema stands, as this transaction sees it. Whoever admits nobody spares what is read for that."""
    upgrade = tx.upgrade(state.upgrade_id) if state.upgrade_id is not None else None
    return Standing(
        managed.name, state.release, upgrade, managed.releases, state.last_revision, tx.incarnation, state.forgotten,
        removed_by_hand(tx, managed, upgrade) if for_joining else None,
    )  # fmt: skip


def removed_by_hand(tx: Transaction, managed: ManagedSchema, upgrade: Upgrade | None) -> str | None:
    """What was last read of an old shape that somebody took away, while the release that needs it may run."""
    if upgrade is None or upgrade.phase not in upgrade.profile.support(Side.OLD):
        return None
    for facts in latest_readings(tx, managed):
        if facts.error is None and facts.removal is not None:
            return facts.removal.told(facts.name, upgrade.from_release)
    return None


def running_upgrade(tx: Transaction, state: SchemaState) -> Upgrade:
    """The upgrade under way. Raises `Conflict` (code `no_upgrade`) when there is none."""
    upgrade = tx.upgrade(state.upgrade_id) if state.upgrade_id is not None else None
    if upgrade is None:
        raise Conflict(
            "no_upgrade",
            f"no upgrade of {state.name} is under way",
            remedy=f"orchestrator upgrade begin {state.name} --release RELEASE",
            schema=state.name,
        )
    return upgrade


def view_of(
    tx: Transaction, managed: ManagedSchema, upgrade: Upgrade, policy: Policy, databases: tuple[DatabaseFacts, ...]
) -> View:
    """Everything that a decision about this upgrade looks at, from this transaction and the given readings."""
    releases = managed.releases
    old = releases[upgrade.from_release]
    earlier = releases.ordered[: releases.index(old.name) + 1]
    began = {record.database for record in tx.steps(upgrade.id, Phase.EXPANDED)}
    return View(
        upgrade=upgrade,
        old=old,
        new=releases[upgrade.to_release],
        instances=tx.possibly_alive(upgrade.schema),
        reports=tx.reports(upgrade.schema),
        known_fleets=tx.known_fleets(upgrade.schema),
        databases=databases,
        steps=tx.steps(upgrade.id, upgrade.fence),
        approvals=tx.approvals(upgrade.id),
        policy=policy,
        now=tx.now,
        incarnation=tx.incarnation,
        earlier_migrations=tuple(name for release in earlier for name in release.data_migrations),
        left_out=tuple(sorted(began.difference(managed.databases))),
        sourced_fleets=managed.sourced_fleets,
        evicted=tuple(
            instance
            for fleet in sorted(managed.sourced_fleets)
            for instance in tx.instances(upgrade.schema, fleet=fleet, state=InstanceState.EVICTED)
        ),
        pauses=tx.fleet_pauses(upgrade.schema),
        intentions=tx.intentions(upgrade.schema),
        links=managed.links(releases[upgrade.to_release].data_migrations),
        waits=reasons_in(tx, upgrade.schema),
    )


def readings_of(tx: Transaction, managed: ManagedSchema) -> tuple[DatabaseReading, ...]:
    """The last reading of every configured database; one that was never read counts as unreachable."""
    known = {reading.database: reading for reading in tx.readings(managed.name)}
    return tuple(known.get(name) or _unread(managed.name, name) for name in managed.databases)


def latest_readings(tx: Transaction, managed: ManagedSchema) -> tuple[DatabaseFacts, ...]:
    """The facts of `readings_of`."""
    return tuple(reading.facts for reading in readings_of(tx, managed))


def _unread(schema: str, database: str) -> DatabaseReading:
    facts = DatabaseFacts(database, error="it has not been read yet", remedy="The daemon reads it shortly.")
    return DatabaseReading(schema, database, facts, 0.0)


def event(
    tx: Transaction,
    action: str,
    sentence: str,
    *,
    actor: str,
    schema: str | None,
    upgrade_id: int | None = None,
    subject: str | None = None,
    reason: str | None = None,
) -> Event:
    """Write one line of the audit log, in the transaction of the effect that it records. Returns it, unnumbered."""
    written = Event(0, tx.now, action, actor, schema, upgrade_id, subject, sentence, reason)
    tx.append_event(written)
    return written
