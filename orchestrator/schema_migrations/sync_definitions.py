"""Definitions of sync triggers: what an operation says of one, and what keeps it from working. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.dialects.triggers import DefaultKind, SyncTrigger, TableFacts, TableKind, columns_of
from orchestrator.domain.errors import Invalid
from orchestrator.schema_migrations.changes import Act, Change
from orchestrator.schema_migrations.sync_operations import CreateSyncTriggerOp, expression_for


def sync_trigger(operation: CreateSyncTriggerOp, kind: str, *, strict: bool = True) -> SyncTrigger:
    """The trigger as one kind of database is to have it. Raises `Invalid` for what could work on none.

    `strict` also where this kind has no expression; otherwise that of another one stands in for it.
    """
    sides = [
        tuple((column, _expression(operation, column, given, kind, strict)) for column, given in side.items())
        for side in (operation.old, operation.new)
    ]
    found = SyncTrigger(operation.table_name, operation.schema, operation.name, *sides)
    both = sorted({*found.old_columns} & {*found.new_columns})
    for fault, remedy in (
        (not found.old and "says nothing of the old shape", 'Write old={"column": "expression"}.'),
        (not found.new and "says nothing of the new shape", 'Write new={"column": "expression"}.'),
        (both and f"computes {both[0]} both ways", "A column belongs to the old or to the new shape."),
        (
            set(found.read_for_new) & set(found.new_columns) and "computes new columns from new ones",
            "Compute new ones from old ones.",
        ),
        (
            set(found.read_for_old) & set(found.old_columns) and "computes old columns from old ones",
            "Compute old ones from new ones.",
        ),
        (
            not set(found.read_for_new) & set(found.old_columns) and "computes the new columns from no old one",
            "Name the old column as {column}.",
        ),
        (
            not set(found.read_for_old) & set(found.new_columns) and "computes the old columns from no new one",
            "Name the new column as {column}.",
        ),
    ):
        if fault:
            raise Invalid("sync_trigger_invalid", f"the sync trigger of {found.subject} {fault}", remedy=remedy)
    return found


def left_standing(changes: Iterable[Change]) -> dict[tuple[str | None, str, str], Change]:
    """The changes that created the sync triggers which stand after all of these, oldest first."""
    standing: dict[tuple[str | None, str, str], Change] = {}
    for change in changes:
        key = (change.schema, change.table, change.name)
        match change.act:
            case Act.CREATE_SYNC_TRIGGER:
                standing[key] = change
            case Act.DROP_SYNC_TRIGGER:
                standing.pop(key, None)
            case Act.DROP_TABLE:
                for known in [each for each in standing if each[:2] == key[:2]]:
                    del standing[known]
    return standing


def faults(sync: SyncTrigger, facts: TableFacts | None) -> Iterator[tuple[str, str]]:
    """What about its table keeps the trigger from working: the sentence and the remedy."""
    if facts is None:
        yield f"there is no table {sync.table}", "Correct the name, or create the table first."
        return
    if facts.kind not in (TableKind.TABLE, TableKind.PARTITIONED):
        yield f"{sync.table} is a {facts.kind.value}", "Create it for each table that services write."
        return
    for name in sync.columns:
        column = facts.column(name)
        if column is None:
            yield f"table {sync.table} has no column {name}", "Correct the name, or add the column first."
        elif column.generated:
            yield f"the database computes {sync.table}.{name} by itself", "Use the columns that it computes it from."
        elif column.numbered:
            yield (
                f"{sync.table}.{name} gets its value from the database, on some only after the trigger has run",
                "Use other columns.",
            )
        elif name in sync.new_columns and column.default_kind is not DefaultKind.NULL:
            yield (
                f"the new column {sync.table}.{name} has a default, so nobody could tell whether a row was written "
                "by the old release",
                "Add the column without it, and set the default in a contract revision.",
            )


def _expression(
    operation: CreateSyncTriggerOp, column: str, given: str | Mapping[str, str], kind: str, strict: bool
) -> str:
    found = expression_for(given, kind)
    if found is None and not strict and not isinstance(given, str) and given:
        found = next(iter(given.values()))
    if not isinstance(found, str) or not found.strip():
        raise Invalid(
            "sync_trigger_invalid",
            f"the sync trigger of {operation.table_name} has no expression for {column} on {kind}",
            remedy='Write one text for all databases, or one for each: {"postgresql": "...", "mysql": "..."}.',
        )
    columns_of(found)
    return found
