"""The world of the seal: triggers that keep the shapes in step, and triggers that deny writes to the old one.

Each table that a step changes is changed by a daemon that may be late: a step that was taken up by somebody else since
is refused in the database's journal. What denies writes refuses a whole transaction, when it commits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.domain import planner
from orchestrator.domain.ladder import Behaviour, InStepBy, Phase, Step
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Move, Upgrade
from orchestrator.domain.view import View
from tests.protocol.world import (
    IDLE,
    S2,
    S11,
    Change,
    Counted,
    Daemon,
    Database,
    Facts,
    Hand,
    Life,
    Process,
    Up,
    Violation,
    World,
    widened,
)

S2_COMMITS = "S2 once the old shape is sealed no transaction that writes it commits"
S6A = "S6a no transaction of an instance that holds its lease is ever refused by the seal"
S8_STEP = "S8 no effect of a step lands after a later step was taken up"


class SealedDatabase(widened(Database, in_step=bool, sealed=bool, refused=bool, owner=Step)):  # type: ignore[misc]
    """The managed database with its triggers.

    `in_step`: those that write the other shape stand. `sealed`: those that deny writes to the old one do, and have
    `refused` some. `owner` is the step that was taken up last, as long as somebody has one in hands.
    """


class SealedFacts(widened(Facts, in_step=bool, sealed=bool, refused=bool)):  # type: ignore[misc]
    """What a daemon read of the database, its triggers too."""


class SealingWorld(World):
    """An upgrade that seals, in each value of `in_step_by`; with `seals=False` one whose old shape is not known."""

    counts_refusals = True  # SQLite cannot

    def __init__(self, in_step_by: InStepBy = InStepBy.CLIENT, *, seals: bool = True, **options: Any) -> None:
        self.seals = seals
        self.has_triggers = in_step_by is InStepBy.TRIGGERS
        super().__init__(in_step_by, **options)

    def brings(self, release: Release) -> Release:
        if not release.has_contract:
            return release
        return replace(release, contract_head="c", old_shape=("things.old",) if self.seals else ())

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        sealed = SealedDatabase(*database, in_step=False, sealed=False, refused=False, owner=Step.NONE)
        return up, sealed, crowd, hands

    # -- asking the real code ----------------------------------------------------------------------------------------

    def facts(self, database: Any) -> Any:
        """What the contract revisions are about to remove counts as sealed to its end."""
        is_sealed = database.sealed or database.contracted
        return SealedFacts(*super().facts(database), database.in_step, is_sealed, database.refused)

    def view(self, up: Up, members: Any, facts: Any, now: float) -> View:
        found = super().view(up, members, facts, now)
        database = replace(
            found.databases[0], in_step=facts.in_step or not self.has_triggers, sealed=facts.sealed,
            unsealed=not facts.sealed, denials=int(facts.refused) if self.counts_refusals else None,
        )  # fmt: skip
        return replace(found, databases=(database,))

    def changed(self, up: Up, decision: planner.Decision) -> Upgrade | None:
        if isinstance(decision, planner.UnsealAgain):
            return self.upgrade(up).with_unsealing_begun()
        return super().changed(up, decision)

    @staticmethod
    def _words(up: Up, decided: Daemon) -> str:
        after = decided.decided
        assert after is not None
        is_again = after.move is Move.STEPPING and after.fence is after.phase
        return "begins to unseal again" if is_again else World._words(up, decided)

    # -- processes ---------------------------------------------------------------------------------------------------

    def counts_as(self, behaviour: int, database: Any) -> Behaviour:
        """What code does together with the triggers: what writes one shape writes both."""
        found = Behaviour(behaviour)
        return max(Behaviour.A1, min(found, Behaviour.A2)) if database.in_step else found

    def counted(self, shown: tuple[int, int], database: Any) -> tuple[int, int]:
        return self.counts_as(shown[0], database), self.counts_as(shown[1], database)

    def is_refused(self, process: Process, database: Any) -> bool:
        """Whether the seal refuses its transaction."""
        return database.sealed and not database.contracted and self._writes_old(process, database)

    def _writes_old(self, process: Process, database: Any) -> bool:
        return self.counts_as(process.transaction, database) is not Behaviour.A3

    def process_moves(self, up: Up, database: Any, process: Process) -> Iterator[tuple[str, Process | None, Database]]:
        found: Iterator[tuple[str, Process | None, Database]] = super().process_moves(up, database, process)
        commits = f"{self.name(process)} commits"
        for action, after, changed in found:
            if not action.startswith(commits):
                yield action, after, changed
            elif self.is_refused(process, database):
                yield f"{self.name(process)} is refused by the seal", after, changed
            else:
                self._check_commit(up, database, process, action)
                yield action, after, changed

    def _committed(self, database: Any, process: Process) -> Any:
        name = self.name(process)
        if self.is_refused(process, database):
            if process.counted is Counted.LEASED and process.life is Life.RUNNING:
                raise Violation(S6A, f"{name} is refused by the seal")
            return database._replace(refused=self.counts_refusals)
        with_triggers = process._replace(transaction=int(self.counts_as(process.transaction, database)))
        try:
            return super()._committed(database, with_triggers)
        except Violation as violation:
            action = f"{name} commits ({Behaviour(process.transaction).words})"
            raise Violation(violation.invariant, action) from violation

    # -- daemons -----------------------------------------------------------------------------------------------------

    def _deciding(self, up: Up, database: Any, members: Any, daemon: Daemon) -> Any:
        """Whoever takes up a step owns it from now on: nothing that others took up before has an effect any more."""
        action, hand, after, changed, change = super()._deciding(up, database, members, daemon)
        if hand.hand is Hand.STEP:
            changed = changed._replace(owner=hand.step)  # type: ignore[call-arg]
        return action, hand, after, changed, change

    def is_passed(self, daemon: Daemon, database: Any) -> bool:
        """Whether somebody else has taken up another step since: its row in the journal is not its own any more."""
        return daemon.step is not database.owner

    def useful(self, daemon: Daemon, database: Any) -> Daemon:
        is_late = daemon.hand in (Hand.STEP, Hand.RAN) and self.is_passed(daemon, database)
        return IDLE if is_late else super().useful(daemon, database)

    def settled(self, database: Any, daemons: tuple[Daemon, ...]) -> Any:
        is_owned = any(daemon.hand in (Hand.STEP, Hand.RAN) for daemon in daemons)
        return database if is_owned else database._replace(owner=Step.NONE)

    def daemon_moves(self, up: Up, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        if daemon.hand not in (Hand.STEP, Hand.RAN):
            yield from super().daemon_moves(up, database, members, daemon)
            return
        yield "a daemon dies", IDLE, up, database, Change.NONE
        if daemon.hand is Hand.RAN:
            is_its_own = up.move is Move.STEPPING and self.upgrade(up).step is daemon.step
            noted = up._replace(step_done=True) if is_its_own else up
            yield f"a daemon notes that the {daemon.step.value} step is done", IDLE, noted, database, Change.NONE
            return
        ran = daemon._replace(hand=Hand.RAN)
        for did, changed, is_done in self.performed(database, daemon.step):
            action = f"a daemon {did}"
            self._check_owner(daemon, database, action)
            yield action, ran if is_done else daemon, up, changed, Change.NONE

    def performed(self, database: Any, step: Step) -> Iterator[tuple[str, Any, bool]]:
        """The next statement of a step: what it does, the database after it, whether the step is done then."""
        match step:
            case Step.EXPAND if self.has_triggers and not database.expanded:
                yield "adds the new shape", database._replace(expanded=True), False
            case Step.EXPAND if self.has_triggers:
                yield "creates the sync triggers", database._replace(in_step=True), True
            case Step.EXPAND:
                yield "runs the expand step", database._replace(expanded=True), True
            case Step.SEAL if database.in_step:
                yield "drops the sync triggers", database._replace(in_step=False), False
            case Step.SEAL:
                yield "denies writes to the old shape", database._replace(sealed=True, refused=False), True
            case Step.UNSEAL:
                yield "allows writes to the old shape again", database._replace(sealed=False, refused=False), True
            case Step.CONTRACT:
                yield "removes the old shape", database._replace(contracted=True, in_step=False), True

    # -- rows --------------------------------------------------------------------------------------------------------

    def row_moves(self, up: Up, database: Any, lowest: int) -> Iterator[tuple[str, Any]]:
        yield from super().row_moves(up, database, self.counts_as(lowest, database))

    # -- the invariants ----------------------------------------------------------------------------------------------

    def check(self, up: Up, database: Any, processes: tuple[Process, ...]) -> None:
        super().check(up, database, processes)
        is_sealed = up.phase is Phase.SEALED
        if is_sealed and any(self.shown(each)[0] < Behaviour.A3 for each in processes if each.life is not Life.JOINING):
            raise Violation(S2)

    def _check_commit(self, up: Up, database: Any, process: Process, action: str) -> None:
        is_too_late = up.is_past_return or (up.phase is Phase.SEALED and up.fence >= Phase.SEALED)
        if is_too_late and self.profile.seals and self._writes_old(process, database):
            raise Violation(S2_COMMITS, action)

    def _check_owner(self, daemon: Daemon, database: Any, action: str) -> None:
        if daemon.step is not database.owner:
            raise Violation(S8_STEP, action)

    def _check_publication(self, up: Up, database: Any, after: Up, action: str) -> None:
        super()._check_publication(up, database, after, action)
        if not self.profile.seals:
            return
        is_sealed = database.sealed and not database.in_step
        if after.phase is Phase.SEALED and not is_sealed:
            raise Violation(S11, action)
        if after.phase < Phase.SEALED and database.sealed and self.upgrade(up).step is Step.UNSEAL:
            raise Violation(S11, action)
