"""Role locks: nobody connects under the old release's roles wherever this cannot live.

A lock is a part of the fence: it is taken with the fence, before the move is validated, and given up with it. Going
back, it is given up once the phase in which the old release may live again is published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.roles import Role, must_be_locked
from orchestrator.domain.upgrades import Upgrade
from orchestrator.domain.view import DatabaseFacts
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, event
from orchestrator.services.recording import DAEMON

REMEMBERED_SECONDS = 10.0
"""So long a lock that was not had is a problem of its role: no fence is set only to be lifted again."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why roles of a database were not locked, at that time."""

    error: OrchestratorError
    at: float


class RoleLocks:
    """Locks and unlocks what the state of an upgrade asks for. Remembers in memory what it could not do."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failures: dict[tuple[str, str], _Failure] = {}

    def settle(
        self,
        managed: ManagedSchema,
        facts: DatabaseFacts,
        upgrade: Upgrade,
        check_leader: Callable[[Transaction], None],
        *,
        now: float,
    ) -> DatabaseFacts:
        """Settle the roles in one database. Returns the facts as they are then. Repeatable.

        Only where the copy is that of the upgrade: whoever has an older one does not act on it. Raises `Conflict`
        (code `not_leader`).
        """
        if not facts.roles:
            return facts
        place = managed.name, facts.name
        lock, unlock = tuple(_to_lock(facts.roles, upgrade)), tuple(_to_unlock(facts.roles, upgrade))
        has_copy = facts.copy is not None and facts.copy.revision == upgrade.revision
        if (lock or unlock) and has_copy:
            self._context.store.read(check_leader)
            try:
                managed.settle_roles(facts.name, upgrade.revision, lock=lock, unlock=unlock)
            except OrchestratorError as error:
                self._failures[place] = _Failure(error, now)
            else:
                self._failures.pop(place, None)
                self._context.store.run(lambda tx: _note(tx, upgrade, facts.name, lock, unlock))
                seen = managed.observe(facts.name, None)
                facts = seen if seen.error is not None else replace(facts, roles=seen.roles)
        failure = self._failures.get(place)
        if failure is None or not 0 <= now - failure.at < REMEMBERED_SECONDS:
            return facts
        return replace(facts, roles=tuple(_with(role, failure.error, upgrade) for role in facts.roles))


def _to_lock(roles: Iterable[Role], upgrade: Upgrade) -> Iterable[str]:
    return (each.name for each in roles if must_be_locked(upgrade, each) and not each.is_locked and not each.problem)


def _to_unlock(roles: Iterable[Role], upgrade: Upgrade) -> Iterable[str]:
    return (each.name for each in roles if must_be_locked(upgrade, each) is False and each.is_ours)


def _with(role: Role, error: OrchestratorError, upgrade: Upgrade) -> Role:
    """The role with what went wrong, where it is one that the upgrade locks and that is not."""
    if role.is_locked or role.problem is not None or must_be_locked(upgrade, role) is None:
        return role
    return replace(role, problem=error.message, remedy=error.remedy)


def _note(tx: Transaction, upgrade: Upgrade, database: str, lock: Iterable[str], unlock: Iterable[str]) -> None:
    for names, verb in ((lock, "lock"), (unlock, "unlock")):
        for name in names:
            event(
                tx, f"role.{verb}", f"role {name} was {verb}ed in {database}",
                actor=DAEMON, schema=upgrade.schema, upgrade_id=upgrade.id, subject=database,
            )  # fmt: skip
