"""An explorer of worlds in which the present revision may be an earlier one than before.

As `Explorer`, but what reaches every process is told apart: a publication, commits that are lost,
registrations that are imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from tests.protocol.explorer import BITS, MASK, Explorer
from tests.protocol.losing import Change, LosingWorld
from tests.protocol.world import Daemon, Violation


class LosingMoves(NamedTuple):
    """As `Moves`; of each action that reaches every process it keeps which change it is."""

    labels: tuple[str, ...]
    targets: tuple[int, ...]
    changes: tuple[tuple[str, int, Change], ...]
    violation: Violation | None


class LosingExplorer(Explorer):
    """Explores a world in which the present revision may be an earlier one than before."""

    _world: LosingWorld

    def __init__(self, world: LosingWorld, *, processes: int = 1, daemons: int = 1) -> None:
        super().__init__(world, processes=processes, daemons=daemons)
        self._changed_moves: dict[int, LosingMoves] = {}
        self._followed = cache(self._follow)
        self._shifted = cache(self._shift)

    def _follow(self, crowd: int, before: int, after: int, change: Change) -> int:
        """The processes after a change of the upgrade, or a loss."""
        ups = self._ups.values[before], self._ups.values[after]
        found = (self._single.values[number] for number in self._crowds.values[crowd >> BITS])
        changed = (None if each is None else self._world.followed(each, *ups, change) for each in found)
        return self._crowd(tuple(self._single.of(process) for process in changed))

    def _shift(self, before: Any, after: Any, change: Change, database: Any, daemons: tuple[Daemon, ...]) -> Any:
        return self._world.revised(before, after, change, database, daemons)

    def _rank(self, database: Any, daemons: tuple[Daemon, ...]) -> int:
        daemons = tuple(self._world.useful(daemon, database) for daemon in daemons)
        kept = database.kept
        ages = {database.copy_age, *(daemon.age for daemon in daemons), 0 if kept is None else kept.copy_age}
        rank = {age: number for number, age in enumerate(sorted(age for age in ages if age > 0), 1)}
        database = database._replace(copy_age=rank.get(database.copy_age, database.copy_age))
        if kept is not None:
            database = database._replace(kept=kept._replace(copy_age=rank.get(kept.copy_age, kept.copy_age)))
        daemons = tuple(daemon._replace(age=rank.get(daemon.age, daemon.age)) for daemon in daemons)
        ordered = tuple(sorted(daemons, key=self._order_of_hands.of))
        return self._databases.of(database) << 2 * BITS | self._hands.of(ordered)

    def _move(self, state: int) -> LosingMoves:
        known = self._known(state & MASK << BITS)
        key = (state >> 2 * BITS << BITS | known) << BITS | state & MASK
        found = self._changed_moves.get(key)
        if found is None:
            labels: list[str] = []
            targets: list[int] = []
            changes: list[tuple[str, int, Change]] = []
            violation = None
            try:
                for label, target, change in self._find_moves(state, self._members.values[known]):
                    if change is Change.NONE:
                        labels.append(label)
                        targets.append(target)
                    else:
                        changes.append((label, target, change))
            except Violation as error:
                violation = error
            found = self._changed_moves[key] = LosingMoves(tuple(labels), tuple(targets), tuple(changes), violation)
        return found

    def _find_moves(self, state: int, members: Any) -> Iterator[tuple[str, int, Change]]:
        up: Any = self._up(state)
        database: Any = self._databases.values[state >> 2 * BITS & MASK]
        daemons = self._hands.values[state & MASK]
        for number, daemon in enumerate(daemons):
            if daemon in daemons[:number]:
                continue
            others = (*daemons[:number], *daemons[number + 1 :])
            for label, hand, after, changed, change in self._done_by_daemon(up, database, members, daemon):
                if change in (Change.REVISION, Change.PUBLICATION, Change.LOSS):
                    is_its_own = hand is not daemon
                    aging = others if is_its_own else (*others, hand)
                    aged, rest = self._shifted(up, after, change, changed, aging)
                    left = self._ranked(aged, (*rest, hand) if is_its_own else rest)
                else:
                    left = self._ranked(changed, (*others, hand))
                yield label, self._ups.of(after) << 3 * BITS | left, change
        for label, after in self._done_by_operator(up):
            aged, rest = self._shifted(up, after, Change.REVISION, database, daemons)
            yield label, self._ups.of(after) << 3 * BITS | self._ranked(aged, rest), Change.REVISION

    def _ask_process(self, world: int, number: int) -> tuple[tuple[str, int, int], ...]:
        found = super()._ask_process(world, number)
        if self._single.values[number] is not None:
            return found
        up, database = self._ups.values[world >> BITS], self._databases.values[world & MASK]
        joined = self._world.newcomers_by_copy(up, database)
        return (*found, *((label, world << 2 * BITS, self._single.of(newcomer)) for label, newcomer in joined))

    def _successors(self, state: int) -> list[int]:
        moves = self._process_moves(state)
        daemons, crowd, up = state & MASK, state & MASK << BITS, state >> 3 * BITS
        found = [target | daemons for target in moves.targets]
        if moves.violation is not None:
            raise moves.violation
        changing = self._move(state)
        found += [target | crowd for target in changing.targets]
        found += [
            target | self._followed(crowd, up, target >> 3 * BITS, change) for _, target, change in changing.changes
        ]
        if changing.violation is not None:
            raise changing.violation
        return found

    def _labelled(self, state: int) -> Iterator[tuple[str, int]]:
        moves, crowd = self._process_moves(state), state & MASK << BITS
        yield from ((label, to | state & MASK) for label, to in zip(moves.labels, moves.targets, strict=True))
        changing = self._move(state)
        yield from ((label, to | crowd) for label, to in zip(changing.labels, changing.targets, strict=True))
        for label, target, change in changing.changes:
            yield label, target | self._followed(crowd, state >> 3 * BITS, target >> 3 * BITS, change)
