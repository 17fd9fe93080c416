"""The target: the table that a data migration changes, as the database describes it, and whether it can be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import ColumnElement, Connection, MetaData, Table
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

from orchestrator.data_migrations.keyset import Keyset, encode
from orchestrator.data_migrations.loading import Definition, refuse_overwriting
from orchestrator.dialects import Database, reason
from orchestrator.domain.errors import MigrationRefused, StepFailed

MayAdd = Callable[[str, str], bool]
"""Whether the expand revisions that are still to run may give a table this column."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table that can be walked, and written as the definition says."""

    table: Table
    keyset: Keyset
    expressions: tuple[tuple[str, ColumnElement[object]], ...]


def find_target(database: Database, connection: Connection, definition: Definition) -> Target:
    """The target in this database. Raises `MigrationRefused` naming file, table and remedy where it cannot be used."""
    _refuse_function(definition)
    refuse_overwriting(definition, database.dialect.name)
    table = _described(database, connection, definition)
    if table is None:
        raise _refused(
            "table_missing",
            definition,
            f"works on table {definition.table}, which database {database.name} does not have",
            _other_name(connection, definition),
        )
    key = _usable_key(database, connection, table, definition, expanded=True)
    _refuse_columns(table, definition, key)
    target = Target(table, Keyset(table, key, database.dialect), tuple(map(_as_element, definition.expressions)))
    _refuse_statements(database, connection, target, definition)
    return target


def refuse_early(database: Database, connection: Connection, definition: Definition, may_add: MayAdd | None) -> None:
    """Refuse what can be known before the expand revisions have run: a key will not come, a column only if they add it.

    Without `may_add` columns are not looked for. Raises `MigrationRefused`.
    """
    _refuse_function(definition)
    refuse_overwriting(definition, database.dialect.name)
    table = _described(database, connection, definition)
    if table is not None:
        _usable_key(database, connection, table, definition, expanded=False)
        missing = [name for name in (*definition.reads, *definition.writes) if name not in table.c]
        if never := [name for name in missing if may_add is not None and not may_add(table.name, name)]:
            raise _refused(
                "column_missing",
                definition,
                f"names columns that table {definition.table} does not have, and that no expand revision of its "
                f"release adds: {', '.join(never)}",
                "Mend the names, or add the columns in an expand revision.",
            )


def refuse_lacking(definition: Definition, lacks: Callable[[str, str], bool]) -> None:
    """Refuse columns that the tree itself says its tables will not have. Raises `MigrationRefused`."""
    table = definition.table.rpartition(".")[2]
    if missing := [name for name in (*definition.reads, *definition.writes) if lacks(table, name)]:
        raise _refused(
            "column_missing",
            definition,
            f"names columns that table {definition.table} does not have when its release is expanded: "
            f"{', '.join(missing)}",
            "Mend the names, or add the columns in an expand revision.",
        )


def _refuse_function(definition: Definition) -> None:
    if definition.function is not None:
        raise MigrationRefused(
            "function_without_environment",
            f"{definition.place} names a function of the service, and nothing says in which environment that runs",
            remedy="Wrapped functions are for schemas with driver = command, whose command_prefix and environment say "
            "it. Try one out in the service's own tests.",
            file=str(definition.path),
            data_migration=definition.name,
        )


def _as_element(expression: tuple[str, str]) -> tuple[str, ColumnElement[object]]:
    column, sql = expression
    return column, sa.literal_column(f"({sql})")


