"""The verdict: what was done, what failed, and whether that is good enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.demo.board import PhaseTime
from orchestrator.demo.control import ControlResult
from orchestrator.demo.fleet import Totals
from orchestrator.demo.verification import Findings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the upgrade did, as measured from outside."""

    totals: Totals
    rows_seeded: int
    rows_migrated: int
    rows_verified: int
    findings: Findings
    phases: tuple[PhaseTime, ...]
    refused_for: tuple[str, ...]
    ended_badly: tuple[str, ...]
    turned_back: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The demo's result. `outcome` is None when it stopped before its end; then `error` says why."""

    database: str
    control: ControlResult | None
    outcome: Outcome | None
    seconds: float
    error: str | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that is not as it must be, one sentence each; empty when all is well."""
        if self.error is not None:
            return (self.error,)
        return _failures(self.outcome) if self.outcome else ("The demo ended early.",)

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return not self.failures

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        outcome = self.outcome
        totals = outcome.totals if outcome else Totals()
        content = {
            "ok": self.ok,
            "database": self.database,
            "requests": totals.requests,
            "requests_failed": totals.failed,
            "reads_checked": totals.checked_reads,
            "rows_migrated": outcome.rows_migrated if outcome else 0,
            "rows_verified": outcome.rows_verified if outcome else 0,
            "rows_compared": outcome.findings.rows_checked if outcome else 0,
            "rows_wrong": outcome.findings.rows_wrong if outcome else 0,
            "columns_dropped": outcome.findings.columns_dropped if outcome else (),
            "phases": [asdict(phase) for phase in outcome.phases] if outcome else [],
            "refused_for": outcome.refused_for if outcome else (),
            "control": asdict(self.control) if self.control else None,
            "seconds": self.seconds,
            "failures": self.failures,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        if self.control:
            done = f"{self.control.requests:,} requests, "
            failed = Text(f"{self.control.requests_failed:,} failed", style="bold red")
            table.add_row(
                "the usual way", Text(done).append(failed).append(f", {self.control.rows_wrong:,} rows wrong")
            )
        if self.outcome:
            for name, value in _lines(self.outcome):
                table.add_row(name, value)
        table.add_row("all of it", f"{self.seconds:.0f} s on {self.database}")
        console.print()
        console.rule(Text("Verdict", style="bold"), align="left")
        console.print(table)
        for failure in self.failures:
            console.print(Text(f"  {failure}", style="red"), soft_wrap=True)
        console.print(Text("  OK", style="bold green") if self.ok else Text("  FAILED", style="bold red"))


def _lines(outcome: Outcome) -> tuple[tuple[str, str | Text], ...]:
    totals, findings = outcome.totals, outcome.findings
    failed = Text(f"{totals.failed:,} failed", style="bold red" if totals.failed else "bold green")
    requests = (
        Text(f"{totals.requests:,} requests, ").append(failed).append(f", {totals.checked_reads:,} reads checked")
    )
    return (
        ("orchestrated", requests),
        ("rows", f"{outcome.rows_migrated:,} migrated, {outcome.rows_verified:,} verified"),
        ("afterwards", f"{findings.rows_checked:,} rows compared, {findings.rows_wrong:,} wrong"),
        ("columns dropped", ", ".join(findings.columns_dropped) or "none"),
        ("early contract", f"refused, for {len(outcome.refused_for)} processes that still needed the old shape"),
        ("phases", ", ".join(f"{phase.phase} {phase.seconds:.0f} s" for phase in outcome.phases[:-1])),
    )


def _failures(outcome: Outcome) -> tuple[str, ...]:
    totals, findings = outcome.totals, outcome.findings
    checks = (
        (totals.requests > 0, "No request was made."),
        (totals.failed == 0, f"{totals.failed} requests failed: {' / '.join(totals.first_errors[:3])}"),
        (
            outcome.rows_migrated >= outcome.rows_seeded,
            f"{outcome.rows_migrated} rows were migrated, and there were {outcome.rows_seeded} at the start.",
        ),
        (
            outcome.rows_verified >= outcome.rows_seeded,
            f"{outcome.rows_verified} rows were verified, and there were {outcome.rows_seeded} at the start.",
        ),
        (findings.rows_wrong == 0, f"{findings.rows_wrong} rows are wrong: {'; '.join(findings.wrong)}"),
        (outcome.turned_back or not findings.columns_left, f"Not dropped: {', '.join(findings.columns_left)}."),
        (bool(outcome.refused_for), "An early contract was not refused."),
        (not outcome.ended_badly, f"These processes did not end well: {', '.join(outcome.ended_badly)}."),
    )
    return tuple(sentence for holds, sentence in checks if not holds)
