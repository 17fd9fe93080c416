"""Guard: nobody is connected under the role of a release that cannot live in the phase, and nobody new can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.domain.guards.instances_support import supports
from orchestrator.domain.ladder import Phase, Side
from orchestrator.domain.roles import Role, RoleSession
from orchestrator.domain.upgrades import Move
from orchestrator.domain.view import Blocker, DatabaseFacts, View


def blockers(view: View, target: Phase) -> Iterator[Blocker]:
    """Closed for each such role with sessions, and for one that we cannot see or lock.

    With the fence the roles of the old release are locked; until they are, somebody may connect after the look.
    """
    upgrade = view.upgrade
    is_fenced = upgrade.move is Move.FENCED
    for facts in view.databases:
        for role in facts.roles:
            if supports(view, role.release, target):
                continue
            place = f"role {role.name} of release {role.release} in database {facts.name}"
            is_old = upgrade.side_of(role.release) is Side.OLD
            if role.sessions:
                yield _in_use(view, facts, role)
            if role.problem is not None:
                yield Blocker("role_unlockable", f"{place}: {role.problem}", role.remedy or "", (role.name,))
            elif is_old and is_fenced and not role.is_locked:
                yield Blocker("role_unlocked", f"{place} is not locked yet", "It is locked by itself.", (role.name,))


def vouches(view: View) -> bool:
    """Whether roles tell of everybody that runs the old release, so that a fleet that never said anything is known."""
    return bool(view.databases) and all(
        any(role.release == view.old.name for role in facts.roles)
        and all(role.problem is None for role in facts.roles if role.release == view.old.name)
        for facts in view.databases
        if facts.error is None  # databases_fenced names the others
    )


def _in_use(view: View, facts: DatabaseFacts, role: Role) -> Blocker:
    going_up = view.upgrade.side_of(role.release) is not Side.NEW
    wanted = view.new.name if going_up else view.old.name
    are = "session is" if role.count == 1 else "sessions are"
    return Blocker(
        "role_in_use",
        f"{role.count} {are} connected to database {facts.name} under role {role.name}, which release {role.release} "
        "works under",
        f"Roll what runs there to {wanted}; it works under another role.",
        tuple(_named(role.sessions, view.now)),
    )


def _named(sessions: Sequence[RoleSession], now: float) -> Iterator[str]:
    for session in sessions:
        age = "" if session.since is None else f", connected for {max(0, now - session.since):.0f} s"
        yield f"session {session.number}{f' from {session.host}' if session.host else ''}{age}"
