"""Fleets: which phase each of them is told, and keeping one from going further."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.ladder import Phase
from orchestrator.domain.telling import fleet_is_told, has_acked, held_fleets, is_held, pause_revision, teller
from orchestrator.domain.waves import FleetPause
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, check_fleet, event, latest_readings, running_upgrade, view_of
from orchestrator.services.vouching import check_reason


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """One fleet as people look at it.

    `phase` is what a whole fleet is told, `told` how many of its instances hear of the present one, `acked` how many
    have drained into what they hear. `wave` is None where everybody is told at once, `phase` while no upgrade is under
    way. `is_held` says that the pause keeps the fleet from the present phase; a later one does so from the next on.
    """

    schema: str
    fleet: str
    wave: int | None
    phase: Phase | None
    instances: int
    told: int
    acked: int
    pause: FleetPause | None
    is_held: bool


class Fleets:
    """Every verb is one transaction that writes its audit line."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def list(self, schema: str) -> tuple[FleetStatus, ...]:
        """The fleets that the releases of the present upgrade list, or the present release."""
        managed = self._context.managed(schema)
        return self._context.store.read(lambda tx: self._statuses(tx, managed))

    def show(self, schema: str, fleet: str) -> FleetStatus:
        """One fleet. Raises `NotFound` (code `fleet_unknown`)."""
        managed = self._context.managed(schema)
        check_fleet(managed, fleet)
        return self._context.store.read(lambda tx: self._status(tx, managed, fleet))

    def pause(self, schema: str, fleet: str, *, actor: str, reason: str) -> FleetStatus:
        """Tell this fleet no further phase until it is resumed. Works without an upgrade too; repeatable.

        What its wave was told already it goes on with: then the next phase that is published is the first that it does
        not hear of. It holds up the move after that; it never holds up the way back, on which it is told as everybody.
        """
        managed = self._context.managed(schema)
        check_fleet(managed, fleet)
        check_reason(reason)

        def work(tx: Transaction) -> FleetStatus:
            state = tx.lock_schema(schema)
            upgrade = running_upgrade(tx, state) if state.upgrade_id is not None else None
            known = next((each for each in tx.fleet_pauses(schema) if each.fleet == fleet), None)
            waves = self._context.policy(schema).waves
            revision = state.last_revision if upgrade is None else pause_revision(upgrade, waves, fleet)
            if known is not None:
                revision = min(revision, known.revision)
            tx.save_fleet_pause(FleetPause(schema, fleet, revision, actor, reason, tx.now))
            found = self._status(tx, managed, fleet)
            event(
                tx, "fleet.pause", f"{actor} paused {fleet}: {effect_of(found)}",
                actor=actor, schema=schema, upgrade_id=state.upgrade_id, subject=fleet, reason=reason,
            )  # fmt: skip
            return found

        return self._context.store.run(work)

    def resume(self, schema: str, fleet: str, *, actor: str, reason: str | None) -> FleetStatus:
        """Tell this fleet what was published meanwhile, and all that follows. Repeatable."""
        managed = self._context.managed(schema)
        check_fleet(managed, fleet)

        def work(tx: Transaction) -> FleetStatus:
            state = tx.lock_schema(schema)
            known = next((each for each in tx.fleet_pauses(schema) if each.fleet == fleet), None)
            if known is not None:
                tx.end_fleet_pause(known)
                event(
                    tx, "fleet.resume", f"{actor} resumed {fleet}",
                    actor=actor, schema=schema, upgrade_id=state.upgrade_id, subject=fleet, reason=reason,
                )  # fmt: skip
            return self._status(tx, managed, fleet)

        return self._context.store.run(work)

    def _status(self, tx: Transaction, managed: ManagedSchema, fleet: str) -> FleetStatus:
        return next(each for each in self._statuses(tx, managed, fleet) if each.fleet == fleet)

    def _statuses(self, tx: Transaction, managed: ManagedSchema, *also: str) -> tuple[FleetStatus, ...]:
        state = tx.schema(managed.name)
        pauses = {pause.fleet: pause for pause in tx.fleet_pauses(managed.name)}
        if state is None or state.upgrade_id is None:
            at_rest = state.release if state is not None else None
            listed = managed.releases[at_rest].fleets if at_rest is not None else ()
            return tuple(
                self._at_rest(tx, managed.name, fleet, pauses.get(fleet)) for fleet in dict.fromkeys((*listed, *also))
            )
        upgrade, policy = running_upgrade(tx, state), self._context.policy(managed.name)
        view = view_of(tx, managed, upgrade, policy, latest_readings(tx, managed))
        tells, held = teller(view), held_fleets(upgrade, view.pauses)
        found = []
        for fleet in dict.fromkeys((*view.old.fleets, *view.new.fleets, *also)):
            members = [instance for instance in view.instances if instance.fleet == fleet]
            told = [instance for instance in members if tells(instance)]
            acked = [each for each in members if has_acked(upgrade, each, told=each in told)]
            pause = pauses.get(fleet)
            is_told = fleet_is_told(upgrade, policy.waves, held, fleet)
            found.append(
                FleetStatus(
                    schema=managed.name, fleet=fleet, wave=self._wave(managed.name, fleet),
                    phase=upgrade.phase if is_told or upgrade.telling is None else upgrade.telling.phase_before,
                    instances=len(members), told=len(told), acked=len(acked), pause=pause,
                    is_held=pause is not None and is_held(upgrade, pause),
                )
            )  # fmt: skip
        return tuple(found)

    def _at_rest(self, tx: Transaction, schema: str, fleet: str, pause: FleetPause | None) -> FleetStatus:
        members = len(tx.possibly_alive(schema, fleet=fleet))
        return FleetStatus(
            schema=schema, fleet=fleet, wave=self._wave(schema, fleet), phase=None, instances=members, told=members,
            acked=members, pause=pause, is_held=False,
        )  # fmt: skip

    def _wave(self, schema: str, fleet: str) -> int | None:
        waves = self._context.policy(schema).waves
        return None if waves.first is None else waves.number_of(fleet)


def effect_of(fleet: FleetStatus) -> str:
    """What a pause does to the fleet, and from when on."""
    if fleet.pause is None:
        return f"{fleet.fleet} is not paused"
    if fleet.is_held and fleet.phase is not None:
        return f"it stays at {fleet.phase.word}"
    return f"it goes no further than {fleet.phase.word}" if fleet.phase is not None else "it will stay at base"
