"""Taking over: an operator lets the state, at rest, recall from the databases' copies what it has forgotten."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.errors import Conflict
from orchestrator.domain.forgotten import Recalled, recalled
from orchestrator.domain.ladder import Phase
from orchestrator.domain.losses import frozen_seconds
from orchestrator.domain.upgrades import Status
from orchestrator.domain.view import StepRecord, StepState
from orchestrator.ports import Transaction
from orchestrator.services.context import Context, event
from orchestrator.services.vouching import check_reason


def take_over(context: Context, schema: str, *, actor: str, reason: str) -> Recalled:
    """Make what the copies know the state's own. Only where all of them agree; audited.

    Whoever joined meanwhile may be unknown, so an upgrade under way is frozen, and one that begins soon is too. Raises
    `Conflict`, `Invalid` without a reason.
    """
    check_reason(reason)
    managed = context.managed(schema)
    databases = tuple(managed.observe(database, None) for database in managed.databases)

    def work(tx: Transaction) -> Recalled:
        state = tx.lock_schema(schema)
        if state.upgrade_id is not None:
            raise Conflict(
                "upgrade_running",
                f"an upgrade of {schema} is under way by the state, so it is not at rest",
                remedy=f"orchestrator upgrade show {schema}",
            )
        until = tx.now + frozen_seconds(context.lease_terms.ttl_seconds)
        found = recalled(
            state, databases, managed.releases, now=tx.now, until=until, incarnation=tx.incarnation
        )  # fmt: skip
        upgrade = found.upgrade
        if tx.upgrade(upgrade.id) is not None:
            raise Conflict(
                "upgrade_id_taken",
                f"the databases of {schema} know upgrade {upgrade.id}, and the state has another one of that number",
                remedy="Restore a newer backup of the state database.",
            )
        tx.add_upgrade(upgrade)
        for database in managed.databases if upgrade.phase >= Phase.EXPANDED else ():  # they took part in it
            tx.save_step(StepRecord(upgrade.id, Phase.EXPANDED, database, StepState.DONE, owner_epoch=0))
        running = upgrade.status is Status.RUNNING
        tx.save_schema(
            replace(
                state,
                release=found.release,
                upgrade_id=upgrade.id if running else None,
                last_revision=state.last_revision if running else upgrade.revision,
                forgotten=None,
                lost_until=until,
            )
        )
        sentence = f"{actor} let the state of {schema} take over what its databases know: {found.sentence}"
        event(
            tx, "schema.take_over", sentence,
            actor=actor, schema=schema, upgrade_id=upgrade.id, reason=reason,
        )  # fmt: skip
        return found

    return context.store.run(work)
