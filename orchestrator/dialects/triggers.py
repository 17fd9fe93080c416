"""Triggers: those that keep two shapes in step and those that deny writes to the old one, whatever the database.

What a database needs for one of them is a list of pieces. Each is made by one statement, known by its name, and
compared with what the catalog says of it; so making and removing can be broken off anywhere and done again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import sqlalchemy as sa
import sqlglot
from sqlalchemy import Connection
from sqlglot import exp
from sqlglot.errors import SqlglotError

from orchestrator.domain.errors import Invalid

SYNC_PREFIX = "orchestrator_sync_"
DENY_PREFIX = "orchestrator_deny_"

MESSAGE_CHARACTERS = 128
"""A longer message of a refusal is cut by MySQL."""

_SLUG = re.compile(r"[^a-z0-9]+")
_SLUG_CHARACTERS = 24
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class SyncTrigger:
    """What keeps the old and the new columns of one table in step, as one kind of database computes them.

    Each side is a tuple of (column, expression); in an expression `{column}` stands for a column of the row.
    """

    table: str
    schema: str | None
    name: str
    old: tuple[tuple[str, str], ...] = ()
    new: tuple[tuple[str, str], ...] = ()

    @property
    def identifier(self) -> str:
        """The name of what is made for it, at most 53 characters."""
        return _identifier(SYNC_PREFIX, self.schema, self.table, self.name)

    @property
    def subject(self) -> str:
        """The table, and the trigger's name where it has one: `customers`, `customers (names)`."""
        table = f"{self.schema}.{self.table}" if self.schema else self.table
        return f"{table} ({self.name})" if self.name else table

    @property
    def old_columns(self) -> tuple[str, ...]:
        """The columns that are computed from the new ones."""
        return tuple(column for column, _ in self.old)

    @property
    def new_columns(self) -> tuple[str, ...]:
        """The columns that are computed from the old ones."""
        return tuple(column for column, _ in self.new)

    @property
    def read_for_new(self) -> tuple[str, ...]:
        """The columns that the new ones are computed from."""
        return _read(self.new)

    @property
    def read_for_old(self) -> tuple[str, ...]:
        """The columns that the old ones are computed from."""
        return _read(self.old)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that it names."""
        named = (*self.old_columns, *self.new_columns, *self.read_for_new, *self.read_for_old)
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True, slots=True)
class Denial:
    """A table, or a column of one, that nobody may write any more; `message` is what who tries is told."""

    table: str
    schema: str | None
    column: str | None
    message: str

    @property
    def identifier(self) -> str:
        """The name of what is made for it, at most 53 characters."""
        return _identifier(DENY_PREFIX, self.schema, self.table, self.column or "")

    @property
    def subject(self) -> str:
        """What is denied: `customers.name`, `legacy`."""
        return ".".join(part for part in (self.schema, self.table, self.column) if part)


class PieceKind(StrEnum):
    """What a piece is in the catalog."""

    TABLE = "table"
    SEQUENCE = "sequence"
    FUNCTION = "function"
    RIGHT = "right"  # that only its owner has on a function
    TRIGGER = "trigger"


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing in the catalog, made by one statement.

    `definition` is what the catalog says of it when it stands as it was made; `exists` a query whose first value is
    true once there is one of that name. `place` is the table or the schema that it belongs to. `replaces`: making it
    replaces one that is there. `fresh`: it is made anew with the others, so that it begins where it began.
    """

    kind: PieceKind
    name: str
    place: str
    create: str
    drop: str
    definition: str
    exists: str
    replaces: bool = False
    fresh: bool = False


class Standing(StrEnum):
    """Whether something stands in the catalog."""

    WHOLE = "whole"
    PARTLY = "partly"  # something of it is missing, or not as it was made
    ABSENT = "absent"  # no trigger of it is there


class DefaultKind(StrEnum):
    """What a column holds that an INSERT leaves out."""

    NULL = "null"
    CONSTANT = "constant"
    COMPUTED = "computed"


class TableKind(StrEnum):
    """What a name stands for, as far as triggers are concerned."""

    TABLE = "table"
    PARTITIONED = "partitioned table"
    PARENT = "table that others inherit from"
    VIEW = "view"
    OTHER = "neither a table nor a view"


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column as triggers see it. `default` is the SQL of a constant default; `generated`: nobody can write it;
    `numbered`: the database gives it a number."""

    name: str
    default_kind: DefaultKind = DefaultKind.NULL
    default: str = ""
    generated: bool = False
    numbered: bool = False
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as triggers see it."""

    kind: TableKind
    columns: tuple[ColumnFacts, ...]

    def column(self, name: str) -> ColumnFacts | None:
        """The column of that name, None if there is none."""
        return next((each for each in self.columns if each.name == name), None)


@dataclass(frozen=True, slots=True)
class MissingRight:
    """What the database would refuse, and what to type so that it does not."""

    sentence: str
    remedy: str


