"""An explicit-state explorer of the protocol: every interleaving, in small bounds, over the real domain code.

Two processes, two daemons, one managed database, one row. The explorer moves the world; `planner.decide`,
`admission.may_join` and the transitions of `Upgrade` decide, exactly as in production. A state is a tuple, because
there are hundreds of thousands of them.

What is modelled: a process learns of a publication late, switches between transactions, acks once drained, crashes,
is evicted after its death, leaves. A daemon reads the databases, and records what it decides later, by a
compare-and-set; it may sleep in between, and run a step that it decided on long ago. The database's copy lags behind
the state. Expiry is not an action of its own: the explorer checks that no decision depends on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from orchestrator.domain import planner
from orchestrator.domain.admission import Standing, may_join
from orchestrator.domain.errors import Conflict
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.domain.ladder import Behaviour, InStepBy, Phase, Profile, Side, Step
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.upgrades import Move, Status, Upgrade, check_way_back
from orchestrator.domain.view import (
    Copy,
    DatabaseFacts,
    MigrationFacts,
    MigrationState,
    Policy,
    StepRecord,
    StepState,
    View,
)

REVISION, EARLIER = 10, 9
"""Revisions only grow; all that matters of one is whether it is the present one."""


class Up(NamedTuple):
    """The upgrade, without its revisions."""

    phase: Phase
    fence: Phase
    goal: Phase
    move: Move
    old_valid: bool
    cancelling: bool
    status: Status


class Process(NamedTuple):
    """One process. `learned` is the phase that it follows, `current` whether that is the present publication."""

    is_new: bool
    running: bool
    learned: Phase
    current: bool
    acked: bool
    transaction: Behaviour | None
    transaction_is_older: bool


class Facts(NamedTuple):
    """The managed database, as it is or as a daemon read it."""

    copy_phase: Phase
    copy_fence: Phase
    copy_current: bool
    expanded: bool
    contracted: bool
    witness: bool
    step_done: bool


class Daemon(NamedTuple):
    """What one daemon has in its hands: facts read at a revision that may be over, or a step that it will run."""

    facts: Facts | None
    fresh: bool
    step: Step


class State(NamedTuple):
    """The world."""

    up: Up
    processes: tuple[Process | None, ...]
    daemons: tuple[Daemon, ...]
    facts: Facts
    old_ok: bool
    new_ok: bool


IDLE = Daemon(None, False, Step.NONE)


@dataclass(frozen=True)
class Violation(Exception):
    """An invariant does not hold after this action."""

    invariant: str
    action: str


@dataclass(frozen=True)
class Counterexample:
    """The shortest way to a violation."""

    invariant: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.invariant} broken by: " + "; ".join(self.steps)


@dataclass(frozen=True)
class Exploration:
    """What was found: how many states there are, the phases published, and the first violation if there is one."""

    states: int
    published: frozenset[Phase]
    ends: frozenset[Status]
    stuck: int
    counterexample: Counterexample | None


class Explorer:
    """Explores one kind of upgrade. `processes` and `daemons` bound the world."""

    def __init__(self, in_step_by: InStepBy, *, processes: int = 2, daemons: int = 2, going_back: bool = True) -> None:
        self.going_back = going_back
        self.initial = State(
            Up(Phase.BASE, Phase.BASE, Phase.CONTRACTED, Move.RESTING, True, False, Status.RUNNING),
            (None,) * processes,
            (IDLE,) * daemons,
            Facts(Phase.BASE, Phase.BASE, True, False, False, False, False),
            old_ok=True,
            new_ok=False,
        )
        self.old = Release("1", fleets=("api",), in_step_by=in_step_by)
        self.new = Release("2", data_migrations=("move",), fleets=("api",), in_step_by=in_step_by, has_contract=True)
        self.profile = Profile(in_step_by, has_data_migrations=True, has_contract=True)
        self.claims_values = in_step_by is not InStepBy.SERVICE
        self.decide = cache(self._decide)
        self.admits = cache(self._admits)

    # -- asking the real code ----------------------------------------------------------------------------------------

    def upgrade(self, up: Up) -> Upgrade:
        return Upgrade(
            id=1, schema="s", from_release="1", to_release="2", profile=self.profile, phase=up.phase, fence=up.fence,
            goal=up.goal, move=up.move, revision=REVISION, publication=REVISION, old_valid=up.old_valid, paused=None,
            cancelling=up.cancelling, status=up.status, begun_at=0.0, phase_since=0.0,
        )  # fmt: skip

    def _admits(self, up: Up, is_new: bool) -> bool:
        releases = Releases("s", (self.old, self.new))
        return may_join(Standing("s", "1", self.upgrade(up), releases), "2" if is_new else "1")

    def _decide(self, up: Up, members: tuple[tuple[bool, bool], ...], facts: Facts) -> planner.Decision:
        decisions = [planner.decide(self._view(up, members, facts, now)) for now in (0.0, 1e6)]
        if type(decisions[0]) is not type(decisions[1]):
            raise AssertionError(f"a decision depends on expiry: {decisions}")
        return decisions[0]

    def _view(self, up: Up, members: tuple[tuple[bool, bool], ...], facts: Facts, now: float) -> View:
        instances = tuple(
            Instance("s", "api", str(number), "e", "n", "2" if is_new else "1", None, InstanceState.ALIVE,
                     REVISION if acked else EARLIER, 0.0, 0.0, 60.0)
            for number, (is_new, acked) in enumerate(members)
        )  # fmt: skip
        revision = REVISION if facts.copy_current else EARLIER
        state = MigrationState.COMPLETE if facts.witness else MigrationState.RUNNING
        database = DatabaseFacts(
            "main", incarnation="i", expanded=facts.expanded, contracted=facts.contracted,
            copy=Copy(1, facts.copy_phase, facts.copy_fence, revision, "i"),
            migrations=(MigrationFacts("move", state, witness="i" if facts.witness else None),),
        )  # fmt: skip
        steps = (StepRecord(1, up.fence, "main", StepState.DONE if facts.step_done else StepState.PENDING, 1),)
        return View(
            upgrade=self.upgrade(up), old=self.old, new=self.new, instances=instances, reports=(),
            known_fleets=frozenset({"api"}), databases=(database,), steps=steps if up.move is Move.STEPPING else (),
            approvals=(), policy=Policy(approve=()), now=now,
        )  # fmt: skip

    # -- moving the world --------------------------------------------------------------------------------------------

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Every action that can happen next, and where it leads. Raises `Violation`."""
        if state.up.status is not Status.RUNNING:
            return
        for number, process in enumerate(state.processes):
            yield from self._process_actions(state, number, process)
        for number, daemon in enumerate(state.daemons):
            if daemon not in state.daemons[:number]:
                yield from self._daemon_actions(state, number, daemon)
        yield from self._row_actions(state)
        yield from self._operator_actions(state)

    def _process_actions(self, state: State, number: int, process: Process | None) -> Iterator[tuple[str, State]]:
        def become(after: Process | None) -> State:
            processes = (*state.processes[:number], after, *state.processes[number + 1 :])
            return state._replace(processes=tuple(sorted(processes, key=repr)))

        name = f"process {number}"
        if process is None:
            for is_new in (False, True):
                if self.admits(state.up, is_new):
                    self._check_join(state.up, is_new)
                    yield f"{name} joins as {'new' if is_new else 'old'}", become(
                        Process(is_new, True, state.up.phase, True, True, None, False)
                    )
            return
        if not process.running:
            yield f"{name} is evicted", become(None)
            return
        yield f"{name} crashes", become(process._replace(running=False, transaction=None, transaction_is_older=False))
        if not process.current:
            yield f"{name} learns {state.up.phase.word}", become(
                process._replace(
                    learned=state.up.phase, current=True, transaction_is_older=process.transaction is not None
                )
            )
        if process.transaction is None:
            yield f"{name} leaves", become(None)
            behaviour = self.behaviour(process)
            yield f"{name} begins ({behaviour.words})", become(process._replace(transaction=behaviour))
        else:
            yield f"{name} commits ({process.transaction.words})", self._commit(become, process, state)
        if process.current and not process.acked and self._may_ack(process):
            yield f"{name} acks {process.learned.word}", become(process._replace(acked=True))

    def _may_ack(self, process: Process) -> bool:
        """The client's rule: an ack means drained."""
        return not (process.transaction is not None and process.transaction_is_older)

    def _commit(self, become: Callable[[Process], State], process: Process, state: State) -> State:
        behaviour = process.transaction
        assert behaviour is not None
        after = become(process._replace(transaction=None, transaction_is_older=False))
        if not self.claims_values:
            return after
        if not (state.old_ok if behaviour.reads == "old" else state.new_ok):
            raise Violation("S5 every live read returns the last committed value", f"a commit that {behaviour.words}")
        if state.facts.contracted and behaviour is not Behaviour.A3:
            raise Violation("S2 nothing uses the old shape once it is removed", f"a commit that {behaviour.words}")
        return after._replace(old_ok=behaviour.writes != "new", new_ok=behaviour.writes != "old")

    def _daemon_actions(self, state: State, number: int, daemon: Daemon) -> Iterator[tuple[str, State]]:
        def become(after: Daemon, world: State = state) -> State:
            daemons = (*world.daemons[:number], after, *world.daemons[number + 1 :])
            return world._replace(daemons=tuple(sorted(daemons, key=repr)))

        name = f"daemon {number}"
        if daemon != IDLE:
            yield f"{name} crashes", become(IDLE)
        if daemon.step is not Step.NONE:
            facts = state.facts
            facts = facts._replace(expanded=True) if daemon.step is Step.EXPAND else facts._replace(contracted=True)
            if state.up.move is Move.STEPPING:
                facts = facts._replace(step_done=True)
            yield f"{name} runs {daemon.step.value}", become(IDLE, state._replace(facts=facts))
            return
        if daemon.facts is None:
            yield f"{name} reads the database", become(Daemon(state.facts, True, Step.NONE))
            return
        yield f"{name} decides", self._record(state, daemon, become)

    def _record(self, state: State, daemon: Daemon, become: Callable[..., State]) -> State:
        """One transaction: the compare-and-set refuses what was read at another revision."""
        assert daemon.facts is not None
        if not daemon.fresh:
            return become(IDLE)
        members = tuple((process.is_new, process.acked) for process in state.processes if process is not None)
        decision = self.decide(state.up, members, daemon.facts)
        upgrade = self.upgrade(state.up)
        match decision:
            case planner.SetFence(target):
                changed = upgrade.with_fence(target)
            case planner.LiftFence():
                changed = upgrade.without_fence()
            case planner.BeginStep():
                changed = upgrade.with_step_begun()
            case planner.Publish(target):
                self._check_publish(state, target)
                changed = upgrade.published(1.0)
            case planner.EndAtBase():
                changed = upgrade.ended_at_base(1.0)
            case planner.ContinueStep(_, step):
                return become(Daemon(None, False, step))
            case _:
                return become(IDLE)
        return self._changed(become(IDLE), changed, is_published=isinstance(decision, planner.Publish))

    def _changed(self, state: State, upgrade: Upgrade, *, is_published: bool) -> State:
        up = Up(upgrade.phase, upgrade.fence, upgrade.goal, upgrade.move, upgrade.old_valid, upgrade.cancelling,
                upgrade.status)  # fmt: skip
        before = state.up
        if before.phase is Phase.CONTRACTED or (before.move is Move.STEPPING and before.fence is Phase.CONTRACTED):
            if up.phase < before.phase or (up.fence < Phase.CONTRACTED):
                raise Violation("S10 after the intent of contracted the phase never decreases", "a publication")
        processes = state.processes
        if is_published:
            processes = tuple(
                None if process is None else process._replace(current=False, acked=False) for process in processes
            )
        return state._replace(
            up=up,
            processes=tuple(sorted(processes, key=repr)),
            daemons=tuple(sorted((daemon._replace(fresh=False) for daemon in state.daemons), key=repr)),
            facts=state.facts._replace(copy_current=False, step_done=False),
        )

    def _row_actions(self, state: State) -> Iterator[tuple[str, State]]:
        facts = state.facts
        if not facts.copy_current:
            is_backfill = state.up.phase is Phase.BACKFILL and state.up.fence is Phase.BACKFILL
            written = facts._replace(copy_phase=state.up.phase, copy_fence=state.up.fence, copy_current=True)
            if state.up.phase < Phase.BACKFILL:
                written = written._replace(witness=False)
            yield f"the copy learns {state.up.phase.word}", state._replace(facts=written)
            del is_backfill
        if facts.copy_phase is Phase.BACKFILL and facts.copy_fence is Phase.BACKFILL and not facts.witness:
            self._check_batch(state)
            if not state.new_ok and state.old_ok:
                yield "a batch moves the row", state._replace(new_ok=True)
            if state.new_ok == state.old_ok or not self.claims_values:
                yield "the verification finds no difference", state._replace(facts=facts._replace(witness=True))

    def _operator_actions(self, state: State) -> Iterator[tuple[str, State]]:
        if not self.going_back:
            return
        upgrade = self.upgrade(state.up)
        for goal in (Phase.BASE, Phase.EXPANDED):
            cancelling = goal is Phase.BASE
            if state.up.goal == goal or state.up.cancelling or goal > state.up.phase:
                continue
            try:
                check_way_back(upgrade, goal)
            except Conflict:
                continue
            changed = upgrade.with_goal(goal, cancelling=cancelling)
            yield f"the operator steers to {goal.word}", self._changed(state, changed, is_published=False)
        if state.up.goal is not Phase.CONTRACTED and not state.up.cancelling:
            changed = upgrade.with_goal(Phase.CONTRACTED)
            yield "the operator steers on", self._changed(state, changed, is_published=False)

    def behaviour(self, process: Process) -> Behaviour:
        return self.profile.behaviour(Side.NEW if process.is_new else Side.OLD, process.learned)

    # -- the invariants ----------------------------------------------------------------------------------------------

    def check(self, state: State, action: str) -> None:
        """Invariants of a single state. Raises `Violation`."""
        alive = [process for process in state.processes if process is not None]
        if self.claims_values:
            shown = [self._shown(process) for process in alive if process.running]
            for number, one in enumerate(shown):
                for other in shown[number + 1 :]:
                    if max(one | other) - min(one | other) > 1:
                        raise Violation("S1 no two live instances more than one behaviour apart", action)
        for process in alive:
            support = self.profile.support(Side.NEW if process.is_new else Side.OLD)
            if state.up.phase not in support:
                raise Violation("S1 nobody lives outside the support range", action)
            is_contracting = state.up.phase is Phase.CONTRACTED or (
                state.up.move is Move.STEPPING and state.up.fence is Phase.CONTRACTED
            )
            if (is_contracting or state.facts.contracted) and min(self._shown(process)) < Behaviour.A3:
                raise Violation("S2 nothing alive needs the old shape at contracted", action)

    def _shown(self, process: Process) -> set[Behaviour]:
        shown = {self.behaviour(process)}
        return shown | {process.transaction} if process.transaction is not None else shown

    def _check_join(self, up: Up, is_new: bool) -> None:
        support = self.profile.support(Side.NEW if is_new else Side.OLD)
        if up.phase not in support or up.fence not in support:
            raise Violation("S6 an admitted instance supports both the phase and the fence", "a join")

    def _check_batch(self, state: State) -> None:
        for process in state.processes:
            if process is not None and min(self._shown(process)) < Behaviour.A1:
                raise Violation("S3 rows move only while every writer writes the new shape", "a batch")

    def _check_publish(self, state: State, target: Phase) -> None:
        after_backfill = self.profile.neighbour(Phase.BACKFILL, Phase.CONTRACTED)
        if target > state.up.phase and target == after_backfill and not state.facts.witness:
            raise Violation("S4 the phase after backfill is entered only with a witness", f"publish {target.word}")
        if target is Phase.EXPANDED and target > state.up.phase and not state.facts.expanded:
            raise Violation("S11 a phase is published only when the catalog carries it", "publish expanded")


