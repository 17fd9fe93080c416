"""The catalog: whether the database really is as the revisions that ran say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine.interfaces import ReflectedColumn

from orchestrator.schema_migrations.changes import ConstraintKind
from orchestrator.schema_migrations.expectations import Expectation, Thing


def differences(connection: sa.Connection, expectations: Iterable[Expectation]) -> tuple[str, ...]:
    """One sentence for each expectation that the catalog does not meet; none means that everything is as it must be.

    Reads only; sees what its own transaction has changed.
    """
    catalog = _Catalog(connection)
    found = (catalog.difference(expectation) for expectation in expectations)
    return tuple(sentence for sentence in found if sentence is not None)


def is_there(connection: sa.Connection, expectation: Expectation) -> bool:
    """Whether there is a thing of that name at all, whatever it is like and whether or not it should be there."""
    return _Catalog(connection).is_there(expectation)


def existing_tables(connection: sa.Connection, tables: Iterable[tuple[str | None, str]]) -> tuple[str, ...]:
    """Which of these tables (database schema, name) exist."""
    catalog = _Catalog(connection)
    return tuple(name for schema, name in tables if catalog.has_table(schema, name))


def invalid_indexes(connection: sa.Connection) -> frozenset[str]:
    """The names of indexes that were not built to their end. Only PostgreSQL has such."""
    if connection.dialect.name != "postgresql":
        return frozenset()
    query = "SELECT class.relname FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid WHERE NOT indisvalid"
    return frozenset(row[0] for row in connection.execute(sa.text(query)))


class _Catalog:
    """Reads each table once."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._inspector = sa.inspect(connection)
        self._columns: dict[tuple[str | None, str], dict[str, ReflectedColumn]] = {}
        self._tables: dict[str | None, frozenset[str]] = {}
        self._invalid: frozenset[str] | None = None

    def has_table(self, schema: str | None, name: str) -> bool:
        if schema not in self._tables:
            self._tables[schema] = frozenset(self._inspector.get_table_names(schema=schema))
        return name in self._tables[schema]

    def is_there(self, of: Expectation) -> bool:
        if of.thing is Thing.TABLE or not self.has_table(of.schema, of.table):
            return self.has_table(of.schema, of.table)
        match of.thing:
            case Thing.COLUMN:
                return any(each["name"] == of.name for each in self._inspector.get_columns(of.table, schema=of.schema))
            case Thing.INDEX:
                return any(each["name"] == of.name for each in self._inspector.get_indexes(of.table, schema=of.schema))
            case _:
                return any(name == of.name for _, name, _ in self._constraints(of))

    def difference(self, expected: Expectation) -> str | None:
        if expected.thing is Thing.TABLE:
            there = self.has_table(expected.schema, expected.table)
            return None if there == expected.present else _said(expected, "table", there)
        if not self.has_table(expected.schema, expected.table):
            return f"table {expected.table} is missing" if expected.present else None
        match expected.thing:
            case Thing.COLUMN:
                return self._column(expected)
            case Thing.INDEX:
                return self._index(expected)
            case Thing.CONSTRAINT:
                return self._constraint(expected)

    def _column(self, expected: Expectation) -> str | None:
        where = (expected.schema, expected.table)
        if where not in self._columns:
            columns = self._inspector.get_columns(expected.table, schema=expected.schema)
            self._columns[where] = {column["name"]: column for column in columns}
        found = self._columns[where].get(expected.name)
        if found is None or not expected.present:
            return None if (found is not None) == expected.present else _said(expected, "column", found is not None)
        name = f"{expected.table}.{expected.name}"
        if expected.nullable is not None and bool(found["nullable"]) != expected.nullable:
            return f"column {name} {'forbids' if expected.nullable else 'allows'} NULL"
        if expected.has_default is not None and (found.get("default") is not None) != expected.has_default:
            return f"column {name} has {'no' if expected.has_default else 'a'} default"
        if expected.type is not None and self._type_differs(expected.name, found["type"], expected.type):
            return f"column {name} is of type {found['type']}, not {expected.type}"
        return None

    def _type_differs(self, name: str, found: Any, expected: Any) -> bool:
        context = MigrationContext.configure(self._connection)
        return bool(context.impl.compare_type(sa.Column(name, found), sa.Column(name, expected)))

    def _index(self, expected: Expectation) -> str | None:
        indexes = self._inspector.get_indexes(expected.table, schema=expected.schema)
        if expected.name:
            found = next((index for index in indexes if index["name"] == expected.name), None)
            if (found is not None) != expected.present:
                return _said(expected, "index", found is not None)
            if found is None:
                return None
            if bool(found.get("unique")) != expected.unique:
                return f"index {expected.name} on {expected.table} is {'not ' if expected.unique else ''}unique"
            if expected.columns and tuple(found["column_names"]) != expected.columns:
                return f"index {expected.name} on {expected.table} covers {', '.join(map(str, found['column_names']))}"
            if expected.name in self._invalid_indexes():
                return f"index {expected.name} on {expected.table} is invalid: building it did not end"
            return None
        covered = {tuple(index["column_names"]) for index in indexes}
        covered |= {tuple(each["column_names"]) for each in self._unique(expected)}
        return None if expected.columns in covered else _said(expected, "index", False)

    def _constraint(self, expected: Expectation) -> str | None:
        there = any(
            (name == expected.name if expected.name else columns == expected.columns)
            for kind, name, columns in self._constraints(expected)
            if expected.kind in (kind, ConstraintKind.UNKNOWN)
        )
        return None if there == expected.present else _said(expected, "constraint", there)

    def _constraints(self, of: Expectation) -> list[tuple[ConstraintKind, str | None, tuple[str, ...]]]:
        table, schema = of.table, of.schema
        found: list[tuple[ConstraintKind, str | None, tuple[str, ...]]] = [
            (ConstraintKind.UNIQUE, unique["name"], tuple(unique["column_names"])) for unique in self._unique(of)
        ]
        for key in self._inspector.get_foreign_keys(table, schema=schema):
            found.append((ConstraintKind.FOREIGN_KEY, key["name"], tuple(key["constrained_columns"])))
        for check in self._inspector.get_check_constraints(table, schema=schema):
            found.append((ConstraintKind.CHECK, check["name"], ()))
        primary = self._inspector.get_pk_constraint(table, schema=schema)
        found.append((ConstraintKind.PRIMARY_KEY, primary["name"], tuple(primary["constrained_columns"])))
        return found

    def _unique(self, of: Expectation) -> list[Any]:
        return list(self._inspector.get_unique_constraints(of.table, schema=of.schema))

    def _invalid_indexes(self) -> frozenset[str]:
        if self._invalid is None:
            self._invalid = invalid_indexes(self._connection)
        return self._invalid


def _said(expected: Expectation, kind: str, there: bool) -> str:
    name = expected.name or ", ".join(expected.columns)
    match expected.thing:
        case Thing.TABLE:
            subject = f"table {expected.table}"
        case Thing.COLUMN:
            subject = f"column {expected.table}.{name}"
        case _:
            subject = f"{kind} {name} on {expected.table}"
    return f"{subject} is {'still there' if there else 'missing'}"
