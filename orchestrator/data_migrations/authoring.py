"""What the author of a data migration subclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class DataMigration:
    """`new := f(old)` for every row of one table. One file, one subclass; the file's name is the migration's name.

    Say f in one of two ways. As SQL, for many rows in one statement::

        class LinkStatus(DataMigration):
            table = "items"
            expressions = {"status_id": "(SELECT statuses.id FROM statuses WHERE statuses.name = items.status)"}

    or in Python, for what SQL cannot say::

        class SplitName(DataMigration):
            table = "customers"
            reads = ("name",)
            writes = ("first_name", "last_name")

            def transform(self, row):
                first_name, _, last_name = row["name"].partition(" ")
                return {"first_name": first_name, "last_name": last_name}

    f looks at nothing but the row (an expression: and at tables that do not change meanwhile), gives the same answer
    whenever it is asked, and overwrites what the new columns hold: while old and new releases run side by side, a
    stale value may stand there. Rows are moved in batches in the order of a key, then all of them are compared with
    f once more; only when none differs is the migration complete.
    """

    table: ClassVar[str]
    """The table whose rows change, as `table` or `schema.table`."""

    key: ClassVar[tuple[str, ...] | None] = None
    """Columns that are together unique and never NULL. The primary key if not given."""

    expressions: ClassVar[Mapping[str, str]] = {}
    """New column: SQL expression over the row's columns. It may refer to the row's table by its name."""

    reads: ClassVar[tuple[str, ...]] = ()
    """The columns that `transform` is given."""

    writes: ClassVar[tuple[str, ...]] = ()
    """The columns that `transform` returns, all of them, for every row."""

    after: ClassVar[tuple[str, ...] | None] = None
    """The data migrations of the same release that are complete in a database before this one begins there: all that
    stand before it in the manifest if not given, only those named where it is, none with `()`. Name each whose columns
    f looks at."""

    shares_table: ClassVar[bool] = False
    """Whether it may run while another one that says so too runs on the same table."""

    function: ClassVar[str | None] = None
    """A function of the service, as `module:name`, instead of table, expressions and transform. See `docs/authors.md`.

    It is called as `function(context, max_count)` and returns how many rows it found and how many it did. It runs in
    the service's own environment, where this file is not: only for schemas with `driver = command`.
    """

    context: ClassVar[str | None] = None
    """What makes the function's context, as `module:name`, called for each batch. None is handed on if not given."""

    setup: ClassVar[str] = ""
    """Statements in Python that are run there first, once: what the service's own command does before it begins."""

    interpreter: ClassVar[str] = "python3"
    """The interpreter of the service, as a name on the PATH of the schema's environment, or as a path."""

    call_seconds: ClassVar[float] = 600.0
    """A call that takes longer than this is ended, and has failed."""

    def transform(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The new values of one row, from its old ones."""
        raise NotImplementedError
