"""An explicit-state explorer: every interleaving of a world, in small bounds, and the shortest way to a violation.

A state is one integer made of four numbers: of the upgrade, the database, the processes, the daemons. What can happen
is asked of the world once for each pair that matters to it and remembered; hundreds of thousands of states share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, NamedTuple, TypeVar

from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.upgrades import Status
from tests.protocol.world import (
    Change,
    Daemon,
    Database,
    Life,
    Member,
    Process,
    Up,
    Violation,
    World,
)

T = TypeVar("T")

BITS = 16
MASK = (1 << BITS) - 1


@dataclass(frozen=True)
class Counterexample:
    """The shortest way to a violation."""

    invariant: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.invariant}\n" + "\n".join(f"  {n}. {action}" for n, action in enumerate(self.actions, 1))


@dataclass(frozen=True)
class Exploration:
    """What was found: how many states and transitions there are, the phases published, how upgrades end."""

    states: int
    transitions: int
    published: frozenset[Phase]
    ends: frozenset[Status]
    counterexample: Counterexample | None


class Numbers(Generic[T]):
    """Numbers for values, in the order in which they are met."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def of(self, value: T) -> int:
        """The number of a value."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
            assert number <= MASK, "too many values for the bits of a state"
        return number


class Moves(NamedTuple):
    """What can happen to a part of a state: for each action its label, and the state without the parts that it keeps.

    `publications` are those of the actions after which every process follows an earlier publication.
    """

    labels: tuple[str, ...]
    targets: tuple[int, ...]
    publications: tuple[tuple[str, int], ...]
    violation: Violation | None


def _collected(found: Iterator[tuple[str, int, bool]]) -> Moves:
    labels: list[str] = []
    targets: list[int] = []
    publications: list[tuple[str, int]] = []
    violation = None
    try:
        for label, target, is_publication in found:
            if is_publication:
                publications.append((label, target))
            else:
                labels.append(label)
                targets.append(target)
    except Violation as error:
        violation = error
    return Moves(tuple(labels), tuple(targets), tuple(publications), violation)


class Explorer:
    """Explores one world. `processes` and `daemons` bound it."""

    def __init__(self, world: World, *, processes: int = 2, daemons: int = 2) -> None:
        self._world = world
        self._ups: Numbers[Up] = Numbers()
        self._databases: Numbers[Database] = Numbers()
        self._single: Numbers[Process | None] = Numbers()
        self._crowds: Numbers[tuple[int, ...]] = Numbers()
        self._hands: Numbers[tuple[Daemon, ...]] = Numbers()
        self._order_of_hands: Numbers[Daemon] = Numbers()  # any order does; this one is cheap
        self._members: Numbers[tuple[Member, ...]] = Numbers()
        self._parents: dict[int, int] = {}
        self._moves_of_processes: dict[int, Moves] = {}
        self._moves_of_daemons: dict[int, Moves] = {}
        # The same process meets many others, the same daemon too: what each does alone is asked once.
        self._done_by_process = cache(self._ask_process)
        self._done_by_rows = cache(self._ask_rows)
        self._done_by_daemon = cache(lambda *case: tuple(world.daemon_moves(*case)))
        self._done_by_operator = cache(lambda up: tuple(world.operator_moves(up)))
        self._ranked = cache(self._rank)
        self._revised = cache(self._revise)
        self._republished = cache(self._republish)
        self._known = cache(self._know)
        self._lowest = cache(self._find_lowest)
        up, database, crowd, hands = world.initial(processes, daemons)
        self._initial = self._ups.of(up) << 3 * BITS | self._ranked(database, hands)
        self._initial |= self._crowd(tuple(self._single.of(process) for process in crowd))

    # -- states ------------------------------------------------------------------------------------------------------

    def _crowd(self, processes: tuple[int, ...]) -> int:
        """The part of a state that is the processes', given by their numbers."""
        return self._crowds.of(tuple(sorted(processes))) << BITS

    def _up(self, state: int) -> Up:
        return self._ups.values[state >> 3 * BITS]

    def _processes(self, crowd: int) -> tuple[Process, ...]:
        found = (self._single.values[number] for number in self._crowds.values[crowd >> BITS])
        return tuple(process for process in found if process is not None)

    def _republish(self, crowd: int) -> int:
        """The same processes once something else is published."""
        found = (self._single.values[number] for number in self._crowds.values[crowd >> BITS])
        after = (None if process is None else self._world.republished(process) for process in found)
        return self._crowd(tuple(self._single.of(process) for process in after))

    def _know(self, crowd: int) -> int:
        """What the store knows of the processes: all that daemons see of them."""
        members = (self._world.member(process) for process in self._processes(crowd))
        return self._members.of(tuple(sorted(member for member in members if member is not None)))

    def _find_lowest(self, crowd: int) -> int:
        """The lowest behaviour that any of the processes may show."""
        present = (process for process in self._processes(crowd) if process.life is not Life.JOINING)
        return min((self._world.shown(process)[0] for process in present), default=Behaviour.A3)

    # -- what can happen ---------------------------------------------------------------------------------------------

    def _process_moves(self, state: int) -> Moves:
        """What processes and rows do: it does not depend on the daemons. Targets lack the daemons."""
        key = state >> BITS
        found = self._moves_of_processes.get(key)
        if found is None:
            found = self._moves_of_processes[key] = _collected(self._find_process_moves(state))
        return found

    def _find_process_moves(self, state: int) -> Iterator[tuple[str, int, bool]]:
        crowd = state & MASK << BITS
        processes = self._crowds.values[crowd >> BITS]
        for number, process in enumerate(processes):
            if process not in processes[:number]:
                others = (*processes[:number], *processes[number + 1 :])
                for label, database, after in self._done_by_process(state >> 2 * BITS, process):
                    yield label, database | self._crowd((*others, after)), False
        for label, database in self._done_by_rows(state >> 2 * BITS, self._lowest(crowd)):
            yield label, database | crowd, False

    def _ask_process(self, world: int, number: int) -> tuple[tuple[str, int, int], ...]:
        """What one process, or a newcomer, does: label, upgrade and database after it, the process after it."""
        up, database = self._ups.values[world >> BITS], self._databases.values[world & MASK]
        high, process = world >> BITS << BITS, self._single.values[number]
        if process is None:
            return tuple(
                (label, world << 2 * BITS, self._single.of(newcomer)) for label, newcomer in self._world.newcomers(up)
            )
        return tuple(
            (label, (high | self._databases.of(changed)) << 2 * BITS, self._single.of(after))
            for label, after, changed in self._world.process_moves(up, database, process)
        )

    def _ask_rows(self, world: int, lowest: int) -> tuple[tuple[str, int], ...]:
        """What data migrations do: label, upgrade and database after it."""
        up, database = self._ups.values[world >> BITS], self._databases.values[world & MASK]
        return tuple(
            (label, (world >> BITS << BITS | self._databases.of(changed)) << 2 * BITS)
            for label, changed in self._world.row_moves(up, database, lowest)
        )

    def _daemon_moves(self, state: int) -> Moves:
        """What daemons and operators do: of the processes it depends on what the store knows. Targets lack those."""
        known = self._known(state & MASK << BITS)
        key = (state >> 2 * BITS << BITS | known) << BITS | state & MASK
        found = self._moves_of_daemons.get(key)
        if found is None:
            found = self._moves_of_daemons[key] = _collected(
                self._find_daemon_moves(state, self._members.values[known])
            )
        return found

    def _find_daemon_moves(self, state: int, members: tuple[Member, ...]) -> Iterator[tuple[str, int, bool]]:
        up, database = self._up(state), self._databases.values[state >> 2 * BITS & MASK]
        daemons = self._hands.values[state & MASK]
        for number, daemon in enumerate(daemons):
            if daemon in daemons[:number]:
                continue
            others = (*daemons[:number], *daemons[number + 1 :])
            for label, hand, after, changed, change in self._done_by_daemon(up, database, members, daemon):
                if change is Change.NONE:
                    rest = self._ranked(changed, (*others, hand))
                else:
                    rest = self._revised(up, changed, others, hand)
                yield label, self._ups.of(after) << 3 * BITS | rest, change is Change.PUBLICATION
        for label, after in self._done_by_operator(up):
            yield label, self._ups.of(after) << 3 * BITS | self._revised(up, database, daemons), False

    def _revise(self, before: Up, database: Database, others: tuple[Daemon, ...], *hand: Daemon) -> int:
        """The upgrade's revision is another now: everything that was read or written at an earlier one ages."""
        aged = database._replace(copy_age=database.copy_age + 1)
        return self._ranked(aged, (*(self._world.aged(daemon, before) for daemon in others), *hand))

    def _rank(self, database: Database, daemons: tuple[Daemon, ...]) -> int:
        """The part of a state that is theirs. Ages only matter in comparison with each other: make them 0, 1, 2 …"""
        daemons = tuple(self._world.useful(daemon, database) for daemon in daemons)
        database = self._world.settled(database, daemons)
        ages = sorted({0, database.copy_age, *(daemon.age for daemon in daemons)})
        if ages[-1] >= len(ages):
            rank = {age: number for number, age in enumerate(ages)}
            database = database._replace(copy_age=rank[database.copy_age])
            daemons = tuple(daemon._replace(age=rank[daemon.age]) for daemon in daemons)
        ordered = tuple(sorted(daemons, key=self._order_of_hands.of))
        return self._databases.of(database) << 2 * BITS | self._hands.of(ordered)

    def _successors(self, state: int) -> list[int]:
        """Every state that can come next. Raises `Violation`."""
        moves = self._moves_of_processes.get(state >> BITS) or self._process_moves(state)
        daemons = state & MASK
        found = [target | daemons for target in moves.targets]
        if moves.violation is not None:
            raise moves.violation
        moves = self._daemon_moves(state)
        crowd = state & MASK << BITS
        found += [target | crowd for target in moves.targets]
        if moves.publications:
            republished = self._republished(crowd)
            found += [target | republished for _, target in moves.publications]
        if moves.violation is not None:
            raise moves.violation
        return found

    def _labelled(self, state: int) -> Iterator[tuple[str, int]]:
        moves = self._process_moves(state)
        yield from ((label, to | state & MASK) for label, to in zip(moves.labels, moves.targets, strict=True))
        moves = self._daemon_moves(state)
        crowd = state & MASK << BITS
        yield from ((label, to | crowd) for label, to in zip(moves.labels, moves.targets, strict=True))
        republished = self._republished(crowd)
        yield from ((label, to | republished) for label, to in moves.publications)

    # -- the search --------------------------------------------------------------------------------------------------

    def explore(self, *, most_states: int = 2_000_000) -> Exploration:
        """Visit every state, breadth first, so that the first counterexample is a shortest one."""
        parents, transitions = {self._initial: self._initial}, 0
        sound: set[int] = set()
        level = [self._initial]
        while level:
            following: list[int] = []
            for state in level:
                try:
                    found = self._successors(state)
                    for target in found:
                        if target not in parents:
                            parents[target] = state
                            following.append(target)
                            if target >> BITS not in sound:
                                self._check(state, target)
                                sound.add(target >> BITS)
                except Violation as violation:
                    actions = (*self._path(parents, state), violation.action)
                    return self._summary(parents, transitions, Counterexample(violation.invariant, actions))
                transitions += len(found)
            level = following
            assert len(parents) <= most_states, f"more than {most_states} states: the bounds are too wide"
        self._parents = parents
        return self._summary(parents, transitions, None)

    def unreachable(self, end: Status, among: Callable[[Up], bool]) -> Counterexample | None:
        """The shortest way to a state among those given from which no way leads to that end. None if there is none."""
        parents = self._parents
        before: dict[int, list[int]] = {state: [] for state in parents}
        for state in parents:
            for target in self._successors(state):
                before[target].append(state)
        waiting = [state for state in parents if self._up(state).status is end]
        good = set(waiting)
        while waiting:
            for state in before[waiting.pop()]:
                if state not in good:
                    good.add(state)
                    waiting.append(state)
        for state in parents:  # in the order in which they were found
            up = self._up(state)
            if state not in good and up.status is Status.RUNNING and among(up):
                return Counterexample(f"{end.value} stays reachable", self._path(parents, state))
        return None

    def _check(self, state: int, target: int) -> None:
        database = self._databases.values[target >> 2 * BITS & MASK]
        try:
            self._world.check(self._up(target), database, self._processes(target & MASK << BITS))
        except Violation as violation:
            action = next(label for label, found in self._labelled(state) if found == target)
            raise Violation(violation.invariant, action) from violation

    def _path(self, parents: dict[int, int], state: int) -> tuple[str, ...]:
        actions: list[str] = []
        while parents[state] != state:
            before = parents[state]
            actions.append(next(label for label, found in self._labelled(before) if found == state))
            state = before
        return tuple(reversed(actions))

    def _summary(self, parents: dict[int, int], transitions: int, found: Counterexample | None) -> Exploration:
        ups = [self._ups.values[number] for number in {state >> 3 * BITS for state in parents}]
        published, ends = frozenset(up.phase for up in ups), frozenset(up.status for up in ups)
        return Exploration(len(parents), transitions, published, ends, found)
