"""Importing: instances that wrote themselves into a managed database, for want of a daemon, become part of the state.

From then on they count like every other one. What they wrote is a fact: an instance that could not be admitted now is
imported too, and blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.admission import Standing
from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.fleets import Instance, InstanceState, Registration
from orchestrator.domain.visible import is_name
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, event, standing_of

SELF = "orchestrator"
AT_ONCE = 500
"""How many are written in one transaction."""


def take_over(
    tx: Transaction, managed: ManagedSchema, registrations: Sequence[Registration], *, ttl_seconds: float
) -> tuple[Registration, ...]:
    """Make them part of the state. Repeatable.

    Returns those that it knows now: all but a second process of one id, and one that no command could name, and evict.
    """
    state = tx.lock_schema(managed.name)
    standing = standing_of(tx, managed, state)
    known, added = [], list[Registration]()
    for registration in registrations:
        if not (is_name(registration.fleet) and is_name(registration.id)):
            continue
        instance = tx.instance(managed.name, registration.fleet, registration.id)
        if instance is None:
            if _add(tx, standing, registration, tx.now + ttl_seconds):
                added.append(registration)
        elif instance.tag != registration.tag and instance.nonce != registration.nonce:
            continue
        elif instance.state is InstanceState.EVICTED and registration.state is InstanceState.ALIVE:
            tx.save_instance(replace(instance, is_refused=False), expected=InstanceState.EVICTED)  # it is refused again
        elif instance.state is InstanceState.ALIVE:
            tx.save_instance(_updated(instance, standing, registration, tx.now, tx.now + ttl_seconds))
        known.append(registration)
    _doubt(tx, standing, added)
    return tuple(known)


def find(
    context: Context, managed: ManagedSchema, fleet: str, instance_id: str, *, tag: str
) -> tuple[Registration, ...]:
    """What the instance with that tag wrote down, wherever it did; nothing where it is sure that it never did.

    Raises `Unavailable` (code `instance_not_imported`) while a database cannot be read.
    """
    readings = context.store.read(lambda tx: tx.readings(managed.name))
    silent = [reading.database for reading in readings if reading.facts.error is not None]  # not waited for again
    found = []
    for database in (name for name in managed.databases if name not in silent):
        try:
            registration = managed.registration(database, fleet, instance_id)
        except OrchestratorError:
            silent.append(database)
        else:
            found += [registration] if registration is not None and registration.tag == tag else []
    if not found and silent:
        raise Unavailable(
            "instance_not_imported",
            f"the state knows no instance {instance_id!r} of fleet {fleet}; it may have joined in database "
            f"{', '.join(silent)}, which cannot be read",
            remedy="Ask again: it is read as soon as it answers.",
        )
    return tuple(found)


def _add(tx: Transaction, standing: Standing, registration: Registration, expires_at: float) -> bool:
    """Nothing is left to do for one that has ended already. Returns whether it counts from now on."""
    if registration.state is not InstanceState.ALIVE:
        return False
    schema = standing.schema
    tx.add_instance(
        Instance(
            schema=schema, fleet=registration.fleet, id=registration.id, tag=registration.tag,
            nonce=registration.nonce, release=registration.release, host=registration.host,
            state=InstanceState.ALIVE, acked=_credible(standing, registration.acked),
            joined_at=tx.now, renewed_at=tx.now, expires_at=expires_at, told=registration.acked,
            sessions=registration.sessions,
        )
    )  # fmt: skip
    tx.note_fleet(schema, registration.fleet)
    event(
        tx, "instance.import",
        f"{registration.fleet} {registration.id} (release {registration.release}) joined without a daemon",
        actor=SELF, schema=schema, subject=f"{registration.fleet}/{registration.id}",
    )  # fmt: skip
    return True


def _doubt(tx: Transaction, standing: Standing, added: Sequence[Registration]) -> None:
    """What was proven of the rows counts no more where any of these may have harmed them: said once, of the first."""
    upgrade = standing.upgrade
    harmful = None if upgrade is None else next((each for each in added if upgrade.is_harmed_by(each.release)), None)
    if upgrade is not None and harmful is not None:
        doubt = f"fleet {harmful.fleet} was found to run {harmful.release} in {upgrade.phase.word}"
        tx.save_upgrade(upgrade.with_doubt(doubt), expected_revision=upgrade.revision)


def _updated(
    instance: Instance, standing: Standing, registration: Registration, now: float, expires_at: float
) -> Instance:
    """The instance with what it wrote since. One whose registration here was never answered goes by its other one."""
    if registration.state is InstanceState.LEFT:
        return replace(instance, state=InstanceState.LEFT, ended_at=now, end_reason="left")
    acked = _credible(standing, registration.acked)
    if instance.tag == registration.tag:
        acked = max(acked, instance.acked)
    return replace(instance, tag=registration.tag, acked=acked, renewed_at=now, expires_at=expires_at)


def _credible(standing: Standing, acked: int) -> int:
    """An ack of something that was never published says nothing of what the instance follows."""
    published = standing.upgrade.publication if standing.upgrade is not None else standing.last_revision
    return acked if acked <= published else 0
