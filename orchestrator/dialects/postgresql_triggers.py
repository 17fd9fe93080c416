"""Triggers on PostgreSQL: a function for each, row triggers that call it, and a sequence that counts refusals.

A sequence forgets nothing when a transaction is rolled back. Who writes needs no right on it: the function that denies
runs as its owner, with a search path that nobody else can put anything in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    as_statement,
    causes,
    is_constant,
    with_columns,
)

BYPASS = "orchestrator.syncing"
_MOVING = "orchestrator.moving"
_ENDINGS = ("_t", "_a", "_b")
_ENABLED = ("O", "A")
_PARTITIONED_SINCE = 130000

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
_EVENTS = {_INSERT: "INSERT", _UPDATE: "UPDATE", _DELETE: "DELETE", _TRUNCATE: "TRUNCATE"}

_CLASS = text("""
    SELECT class.oid, class.relkind::text AS kind, namespace.nspname AS schema,
           EXISTS (SELECT FROM pg_inherits WHERE inhparent = class.oid) AS is_parent
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.oid = to_regclass(:table)
""")
_FOLLOWS = text("""
    SELECT count(*) > 0 FROM pg_constraint AS key
    WHERE key.conrelid = :oid AND key.contype = 'f'
      AND (key.confdeltype IN ('c', 'n', 'd') OR key.confupdtype IN ('c', 'n', 'd'))
      AND (CAST(:column AS text) IS NULL OR EXISTS (
          SELECT FROM pg_attribute WHERE attrelid = key.conrelid AND attname = :column AND attnum = ANY (key.conkey)))
""")
_COLUMNS = text("""
    SELECT attribute.attname AS name,
           attribute.attgenerated <> '' AS generated, attribute.attidentity <> '' AS numbered,
           format_type(attribute.atttypid, attribute.atttypmod) AS type,
           pg_get_expr(stored.adbin, stored.adrelid) AS "default",
           kind.typdefault IS NOT NULL AS type_default
    FROM pg_attribute AS attribute JOIN pg_type AS kind ON kind.oid = attribute.atttypid
    LEFT JOIN pg_attrdef AS stored ON stored.adrelid = attribute.attrelid AND stored.adnum = attribute.attnum
    WHERE attribute.attrelid = :oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
    ORDER BY attribute.attnum
""")
_TRIGGERS = text("""
    SELECT trigger.tgname AS name, trigger.tgtype::int AS type, trigger.tgenabled::text AS enabled,
           trigger.tgqual IS NOT NULL OR trigger.tgattr <> '' AS narrowed, called.proname AS function,
           namespace.nspname AS schema
    FROM pg_trigger AS trigger JOIN pg_proc AS called ON called.oid = trigger.tgfoid
    JOIN pg_namespace AS namespace ON namespace.oid = called.pronamespace
    WHERE trigger.tgrelid = to_regclass(:table) AND NOT trigger.tgisinternal AND trigger.tgname = ANY(:names)
""")
_LEAVES = text("""
    SELECT tree.relid::regclass::text FROM pg_partition_tree(to_regclass(:table)) AS tree
    WHERE tree.level > 0 AND NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = tree.relid AND tgname = :name AND tgenabled IN ('O', 'A'))
""")
_FUNCTIONS = text("""
    SELECT called.proname AS name, called.prosrc AS body, called.prosecdef AS definer,
           coalesce(called.proconfig::text, '') AS settings
    FROM pg_proc AS called JOIN pg_namespace AS namespace ON namespace.oid = called.pronamespace
    WHERE namespace.nspname = :schema AND called.proname = ANY(:names)
""")
_OPEN = text("""
    SELECT called.proname AS name, EXISTS (
        SELECT FROM aclexplode(coalesce(called.proacl, acldefault('f', called.proowner))) WHERE grantee = 0) AS is_open
    FROM pg_proc AS called JOIN pg_namespace AS namespace ON namespace.oid = called.pronamespace
    WHERE namespace.nspname = :schema AND called.proname = ANY(:names)
