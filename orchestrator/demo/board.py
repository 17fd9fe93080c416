"""What people see while the demo runs: what happened, line by line, and below it how things stand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.demo.api import UpgradeView
from orchestrator.demo.fleet import Fleets

RECENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """How long an upgrade stayed in a phase."""

    phase: str
    seconds: float


class PhaseClock:
    """Turns "the phase is now ..." into seconds per phase."""

    def __init__(self) -> None:
        self._entered: list[tuple[str, float]] = []
        self._ended: float | None = None

    def observe(self, phase: str, now: float) -> bool:
        """Note the phase at that moment. True when it is another one than before."""
        if self._entered and self._entered[-1][0] == phase:
            return False
        self._entered.append((phase, now))
        return True

    def end(self, now: float) -> None:
        """The upgrade is over."""
        self._ended = now

    def times(self, now: float) -> tuple[PhaseTime, ...]:
        """Seconds in each phase so far, in order."""
        end = now if self._ended is None else self._ended
        following = [at for _, at in self._entered[1:]] + [end]
        return tuple(PhaseTime(name, after - at) for (name, at), after in zip(self._entered, following, strict=True))


class Board:
    """Prints sentences, and keeps a live picture of the fleets and the upgrade below them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.clock = PhaseClock()
        self.view: UpgradeView | None = None
        self._fleets: Fleets | None = None
        self._began = time.monotonic()
        self._rate = (self._began, 0, 0.0)  # measured at, requests then, per second before

    def title(self, words: str) -> None:
        """A new part of the demo begins."""
        self.console.print()
        self.console.rule(Text(words, style="bold"), align="left")

    def say(self, sentence: str, style: str = "") -> None:
        """Something happened."""
        line = Text(f"{time.monotonic() - self._began:6.1f} s  ", style="dim")
        self.console.print(line.append(sentence, style=style), soft_wrap=True)

    def say_log(self, path: Path, lines: int = 15) -> None:
        """The end of a log file, for people who want to know why something failed; nothing when there is no file."""
        if path.exists():
            self.console.print(Text(f"\nthe end of {path.name}:", style="dim"))
            for line in path.read_text(errors="replace").splitlines()[-lines:]:
                self.console.print(Text(f"  {line}", style="dim"), soft_wrap=True)

    @contextmanager
    def watching(self, fleets: Fleets) -> Iterator[None]:
        """Show these fleets while the block runs; in a terminal only."""
        self._fleets = fleets
        self._rate = (time.monotonic(), 0, 0.0)
        with Live(get_renderable=self._picture, console=self.console, refresh_per_second=4, transient=True):
            yield
        self._fleets = None

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [Text()]
        if self.view is not None:
            parts += [self._phases(), Text(self.view.sentence, style="italic"), self._rows(self.view)]
        if self._fleets is not None:
            parts += [self._fleet_table(self._fleets), self._requests(self._fleets)]
        return Group(*parts)

    def _phases(self) -> Text:
        text = Text()
        times = self.clock.times(time.monotonic())
        for number, entered in enumerate(times):
            here = number == len(times) - 1
            text.append(f"{entered.phase} {entered.seconds:.1f} s", style="bold cyan" if here else "green")
            text.append("" if here else " > ", style="dim")
        return text

    def _rows(self, view: UpgradeView) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for moved in view.data_migrations:
            done = moved.rows_verified if moved.state == "verifying" else moved.rows_done
            total = max(moved.rows_total, done, 1)
            grid.add_row(moved.name, moved.state, ProgressBar(total, done, width=40), f"{done:,} of {total:,} rows")
        return grid

    def _fleet_table(self, fleets: Fleets) -> Table:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for header in ("fleet", "release 1", "release 2", "release 2 now"):
            table.add_column(header)
        running = fleets.running()
        for fleet in dict.fromkeys(instance.options.fleet for instance in running):
            mine = [instance for instance in running if instance.options.fleet == fleet]
            new = [instance for instance in mine if instance.options.release == "2"]
            words = dict.fromkeys(instance.report.behaviour for instance in new)
            table.add_row(fleet, "●" * (len(mine) - len(new)), "●" * len(new), "; ".join(filter(None, words)))
        return table

    def _requests(self, fleets: Fleets) -> Text:
        totals, now = fleets.totals(), time.monotonic()
        at, before, rate = self._rate
        if now - at > RECENT_SECONDS:
            rate = (totals.requests - before) / (now - at)
            self._rate = (now, totals.requests, rate)
        text = Text(f"{totals.requests:,} requests, {rate:,.0f}/s, {totals.checked_reads:,} reads checked, ")
        return text.append(f"{totals.failed:,} failed", style="bold red" if totals.failed else "bold green")
