"""How many sessions of others run a statement on the server of the database just now."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dialects import Database
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking


@dataclass(frozen=True, slots=True)
class ActiveSessions:
    """Implements `orchestrator.throttles.Signal`."""

    database: Database
    timeout_seconds: float
    name: str = "number of active sessions"
    unit: str = ""

    def read(self) -> tuple[Sample, ...]:
        with asking(self.database, self.timeout_seconds) as connection:
            return (Sample(self.database.dialect.load.active_sessions(connection)),)
