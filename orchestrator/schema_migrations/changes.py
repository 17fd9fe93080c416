"""Changes: what a revision does to the structure of a database, in one vocabulary for operations and raw SQL."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.types import TypeEngine

from orchestrator.dialects.triggers import SyncTrigger
from orchestrator.schema_migrations.places import Place


class Act(StrEnum):
    """Kinds of changes. The words complete "this revision would ..."."""

    CREATE_TABLE = "create table"
    DROP_TABLE = "drop table"
    RENAME_TABLE = "rename table"
    ADD_COLUMN = "add column"
    DROP_COLUMN = "drop column"
    RENAME_COLUMN = "rename column"
    SET_NULLABLE = "allow NULL in"
    SET_NOT_NULL = "forbid NULL in"
    SET_DEFAULT = "set a default of"
    CHANGE_DEFAULT = "change the default of"
    DROP_DEFAULT = "drop the default of"
    CHANGE_TYPE = "change the type of"
    CREATE_INDEX = "create index"
    DROP_INDEX = "drop index"
    ADD_CONSTRAINT = "add constraint"
    DROP_CONSTRAINT = "drop constraint"
    CREATE_SYNC_TRIGGER = "create the sync trigger of"
    DROP_SYNC_TRIGGER = "drop the sync trigger of"
    CREATE_OTHER = "create"
    DROP_OTHER = "drop"
    WRITE_ROWS = "write rows of"
    DESCRIBE = "describe"  # comments, reads: nothing that anybody could miss
    OPAQUE = "run"


class Default(StrEnum):
    """Where the value of a column comes from that an INSERT leaves out."""

    NONE = "none"
    CONSTANT = "constant"
    EXPRESSION = "expression"
    GENERATED = "generated"  # computed, identity, serial


class ConstraintKind(StrEnum):
    """What a constraint asks of rows."""

    UNIQUE = "unique"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    PRIMARY_KEY = "primary key"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """A column as it is going to be. `type` is None where raw SQL names it."""

    name: str
    nullable: bool = True
    default: Default = Default.NONE
    type: TypeEngine[Any] | None = None
    unique: bool = False
    indexed: bool = False
    primary_key: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the structure, and the line of the revision that makes it.

    `name` is the column, index or constraint; `columns` the ones that an index or constraint covers, as far as known.
    `widens` says of a type whether every old value and every old writer fits the new one; None: cannot be told.
    `online` says that the author asked for the form that does not block others (CONCURRENTLY, NOT VALID).
    `text` is what an opaque change consists of, `sync` the trigger that keeps two shapes in step.
    """

    act: Act
    place: Place
    table: str = ""
    schema: str | None = None
    name: str = ""
    new_name: str = ""
    columns: tuple[str, ...] = ()
    shapes: tuple[ColumnShape, ...] = ()
    unique: bool = False
    kind: ConstraintKind = ConstraintKind.UNKNOWN
    type: TypeEngine[Any] | None = None
    widens: bool | None = None
    online: bool = False
    text: str = ""
    sync: SyncTrigger | None = None

    @property
    def subject(self) -> str:
        """What it is done to, e.g. `customers.name`."""
        table = f"{self.schema}.{self.table}" if self.schema else self.table
        match self.act:
            case (
                Act.ADD_COLUMN
                | Act.DROP_COLUMN
                | Act.RENAME_COLUMN
                | Act.SET_NULLABLE
                | Act.SET_NOT_NULL
                | Act.SET_DEFAULT
                | Act.CHANGE_DEFAULT
                | Act.DROP_DEFAULT
                | Act.CHANGE_TYPE
            ):
                return f"{table}.{self.name}"
            case Act.CREATE_INDEX | Act.DROP_INDEX | Act.DROP_CONSTRAINT:
                return f"{self.name or 'without a name'} on {table}" if table else self.name
            case Act.ADD_CONSTRAINT:
                return f"{self.name or 'without a name'} ({self.kind.value}) on {table}"
            case Act.CREATE_SYNC_TRIGGER | Act.DROP_SYNC_TRIGGER:
                return f"{table} ({self.name})" if self.name else table
            case Act.CREATE_OTHER | Act.DROP_OTHER | Act.OPAQUE:
                return self.text
            case _:
                return table

    @property
    def sentence(self) -> str:
        """What it does, e.g. `drop column customers.name`."""
        return f"{self.act.value} {self.subject}".strip()
