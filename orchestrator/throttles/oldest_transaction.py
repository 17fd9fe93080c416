"""How long the oldest transaction of others is open: it keeps what a data migration leaves from being cleaned up."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dialects import Database
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking


@dataclass(frozen=True, slots=True)
class OldestTransaction:
    """Implements `orchestrator.throttles.Signal`."""

    database: Database
    timeout_seconds: float
    name: str = "age of the oldest transaction"
    unit: str = "s"

    def read(self) -> tuple[Sample, ...]:
        with asking(self.database, self.timeout_seconds) as connection:
            return (Sample(self.database.dialect.load.oldest_transaction_seconds(connection)),)
