"""Alembic's operations, translated into changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.sql import dml
from sqlalchemy.types import TypeEngine

from orchestrator.schema_migrations.changes import Act, Change, ColumnShape, ConstraintKind, Default
from orchestrator.schema_migrations.places import Place
from orchestrator.schema_migrations.sql_text import changes_of_sql, default_of_sql
from orchestrator.schema_migrations.sync_definitions import sync_trigger
from orchestrator.schema_migrations.sync_operations import CreateSyncTriggerOp, DropSyncTriggerOp

_CONSTRAINT_KINDS = {
    "foreignkey": ConstraintKind.FOREIGN_KEY,
    "primary": ConstraintKind.PRIMARY_KEY,
    "primarykey": ConstraintKind.PRIMARY_KEY,
    "unique": ConstraintKind.UNIQUE,
    "check": ConstraintKind.CHECK,
}
_ONCE_PER_STATEMENT = {"now", "current_timestamp", "current_date", "current_time", "localtimestamp"}


def changes_of_operation(
    operation: ops.MigrateOperation, context: MigrationContext, place: Place
) -> tuple[Change, ...]:
    """What an operation does. An operation that nobody here knows is one opaque change."""
    return tuple(_changes(operation, context, place))


def changes_of_statement(statement: object, context: MigrationContext, place: Place) -> tuple[Change, ...]:
    """What a statement does that a revision executes itself: text, or a construct of SQLAlchemy."""
    if isinstance(statement, dml.UpdateBase):
        written = statement.table
        name = written.name if isinstance(written, sa.sql.expression.TableClause) else ""
        return (Change(Act.WRITE_ROWS, place, table=str(name), schema=getattr(written, "schema", None)),)
    if isinstance(statement, str):
        sql = statement
    elif isinstance(statement, sa.sql.ClauseElement):
        try:
            sql = str(statement.compile(dialect=context.dialect))
        except sa.exc.SQLAlchemyError:
            sql = str(statement)
    else:
        sql = str(statement)
    return changes_of_sql(sql, place, dialect=context.dialect.name)


def _changes(operation: ops.MigrateOperation, context: MigrationContext, place: Place) -> Iterator[Change]:  # noqa: PLR0912  # one case per kind of operation is how it reads best
    match operation:
        case ops.CreateTableOp():
            table = operation.to_table(context)
            shapes = tuple(shape_of_column(column) for column in table.columns)
            yield Change(Act.CREATE_TABLE, place, table=table.name, schema=table.schema, shapes=shapes)
            for index in sorted(table.indexes, key=lambda each: str(each.name)):
                yield changes_of_index(index, place)
        case ops.DropTableOp():
            yield Change(Act.DROP_TABLE, place, table=operation.table_name, schema=operation.schema)
        case ops.RenameTableOp():
            yield Change(
                Act.RENAME_TABLE,
                place,
                table=operation.table_name,
                schema=operation.schema,
                new_name=operation.new_table_name,
            )
        case ops.AddColumnOp():
            shape = shape_of_column(operation.column)
            yield Change(
                Act.ADD_COLUMN,
                place,
                table=operation.table_name,
                schema=operation.schema,
                name=shape.name,
                shapes=(shape,),
            )
        case ops.DropColumnOp():
            yield Change(
                Act.DROP_COLUMN, place, table=operation.table_name, schema=operation.schema, name=operation.column_name
            )
        case ops.AlterColumnOp():
            yield from _alter_column(operation, context, place)
        case ops.CreateIndexOp():
            yield changes_of_index(operation.to_index(context), place)
        case ops.DropIndexOp():
            yield Change(
                Act.DROP_INDEX,
                place,
                table=operation.table_name or "",
                schema=operation.schema,
                name=str(operation.index_name),
                online=bool(operation.kw.get("postgresql_concurrently")),
            )
        case ops.DropConstraintOp():
            yield Change(
                Act.DROP_CONSTRAINT,
                place,
                table=operation.table_name,
                schema=operation.schema,
                name=str(operation.constraint_name or ""),
                kind=_CONSTRAINT_KINDS.get(operation.constraint_type or "", ConstraintKind.UNKNOWN),
            )
        case ops.AddConstraintOp():
            yield _constraint(operation, context, place)
        case ops.BulkInsertOp():
            yield Change(
                Act.WRITE_ROWS,
                place,
                table=operation.table.name,
                schema=getattr(operation.table, "schema", None),
            )
        case ops.CreateTableCommentOp() | ops.DropTableCommentOp():
            yield Change(Act.DESCRIBE, place, table=operation.table_name, schema=operation.schema)
        case CreateSyncTriggerOp():
            # Revisions are judged as if they ran on one kind of database, for which there may be no expression.
            sync = sync_trigger(operation, context.dialect.name, strict=context.dialect.name != "postgresql")
            yield Change(
                Act.CREATE_SYNC_TRIGGER, place, table=sync.table, schema=sync.schema, name=sync.name, sync=sync
            )
        case DropSyncTriggerOp():
            yield Change(
                Act.DROP_SYNC_TRIGGER, place, table=operation.table_name, schema=operation.schema, name=operation.name
            )
        case ops.ExecuteSQLOp():
            yield from changes_of_statement(operation.sqltext, context, place)
        case _:
            yield Change(Act.OPAQUE, place, text=f"operation {type(operation).__name__}, which is not known")


def _alter_column(operation: ops.AlterColumnOp, context: MigrationContext, place: Place) -> Iterator[Change]:
    """What it changes, piece by piece: an ALTER COLUMN is no kind of change by itself."""

    def change(act: Act, **details: Any) -> Change:
        return Change(
            act, place, table=operation.table_name, schema=operation.schema, name=operation.column_name, **details
        )

    before, after = operation.existing_type, operation.modify_type
    if after is not None:
        new, old = _instance(after), None if before is None else _instance(before)
        if old is None or not _same(old, new, context):
            yield change(Act.CHANGE_TYPE, type=new, widens=None if old is None else _widens(old, new))
    if operation.modify_nullable is not None and operation.modify_nullable != operation.existing_nullable:
        yield change(Act.SET_NULLABLE if operation.modify_nullable else Act.SET_NOT_NULL)
    default = operation.modify_server_default
    if default is not False:
        known = operation.existing_server_default not in (False, None)
        if isinstance(default, (sa.Computed, sa.Identity)):
            yield change(Act.CHANGE_TYPE, widens=False)
        elif default is None:
            yield change(Act.DROP_DEFAULT)
        else:
            yield change(Act.CHANGE_DEFAULT if known else Act.SET_DEFAULT)
    if operation.modify_name is not None and operation.modify_name != operation.column_name:
        yield change(Act.RENAME_COLUMN, new_name=str(operation.modify_name))


def changes_of_index(index: sa.Index, place: Place) -> Change:
    """What creating an index does."""
    table = index.table
    plain = all(isinstance(each, sa.sql.expression.ColumnClause) for each in index.expressions)
    return Change(
        Act.CREATE_INDEX,
        place,
        table=table.name if table is not None else "",
        schema=table.schema if table is not None else None,
        name=str(index.name or ""),
        columns=tuple(column.name for column in index.columns) if plain else (),
        unique=bool(index.unique),
        online=bool(index.dialect_kwargs.get("postgresql_concurrently")),
    )


def changes_of_constraint(constraint: sa.Constraint, place: Place) -> Change:
    """What adding a constraint does."""
    columns: tuple[str, ...] = ()
    is_check = isinstance(constraint, sa.CheckConstraint)
    if isinstance(constraint, sa.sql.schema.ColumnCollectionConstraint) and not is_check:
        columns = tuple(column.name for column in constraint.columns)
    table = constraint.table
    return Change(
        Act.ADD_CONSTRAINT,
        place,
        table=table.name,
        schema=table.schema,
        name=str(constraint.name or ""),
        kind=_kind(constraint),
        columns=columns,
    )


def _kind(constraint: sa.Constraint) -> ConstraintKind:
    kinds: tuple[tuple[type[sa.Constraint], ConstraintKind], ...] = (
        (sa.UniqueConstraint, ConstraintKind.UNIQUE),
        (sa.CheckConstraint, ConstraintKind.CHECK),
        (sa.ForeignKeyConstraint, ConstraintKind.FOREIGN_KEY),
        (sa.PrimaryKeyConstraint, ConstraintKind.PRIMARY_KEY),
    )
    return next((kind for type_, kind in kinds if isinstance(constraint, type_)), ConstraintKind.UNKNOWN)


def _constraint(operation: ops.AddConstraintOp, context: MigrationContext, place: Place) -> Change:
    constraint = operation.to_constraint(context)
    kind = _CONSTRAINT_KINDS.get(operation.constraint_type, ConstraintKind.UNKNOWN)
    columns: tuple[str, ...] = ()
    table, schema = "", None
    match operation:
        case ops.CreateForeignKeyOp():
            table, schema = operation.source_table, operation.kw.get("source_schema")
            columns = tuple(operation.local_cols)
        case ops.CreateUniqueConstraintOp() | ops.CreatePrimaryKeyOp():
            table, schema = operation.table_name, operation.schema
            columns = tuple(str(each) for each in operation.columns)
        case ops.CreateCheckConstraintOp():
            table, schema = operation.table_name, operation.schema
        case _:
            table = getattr(getattr(constraint, "table", None), "name", "")
    return Change(
        Act.ADD_CONSTRAINT,
        place,
        table=table,
        schema=schema,
        name=str(constraint.name or ""),
        kind=kind,
        columns=columns,
        online=bool(constraint.dialect_kwargs.get("postgresql_not_valid")),
    )


def shape_of_column(column: sa.Column[Any], *, alone: bool = False) -> ColumnShape:
    """A column as it is going to be; `alone` where its constraint or index is a statement of its own."""
    return ColumnShape(
        name=column.name,
        nullable=bool(column.nullable),
        default=_default(column),
        type=column.type,
        unique=bool(column.unique) and not alone,
        indexed=bool(column.index) and not alone,
        primary_key=column.primary_key,
    )


def _default(column: sa.Column[Any]) -> Default:
    default = column.server_default
    if default is None:
        return Default.NONE
    if isinstance(default, (sa.Computed, sa.Identity)):
        return Default.GENERATED
    argument = getattr(default, "arg", None)
    match argument:
        case None:
            return Default.GENERATED
        case str():
            return Default.CONSTANT  # a plain string is rendered as a quoted literal
        case sa.TextClause():
            return default_of_sql(argument.text)
        case sa.sql.functions.FunctionElement():
            return Default.CONSTANT if argument.name in _ONCE_PER_STATEMENT else Default.EXPRESSION
        case sa.sql.expression.True_() | sa.sql.expression.False_() | sa.BindParameter():
            return Default.CONSTANT
        case _:
            return Default.EXPRESSION


def _instance(type_: Any) -> TypeEngine[Any]:
    found: TypeEngine[Any] = sa.types.to_instance(type_)
    return found


def _same(old: TypeEngine[Any], new: TypeEngine[Any], context: MigrationContext) -> bool:
    try:
        return str(old.compile(context.dialect)) == str(new.compile(context.dialect))
    except sa.exc.SQLAlchemyError:
        return False


def _widens(old: TypeEngine[Any], new: TypeEngine[Any]) -> bool:
    """Whether every old value fits and no row is rewritten: longer varchar, varchar to text, more digits."""
    if isinstance(old, sa.Enum) or isinstance(new, sa.Enum):
        return False
    if isinstance(old, sa.String) and isinstance(new, sa.String):
        if type(old)._type_affinity is not type(new)._type_affinity:
            return False
        if isinstance(new, sa.Text) or new.length is None:
            return not isinstance(old, sa.CHAR)
        return not isinstance(old, (sa.Text, sa.CHAR)) and old.length is not None and new.length >= old.length
    if isinstance(old, sa.Numeric) and isinstance(new, sa.Numeric) and not isinstance(new, sa.Float):
        if isinstance(old, sa.Float) or old.precision is None or new.precision is None:
            return False
        return new.precision >= old.precision and (new.scale or 0) == (old.scale or 0)
    return False