""")
_SEQUENCES = text("""
    SELECT class.relname AS name FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind = 'S' AND namespace.nspname = :schema AND class.relname = ANY(:names)
""")
_FIND = text("""
    SELECT found.schema FROM (
        SELECT namespace.nspname AS schema FROM pg_proc AS called
        JOIN pg_namespace AS namespace ON namespace.oid = called.pronamespace WHERE called.proname = :name
        UNION
        SELECT namespace.nspname FROM pg_class AS class
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE class.relname = :name AND class.relkind = 'S'
    ) AS found
    WHERE CASE WHEN CAST(:schema AS text) IS NULL THEN found.schema = ANY (current_schemas(true))
               ELSE found.schema = :schema END
""")
_RIGHTS = text("""
    SELECT class.relname AS name, pg_get_userbyid(class.relowner) AS owner, current_user::text AS role,
           pg_has_role(class.relowner, 'USAGE') AS owns, namespace.nspname AS schema,
           has_schema_privilege(namespace.oid, 'CREATE') AS creates, class.relkind::text AS kind,
           current_setting('server_version_num')::int AS version
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.oid = to_regclass(:table)
""")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class PostgreSQLTriggers:
    """Row triggers that run before the row is written; on a partitioned table they reach every partition."""

    hinder_rebuilds = False

    def quote(self, name: str) -> str:
        return _quote(name)

    def table(self, connection: Connection, schema: str | None, table: str) -> TableFacts | None:
        found = connection.execute(_CLASS, {"table": _qualified(schema, table)}).first()
        if found is None:
            return None
        kind = {"r": TableKind.TABLE, "p": TableKind.PARTITIONED, "v": TableKind.VIEW}.get(found.kind, TableKind.OTHER)
        if kind is TableKind.TABLE and found.is_parent:
            kind = TableKind.PARENT
        with _whole_names(connection):
            columns = tuple(_column(row) for row in connection.execute(_COLUMNS, {"oid": found.oid}))
        return TableFacts(kind, columns)

    def sync_pieces(self, connection: Connection | None, sync: SyncTrigger) -> tuple[Piece, ...]:
        schema = sync.schema
        if connection is not None:
            found = connection.execute(_CLASS, {"table": _qualified(schema, sync.table)}).first()
            schema = schema if found is None else found.schema
        name = sync.identifier
        function = _function(schema, name, _keeping_in_step(sync), definer=False)
        return function, _trigger(schema, sync.table, name, name, _ROW | _BEFORE | _INSERT | _UPDATE)

    def deny_pieces(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        of = connection.execute(_CLASS, {"table": _qualified(denial.schema, denial.table)}).one()
        schema, table, name = of.schema, denial.table, denial.identifier
        facts = self.table(connection, denial.schema, denial.table)
        assert facts is not None
        column = None if denial.column is None else facts.column(denial.column)
        moves = facts.kind is TableKind.PARTITIONED and column is not None
        follows = connection.execute(_FOLLOWS, {"oid": of.oid, "column": denial.column}).scalar_one()
        body = _denying(schema, name, denial.message, column, follows=follows, moves=moves)
        pieces = [_sequence(schema, name), _function(schema, name, body, definer=True), _owner_only(schema, name)]
        if column is None:
            pieces.append(_trigger(schema, table, name, name, _ROW | _BEFORE | _INSERT | _UPDATE | _DELETE))
            pieces.append(_trigger(schema, table, f"{name}_t", name, _BEFORE | _TRUNCATE))
            return tuple(pieces)
        if moves:
            pieces.append(_trigger(schema, table, f"{name}_a", name, _UPDATE))
            pieces.append(_trigger(schema, table, f"{name}_b", name, _BEFORE | _UPDATE))
        pieces.append(_trigger(schema, table, name, name, _ROW | _BEFORE | _INSERT | _UPDATE))
        return tuple(pieces)

    def leftovers(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        name = denial.identifier
        pieces: list[Piece] = []
        for schema in self._schemas(connection, denial):
            pieces += [_sequence(schema, name), _function(schema, name, "", definer=True)]
        of = connection.execute(_CLASS, {"table": _qualified(denial.schema, denial.table)}).first()
        if of is not None:
            pieces += [_trigger(of.schema, denial.table, f"{name}{ending}", name, 0) for ending in ("", *_ENDINGS)]
        return tuple(pieces)

    def found(self, connection: Connection, pieces: Sequence[Piece]) -> Mapping[tuple[PieceKind, str], str]:
        found: dict[tuple[PieceKind, str], str] = {}
        for kind, place in dict.fromkeys((piece.kind, piece.place) for piece in pieces):
            names = [piece.name for piece in pieces if (piece.kind, piece.place) == (kind, place)]
            for name, definition in _definitions(connection, kind, place, names):
                found[kind, name] = definition
        return found

    def denials(self, connection: Connection, denials: Sequence[Denial]) -> int | None:
        total = 0
        for denial in denials:
            for schema in self._schemas(connection, denial):
                sequence = _qualified(schema, denial.identifier)
                if connection.execute(text("SELECT to_regclass(:name)"), {"name": sequence}).scalar() is not None:
                    query = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
                    total += connection.execute(as_statement(query)).scalar_one()
        return total

    def missing_rights(
        self, connection: Connection, tables: Sequence[tuple[str | None, str]]
    ) -> tuple[MissingRight, ...]:
        missing: dict[str, MissingRight] = {}
        for schema, table in tables:
            row = connection.execute(_RIGHTS, {"table": _qualified(schema, table)}).first()
            for right in () if row is None else _missing(row):
                missing[right.sentence] = right
        return tuple(missing.values())

    @contextmanager
    def bypassing(self, connection: Connection) -> Iterator[None]:
        """The setting ends with the transaction, however that ends."""
        connection.execute(text("SELECT set_config(:name, 'off', true)"), {"name": BYPASS})
        yield

    def _schemas(self, connection: Connection, denial: Denial) -> Sequence[str]:
        """Where a function or a sequence of that denial is."""
        return connection.execute(_FIND, {"name": denial.identifier, "schema": denial.schema}).scalars().all()


def _keeping_in_step(sync: SyncTrigger) -> str:
    """The old columns win where both were written. Comparing whole images, every type can be compared."""
    columns = {name: f"NEW.{_quote(name)}" for name in sync.columns}
    computed = {name: f"computed.{_quote(name)}" for name in sync.columns}

    def assign(side: Iterable[tuple[str, str]], to: Mapping[str, str]) -> str:
        return " ".join(f"{to[name]} := ({with_columns(sql, columns)});" for name, sql in side)

    def changed(names: Sequence[str]) -> str:
        new, old = (", ".join(f"{row}.{_quote(name)}" for name in names) for row in ("NEW", "OLD"))
        return f"{_image(new)} OPERATOR(pg_catalog.*<>) {_image(old)}"

    forward, backward = assign(sync.new, columns), assign(sync.old, columns)
    new = ", ".join(columns[name] for name in sync.new_columns)
    wanted = ", ".join(computed[name] for name in sync.new_columns)
    ways = "".join(
        f"  ELSIF {changed(names)} THEN\n    {forward if is_forward else backward}\n"
        for is_forward, names in causes(sync)
    )
    return (
        "\n#variable_conflict use_column\nDECLARE computed record;\nBEGIN\n"
        f"  IF pg_catalog.current_setting('{BYPASS}', true) = 'off' THEN RETURN NEW; END IF;\n"
        "  IF TG_OP = 'INSERT' THEN\n"
        f"    IF pg_catalog.num_nonnulls({new}) = 0 THEN\n      {forward}\n    ELSE\n"
        f"      computed := NEW; {assign(sync.new, computed)}\n"
        f"      IF {_image(new)} OPERATOR(pg_catalog.*<>) {_image(wanted)} THEN {backward} END IF;\n"
        f"    END IF;\n{ways}  END IF;\n  RETURN NEW;\nEND\n"
    )


def _denying(schema: str, name: str, message: str, column: ColumnFacts | None, *, follows: bool, moves: bool) -> str:
    """`follows`: the database itself changes rows of this table when others are deleted or change their keys. `moves`:
    an UPDATE may move a row to another partition, which looks like an INSERT of it."""
    passes = ["pg_catalog.pg_trigger_depth() > 1"] if follows else []
    begins = ""
    if column is None:
        condition = f"TG_LEVEL = 'ROW' AND {passes[0]}" if passes else "false"
    else:
        new, old = (f"{row}.{_quote(column.name)}" for row in ("NEW", "OLD"))
        written = [f"pg_catalog.num_nulls({new}) = 1"]
        if column.default_kind is DefaultKind.CONSTANT:
            written.append(f"{_image(new)} OPERATOR(pg_catalog.*=) {_image(column.default)}")
        if column.default_kind is DefaultKind.COMPUTED:
            written = ["true"]
        if moves:
            written.append(f"pg_catalog.current_setting('{_MOVING}', true) = '{name}'")
            begins = (
                "  IF TG_LEVEL = 'STATEMENT' THEN\n"
                f"    PERFORM pg_catalog.set_config('{_MOVING}',"
                f" CASE TG_WHEN WHEN 'BEFORE' THEN '{name}' ELSE '' END, true);\n"
                "    RETURN NULL;\n  END IF;\n"
            )
        passes.append(f"TG_OP = 'INSERT' AND ({' OR '.join(written)})")
        # Comparing the images of whole rows, every type can be compared. OLD must not be touched in an INSERT.
        passes.append(
            f"CASE TG_OP WHEN 'UPDATE' THEN {_image(new)} OPERATOR(pg_catalog.*=) {_image(old)} ELSE false END"
        )
        condition = " OR ".join(passes)
    counter = _literal(_qualified(schema, name))
    return (
        f"\nBEGIN\n{begins}  IF ({condition}) THEN\n"
        "    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n    RETURN NEW;\n  END IF;\n"
        f"  PERFORM pg_catalog.nextval({counter}::pg_catalog.regclass);\n"
        f"  RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = {_literal(message)};\nEND\n"
    )


def _image(values: str) -> str:
    """A row whose bytes can be compared; written without the cast, its columns would be compared one by one."""
    return f"ROW({values})::record"


def _sequence(schema: str, name: str) -> Piece:
    qualified = _qualified(schema, name)
    return Piece(
        PieceKind.SEQUENCE,
        name,
        schema,
        f"CREATE SEQUENCE {qualified}",
        f"DROP SEQUENCE IF EXISTS {qualified}",
        "sequence",
        f"SELECT to_regclass({_literal(qualified)}) IS NOT NULL",
        fresh=True,
    )


def _function(schema: str | None, name: str, body: str, *, definer: bool) -> Piece:
    """Who fires the trigger needs no right on its function."""
    qualified, tag = _qualified(schema, name), _tag(body)
    how = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp" if definer else "SET search_path FROM CURRENT"
    create = f"CREATE OR REPLACE FUNCTION {qualified}() RETURNS trigger LANGUAGE plpgsql {how} AS {tag}{body}{tag}"
    return Piece(
        PieceKind.FUNCTION,
        name,
        schema or "",
        create,
        f"DROP FUNCTION IF EXISTS {qualified}()",
        f"{definer}:{body}",
        f"SELECT to_regprocedure({_literal(f'{qualified}()')}) IS NOT NULL",
        replaces=True,
    )


def _owner_only(schema: str, name: str) -> Piece:
    """Nobody else may make a trigger of the function, on a table of his own, and count what was no refusal."""
    function = f"{_qualified(schema, name)}()"
    return Piece(
        PieceKind.RIGHT,
        name,
        schema,
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        "",
        "owner only",
        f"SELECT NOT has_function_privilege('public', {_literal(function)}, 'EXECUTE')",
        replaces=True,
    )


def _trigger(schema: str | None, table: str, name: str, function: str, kind: int) -> Piece:
    of = _qualified(schema, table)
    events = " OR ".join(word for bit, word in _EVENTS.items() if kind & bit) or "INSERT"
    when = "BEFORE" if kind & _BEFORE else "AFTER"
    each = "ROW" if kind & _ROW else "STATEMENT"
    return Piece(
        PieceKind.TRIGGER,
        name,
        of,
        f"CREATE TRIGGER {_quote(name)} {when} {events} ON {of} FOR EACH {each}"
        f" EXECUTE FUNCTION {_qualified(schema, function)}()",
        f"DROP TRIGGER IF EXISTS {_quote(name)} ON {of}",
        f"{kind}:{function}",
        "SELECT count(*) > 0 FROM pg_trigger"
        f" WHERE tgname = {_literal(name)} AND tgrelid = to_regclass({_literal(of)})",
    )


def _definitions(connection: Connection, kind: PieceKind, place: str, names: list[str]) -> Iterator[tuple[str, str]]:
    match kind:
        case PieceKind.TRIGGER:
            for row in connection.execute(_TRIGGERS, {"table": place, "names": names}):
                lacking = connection.execute(_LEAVES, {"table": place, "name": row.name}).first()
                is_whole = row.enabled in _ENABLED and not row.narrowed and (lacking is None or not row.type & _ROW)
                yield row.name, f"{row.type}:{row.function}" if is_whole else "disabled or narrowed"
        case PieceKind.FUNCTION:
            for row in connection.execute(_FUNCTIONS, {"schema": place or None, "names": names}):
                yield row.name, f"{row.definer}:{row.body}"
        case PieceKind.RIGHT:
            for row in connection.execute(_OPEN, {"schema": place, "names": names}):
                yield row.name, "everybody" if row.is_open else "owner only"
        case _:
            for row in connection.execute(_SEQUENCES, {"schema": place, "names": names}):
                yield row.name, "sequence"


def _column(row: Any) -> ColumnFacts:
    if row.default is None and not (row.numbered or row.type_default):
        return ColumnFacts(row.name, generated=row.generated)
    if row.default is None or row.numbered or not is_constant(row.default, "postgres"):
        numbered = row.numbered or "nextval(" in (row.default or "")
        return ColumnFacts(row.name, DefaultKind.COMPUTED, generated=row.generated, numbered=numbered)
    return ColumnFacts(row.name, DefaultKind.CONSTANT, f"CAST({row.default} AS {row.type})", row.generated)


def _missing(row: Any) -> Iterator[MissingRight]:
    name = _qualified(row.schema, row.name)
    if not row.owns:
        yield MissingRight(
            f"role {row.role} does not own table {row.name}, so it may not drop triggers of it",
            f"GRANT {_quote(row.owner)} TO {_quote(row.role)}; or: ALTER TABLE {name} OWNER TO {_quote(row.role)};",
        )
    if not row.creates:
        yield MissingRight(
            f"role {row.role} may not create functions and sequences in schema {row.schema}",
            f"GRANT CREATE ON SCHEMA {_quote(row.schema)} TO {_quote(row.role)};",
        )
    if row.kind == "p" and row.version < _PARTITIONED_SINCE:
        yield MissingRight(
            f"table {row.name} is partitioned, and before version 13 PostgreSQL has no such triggers of one",
            "Upgrade PostgreSQL first.",
        )


@contextmanager
def _whole_names(connection: Connection) -> Iterator[None]:
    """Let the catalog write every name with its schema: what is read here runs with another search path."""
    path = connection.execute(text("SELECT current_setting('search_path')")).scalar_one()
    setting = text("SELECT set_config('search_path', :path, true)")
    connection.execute(setting, {"path": ""})
    yield
    connection.execute(setting, {"path": path})


def _qualified(schema: str | None, name: str) -> str:
    return f"{_quote(schema)}.{_quote(name)}" if schema else _quote(name)


def _literal(value: str) -> str:
    quoted = value.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in value else f"'{quoted}'"


def _tag(body: str) -> str:
    """A quote that does not occur in what it surrounds."""
    tag = "$orchestrator$"
    while tag in body:
        tag = f"{tag[:-1]}_$"
    return tag
