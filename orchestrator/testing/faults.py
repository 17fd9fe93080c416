"""Faults: what a trial found wrong, in sentences for the author of the data migration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import OrchestratorError

MOST = 5
"""So many of one kind are told; the others are counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: a stable code, what was seen and where, and what to do about it."""

    code: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence} ({self.code})\n  {self.remedy}"

    @classmethod
    def of(cls, error: OrchestratorError) -> Fault:
        """What the program itself says of it."""
        return cls(error.code, error.message, error.remedy)


class MigrationFault(AssertionError):
    """The data migration under trial breaks a rule, or the trial cannot begin. The message tells all `faults`.

    An AssertionError, so that pytest and unittest call the test failed, not broken.
    """

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def told(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """The first of many faults, with the number of the others in the last one."""
    if len(faults) <= MOST:
        return tuple(faults)
    last = faults[MOST - 1]
    more = f"{last.sentence}; {len(faults) - MOST} more of these were found"
    return (*faults[: MOST - 1], Fault(last.code, more, last.remedy))
