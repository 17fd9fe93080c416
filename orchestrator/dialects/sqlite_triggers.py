"""Triggers on SQLite. One that changes its own row runs after the statement has, as an UPDATE of that row.

Such an UPDATE fires triggers too, so it runs under a mark: a row in a table of ours that is there only within the
statement. A transaction that writes both shapes itself sets a mark for all. Refusals are not counted: whatever could
count them is rolled back with the statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.dialects.triggers import (
    ColumnFacts,
    DefaultKind,
    Denial,
    MissingRight,
    Piece,
    PieceKind,
    SyncTrigger,
    TableFacts,
    TableKind,
    causes,
    is_constant,
    with_columns,
)

MARKS = "orchestrator_syncing"
_EVERY = "*"
_ENDINGS = ("_i", "_u", "_d")
_ROW_NUMBERS = ("rowid", "_rowid_", "oid")
_FOLLOWING = ("CASCADE", "SET NULL", "SET DEFAULT")

_OBJECT = text("SELECT type, sql FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(:name)")
_COLUMNS = text("SELECT name, type, dflt_value, pk, hidden FROM pragma_table_xinfo(:table) ORDER BY cid")
_KEYS = text(
    'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(:table) ORDER BY id, seq'
)
_PRIMARY = text("SELECT name FROM pragma_table_info(:table) WHERE pk > 0 ORDER BY pk")
_INDEXES = text("SELECT name, origin FROM pragma_index_list(:table)")
_COVERED = text("SELECT cid FROM pragma_index_xinfo(:index)")
_FOUND = text(
    "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'trigger') AND name LIKE 'orchestrator%'"
)
_HAS_MARKS = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")


class SQLiteTriggers:
    """Row triggers; there are no others."""

    hinder_rebuilds = True

    def quote(self, name: str) -> str:
        return _quote(name)

    def table(self, connection: Connection, schema: str | None, table: str) -> TableFacts | None:
        found = connection.execute(_OBJECT, {"name": table}).first()
        if found is None or schema is not None:
            return None
        kind = TableKind.VIEW if found.type == "view" else TableKind.TABLE
        if "VIRTUAL" in (found.sql or "").upper().split()[:3]:
            kind = TableKind.OTHER
        rows = connection.execute(_COLUMNS, {"table": table}).all()
        return TableFacts(kind, tuple(_column(row, [each for each in rows if each.pk]) for row in rows))

    def sync_pieces(self, connection: Connection | None, sync: SyncTrigger) -> tuple[Piece, ...]:
        name, table = sync.identifier, _quote(sync.table)
        here, key = _identity(connection, sync.table)
        columns = {each: f"NEW.{_quote(each)}" for each in sync.columns}

        def update(side: Sequence[tuple[str, str]], *conditions: str) -> str:
            values = ", ".join(f"{_quote(column)} = ({with_columns(sql, columns)})" for column, sql in side)
            return f"UPDATE {table} SET {values} WHERE {' AND '.join((here, *conditions))};"

        def changed(names: Sequence[str]) -> str:
            parts = (f"{columns[each]} COLLATE BINARY IS NOT OLD.{_quote(each)}" for each in names)
            return f"({' OR '.join(parts)})"

        untouched = f"({' AND '.join(f'{columns[each]} IS NULL' for each in sync.new_columns)})"
        in_step = " AND ".join(
            f"{columns[column]} COLLATE BINARY IS ({with_columns(sql, columns)})" for column, sql in sync.new
        )
        inserted = [update(sync.new, untouched), update(sync.old, f"NOT {untouched}", f"NOT ({in_step})")]
        updated: list[str] = []
        earlier: list[str] = []
        for is_forward, names in causes(sync):
            updated.append(update(sync.new if is_forward else sync.old, changed(names), *earlier))
            earlier.append(f"NOT {changed(names)}")
        any_changed = changed([each for _, names in causes(sync) for each in names])
        return (
            _marks(),
            _sync_trigger(name, "_i", "AFTER INSERT", table, key, "", inserted),
            _sync_trigger(name, "_u", "AFTER UPDATE", table, key, f" AND {any_changed}" if updated else "", updated),
        )

    def deny_pieces(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        name, table = denial.identifier, _quote(denial.table)
        refuse = f"SELECT RAISE(ABORT, {_literal(denial.message)});"
        follows = _follows(connection, denial)
        if denial.column is None:
            return (
                _trigger(name, "_i", "BEFORE INSERT", table, "", refuse),
                _trigger(name, "_u", "BEFORE UPDATE", table, follows, refuse),
                _trigger(name, "_d", "BEFORE DELETE", table, follows, refuse),
            )
        facts = self.table(connection, denial.schema, denial.table)
        column = None if facts is None else facts.column(denial.column)
        assert column is not None
        new, old = (f"{row}.{_quote(column.name)} COLLATE BINARY" for row in ("NEW", "OLD"))
        changed = f"{new} IS NOT {old}" + (f" AND {follows}" if follows else "")
        update = _trigger(name, "_u", "BEFORE UPDATE", table, changed, refuse)
        if column.default_kind is DefaultKind.COMPUTED:
            return (update,)
        written = f"{new} IS NOT NULL"
        if column.default_kind is DefaultKind.CONSTANT:
            written += f" AND {new} IS NOT ({column.default})"
        return _trigger(name, "_i", "BEFORE INSERT", table, written, refuse), update

    def leftovers(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        table = _quote(denial.table)
        return tuple(_trigger(denial.identifier, ending, "BEFORE INSERT", table, "", "") for ending in _ENDINGS)

    def found(self, connection: Connection, pieces: Sequence[Piece]) -> Mapping[tuple[PieceKind, str], str]:
        wanted = {(piece.kind, piece.name) for piece in pieces}
        found = {(PieceKind(row.type), row.name): row.sql for row in connection.execute(_FOUND)}
        return {key: "marks" if key[0] is PieceKind.TABLE else sql for key, sql in found.items() if key in wanted}

    def denials(self, connection: Connection, denials: Sequence[Denial]) -> int | None:
        return None

    def missing_rights(
        self, connection: Connection, tables: Sequence[tuple[str | None, str]]
    ) -> tuple[MissingRight, ...]:
        return ()

    @contextmanager
    def bypassing(self, connection: Connection) -> Iterator[None]:
        if connection.execute(_HAS_MARKS, {"name": MARKS}).first() is None:
            yield
            return
        values = {"name": _EVERY}
        connection.execute(text(f"INSERT INTO {MARKS} (name, row) VALUES (:name, '')"), values)
        yield
        connection.execute(text(f"DELETE FROM {MARKS}"))


def _identity(connection: Connection | None, table: str) -> tuple[str, str]:
    """A condition that holds for the row of the trigger alone, and its key as one value."""
    taken: set[str] = set()
    if connection is not None:
        rows = connection.execute(_COLUMNS, {"table": table}).all()
        taken = {row.name.lower() for row in rows}
        sql = connection.execute(_OBJECT, {"name": table}).scalar_one_or_none() and _without_rowid(connection, table)
        primary = connection.execute(_PRIMARY, {"table": table}).scalars().all()
        if sql and primary:
            here = " AND ".join(f"{_quote(each)} = NEW.{_quote(each)}" for each in primary)
            return here, " || ',' || ".join(f"quote(NEW.{_quote(each)})" for each in primary)
    number = next(each for each in _ROW_NUMBERS if each not in taken)
    return f"{number} = NEW.{number}", f"NEW.{number}"


def _without_rowid(connection: Connection, table: str) -> bool:
    """Its primary key's index is then the table itself, and has all its columns."""
    indexes = connection.execute(_INDEXES, {"table": table}).all()
    primary = next((row.name for row in indexes if row.origin == "pk"), None)
    if primary is None:
        return False
    covered = connection.execute(_COVERED, {"index": primary}).scalars().all()
    return -1 not in covered


