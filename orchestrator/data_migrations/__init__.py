"""Data migrations: online, batched, repeatable changes of rows. What authors subclass, and what runs it."""

from orchestrator.data_migrations.authoring import DataMigration
from orchestrator.data_migrations.runner import DataMigrationRunner

__all__ = ["DataMigration", "DataMigrationRunner"]
