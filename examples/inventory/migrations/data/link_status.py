"""items.status, a word, becomes status_id, the row of that word in `statuses`."""

from orchestrator.data_migrations import DataMigration


class LinkStatus(DataMigration):
    """An expression: `status_id = (...)` for many rows in one statement, without leaving the database."""

    table = "items"
    expressions = {"status_id": "(SELECT statuses.id FROM statuses WHERE statuses.name = items.status)"}
