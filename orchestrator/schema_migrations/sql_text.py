"""Raw SQL in a revision: parsed into changes, as far as a parser can tell what it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from orchestrator.schema_migrations.changes import Act, Change, ColumnShape, ConstraintKind, Default
from orchestrator.schema_migrations.places import Place

# It warns of every statement that it keeps as a plain command; here each of those becomes an opaque change.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_PARSERS = {"postgresql": "postgres", "sqlite": "sqlite", "mysql": "mysql", "mariadb": "mysql"}
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable, exp.Copy)
_SHOWN_CHARACTERS = 80


def changes_of_sql(sql: str, place: Place, *, dialect: str = "postgresql") -> tuple[Change, ...]:
    """What these statements do. A statement that the parser cannot judge is one opaque change."""
    try:
        statements = sqlglot.parse(sql, read=_PARSERS.get(dialect))
    except SqlglotError:
        return (_opaque(sql, place),)
    found: list[Change] = []
    for statement in statements:
        if statement is not None:
            found.extend(_statement(statement, sql, place))
    return tuple(found)


def default_of_sql(text: str) -> Default:
    """What kind of default an SQL expression is: one value for all rows of a statement, or one for each row."""
    try:
        parsed = sqlglot.parse_one(text, read="postgres")
    except SqlglotError:
        return Default.EXPRESSION
    return _default(parsed)


def _statement(statement: exp.Expr, sql: str, place: Place) -> Iterator[Change]:
    written = None if isinstance(statement, exp.Create) else statement.find(*_WRITES)
    match statement:
        case _ if written is not None:
            of = _table(written.find(exp.Table))
            yield Change(Act.WRITE_ROWS, place, table=of.name, schema=of.schema)
        case exp.Create():
            yield from _create(statement, sql, place)
        case exp.Drop():
            yield from _drop(statement, place)
        case exp.Alter() if _word(statement.args.get("kind")) == "TABLE":
            table = statement.this
            for action in statement.args.get("actions") or []:
                yield from _action(action, table, sql, place)
        case exp.Comment():
            yield Change(Act.DESCRIBE, place)
        case exp.Select() if not list(statement.find_all(exp.Anonymous, exp.Into)):
            yield Change(Act.DESCRIBE, place)
        case _:
            yield _opaque(sql, place)


def _create(statement: exp.Create, sql: str, place: Place) -> Iterator[Change]:
    kind = _word(statement.args.get("kind"))
    target = statement.this
    if kind == "TABLE" and isinstance(target, exp.Schema) and statement.args.get("expression") is None:
        definitions = [each for each in target.expressions if isinstance(each, exp.ColumnDef)]
        primary = {
            name.name for each in target.expressions if isinstance(each, exp.PrimaryKey) for name in each.expressions
        }
        shapes = tuple(_shape(each, primary) for each in definitions)
        of = _table(target)
        yield Change(Act.CREATE_TABLE, place, shapes=shapes, table=of.name, schema=of.schema)
    elif kind == "INDEX" and isinstance(target, exp.Index):
        of = _table(target.args.get("table"))
        parameters = target.args.get("params")
        ordered = (parameters.args.get("columns") or []) if parameters is not None else []
        plain = [each.this if isinstance(each, exp.Ordered) else each for each in ordered]
        known = plain and all(isinstance(each, exp.Column) for each in plain)
        yield Change(
            Act.CREATE_INDEX,
            place,
            name=target.name,
            columns=tuple(each.name for each in plain) if known else (),
            unique=bool(statement.args.get("unique")),
            online=bool(statement.args.get("concurrently")),
            table=of.name,
            schema=of.schema,
        )
    elif kind in ("SEQUENCE", "SCHEMA") or (kind == "VIEW" and not statement.args.get("replace")):
        yield Change(Act.CREATE_OTHER, place, text=f"{kind.lower()} {target.name}")
    else:
        yield _opaque(sql, place)


def _drop(statement: exp.Drop, place: Place) -> Iterator[Change]:
    kind = _word(statement.args.get("kind"))
    targets = statement.args.get("tables") or ([statement.this] if statement.this else [])
    for target in targets:
        if kind == "TABLE":
            of = _table(target)
            yield Change(Act.DROP_TABLE, place, table=of.name, schema=of.schema)
        elif kind == "INDEX":
            yield Change(Act.DROP_INDEX, place, name=target.name, online=bool(statement.args.get("concurrently")))
        else:
            yield Change(Act.DROP_OTHER, place, text=f"{kind.lower()} {target.name}".strip())


def _action(action: exp.Expr, table: exp.Expr, sql: str, place: Place) -> Iterator[Change]:
    of = _table(table)
    match action:
        case exp.ColumnDef():
            shape = _shape(action, set())
            yield Change(Act.ADD_COLUMN, place, name=shape.name, shapes=(shape,), table=of.name, schema=of.schema)
        case exp.Drop():
            kind = _word(action.args.get("kind"))
            for target in action.args.get("tables") or ([action.this] if action.this else []):
                act = {"COLUMN": Act.DROP_COLUMN, "CONSTRAINT": Act.DROP_CONSTRAINT}.get(kind)
                yield (
                    Change(act, place, name=target.name, table=of.name, schema=of.schema)
                    if act is not None
                    else _opaque(sql, place)
                )
        case exp.AlterColumn():
            yield from _alter_column(action, of, place)
        case exp.AddConstraint():
            for constraint in action.expressions:
                yield _constraint(constraint, of, place)
        case exp.RenameColumn():
            yield Change(
                Act.RENAME_COLUMN,
                place,
                name=action.name,
                new_name=action.args["to"].name,
                table=of.name,
                schema=of.schema,
            )
        case exp.AlterRename():
            yield Change(Act.RENAME_TABLE, place, new_name=action.this.name, table=of.name, schema=of.schema)
        case _:
            yield _opaque(sql, place)


def _alter_column(action: exp.AlterColumn, of: _Table, place: Place) -> Iterator[Change]:
    arguments = action.args
    name = action.name
    if arguments.get("dtype") is not None:
        yield Change(Act.CHANGE_TYPE, place, name=name, table=of.name, schema=of.schema)
    elif arguments.get("default") is not None:
        yield Change(Act.SET_DEFAULT, place, name=name, table=of.name, schema=of.schema)
    elif arguments.get("allow_null"):
        yield Change(Act.SET_NULLABLE, place, name=name, table=of.name, schema=of.schema)
    elif arguments.get("drop"):
        yield Change(Act.DROP_DEFAULT, place, name=name, table=of.name, schema=of.schema)
    else:
        yield Change(Act.SET_NOT_NULL, place, name=name, table=of.name, schema=of.schema)


def _constraint(constraint: exp.Expr, of: _Table, place: Place) -> Change:
    body = constraint
    name = ""
    if isinstance(constraint, exp.Constraint):
        name = constraint.name
        body = constraint.expressions[0] if constraint.expressions else constraint
    kinds: tuple[tuple[type[exp.Expr], ConstraintKind], ...] = (
        (exp.PrimaryKey, ConstraintKind.PRIMARY_KEY),
        (exp.PrimaryKeyColumnConstraint, ConstraintKind.PRIMARY_KEY),
        (exp.ForeignKey, ConstraintKind.FOREIGN_KEY),
        (exp.UniqueColumnConstraint, ConstraintKind.UNIQUE),
        (exp.CheckColumnConstraint, ConstraintKind.CHECK),
    )
    kind = next((kind for type_, kind in kinds if isinstance(body, type_)), ConstraintKind.UNKNOWN)
    covered = body.this.expressions if isinstance(body.this, exp.Schema) else body.expressions
    if kind is ConstraintKind.CHECK:
        covered = list(body.find_all(exp.Column))
    return Change(
        Act.ADD_CONSTRAINT,
        place,
        name=name,
        kind=kind,
        columns=tuple(dict.fromkeys(each.name for each in covered if each.name)),
        online=constraint.sql().upper().endswith("NOT VALID") or body.args.get("enforced") is False,
        table=of.name,
        schema=of.schema,
    )


def _shape(definition: exp.ColumnDef, primary: set[str]) -> ColumnShape:
    kinds = [each.kind for each in definition.args.get("constraints") or [] if isinstance(each, exp.ColumnConstraint)]

    def has(*types: type[exp.Expr]) -> bool:
        return any(isinstance(each, types) for each in kinds)

    is_primary = definition.name in primary or has(exp.PrimaryKeyColumnConstraint)
    not_null = any(isinstance(each, exp.NotNullColumnConstraint) and not each.args.get("allow_null") for each in kinds)
    default = Default.NONE
    type_name = definition.kind.sql().upper() if definition.kind is not None else ""
    if "SERIAL" in type_name or has(
        exp.GeneratedAsIdentityColumnConstraint, exp.ComputedColumnConstraint, exp.AutoIncrementColumnConstraint
    ):
        default = Default.GENERATED
    for each in kinds:
        if isinstance(each, exp.DefaultColumnConstraint):
            default = _default(each.this)
    return ColumnShape(
        name=definition.name,
        nullable=not (not_null or is_primary),
        default=default,
        unique=has(exp.UniqueColumnConstraint),
        primary_key=is_primary,
    )


def _default(value: exp.Expr) -> Default:
    """Constants, and functions that give one value for the whole statement; those cost no rewrite of the table."""
    while isinstance(value, (exp.Paren, exp.Cast, exp.Neg)):
        value = value.this
    if isinstance(value, exp.Null):
        return Default.NONE
    if isinstance(value, (exp.Literal, exp.Boolean, exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime)):
        return Default.CONSTANT
    return Default.EXPRESSION


def _opaque(sql: str, place: Place) -> Change:
    text = " ".join(sql.split())
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return Change(Act.OPAQUE, place, text=f"SQL that cannot be judged: {shown}")


def _word(value: object) -> str:
    return value.upper() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    schema: str | None


def _table(found: exp.Expr | None) -> _Table:
    if isinstance(found, exp.Schema):
        found = found.this
    if not isinstance(found, exp.Table):
        return _Table("", None)
    return _Table(found.name, found.db or None)
