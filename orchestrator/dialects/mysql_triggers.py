"""Triggers on MariaDB and MySQL: one for each event, before the row is written.

On MariaDB a sequence counts refusals: it forgets nothing when a statement is rolled back. MySQL has none, so refusals
are not counted there. Foreign keys that delete or change rows fire no triggers, so nothing of that is ever refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.dialects.mysql_server import is_mariadb
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
    as_statement,
    causes,
    with_columns,
)

BYPASS = "@orchestrator_syncing"
_ENDINGS = {"_i": "INSERT", "_u": "UPDATE", "_d": "DELETE"}

_TABLE = text(
    "SELECT table_type FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :table"
)
_COLUMNS = text(
    """
    SELECT column_name AS name, column_default AS "default", extra, data_type AS type
    FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = :table ORDER BY ordinal_position
""".replace('"default"', "`default`")
)
_TRIGGERS = text("""
    SELECT trigger_name AS name, action_timing AS timing, event_manipulation AS event, event_object_table AS target
    FROM information_schema.triggers
    WHERE trigger_schema = DATABASE() AND trigger_name LIKE 'orchestrator\\\\_%'
""")
_SEQUENCES = text("""
    SELECT table_name AS name FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE' AND table_name LIKE 'orchestrator\\\\_%'
""")
_LOGGING = text("SELECT @@log_bin, @@log_bin_trust_function_creators")
_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*'\Z", re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?\Z", re.IGNORECASE)
_GRANT = re.compile(r"GRANT (?P<rights>.+) ON (?P<place>\S+) TO ", re.DOTALL)
_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
_TRUSTED = ("ALL PRIVILEGES", "SUPER")


class MySQLTriggers:
    """A trigger runs with the rights of who made it: who writes needs none on what it uses."""

    hinder_rebuilds = False

    def quote(self, name: str) -> str:
        return _quote(name)

    def table(self, connection: Connection, schema: str | None, table: str) -> TableFacts | None:
        kind = connection.execute(_TABLE, {"table": table}).scalar()
        if kind is None or schema is not None:
            return None
        kinds = {"BASE TABLE": TableKind.TABLE, "VIEW": TableKind.VIEW}
        rows = connection.execute(_COLUMNS, {"table": table})
        maria = is_mariadb(connection)
        return TableFacts(kinds.get(kind, TableKind.OTHER), tuple(_column(row, maria) for row in rows))

    def sync_pieces(self, connection: Connection | None, sync: SyncTrigger) -> tuple[Piece, ...]:
        columns = {name: f"NEW.{_quote(name)}" for name in sync.columns}

        def assign(side: Iterable[tuple[str, str]]) -> str:
            return " ".join(f"SET {columns[name]} = ({with_columns(sql, columns)});" for name, sql in side)

        forward, backward = assign(sync.new), assign(sync.old)
        untouched = " AND ".join(f"{columns[name]} IS NULL" for name in sync.new_columns)
        in_step = " AND ".join(_same(columns[name], f"({with_columns(sql, columns)})") for name, sql in sync.new)
        insert = f"IF {untouched} THEN {forward} ELSEIF NOT ({in_step}) THEN {backward} END IF;"
        update = ""
        for is_forward, names in causes(sync):
            same = " AND ".join(_same(columns[name], f"OLD.{_quote(name)}") for name in names)
            update += f"{'ELSEIF' if update else 'IF'} NOT ({same}) THEN {forward if is_forward else backward} "
        body = "BEGIN IF {} IS NULL THEN {} END IF; END"
        return (
            _trigger(sync.identifier, "_i", sync.table, body.format(BYPASS, insert)),
            _trigger(sync.identifier, "_u", sync.table, body.format(BYPASS, f"{update}END IF;")),
        )

    def deny_pieces(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        name, table = denial.identifier, denial.table
        pieces = []
        refuse = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {_literal(denial.message)};"
        if is_mariadb(connection):
            pieces.append(_sequence(name))
            refuse = f"DO NEXTVAL({_quote(name)}); {refuse}"
        if denial.column is None:
            return (*pieces, *(_trigger(name, ending, table, f"BEGIN {refuse} END") for ending in _ENDINGS))
        facts = self.table(connection, denial.schema, table)
        column = None if facts is None else facts.column(denial.column)
        assert column is not None
        new, old = (f"{row}.{_quote(column.name)}" for row in ("NEW", "OLD"))
        if column.default_kind is not DefaultKind.COMPUTED:
            left_out = [f"{new} IS NULL"]
            if column.default_kind is DefaultKind.CONSTANT:
                left_out.append(_same(new, column.default) if column.is_text else f"{new} <=> {column.default}")
            written = f"NOT ({' OR '.join(left_out)})"
            pieces.append(_trigger(name, "_i", table, f"BEGIN IF {written} THEN {refuse} END IF; END"))
        pieces.append(_trigger(name, "_u", table, f"BEGIN IF NOT ({_same(new, old)}) THEN {refuse} END IF; END"))
        return tuple(pieces)

    def leftovers(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        name = denial.identifier
        sequences = (_sequence(name),) if is_mariadb(connection) else ()
        return (*sequences, *(_trigger(name, ending, denial.table, "") for ending in _ENDINGS))

    def found(self, connection: Connection, pieces: Sequence[Piece]) -> Mapping[tuple[PieceKind, str], str]:
        wanted = {(piece.kind, piece.name) for piece in pieces}
        found = {
            (PieceKind.TRIGGER, row.name): _definition(row.timing, row.event, row.target, _body(connection, row.name))
            for row in connection.execute(_TRIGGERS)
            if (PieceKind.TRIGGER, row.name) in wanted
        }
        if any(kind is PieceKind.SEQUENCE for kind, _ in wanted):
            found.update({(PieceKind.SEQUENCE, row.name): "sequence" for row in connection.execute(_SEQUENCES)})
        return {key: definition for key, definition in found.items() if key in wanted}

    def denials(self, connection: Connection, denials: Sequence[Denial]) -> int | None:
        if not is_mariadb(connection):
            return None
        there = {row.name for row in connection.execute(_SEQUENCES)} if denials else set()
        total = 0
        for name in (denial.identifier for denial in denials):
            if name in there:
                query = f"SELECT next_not_cached_value - start_value FROM {_quote(name)}"
                total += connection.execute(as_statement(query)).scalar_one()
        return total

    def missing_rights(
        self, connection: Connection, tables: Sequence[tuple[str | None, str]]
    ) -> tuple[MissingRight, ...]:
        """As far as the grants tell: rights that come through a role of MySQL are not seen, and then not missed."""
        if not tables:
            return ()
        user, database = connection.execute(text("SELECT CURRENT_USER(), DATABASE()")).one()
        grants = [str(row[0]) for row in connection.execute(text("SHOW GRANTS"))]
        found = [match for match in map(_GRANT.match, grants) if match is not None]
        through_roles = len(found) < len(grants)
        missing = []
        if not through_roles and not _may_make_triggers(found, database, [table for _, table in tables]):
            missing.append(
                MissingRight(
                    f"user {user} may not create triggers",
                    f"GRANT TRIGGER ON {_quote(database)}.* TO {_account(user)};",
                )
            )
        is_logged, trusts = connection.execute(_LOGGING).one()
        everywhere = " ".join(match["rights"] for match in found if match["place"] == "*.*")
        if is_logged and not trusts and not any(right in everywhere for right in _TRUSTED):
            missing.append(
                MissingRight(
                    f"the server writes a binary log, and lets user {user} create no triggers for that",
                    "SET GLOBAL log_bin_trust_function_creators = 1; and in the server's configuration, where a "
                    f"restart does not lose it; or: GRANT SUPER ON *.* TO {_account(user)};",
                )
            )
        return tuple(missing)

    @contextmanager
    def bypassing(self, connection: Connection) -> Iterator[None]:
        """Of the session: taken back whatever happens. Where even that fails, the session is given up.

        On a cluster a transaction that was given up in favour of another node's may hear of it only here.
        """
        connection.execute(as_statement(f"SET {BYPASS} = 1"))
        try:
            yield
            connection.execute(as_statement(f"SET {BYPASS} = NULL"))
        except BaseException:
            _take_back(connection)
            raise


def _take_back(connection: Connection) -> None:
    if connection.closed or connection.invalidated:
        return
    try:
        connection.execute(as_statement(f"SET {BYPASS} = NULL"))
    except Exception:  # whatever the driver makes of a session that is gone
        connection.invalidate()


def _same(left: str, right: str) -> str:
    """Byte by byte: collations take letters, and spaces at the end, for equal. NULL is NULL."""
    return f"({left} <=> {right} AND CAST({left} AS BINARY) <=> CAST({right} AS BINARY))"


def _trigger(name: str, ending: str, table: str, body: str) -> Piece:
    event = _ENDINGS[ending]
    whole = f"{name}{ending}"
    return Piece(
        PieceKind.TRIGGER,
        whole,
        table,
        f"CREATE TRIGGER {_quote(whole)} BEFORE {event} ON {_quote(table)} FOR EACH ROW {body}",
        f"DROP TRIGGER IF EXISTS {_quote(whole)}",
        _definition("BEFORE", event, table, body),
        "SELECT count(*) FROM information_schema.triggers"
        f" WHERE trigger_schema = DATABASE() AND trigger_name = '{whole}'",
    )


def _definition(timing: str, event: str, table: str, body: str) -> str:
    return f"{timing}:{event}:{table}:{body}"


def _body(connection: Connection, name: str) -> str:
    """As it was written: the information schema shows texts in it otherwise."""
    shown = connection.execute(as_statement(f"SHOW CREATE TRIGGER {_quote(name)}")).mappings().one()
    return str(shown["SQL Original Statement"]).partition(" FOR EACH ROW ")[2]


def _sequence(name: str) -> Piece:
    """Without a cache its next value is exactly what was not yet given."""
    return Piece(
        PieceKind.SEQUENCE,
        name,
        "",
        f"CREATE SEQUENCE {_quote(name)} NOCACHE",
        f"DROP SEQUENCE IF EXISTS {_quote(name)}",
        "sequence",
        "SELECT count(*) FROM information_schema.tables"
        f" WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE' AND table_name = '{name}'",
        fresh=True,
    )


def _column(row: Any, maria: bool) -> ColumnFacts:
    extra = str(row.extra or "").upper()
    generated = "GENERATED" in extra.replace("DEFAULT_GENERATED", "")
    if "AUTO_INCREMENT" in extra:
        return ColumnFacts(row.name, DefaultKind.COMPUTED, numbered=True)
    default = row.default.decode() if isinstance(row.default, bytes) else row.default
    if default is None or (maria and default == "NULL"):
        return ColumnFacts(row.name, generated=generated)
    constant = _is_constant(default) if maria else "DEFAULT_GENERATED" not in extra
    if not constant or default.upper().startswith("CURRENT_TIMESTAMP"):
        return ColumnFacts(row.name, DefaultKind.COMPUTED, generated=generated)
    literal = default if maria else _literal(default)
    return ColumnFacts(row.name, DefaultKind.CONSTANT, literal, generated, is_text=row.type.lower() in _TEXTS)


def _is_constant(default: str) -> bool:
    """MariaDB writes a text in quotes, and an expression without them."""
    return bool(_QUOTED.match(default) or _NUMBER.match(default))


def _may_make_triggers(grants: Sequence[re.Match[str]], database: str, tables: Sequence[str]) -> bool:
    def covers(place: str, table: str) -> bool:
        of, _, name = place.replace("`", "").replace("\\\\", "\\").partition(".")
        pattern = re.escape(of).replace("%", ".*").replace(r"\\_", "\0").replace("_", ".").replace("\0", "_")
        return (of == "*" or re.fullmatch(pattern, database) is not None) and name in ("*", table)

    trusted = [each for each in grants if re.search(r"\bTRIGGER\b|ALL PRIVILEGES", each["rights"])]
    return all(any(covers(each["place"], table) for each in trusted) for table in tables)


def _account(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"


def _quote(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
