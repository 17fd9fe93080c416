"""Promises: which columns tables will have once a release is expanded, as far as its tree says, without a database.

What cannot be told counts as if it might be there: a revision that looks at its database, or sends SQL that nobody can
read, may add anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.ladder import Stage
from orchestrator.domain.releases import Release
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.expectations import ExpectedCatalog, Thing
from orchestrator.schema_migrations.recording import GUARD_DIALECT, Recording, Recordings
from orchestrator.schema_migrations.tree import Tree

_UNREADABLE = (Act.OPAQUE, Act.CREATE_OTHER)


class Promises:
    """What revisions, run in this order, say of the columns of tables. Schemas of tables are not told apart."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        catalog = ExpectedCatalog()
        self._tables: set[str] = set()
        self._unclear: set[str] = set()
        self._is_known = True
        for recording in recordings:
            self._is_known &= recording.stop is None
            catalog.add(recording.revision.id, recording.changes)
            for change in recording.changes:
                self._is_known &= change.act not in _UNREADABLE
                if change.act is Act.CREATE_TABLE:
                    (self._tables if change.shapes else self._unclear).add(change.table)
                elif change.act is Act.RENAME_TABLE:
                    self._unclear.add(change.new_name)
        self._columns = {
            (each.table, each.name)
            for each in catalog.expectations()
            if each.thing is Thing.COLUMN and each.present
        }  # fmt: skip

    def may_add(self, table: str, column: str) -> bool:
        """Whether a table that lacks this column may have it afterwards."""
        return not self._is_known or table in self._unclear or (table, column) in self._columns

    def lacks(self, table: str, column: str) -> bool:
        """Whether these revisions make the table, and leave it without this column."""
        return table in self._tables and not self.may_add(table, column)


def of_expand(tree: Tree, recordings: Recordings, release: Release, dialect: str = GUARD_DIALECT) -> Promises:
    """What the step into expanded adds to a database that is at the release before."""
    earlier, head = tree.earlier(release), tree.head(release, Stage.EXPAND)
    done = tree.ids(tree.heads(earlier)) if earlier is not None else frozenset()
    added = (each for each in tree.closure([] if head is None else [head]) if each.id not in done)
    return Promises(recordings.of(each, dialect) for each in added)


def of_whole_tree(tree: Tree, recordings: Recordings, release: Release) -> Promises:
    """What an empty database has when this release, and all before it, were expanded, and those before contracted."""
    earlier, head = tree.earlier(release), tree.head(release, Stage.EXPAND)
    heads = (*(tree.heads(earlier) if earlier is not None else ()), *(() if head is None else (head,)))
    return Promises(recordings.of(each) for each in tree.closure(heads))
