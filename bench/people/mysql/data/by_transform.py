"""people.name becomes first_name and last_name, in Python."""

from collections.abc import Mapping
from typing import Any

from orchestrator.data_migrations import DataMigration


class ByTransform(DataMigration):
    """The same change as `by_expression`, row by row."""

    table = "people"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        first_name, last_name = row["name"].split(" ")
        return {"first_name": first_name, "last_name": last_name}
