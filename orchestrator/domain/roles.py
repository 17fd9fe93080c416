"""Roles: under which user of a managed database each release works, a witness of those that never registered."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.ladder import Phase, Side
from orchestrator.domain.upgrades import Upgrade

MOST_SESSIONS = 5
"""So many sessions of a role are named to people; all are counted."""


@dataclass(frozen=True, slots=True)
class RoleSession:
    """Somebody who is connected under a role: since when by the database's time, None where it does not tell."""

    number: int
    host: str | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """A role of one managed database and the release that works under it.

    `sessions` are the oldest of those that are connected under it, `count` how many there are. `is_ours` where we
    locked it, and so may unlock it again. `problem` says what we may not see of it, or not do to it, with `remedy`.
    """

    name: str
    release: str
    is_locked: bool = False
    is_ours: bool = False
    sessions: tuple[RoleSession, ...] = ()
    count: int = 0
    problem: str | None = None
    remedy: str | None = None


def must_be_locked(upgrade: Upgrade, role: Role) -> bool | None:
    """Whether nobody may connect under the role: that of the old release, wherever this cannot live.

    A fence is one place that it must be able to live in. None for a role that the upgrade leaves as it is.
    """
    if role.release != upgrade.from_release:
        return None
    support = upgrade.profile.support(Side.OLD)
    return not (upgrade.phase in support and upgrade.fence in support)


def first_locked(upgrade: Upgrade) -> Phase | None:
    """The phase before which the old release's roles are locked, None where that is over or never comes."""
    support = upgrade.profile.support(Side.OLD)
    if upgrade.phase not in support:
        return None
    return next((phase for phase in upgrade.profile.phases() if phase > upgrade.phase and phase not in support), None)
