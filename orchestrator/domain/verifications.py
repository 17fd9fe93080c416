"""Verifications: comparisons of a data migration's rows that somebody asked for, at any time. They prove nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.ladder import Phase


def moving_again(phase: Phase, schema: str, name: str, database: str) -> str | None:
    """What to type to have rows moved again that were found to differ; None where they are not moved any more."""
    retry = f"orchestrator data-migration retry {schema} {name} --database {database}"
    if phase is Phase.BACKFILL:
        return f"To have them moved again: {retry}"
    if phase is Phase.READ_NEW:
        back, on = f"orchestrator upgrade rollback {schema} --to backfill", f"orchestrator upgrade resume {schema}"
        return f"To have them moved again: {back}, then {retry}, then {on}"
    return None


class VerificationState(StrEnum):
    """Where a comparison stands in one database."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # somebody asked no more
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verification:
    """The newest comparison of one data migration in one database: who asked, and what it found so far.

    `rows` were compared, and in `differences` of them was something else than the data migration computes. `expected`
    is why that is no alarm, None where it is one. Times are those of the managed database.
    """

    name: str
    state: VerificationState
    rows: int
    differences: int
    first_differences: str | None
    expected: str | None
    error: str | None
    actor: str
    reason: str | None
    started_at: float
    finished_at: float | None

    @property
    def is_running(self) -> bool:
        """Whether it goes on by itself."""
        return self.state is VerificationState.RUNNING

    @property
    def is_alarm(self) -> bool:
        """Whether rows differ, and nobody knows why."""
        return self.differences > 0 and self.expected is None

    @property
    def sentence(self) -> str:
        """What it came to, for people."""
        compared = "1 row was compared" if self.rows == 1 else f"{self.rows} rows were compared"
        found = "none differs"
        if self.differences:
            verb = "differs" if self.differences == 1 else "differ"
            found = f"{self.differences} {verb}; the first: {self.first_differences}"
            if self.expected is not None:
                found = f"{found}. That is to be expected: {self.expected}"
        words = {
            VerificationState.RUNNING: f"{compared} so far, {found}",
            VerificationState.DONE: f"{compared}, {found}",
            VerificationState.STOPPED: f"{compared}, then it was stopped; {found}",
            VerificationState.FAILED: f"{compared}, then it failed: {self.error}",
        }
        return words[self.state]
