"""How many sessions of the database wait for locks that ours hold. Read while a batch runs, it tells of that batch."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dialects import Database
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking


@dataclass(frozen=True, slots=True)
class LockWaits:
    """Implements `orchestrator.throttles.Signal`."""

    database: Database
    timeout_seconds: float
    name: str = "number of sessions that wait for our locks"
    unit: str = ""

    def read(self) -> tuple[Sample, ...]:
        with asking(self.database, self.timeout_seconds) as connection:
            return (Sample(self.database.dialect.load.lock_waits(connection)),)
