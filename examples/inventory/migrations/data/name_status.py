"""The way back of `link_status`: the word of status_id becomes items.status again."""

from orchestrator.data_migrations import DataMigration


class NameStatus(DataMigration):
    """Runs only when an upgrade goes back after release 2 has written rows in the new shape alone."""

    table = "items"
    expressions = {"status": "(SELECT statuses.name FROM statuses WHERE statuses.id = items.status_id)"}