def _described(database: Database, connection: Connection, definition: Definition) -> Table | None:
    schema, name = _named(definition)
    try:
        sa.inspect(connection).get_pk_constraint(name, schema)  # on SQLite it alone minds capital letters
        return Table(name, MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
    except NoSuchTableError:
        return None
    except (SQLAlchemyError, DBError) as error:
        if database.explain(error) is not None:
            raise
        raise _refused(
            "table_unreadable",
            definition,
            f"works on table {definition.table}, which cannot be described: {reason(error, database.engine.url)}",
            "Mend the name of the table.",
        ) from error


def _named(definition: Definition) -> tuple[str | None, str]:
    schema, _, name = definition.table.rpartition(".")
    return schema or None, name


def _other_name(connection: Connection, definition: Definition) -> str:
    """What to do about a table that is not there."""
    schema, name = _named(definition)
    if schema in (None, *sa.inspect(connection).get_schema_names()):
        for each in sa.inspect(connection).get_table_names(schema):
            if each.lower() == name.lower():
                return f"Mend the name: there it is written {each}."
    return "Mend the name, or create the table in an expand revision."


def _usable_key(
    database: Database, connection: Connection, table: Table, definition: Definition, *, expanded: bool
) -> tuple[str, ...]:
    """The key to walk by: unique and never NULL, in the order of its index."""
    primary = tuple(sa.inspect(connection).get_pk_constraint(table.name, table.schema)["constrained_columns"])
    unique = [names for names in (primary, *database.dialect.unique_keys(connection, table)) if names]
    fit = [names for names in unique if not _nullable(database, connection, table, names)]
    declared = definition.key
    if declared is None:
        if not primary:
            raise _refused(
                "key_missing",
                definition,
                f"works on table {definition.table}, which has no primary key to walk by",
                _other_keys(fit),
            )
        declared = primary
    if missing := [name for name in declared if name not in table.c]:
        raise _refused(
            "key_column_missing",
            definition,
            f"has a key with columns that table {definition.table} does not have: {', '.join(missing)}",
            "Mend the key.",
        )
    if nullable := _nullable(database, connection, table, declared):
        raise _refused(
            "key_nullable",
            definition,
            f"walks table {definition.table} by columns that may be NULL: {', '.join(nullable)}; "
            "rows without a key would be missed",
            _other_keys(fit),
        )
    if strange := [name for name in declared if not database.dialect.can_be_walked(table.c[name])]:
        raise _refused(
            "key_type_unsupported",
            definition,
            f"walks table {definition.table} by columns whose values do not compare in the order of their index here: "
            f"{', '.join(strange)}",
            _other_keys([names for names in fit if not set(names) & set(strange)]),
        )
    for names in unique:
        if set(names) == set(declared):
            return names
    if definition.key is not None and not expanded:
        return declared
    raise _refused(
        "key_not_unique",
        definition,
        f"walks table {definition.table} by ({', '.join(declared)}), which no constraint or whole index makes unique",
        _other_keys(fit),
    )


def _nullable(database: Database, connection: Connection, table: Table, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not database.dialect.never_null(connection, table, name)]


def _other_keys(fit: list[tuple[str, ...]]) -> str:
    if fit:
        columns = ", ".join(f'"{name}"' for name in fit[0])
        return f"Declare the key that the table has: key = ({columns},)."
    return "Give the table a primary key, or a unique key of NOT NULL columns, in an earlier release."


def _refuse_columns(table: Table, definition: Definition, key: tuple[str, ...]) -> None:
    if missing := [name for name in (*definition.reads, *definition.writes) if name not in table.c]:
        raise _refused(
            "column_missing",
            definition,
            f"names columns that table {definition.table} does not have: {', '.join(missing)}",
            "Mend the names, or add the columns in an expand revision.",
        )
    if own := sorted(set(key) & set(definition.writes)):
        raise _refused(
            "key_written",
            definition,
            f"writes the key that it walks by: {', '.join(own)}",
            "Write a new column, or declare another key.",
        )
    if computed := [name for name in definition.writes if table.c[name].computed is not None]:
        raise _refused(
            "column_computed",
            definition,
            f"writes columns that the database computes by itself: {', '.join(computed)}",
            "Leave them out.",
        )
    unknown = [name for name in definition.writes if isinstance(table.c[name].type, sa.types.NullType)]
    if definition.transform is not None and unknown:
        raise _refused(
            "column_type_unknown",
            definition,
            f"writes columns of a type that cannot be sent in bulk: {', '.join(unknown)}",
            "Use expressions for them instead of a transform.",
        )


def _refuse_statements(database: Database, connection: Connection, target: Target, definition: Definition) -> None:
    """Let the database read every expression, and every comparison of the verification, without touching a row."""
    table = target.table
    for name in definition.writes:
        value = dict(target.expressions).get(name, table.c[name])
        probes = (
            ("data_migration_expression", sa.update(table).where(sa.false()).values({name: value})),
            (
                "column_not_comparable",
                sa.select(sa.literal(1)).where(database.dialect.differs(table.c[name], value)).limit(0),
            ),
        )
        for code, statement in probes:
            try:
                with connection.begin_nested():
                    connection.execute(statement)
            except (SQLAlchemyError, DBError) as error:
                if database.explain(error) is not None or database.dialect.is_cut_off(error):
                    raise
                raise _refused(
                    code,
                    definition,
                    f"has something for {definition.table}.{name} that the database refuses: "
                    f"{reason(error, database.engine.url)}",
                    "Mend the expression; it may use the columns of the row and whole subqueries."
                    if definition.expressions
                    else "Write another column: values of this type cannot be compared, so never be verified.",
                ) from error
    _refuse_key_values(connection, target, definition)


def _refuse_key_values(connection: Connection, target: Target, definition: Definition) -> None:
    try:
        key = target.keyset.some_key(connection)
        if key is not None:
            encode(key)
    except MigrationRefused as refused:
        raise _refused(refused.code, definition, f"has {refused.message}", refused.remedy) from refused
    except StepFailed as failed:
        raise _refused("key_type_unsupported", definition, failed.message, failed.remedy) from failed


def _refused(code: str, definition: Definition, what: str, remedy: str) -> MigrationRefused:
    return MigrationRefused(
        code,
        f"{definition.place} {what}",
        remedy=remedy,
        file=str(definition.path),
        data_migration=definition.name,
        table=definition.table,
    )
