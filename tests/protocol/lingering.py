"""Worlds of those who linger: cut off in mid-transaction, forgotten by everybody, or known by their role alone.

Who is cut off begins nothing more, and what it began may commit at any time until its sessions are ended. Who was
forgotten holds no lease, and nothing is claimed of it but what the database itself sees to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.domain.ladder import Behaviour, InStepBy, Phase
from orchestrator.domain.roles import Role, RoleSession, must_be_locked
from orchestrator.domain.view import View
from tests.protocol.sealing import SealedDatabase, SealedFacts, SealingWorld
from tests.protocol.world import (
    NO_TRANSACTION,
    Change,
    Counted,
    Daemon,
    Database,
    Hand,
    Life,
    Member,
    Process,
    Up,
    Violation,
    widened,
)

S9 = "S9 no statement by an epoch after its eviction"


class CutOffWorld(SealingWorld):
    """Processes that are cut off from everything but the database, and are evicted by ending their sessions."""

    leases_expire = True

    def may_evict(self, process: Process) -> bool:
        """Whoever is silent, whether it is dead or not: the proof is made in the managed database."""
        return process.life is not Life.RUNNING

    def ends_sessions(self) -> bool:
        """Its transactions are rolled back, and whoever connects under its epoch is refused."""
        return True

    def process_moves(self, up: Up, database: Any, process: Process) -> Iterator[tuple[str, Process | None, Database]]:
        is_evicted = process.counted is Counted.NOT and process.life is Life.FINISHING
        for action, after, changed in super().process_moves(up, database, process):
            if after is not None and after.counted is not process.counted and action.endswith("is evicted"):
                goes_on = process.transaction != NO_TRANSACTION and not self.ends_sessions()
                yield action, after if goes_on else None, changed
                continue
            if is_evicted and changed != database:
                self._check_evicted(action)
            yield action, after, changed

    def _check_evicted(self, action: str) -> None:
        raise Violation(S9, action)


class UnclaimedWorld(SealingWorld):
    """Nothing is claimed of who is not counted, nor of rows beside it: only the database itself can refuse it."""

    def __init__(self, in_step_by: InStepBy = InStepBy.CLIENT, **options: Any) -> None:
        super().__init__(in_step_by, **options)
        self.claims_values = False

    def shown(self, process: Process) -> tuple[int, int]:
        return (Behaviour.A3, Behaviour.A3) if process.counted is Counted.NOT else super().shown(process)

    def is_refused(self, process: Process, database: Any) -> bool:
        """Also by the catalog, once the old shape is gone."""
        fails = database.contracted and process.counted is Counted.NOT and self._writes_old(process, database)
        return fails or super().is_refused(process, database)

    def check(self, up: Up, database: Any, processes: tuple[Process, ...]) -> None:
        super().check(up, database, tuple(each for each in processes if each.counted is not Counted.NOT))


class ForgottenWorld(UnclaimedWorld):
    """A process of the old release of which nobody knows, although its fleet is known, and which has no role."""

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        forgotten = Process(False, Life.RUNNING, Counted.NOT, Phase.BASE, True, True, NO_TRANSACTION, False)
        return up, database, (forgotten, *crowd), hands


class RoleDatabase(widened(SealedDatabase, is_locked=bool)):  # type: ignore[misc]
    """The managed database, and whether the old release's role is locked there."""


class RoleFacts(widened(SealedFacts, is_locked=bool, is_used=bool)):  # type: ignore[misc]
    """What a daemon read of the database: also of the old release's role and of its sessions."""


class RolesWorld(SealingWorld):
    """The old release has a role of its own. A process of it that never registers connects, and closes its connections.

    While it is not connected it is as good as not there: `Life.JOINING`.
    """

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        unknown = Process(False, Life.JOINING, Counted.NOT, Phase.BASE, True, True, NO_TRANSACTION, False)
        return up, RoleDatabase(*database, is_locked=False), (unknown, *crowd), hands

    # -- asking the real code ----------------------------------------------------------------------------------------

    def view(self, up: Up, members: Any, facts: Any, now: float) -> View:
        """Nothing was ever reported of its fleet: its role tells of it."""
        found = super().view(up, members, facts, now)
        sessions = (RoleSession(7),) if facts.is_used else ()
        role = replace(self._role(facts.is_locked), sessions=sessions, count=len(sessions))
        database = replace(found.databases[0], roles=(role,))
        return replace(found, databases=(database,), known_fleets=frozenset())

    @staticmethod
    def _role(is_locked: bool) -> Role:
        return Role("old", "1", is_locked=is_locked, is_ours=is_locked)

    def must_be_locked(self, up: Up, daemon: Daemon, database: Any) -> bool:
        """By the upgrade as the daemon read it."""
        phase, fence = daemon.seen or self.seen(up)
        found = must_be_locked(self.upgrade(up._replace(phase=phase, fence=fence)), self._role(database.is_locked))
        return bool(found)

    def facts(self, database: Any) -> Any:
        return RoleFacts(*super().facts(database), is_locked=database.is_locked, is_used=False)

    # -- processes ---------------------------------------------------------------------------------------------------

    def member(self, process: Process) -> Member | None:
        """Of who is not counted its sessions are seen."""
        is_connected = process.counted is Counted.NOT and process.life is Life.RUNNING
        return Member(process.is_new, Counted.NOT, False, False) if is_connected else super().member(process)

    def process_moves(self, up: Up, database: Any, process: Process) -> Iterator[tuple[str, Process | None, Database]]:
        if process.counted is not Counted.NOT:
            yield from super().process_moves(up, database, process)
        elif process.life is Life.JOINING:
            if not database.is_locked:
                yield "an unknown process connects under the old role", process._replace(life=Life.RUNNING), database
        else:
            if process.transaction == NO_TRANSACTION:
                yield "the unknown process closes its connections", process._replace(life=Life.JOINING), database
            for action, after, changed in super().process_moves(up, database, process):
                yield action.replace("an old process", "the unknown process"), after, changed

    # -- daemons -----------------------------------------------------------------------------------------------------

    def useful(self, daemon: Daemon, database: Any) -> Daemon:
        """One that is late may still lock or unlock, as long as the copy is the one that it knows."""
        has_copy = daemon.hand is Hand.UPGRADE and daemon.age == database.copy_age
        return daemon if has_copy else super().useful(daemon, database)

    def daemon_moves(self, up: Up, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        is_used = any(member.counted is Counted.NOT for member in members)
        found: Iterator[Any] = super().daemon_moves(up, database, members, daemon)
        for action, hand, after, changed, change in found:
            if daemon.hand is not Hand.UPGRADE or hand.hand is not Hand.FACTS:
                yield action, hand, after, changed, change
                continue
            wanted = self.must_be_locked(up, daemon, database)
            if wanted is not database.is_locked:
                verb = "locks" if wanted else "unlocks"
                settled = database._replace(is_locked=wanted)
                yield f"a daemon {verb} the role of the old release", daemon, after, settled, Change.NONE
            elif daemon.age == 0:
                yield action, hand._replace(facts=hand.facts._replace(is_used=is_used)), after, changed, change
