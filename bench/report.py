"""What was measured: one line each for people, one list for machines."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number. `goal` is the least value that is good enough, with `is_limit` the greatest; None where the number
    only explains another."""

    name: str
    database: str
    value: float
    unit: str
    goal: float | None = None
    is_limit: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.is_limit else self.value >= self.goal

    def __str__(self) -> str:
        value = f"{self.value:,.2f}" if self.unit in ("ratio", "s") else f"{self.value:,.0f}"
        sign = "<=" if self.is_limit else ">="
        verdict = "" if self.goal is None else f"   goal {sign} {self.goal:g}   {'met' if self.met else 'MISSED'}"
        return f"{self.name:<44} {self.database:<12} {value:>12} {self.unit}{verdict}"


def write(measurements: list[Measurement], path: Path) -> None:
    """Write the list as JSON, in place of what a former run left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        asdict(measurement) | {"value": round(measurement.value, 4), "met": measurement.met}
        for measurement in measurements
    ]
    for row in rows:
        del row["is_limit"]
    path.write_text(json.dumps(rows, indent=2) + "\n")
