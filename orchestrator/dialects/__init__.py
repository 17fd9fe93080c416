"""Databases, and what differs between their kinds: one file per kind."""

from orchestrator.dialects.database import Database, open_database
from orchestrator.dialects.dialect import Dialect
from orchestrator.dialects.driver_errors import reason

__all__ = ["Database", "Dialect", "open_database", "reason"]
