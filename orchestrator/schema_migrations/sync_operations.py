"""Operations of Alembic for sync triggers: `op.create_sync_trigger` and `op.drop_sync_trigger`.

Alembic loads this module by itself wherever this program is installed, so revisions need no import, and run under the
plain `alembic` command too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic.operations import MigrateOperation, Operations

Expressions = Mapping[str, "str | Mapping[str, str]"]
"""For each column its SQL, in which `{column}` stands for a column of the row; or one for each kind of database."""


def setup(plugin: object) -> None:
    """Called by Alembic when it has loaded this module, which is all that it needs."""


@Operations.register_operation("create_sync_trigger")
class CreateSyncTriggerOp(MigrateOperation):
    """Keep two shapes of one table in step: whichever is written, the other one is computed."""

    def __init__(self, table_name: str, old: Expressions, new: Expressions, name: str, schema: str | None) -> None:
        self.table_name = table_name
        self.old = dict(old)
        self.new = dict(new)
        self.name = name
        self.schema = schema

    @classmethod
    def create_sync_trigger(
        cls,
        operations: Operations,
        table_name: str,
        *,
        old: Expressions,
        new: Expressions,
        name: str = "",
        schema: str | None = None,
    ) -> None:
        """Create a trigger that keeps old and new columns of a table in step, in both directions.

        `old` says for each column of the old shape how it is computed from the new ones, `new` the reverse. Where both
        are written at once the old ones win. `name` tells several of one table apart. Replaces one that is there.
        """
        operations.invoke(cls(table_name, old, new, name, schema))


@Operations.register_operation("drop_sync_trigger")
class DropSyncTriggerOp(MigrateOperation):
    """Take a sync trigger back."""

    def __init__(self, table_name: str, name: str, schema: str | None) -> None:
        self.table_name = table_name
        self.name = name
        self.schema = schema

    @classmethod
    def drop_sync_trigger(
        cls, operations: Operations, table_name: str, *, name: str = "", schema: str | None = None
    ) -> None:
        """Drop what `create_sync_trigger` made, if it is there."""
        operations.invoke(cls(table_name, name, schema))


@Operations.implementation_for(CreateSyncTriggerOp)
def _create(operations: Operations, operation: CreateSyncTriggerOp) -> None:
    from orchestrator.schema_migrations.sync_triggers import create

    create(operations.migration_context, operation)


@Operations.implementation_for(DropSyncTriggerOp)
def _drop(operations: Operations, operation: DropSyncTriggerOp) -> None:
    from orchestrator.schema_migrations.sync_triggers import drop

    drop(operations.migration_context, operation)


def expression_for(given: str | Mapping[str, str], kind: str) -> str | None:
    """The SQL of an expression on one kind of database, by SQLAlchemy's name of it; None where it has none."""
    if isinstance(given, str):
        return given
    kind = "mysql" if kind == "mariadb" else kind
    found: Any = given.get(kind, given.get("mariadb") if kind == "mysql" else None)
    return found if isinstance(found, str) else None
