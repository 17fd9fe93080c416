"""Charts of what was measured, as files beside the numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")  # no screen is needed

from matplotlib import pyplot

DIRECTORY = Path("build") / "charts"


def bars(name: str, title: str, unit: str, values: Mapping[str, float]) -> None:
    """One bar per value, its number beside it."""
    figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(values) + 1.2), layout="constrained")
    drawn = axes.barh([label.replace("_", " ") for label in values], list(values.values()))
    axes.bar_label(drawn, [f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in values.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(title=title, xlabel=unit)
    _save(name, figure)


def shares(name: str, title: str, unit: str, values: Mapping[str, Sequence[float]]) -> None:
    """One line per list: within which value which share of it lies, the last per mille drawn as wide as the first."""
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for label, found in values.items():
        ordered = sorted(found)
        left = [1 - place / len(ordered) for place in range(len(ordered))]
        axes.step(ordered, left, label=label.replace("_", " "), where="post")
    axes.set(title=title, xlabel=unit, ylabel="share of statements that took longer", xscale="log", yscale="log")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    _save(name, figure)


def _save(name: str, figure: Any) -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    figure.savefig(DIRECTORY / f"{name}.svg")
    pyplot.close(figure)