def explore(explorer: Explorer, *, most_states: int = 3_000_000) -> Exploration:
    """Breadth first, so the first counterexample is a shortest one."""
    parents: dict[State, tuple[State | None, str]] = {explorer.initial: (None, "")}
    queue = deque([explorer.initial])
    published: set[Phase] = set()
    ends: set[Status] = set()
    stuck = 0
    while queue:
        state = queue.popleft()
        published.add(state.up.phase)
        ends.add(state.up.status)
        leads_on = False
        try:
            for action, after in explorer.successors(state):
                leads_on = True
                if after not in parents:
                    explorer.check(after, action)
                    parents[after] = (state, action)
                    queue.append(after)
        except Violation as violation:
            steps = (*_path(parents, state), violation.action)
            return Exploration(len(parents), frozenset(published), frozenset(ends), stuck,
                               Counterexample(violation.invariant, steps))  # fmt: skip
        stuck += not leads_on and state.up.status is Status.RUNNING
        if len(parents) > most_states:
            raise AssertionError(f"more than {most_states} states: the bounds are too wide")
    return Exploration(len(parents), frozenset(published), frozenset(ends), stuck, None)


def _path(parents: dict[State, tuple[State | None, str]], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    before: State | None = state
    while before is not None:
        before, action = parents[before]
        if action:
            steps.append(action)
    return tuple(reversed(steps))
