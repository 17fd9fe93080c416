"""Pauses: how long rows rest after a batch."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from orchestrator.data_migrations.claims import Claims
from orchestrator.dialects import Database
from orchestrator.domain.pacing import rest_seconds


@dataclass(frozen=True, slots=True)
class Pauses:
    """For `pause_seconds` at least, and `nice_ratio` times as long as the batch took."""

    pause_seconds: float
    nice_ratio: float

    def require(self, claims: Claims, connection: Connection, name: str, batch_at: float | None) -> None:
        """As `Claims.require_pause`."""
        claims.require_pause(connection, name, batch_at, self.pause_seconds, self.nice_ratio)

    def ended_at(self, database: Database, connection: Connection, seconds: float = 0.0) -> float | None:
        """When a batch ended that took so long and ends now, or later where rows rest for longer than the pause.

        None where there is no pause.
        """
        if not (self.pause_seconds or self.nice_ratio):
            return None
        longer = rest_seconds(seconds, self.nice_ratio, self.pause_seconds) - self.pause_seconds
        return database.dialect.now(connection) + longer
