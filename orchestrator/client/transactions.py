"""Transactions of a member: which are open, and under which standing each of them began."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from orchestrator.client.standing import Behaviour, Standing


@dataclass(frozen=True, slots=True)
class Period:
    """The time during which one standing held here. Numbers grow with every change; transactions keep theirs."""

    number: int
    standing: Standing


class OpenTransactions:
    """How many transactions are open, by period. Not locked: the member's lock covers it."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}

    def began(self, period: Period) -> None:
        """Count one more."""
        self._open[period.number] = self._open.get(period.number, 0) + 1

    def ended(self, period: Period) -> None:
        """Count one less."""
        left = self._open[period.number] - 1
        if left:
            self._open[period.number] = left
        else:
            del self._open[period.number]

    def holds(self, period: Period) -> bool:
        """True while a transaction of that period is open: until then nothing later is acked."""
        return period.number in self._open

    def are_drained_before(self, period: Period) -> bool:
        """True if every transaction that began before that period has ended: then its standing may be acked."""
        return all(number >= period.number for number in self._open)

    @property
    def count(self) -> int:
        """How many are open in all."""
        return sum(self._open.values())


class Owner(Protocol):
    """What a transaction needs of its member."""

    def _begin(self, outer: Period | None) -> Period: ...

    def _end(self, period: Period) -> None: ...


class Transaction:
    """One unit of work; `with` and `async with` both work, and neither waits. Enter it once.

    It must enclose the whole database transaction, its commit included. One that begins inside another of the same
    member, in the same thread or task, is part of that one and keeps its behaviour.
    """

    __slots__ = ("_is_over", "_outer", "_owner", "_period")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._outer: Transaction | None = None
        self._period: Period | None = None
        self._is_over = False

    @property
    def period_number(self) -> int:
        """The number of the period in which it began, or the one around it."""
        assert self._period is not None, "it was entered"
        return self._period.number

    def __enter__(self) -> Behaviour:
        if self._period is not None:
            raise RuntimeError("a transaction can be entered once; ask the member for a new one")
        outer = innermost(self._owner)
        self._period = self._owner._begin(outer._period if outer else None)
        self._outer = _first_open(_current.get())
        _current.set(self)
        return self._period.standing.behaviour

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._period is None or self._is_over:
            return
        self._is_over = True
        if _current.get() is self:  # else it ends in another context than it began in
            _current.set(self._outer)
        self._owner._end(self._period)

    async def __aenter__(self) -> Behaviour:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


_current: ContextVar[Transaction | None] = ContextVar("orchestrator_transaction", default=None)


def _first_open(transaction: Transaction | None) -> Transaction | None:
    while transaction is not None and transaction._is_over:
        transaction = transaction._outer
    return transaction


def innermost(owner: Owner) -> Transaction | None:
    """The transaction of that member which is open around the caller, or None."""
    transaction = _first_open(_current.get())
    while transaction is not None and transaction._owner is not owner:
        transaction = _first_open(transaction._outer)
    return transaction
