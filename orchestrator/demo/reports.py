"""What a traffic process tells the demo: a small file with its counts, and at its end one with the rows it owns."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """How far a traffic process has come."""

    STARTING = "starting"
    WORKING = "working"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """The counts of one process so far. `failed` are requests that raised or that read a wrong value."""

    state: State = State.STARTING
    requests: int = 0
    failed: int = 0
    checked_reads: int = 0
    behaviour: str = ""
    first_errors: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Replace the file at once, so that a reader never sees half of it."""
        _replace(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> TrafficReport:
        """The last report, or an empty one while there is none."""
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        return cls(
            state=State(found["state"]),
            requests=found["requests"],
            failed=found["failed"],
            checked_reads=found["checked_reads"],
            behaviour=found["behaviour"],
            first_errors=tuple(found["first_errors"]),
        )


@dataclass(frozen=True, slots=True)
class OwnedRows:
    """What a process knows to be in the rows that it owns: names of customers, title and status of items, by id."""

    customers: dict[int, str]
    items: dict[int, tuple[str, str]]

    def write(self, path: Path) -> None:
        """Replace the file at once."""
        _replace(path, {"customers": self.customers, "items": self.items})

    @classmethod
    def read(cls, path: Path) -> OwnedRows | None:
        """What was written, or None while there is nothing."""
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(
            customers={int(key): name for key, name in found["customers"].items()},
            items={int(key): (title, status) for key, (title, status) in found["items"].items()},
        )


def _replace(path: Path, content: dict[str, object]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    os.replace(new, path)
