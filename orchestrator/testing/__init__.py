"""For the tests of whoever writes data migrations: one of them under trial, by the code that runs it in production."""

from orchestrator.testing.expanding import expand
from orchestrator.testing.faults import MigrationFault
from orchestrator.testing.trial import DataMigrationTrial
from orchestrator.testing.writers import Writer

__all__ = ["DataMigrationTrial", "MigrationFault", "Writer", "expand"]
