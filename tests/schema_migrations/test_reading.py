"""Reading where a database stands while somebody else moves it on."""

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Step
from tests.schema_migrations.trees import TreeWriter


def test_revision_that_ends_meanwhile_is_seen_whole_or_not_at_all(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.driver().install(prepared, "1")
    entries = journal.entries

    def late(connection: sa.Connection, schema: str) -> tuple[JournalEntry, ...]:
        monkeypatch.undo()
        shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=1)
        return entries(connection, schema)

    monkeypatch.setattr(journal, "entries", late)
    position = shop.driver().position(prepared, "2")
    assert position.expanded == (position.heads == ("e3",))
