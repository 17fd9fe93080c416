"""Throttles: the signals that say whether a database can bear the next batch of rows. One signal per file.

A signal is read beside the batches, on a connection and a thread of its own, in no transaction of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.overlay import Overlay


@dataclass(frozen=True, slots=True)
class Sample:
    """What a signal says of one thing now: a number, or with `objection` a no, in words that follow the signal's name.

    Neither is a yes. `of` says what was measured, where there may be several. With `error` it could not be, and
    `remedy` mends that.
    """

    value: float | None = None
    of: str = ""
    objection: str | None = None
    error: str | None = None
    remedy: str = ""


class Signal(Protocol):
    """One signal of one database."""

    @property
    def name(self) -> str:
        """As a sentence begins with it: "replica lag"."""
        ...

    @property
    def unit(self) -> str:
        """What its numbers are, "" for plain numbers."""
        ...

    def read(self) -> tuple[Sample, ...]:
        """What it says now; at least one sample, or none where there is nothing to be measured, which is a yes.

        Raises whatever keeps it from being read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Throttle:
    """A signal, and how much of it is still a yes. No limit: it says yes or no by itself.

    `option` is the name under which the limit may be set while rows are moved, or the signal switched off; "" where
    neither may. With `is_none_below_zero` a configured limit below 0 is none, and the signal is not asked.
    """

    signal: Signal
    limit: float | None = None
    option: str = ""
    is_none_below_zero: bool = False

    def limit_in(self, over: Overlay) -> float | None:
        """The limit that is in force."""
        return self.limit if self.limit is None else over.value(self.option, self.limit)

    def is_asked(self, over: Overlay) -> bool:
        """Whether the signal says anything now."""
        if over.is_off(self.option):
            return False
        limit = self.limit_in(over)
        return not self.is_none_below_zero or limit is None or limit >= 0