def _marks() -> Piece:
    """Where the mark of a statement, or of a transaction that writes both shapes itself, is written."""
    return Piece(
        PieceKind.TABLE,
        MARKS,
        "",
        f"CREATE TABLE IF NOT EXISTS {MARKS} (name TEXT NOT NULL, row TEXT NOT NULL)",
        "",
        "marks",
        f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{MARKS}'",
        replaces=True,
    )


def _sync_trigger(
    name: str, ending: str, event: str, table: str, key: str, condition: str, statements: Sequence[str]
) -> Piece:
    mark = f"name = '{name}' AND row = {key}"
    free = f"NOT EXISTS (SELECT 1 FROM {MARKS} WHERE name = '{_EVERY}' OR ({mark}))"
    body = " ".join(
        (
            f"INSERT INTO {MARKS} (name, row) VALUES ('{name}', {key});",
            *statements,
            f"DELETE FROM {MARKS} WHERE {mark};",
        )
    )
    return _trigger(name, ending, event, table, free + condition, body)


def _follows(connection: Connection, denial: Denial) -> str:
    """A condition that is false where the database itself writes a row because the one that it refers to is gone."""
    keys: dict[int, list[Any]] = {}
    for row in connection.execute(_KEYS, {"table": denial.table}):
        keys.setdefault(row.id, []).append(row)
    orphaned = []
    for parts in keys.values():
        covers = denial.column is None or any(each[2].lower() == denial.column.lower() for each in parts)
        if covers and {parts[0].on_update, parts[0].on_delete} & set(_FOLLOWING):
            orphaned.append(_orphaned(connection, parts))
    return " AND ".join(f"NOT ({each})" for each in orphaned)


def _orphaned(connection: Connection, parts: Sequence[Any]) -> str:
    parent = parts[0].table
    primary = connection.execute(_PRIMARY, {"table": parent}).scalars().all()
    pairs = [(each[2], each.to or primary[place]) for place, each in enumerate(parts)]
    given = " AND ".join(f"OLD.{_quote(mine)} IS NOT NULL" for mine, _ in pairs)
    same = " AND ".join(f"parent.{_quote(theirs)} = OLD.{_quote(mine)}" for mine, theirs in pairs)
    return f"{given} AND NOT EXISTS (SELECT 1 FROM {_quote(parent)} AS parent WHERE {same})"


def _trigger(name: str, ending: str, event: str, table: str, when: str, body: str) -> Piece:
    condition = f" WHEN {when}" if when else ""
    create = f"CREATE TRIGGER {name}{ending} {event} ON {table} FOR EACH ROW{condition} BEGIN {body} END"
    return Piece(
        PieceKind.TRIGGER,
        f"{name}{ending}",
        table,
        create,
        f"DROP TRIGGER IF EXISTS {name}{ending}",
        create,
        f"SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = '{name}{ending}'",
    )


def _column(row: Any, primary: Sequence[Any]) -> ColumnFacts:
    numbered = bool(row.pk) and len(primary) == 1 and row.type.upper() == "INTEGER"
    generated = row.hidden in (2, 3)
    if numbered:
        return ColumnFacts(row.name, DefaultKind.COMPUTED, numbered=True)
    if row.dflt_value is None or row.dflt_value.upper() == "NULL":
        return ColumnFacts(row.name, generated=generated)
    if not is_constant(row.dflt_value, "sqlite"):
        return ColumnFacts(row.name, DefaultKind.COMPUTED, generated=generated)
    return ColumnFacts(row.name, DefaultKind.CONSTANT, row.dflt_value, generated)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
