"""Together: what many ask for at the same time is one transaction, and each is answered as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from orchestrator.domain.errors import OrchestratorError
from orchestrator.ports import Store, Transaction

T = TypeVar("T")


def run_together(store: Store, works: Sequence[Callable[[Transaction], T]]) -> tuple[T | OrchestratorError, ...]:
    """The outcome of each, in their order. What is committed together are those of which none is refused.

    When one is refused everything is rolled back, since it may have written before: then the others run together
    again, and after them the refused ones alone, each in a transaction of its own. Raises `Unavailable`.
    """
    outcomes: dict[int, T | OrchestratorError] = {}
    left = list(range(len(works)))
    while left:
        try:
            found = store.run(partial(_all_or_none, works, left))
        except _Refused as refused:
            left = [number for number in left if number not in refused.numbers]
        else:
            outcomes.update(zip(left, found, strict=True))
            break
    return tuple(outcomes[number] if number in outcomes else _alone(store, work) for number, work in enumerate(works))


class _Refused(Exception):
    """Some of them are refused; nothing is committed."""

    def __init__(self, numbers: frozenset[int]) -> None:
        super().__init__(numbers)
        self.numbers = numbers


def _all_or_none(works: Sequence[Callable[[Transaction], T]], numbers: Sequence[int], tx: Transaction) -> list[T]:
    found, refused = [], set()
    for number in numbers:
        try:
            found.append(works[number](tx))
        except OrchestratorError:
            refused.add(number)
    if refused:
        raise _Refused(frozenset(refused))
    return found


def _alone(store: Store, work: Callable[[Transaction], T]) -> T | OrchestratorError:
    try:
        return store.run(work)
    except OrchestratorError as error:
        return error