class Triggers(Protocol):
    """How one kind of database has triggers.

    `hinder_rebuilds`: as long as a trigger names a table, that table cannot be rebuilt under its name.
    """

    hinder_rebuilds: bool

    def quote(self, name: str) -> str:
        """The name as it stands in SQL, whatever it is."""
        ...

    def table(self, connection: Connection, schema: str | None, table: str) -> TableFacts | None:
        """What the catalog says of a table or view of that name, None where there is none."""
        ...

    def sync_pieces(self, connection: Connection | None, sync: SyncTrigger) -> tuple[Piece, ...]:
        """What keeps two shapes in step, in the order in which it is made. Without a connection, as for most tables."""
        ...

    def deny_pieces(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        """What denies writes, in the order in which it is made; the table and the column are there."""
        ...

    def leftovers(self, connection: Connection, denial: Denial) -> tuple[Piece, ...]:
        """The pieces of a denial whose table or column may be gone, for removal only."""
        ...

    def found(self, connection: Connection, pieces: Sequence[Piece]) -> Mapping[tuple[PieceKind, str], str]:
        """What the catalog says of these pieces, of those that are there."""
        ...

    def denials(self, connection: Connection, denials: Sequence[Denial]) -> int | None:
        """How many writes were refused since each was denied, None where that is not counted."""
        ...

    def missing_rights(
        self, connection: Connection, tables: Sequence[tuple[str | None, str]]
    ) -> tuple[MissingRight, ...]:
        """What we may not do and must, to make and remove triggers of these tables."""
        ...

    def bypassing(self, connection: Connection) -> AbstractContextManager[None]:
        """Let what this transaction writes in the block, or until its end, pass the sync triggers.

        It writes both shapes as they are to be.
        """
        ...


def causes(sync: SyncTrigger) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    """What an UPDATE may have changed, and whether the new columns then follow the old ones. The first one counts.

    A column of neither side that both are computed from counts as old: until it is sealed, the old shape is the one
    that every row was proven by.
    """
    written = {*sync.old_columns, *sync.new_columns}
    beside_new = tuple(name for name in sync.read_for_new if name not in written)
    beside_old = tuple(name for name in sync.read_for_old if name not in {*written, *beside_new})
    found = ((True, sync.old_columns), (False, sync.new_columns), (True, beside_new), (False, beside_old))
    return tuple((is_forward, names) for is_forward, names in found if names)


def standing(pieces: Sequence[Piece], found: Mapping[tuple[PieceKind, str], str]) -> Standing:
    """Whether these pieces stand, all together."""
    if all(found.get((piece.kind, piece.name)) == piece.definition for piece in pieces):
        return Standing.WHOLE
    triggers = [piece for piece in pieces if piece.kind is PieceKind.TRIGGER]
    return Standing.PARTLY if any((piece.kind, piece.name) in found for piece in triggers) else Standing.ABSENT


def making(
    pieces: Sequence[Piece], found: Mapping[tuple[PieceKind, str], str], *, anew: bool = False
) -> tuple[str, ...]:
    """The statements that are still to be sent until these pieces stand, in their order. Each may be the last one.

    `anew`: where no trigger is there yet, what is `fresh` is made once more, whatever an earlier attempt left of it.
    """
    begins = anew and standing(pieces, found) is Standing.ABSENT
    statements: list[str] = []
    for piece in pieces:
        there = found.get((piece.kind, piece.name))
        if there == piece.definition and not (piece.fresh and begins):
            continue
        if there is not None and not piece.replaces:
            statements.append(piece.drop)
        statements.append(piece.create)
    return tuple(statements)


def removing(pieces: Sequence[Piece], found: Mapping[tuple[PieceKind, str], str]) -> tuple[str, ...]:
    """The statements that are still to be sent until nothing of these pieces is left, in their order."""
    return tuple(piece.drop for piece in reversed(pieces) if piece.drop and (piece.kind, piece.name) in found)


def as_statement(sql: str) -> sa.TextClause:
    """SQL that is sent exactly as it is written: nothing in it is a parameter."""
    return sa.text(sql.replace(":", "\\:"))


def with_columns(expression: str, column: Mapping[str, str]) -> str:
    """The expression with each `{column}` replaced; `{{` and `}}` stand for braces. Names are those of the mapping."""

    def replace(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else column[found[1]]

    return _PLACEHOLDER.sub(replace, expression)


def columns_of(expression: str) -> tuple[str, ...]:
    """The columns that an expression names. Raises `Invalid` (code `expression_invalid`) for a brace that is alone."""
    names: list[str] = []
    for found in _PLACEHOLDER.finditer(expression):
        if found[0] in ("{{", "}}"):
            continue
        if not found[1]:
            raise Invalid(
                "expression_invalid",
                f"{found[0]!r} in {expression!r} names no column",
                remedy="Write {column} for a column of the row, and {{ or }} for a brace.",
            )
        names.append(found[1])
    return tuple(dict.fromkeys(names))


def short_message(schema: str, subject: str, release: str) -> str:
    """What a program is told whose write is refused."""
    ending = f" is sealed for release {release}; stop or upgrade this program"
    room = MESSAGE_CHARACTERS - len(ending)
    said = f"{schema}: {subject}"
    return (said if len(said) <= room else f"{said[: room - 3]}...") + ending


def _read(side: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, expression in side for name in columns_of(expression)))


def _identifier(prefix: str, *names: str | None) -> str:
    digest = hashlib.blake2b("\0".join(name or "" for name in names).encode(), digest_size=4).hexdigest()
    slug = _SLUG.sub("_", "_".join(name for name in names[1:] if name).lower()).strip("_")[:_SLUG_CHARACTERS]
    return f"{prefix}{slug}_{digest}" if slug else f"{prefix}{digest}"


def is_constant(default: str, read: str) -> bool:
    """Whether a default is a literal, be it signed or cast; `read` is the grammar's name.

    CURRENT_TIMESTAMP is none: it differs from statement to statement.
    """
    try:
        found = sqlglot.parse_one(default, read=read)
    except SqlglotError:
        return False
    while isinstance(found, exp.Paren | exp.Cast | exp.Neg):
        found = found.this
    return isinstance(found, exp.Literal | exp.Boolean | exp.Null | exp.HexString)
