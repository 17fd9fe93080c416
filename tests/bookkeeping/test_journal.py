"""The journal: whoever holds a revision's row has changed it, so that nobody on another node holds it too."""

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.bookkeeping.tables import steps
from orchestrator.dialects import Database
from orchestrator.schema_migrations.own_tables import prepare


def test_each_claim_changes_the_row(database: Database) -> None:
    """Galera certifies what is written; an UPDATE to what is there already writes nothing."""
    prepare(database)
    with database.writing() as connection:
        journal.intend(connection, JournalEntry("shop", "e2", "expand", "", JournalState.INTENT, 1, 0.0))
    seen = set()
    for _ in range(2):
        with database.writing() as connection:
            journal.claim(connection, "shop", "e2", owner_epoch=1)
            row = connection.execute(steps.select().where(steps.c.revision == "e2")).one()
            seen.add(tuple(row))
    assert len(seen) == 2
