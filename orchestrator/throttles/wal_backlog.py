"""How much of its log the server keeps for those who are behind: a data migration can fill its disk with it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dialects import Database
from orchestrator.throttles import Sample
from orchestrator.throttles.asking import asking

_BYTES_PER_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class WalBacklog:
    """Implements `orchestrator.throttles.Signal`."""

    database: Database
    timeout_seconds: float
    name: str = "WAL backlog"
    unit: str = "MiB"

    def read(self) -> tuple[Sample, ...]:
        with asking(self.database, self.timeout_seconds) as connection:
            kept = self.database.dialect.load.kept_log(connection)
        return tuple(Sample(each.size / _BYTES_PER_MIB, f"replication slot {each.name}") for each in kept)
