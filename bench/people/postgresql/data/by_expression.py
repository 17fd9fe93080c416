"""people.name becomes first_name and last_name, in SQL."""

from orchestrator.data_migrations import DataMigration


class ByExpression(DataMigration):
    """The same expressions as the one UPDATE that it is measured against."""

    table = "people"
    expressions = {
        "first_name": "split_part(name, ' ', 1)",
        "last_name": "split_part(name, ' ', 2)",
    }
