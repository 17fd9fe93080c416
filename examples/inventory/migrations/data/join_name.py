"""The way back of `split_name`: first_name and last_name become customers.name again."""

from collections.abc import Mapping
from typing import Any

from orchestrator.data_migrations import DataMigration


class JoinName(DataMigration):
    """Runs only when an upgrade goes back after release 2 has written rows in the new shape alone."""

    table = "customers"
    reads = ("first_name", "last_name")
    writes = ("name",)

    def transform(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"name": f"{row['first_name'] or ''} {row['last_name'] or ''}".rstrip()}  # as release 2 reads it
