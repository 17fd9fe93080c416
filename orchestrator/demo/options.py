"""What a person can choose about the demo."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class DatabaseKind(StrEnum):
    """Which database the demo runs on."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of `orchestrator demo`, and three that tests use, to make it smaller and to choose its server.

    `rows` is how many rows there are at the start, in both tables together. `keep` leaves the orchestrator and its
    status page up until Ctrl+C. `turn_back` cancels the upgrade when nothing is left but to contract, and goes all the
    way back to release 1. `json_file` is where the verdict is written to, None for nowhere. `fleet_size` is
    processes per fleet, `pause_seconds` how long each of them rests after a request. `server` is the URL
    of a server of that kind that runs already, and is left as it is; its databases go when the demo ends.
    """

    database: DatabaseKind = DatabaseKind.SQLITE
    rows: int = 200_000
    keep: bool = False
    turn_back: bool = False
    json_file: Path | None = None
    fleet_size: int = 3
    pause_seconds: float = 0.01
    server: str | None = None
