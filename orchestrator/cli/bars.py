"""Bars: data migrations on a terminal, drawn anew in their place."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli import cells
from orchestrator.cli.answers import DataMigration
from orchestrator.cli.rows_words import in_short, rows_of, says_of
from orchestrator.domain.visible import visible

WIDTH = 30

_STYLES = {"failed": "red", "complete": "green", "assumed": "green"}


class Bars:
    """One row each, as many as the terminal has room for."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, found: Sequence[DataMigration], note: str = "") -> None:
        shown, rest = in_short(found, max(1, self._live.console.height - 2))
        table = Table.grid(padding=(0, 1))
        for each in shown:
            table.add_row(*_row(each))
        parts: list[RenderableType] = [table]
        parts += [Text(visible(words), style="dim") for words in (rest, note) if words]
        self._live.update(Group(*parts), refresh=True)


def _row(each: DataMigration) -> tuple[RenderableType, ...]:
    rate = "" if each.rows_per_second is None else f"{cells.rate(each.rows_per_second)} rows/s"
    return (
        Text(visible(each.name), no_wrap=True),
        Text(visible(each.database), no_wrap=True),
        Text(visible(each.state), style=_STYLES.get(each.state, ""), no_wrap=True),
        ProgressBar(total=1.0, completed=each.progress or 0.0, width=WIDTH),
        Text(str(cells.share(each.progress)), justify="right", no_wrap=True),
        Text(rows_of(each), no_wrap=True),
        Text(rate, justify="right", no_wrap=True),
        Text(visible(says_of(each)), overflow="ellipsis", no_wrap=True),
    )
