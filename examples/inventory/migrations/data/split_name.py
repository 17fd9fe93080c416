"""customers.name becomes first_name and last_name: the first word, and the rest."""

from collections.abc import Mapping
from typing import Any

from orchestrator.data_migrations import DataMigration


class SplitName(DataMigration):
    """A transform: for what SQL cannot say, or not on every database. It runs in Python and is written back in bulk."""

    table = "customers"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        first_name, _, last_name = row["name"].partition(" ")
        return {"first_name": first_name, "last_name": last_name}
