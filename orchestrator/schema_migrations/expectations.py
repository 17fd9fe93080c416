"""Expectations: what the catalog must show after changes were made, with later changes undoing earlier ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy.types import TypeEngine

from orchestrator.schema_migrations.changes import Act, Change, ColumnShape, ConstraintKind, Default
from orchestrator.schema_migrations.places import Place


class Thing(StrEnum):
    """What can be looked for in a catalog."""

    TABLE = "table"
    COLUMN = "column"
    INDEX = "index"
    CONSTRAINT = "constraint"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that must be there, or must not, because a change of that revision says so.

    None means that the change does not say. A constraint or index without a name is known by its columns.
    """

    revision: str
    place: Place
    thing: Thing
    table: str
    schema: str | None
    name: str
    present: bool
    nullable: bool | None = None
    has_default: bool | None = None
    type: TypeEngine[Any] | None = None
    columns: tuple[str, ...] = ()
    unique: bool = False
    kind: ConstraintKind = ConstraintKind.UNKNOWN


Key = tuple[Thing, str | None, str, str, tuple[str, ...]]


class ExpectedCatalog:
    """The catalog as changes, taken in oldest first, must have left it."""

    def __init__(self) -> None:
        self._expected: dict[Key, Expectation] = {}

    def add(self, revision: str, changes: Iterable[Change]) -> None:
        """Take the changes of one revision into account."""
        for change in changes:
            self._add(revision, change)

    def expectations(self, revisions: Iterable[str] | None = None) -> tuple[Expectation, ...]:
        """What must be there now; with `revisions`, only what was last said by one of these."""
        wanted = None if revisions is None else set(revisions)
        return tuple(each for each in self._expected.values() if wanted is None or each.revision in wanted)

    def column(self, schema: str | None, table: str, column: str) -> Expectation | None:
        """What is expected of a column, None if nothing was ever said. `schema` None is the default one."""
        return self._expected.get((Thing.COLUMN, schema, table, column, ()))

    def _add(self, revision: str, change: Change) -> None:  # noqa: PLR0912  # one case per kind of change
        match change.act:
            case Act.CREATE_TABLE:
                self._forget_table(change.schema, change.table)
                self._put(_expect(revision, change, Thing.TABLE, ""))
                for shape in change.shapes:
                    self._put(_expect_column(revision, change, shape))
            case Act.DROP_TABLE:
                self._forget_table(change.schema, change.table)
                self._put(_expect(revision, change, Thing.TABLE, "", present=False))
            case Act.RENAME_TABLE:
                self._forget_table(change.schema, change.table)
                self._put(_expect(revision, change, Thing.TABLE, "", present=False))
                self._put(replace(_expect(revision, change, Thing.TABLE, ""), table=change.new_name))
            case Act.ADD_COLUMN:
                for shape in change.shapes:
                    self._put(_expect_column(revision, change, shape))
                    if shape.unique or shape.indexed:
                        index = _expect(revision, change, Thing.INDEX, "", columns=(shape.name,))
                        self._put(replace(index, unique=shape.unique))
            case Act.DROP_COLUMN:
                self._forget_covering(change, change.name)
                self._put(_expect(revision, change, Thing.COLUMN, change.name, present=False))
            case Act.RENAME_COLUMN:
                self._forget_covering(change, change.name)
                self._put(_expect(revision, change, Thing.COLUMN, change.name, present=False))
                self._put(_expect(revision, change, Thing.COLUMN, change.new_name))
            case Act.SET_NULLABLE | Act.SET_NOT_NULL:
                self._update_column(revision, change, nullable=change.act is Act.SET_NULLABLE)
            case Act.SET_DEFAULT | Act.CHANGE_DEFAULT | Act.DROP_DEFAULT:
                self._update_column(revision, change, has_default=change.act is not Act.DROP_DEFAULT)
            case Act.CHANGE_TYPE:
                self._update_column(revision, change, type=change.type)
            case Act.CREATE_INDEX:
                index = _expect(revision, change, Thing.INDEX, change.name, columns=change.columns)
                self._put(replace(index, unique=change.unique))
            case Act.DROP_INDEX:
                self._drop_index(revision, change)
            case Act.ADD_CONSTRAINT if change.name or change.columns:
                constraint = _expect(revision, change, Thing.CONSTRAINT, change.name, columns=change.columns)
                self._put(replace(constraint, kind=change.kind))
            case Act.DROP_CONSTRAINT if change.name:
                self._forget_named(change, Thing.CONSTRAINT)
                self._put(_expect(revision, change, Thing.CONSTRAINT, change.name, present=False))

    def _put(self, expectation: Expectation) -> None:
        self._expected[_key(expectation)] = expectation

    def _update_column(self, revision: str, change: Change, **said: Any) -> None:
        known = self._expected.get((Thing.COLUMN, change.schema, change.table, change.name, ()))
        if known is None:
            known = _expect(revision, change, Thing.COLUMN, change.name)
        self._put(replace(known, revision=revision, place=change.place, present=True, **said))

    def _drop_index(self, revision: str, change: Change) -> None:
        table, schema = change.table, change.schema
        for key, known in list(self._expected.items()):
            if known.thing is Thing.INDEX and known.name == change.name and table in ("", known.table):
                table, schema = known.table, known.schema
                del self._expected[key]
        if table:
            dropped = _expect(revision, change, Thing.INDEX, change.name, present=False)
            self._put(replace(dropped, table=table, schema=schema))

    def _forget_table(self, schema: str | None, table: str) -> None:
        for key, known in list(self._expected.items()):
            if (known.schema, known.table) == (schema, table):
                del self._expected[key]

    def _forget_covering(self, change: Change, column: str) -> None:
        """Indexes and constraints over a column go away with it."""
        for key, known in list(self._expected.items()):
            same_table = (known.schema, known.table) == (change.schema, change.table)
            if same_table and (column in known.columns or (known.thing is Thing.CONSTRAINT and not known.columns)):
                del self._expected[key]

    def _forget_named(self, change: Change, thing: Thing) -> None:
        for key, known in list(self._expected.items()):
            if (known.thing, known.schema, known.table, known.name) == (
                thing,
                change.schema,
                change.table,
                change.name,
            ):
                del self._expected[key]


def _key(of: Expectation) -> Key:
    return (of.thing, of.schema, of.table, of.name, () if of.name else of.columns)


def _expect(
    revision: str,
    change: Change,
    thing: Thing,
    name: str,
    *,
    present: bool = True,
    columns: tuple[str, ...] = (),
) -> Expectation:
    return Expectation(
        revision=revision,
        place=change.place,
        thing=thing,
        table=change.table,
        schema=change.schema,
        name=name,
        present=present,
        columns=columns,
    )


def _expect_column(revision: str, change: Change, shape: ColumnShape) -> Expectation:
    return replace(
        _expect(revision, change, Thing.COLUMN, shape.name),
        nullable=False if shape.primary_key else shape.nullable,
        has_default=True if shape.default in (Default.CONSTANT, Default.EXPRESSION) else None,
    )
