"""The transaction that services use, over the rows of any storage."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from orchestrator.domain.daemons import Daemon, DaemonState, OwnTree, OwnTreeState
from orchestrator.domain.errors import NotFound, StaleRevision
from orchestrator.domain.fleets import POSSIBLY_ALIVE, Instance, InstanceState, Report
from orchestrator.domain.intentions import Intention
from orchestrator.domain.ladder import Phase
from orchestrator.domain.overlay import Setting
from orchestrator.domain.records import DatabaseReading, Event, Leadership, SchemaState, SigningKey
from orchestrator.domain.throttling import RowsWait
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import Approval, StepRecord
from orchestrator.domain.waves import FleetPause
from orchestrator.services.clocks import ClockWatch
from orchestrator.store import rows
from orchestrator.store.rows import Kind, KnownFleet, LeadershipRow, R, Rows

_RENEWED = ("acked", "told", "renewed_at", "expires_at")
"""What a renewal changes of an instance."""


class StoreTransaction:
    """Implements `orchestrator.ports.Transaction`."""

    def __init__(self, storage: Rows, watch: ClockWatch | None = None) -> None:
        self._rows = storage
        self._watch = watch

    @cached_property
    def now(self) -> float:
        if self._watch is None:
            return self._rows.now
        now = self._watch.read(lambda: self._rows.now)
        if not self._watch.has_news:
            return now
        row = self._rows.get(rows.LEADERSHIP, 1)
        return now - self._watch.unrecorded(row.clock_steps if row is not None else 0.0)

    @property
    def incarnation(self) -> str | None:
        return self._rows.incarnation

    @cached_property
    def signing_key(self) -> SigningKey:
        found = self._rows.get(rows.SIGNING_KEYS, 1)
        return found or self._rows.insert(rows.SIGNING_KEYS, SigningKey(1, secrets.token_hex(32)))

    def schemas(self) -> tuple[SchemaState, ...]:
        return self._rows.find(rows.SCHEMAS, {})

    def schema(self, name: str) -> SchemaState | None:
        return self._rows.get(rows.SCHEMAS, name)

    def add_schema(self, state: SchemaState) -> None:
        self._rows.insert(rows.SCHEMAS, state)

    def lock_schema(self, name: str) -> SchemaState:
        self._rows.lock(rows.SCHEMAS, name)
        found = self.schema(name)
        if found is None:
            raise NotFound(
                "schema_unknown", f"there is no schema {name!r}", remedy="`orchestrator schema list` names them."
            )
        return found

    def save_schema(self, state: SchemaState) -> None:
        self._rows.replace(rows.SCHEMAS, state, {})

    def upgrade(self, upgrade_id: int) -> Upgrade | None:
        return self._rows.get(rows.UPGRADES, upgrade_id)

    def upgrades(self, schema: str, *, limit: int) -> tuple[Upgrade, ...]:
        return self._rows.find(rows.UPGRADES, {"schema": schema}, newest_first=True, limit=limit)

    def add_upgrade(self, upgrade: Upgrade, *, above: int = 0) -> Upgrade:
        newest = self._rows.find(rows.UPGRADES, {}, newest_first=True, limit=1)
        highest = max(above, *(each.id for each in newest), 0)
        return self._rows.insert(rows.UPGRADES, upgrade if upgrade.id else replace(upgrade, id=highest + 1))

    def save_upgrade(self, upgrade: Upgrade, *, expected_revision: int) -> None:
        if not self._rows.replace(rows.UPGRADES, upgrade, {"revision": expected_revision}):
            found = self.upgrade(upgrade.id)
            raise StaleRevision(expected=expected_revision, found=found.revision if found else None)

    def instances(
        self, schema: str, *, fleet: str | None = None, state: InstanceState | None = None
    ) -> tuple[Instance, ...]:
        wanted = {"schema": schema, "fleet": fleet, "state": state}
        return self._rows.find(rows.INSTANCES, {name: value for name, value in wanted.items() if value is not None})

    def instance(self, schema: str, fleet: str, instance_id: str) -> Instance | None:
        return self._rows.get(rows.INSTANCES, schema, fleet, instance_id)

    def add_instance(self, instance: Instance) -> None:
        self._rows.insert(rows.INSTANCES, instance)

    def possibly_alive(self, schema: str, *, fleet: str | None = None) -> tuple[Instance, ...]:
        found = [each for state in POSSIBLY_ALIVE for each in self.instances(schema, fleet=fleet, state=state)]
        return tuple(sorted(found, key=lambda each: (each.fleet, each.id)))

    def to_be_refused(self, schema: str) -> tuple[Instance, ...]:
        return self._rows.find(rows.INSTANCES, {"schema": schema, "is_refused": False})

    def save_instance(self, instance: Instance, *, expected: InstanceState = InstanceState.ALIVE) -> bool:
        return self._rows.replace(rows.INSTANCES, instance, {"state": expected})

    def lock_instances(self, schema: str, fleet: str, ids: Sequence[str]) -> tuple[Instance, ...]:
        return self._rows.find_and_lock(rows.INSTANCES, {"schema": schema, "fleet": fleet}, "id", ids)

    def renew_instances(self, instances: Sequence[Instance]) -> None:
        if instances:
            self._rows.replace_parts(rows.INSTANCES, instances, _RENEWED)

    def known_fleets(self, schema: str) -> frozenset[str]:
        return frozenset(known.fleet for known in self._rows.find(rows.FLEETS, {"schema": schema}))

    def note_fleet(self, schema: str, fleet: str) -> None:
        if self._rows.get(rows.FLEETS, schema, fleet) is None:
            self._rows.insert(rows.FLEETS, KnownFleet(schema, fleet))

    def fleet_pauses(self, schema: str) -> tuple[FleetPause, ...]:
        return self._rows.find(rows.FLEET_PAUSES, {"schema": schema})

    def save_fleet_pause(self, pause: FleetPause) -> None:
        self._put(rows.FLEET_PAUSES, pause)

    def end_fleet_pause(self, pause: FleetPause) -> None:
        self._rows.delete(rows.FLEET_PAUSES, pause.schema, pause.fleet)

    def reports(self, schema: str) -> tuple[Report, ...]:
        return self._rows.find(rows.REPORTS, {"schema": schema})

    def save_report(self, report: Report) -> None:
        self._put(rows.REPORTS, report)

    def steps(self, upgrade_id: int, phase: Phase) -> tuple[StepRecord, ...]:
        return self._rows.find(rows.STEPS, {"upgrade_id": upgrade_id, "phase": phase})

    def save_step(self, record: StepRecord) -> None:
        self._put(rows.STEPS, record)

    def end_step(self, record: StepRecord) -> bool:
        attempt = {"owner_epoch": record.owner_epoch, "attempts": record.attempts}
        return self._rows.replace(rows.STEPS, record, attempt)

    def forget_step(self, record: StepRecord) -> None:
        self._rows.delete(rows.STEPS, record.upgrade_id, record.phase, record.database)

    def approvals(self, upgrade_id: int) -> tuple[Approval, ...]:
        return self._rows.find(rows.APPROVALS, {"upgrade_id": upgrade_id})

    def save_approval(self, approval: Approval) -> None:
        self._put(rows.APPROVALS, approval)

    def withdraw_approvals(self, upgrade_id: int, *, above: Phase) -> None:
        for approval in self.approvals(upgrade_id):
            if approval.phase > above:
                self._rows.delete(rows.APPROVALS, upgrade_id, approval.phase)

    def readings(self, schema: str) -> tuple[DatabaseReading, ...]:
        return self._rows.find(rows.READINGS, {"schema": schema})

    def save_reading(self, reading: DatabaseReading) -> None:
        self._put(rows.READINGS, reading)

    def rows_waits(self, schema: str) -> tuple[RowsWait, ...]:
        return self._rows.find(rows.ROWS_WAITS, {"schema": schema})

    def save_rows_wait(self, wait: RowsWait) -> None:
        self._put(rows.ROWS_WAITS, wait)

    def end_rows_wait(self, schema: str, database: str, daemon: str) -> None:
        self._rows.delete(rows.ROWS_WAITS, schema, database, daemon)

    def intentions(self, schema: str) -> tuple[Intention, ...]:
        return self._rows.find(rows.INTENTIONS, {"schema": schema})

    def save_intention(self, intention: Intention) -> None:
        self._put(rows.INTENTIONS, intention)

    def end_intention(self, intention: Intention) -> None:
        self._rows.delete(rows.INTENTIONS, intention.schema, intention.name, intention.database)

    def settings(self, schema: str) -> tuple[Setting, ...]:
        return self._rows.find(rows.SETTINGS, {"schema": schema})

    def save_setting(self, setting: Setting) -> None:
        self._put(rows.SETTINGS, setting)

    def clear_setting(self, setting: Setting) -> None:
        self._rows.delete(rows.SETTINGS, setting.schema, setting.database, setting.name, setting.option)

    def append_event(self, event: Event) -> None:
        self._rows.insert(rows.EVENTS, event)

    def events(self, *, schema: str | None, after: int, limit: int) -> tuple[Event, ...]:
        equal = {} if schema is None else {"schema": schema}
        if after >= 0:
            return self._rows.find(rows.EVENTS, equal, after=after, limit=limit)
        return self._rows.find(rows.EVENTS, equal, newest_first=True, limit=limit)[::-1]

    def leadership(self) -> Leadership | None:
        row = self._rows.get(rows.LEADERSHIP, 1)
        if row is None:
            return None
        return Leadership(
            row.holder, row.epoch, row.expires_at, row.taken_at, row.revision, row.clock_steps, row.incarnation
        )

    def save_leadership(self, leadership: Leadership, *, expected: Leadership | None) -> bool:
        if expected is not None:
            row = LeadershipRow.of(leadership, expected.revision + 1)
            return self._rows.replace(rows.LEADERSHIP, row, {"epoch": expected.epoch, "revision": expected.revision})
        if self._rows.get(rows.LEADERSHIP, 1) is not None:
            return False
        self._rows.insert(rows.LEADERSHIP, LeadershipRow.of(leadership, 1))
        return True

    def daemons(self, *, state: DaemonState | None = None) -> tuple[Daemon, ...]:
        return self._rows.find(rows.DAEMONS, {} if state is None else {"state": state})

    def daemon(self, daemon_id: str) -> Daemon | None:
        return self._rows.get(rows.DAEMONS, daemon_id)

    def add_daemon(self, daemon: Daemon) -> None:
        self._rows.insert(rows.DAEMONS, daemon)

    def save_daemon(self, daemon: Daemon) -> bool:
        return self._rows.replace(rows.DAEMONS, daemon, {"state": DaemonState.ALIVE})

    def forget_daemon(self, daemon_id: str) -> None:
        self._rows.delete(rows.DAEMONS, daemon_id)

    def move_leases(self, seconds: float, grant_seconds: float) -> None:
        amounts = {"renewed_at": seconds, "expires_at": seconds + grant_seconds}
        for state in POSSIBLY_ALIVE:
            self._rows.add(rows.INSTANCES, {"state": state}, amounts)
        self._rows.add(rows.INSTANCES, {"state": InstanceState.EVICTED}, {"ended_at": seconds})
        self._rows.add(rows.DAEMONS, {"state": DaemonState.ALIVE}, amounts)

    def own_tree(self, tree: OwnTree) -> OwnTreeState:
        return self._rows.get(rows.OWN_TREES, tree) or OwnTreeState(tree, None)

    def lock_own_tree(self, tree: OwnTree) -> OwnTreeState:
        self._rows.lock(rows.OWN_TREES, tree)
        found = self._rows.get(rows.OWN_TREES, tree)
        return found if found is not None else self._rows.insert(rows.OWN_TREES, OwnTreeState(tree, None))

    def save_own_tree(self, state: OwnTreeState) -> None:
        self._rows.replace(rows.OWN_TREES, state, {})

    def _put(self, kind: Kind[R], record: R) -> None:
        if not self._rows.replace(kind, record, {}):
            self._rows.insert(kind, record)
