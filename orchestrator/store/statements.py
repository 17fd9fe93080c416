"""The statements of the state store, each put together once: building one takes longer than most take to run.

Fields that have to equal something come as `Field`: what they equal is given when the statement runs, under the name
that `given` tells; what is written under the name that `written` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Delete, Insert, Select, Update, bindparam, delete, insert, select, true, update

from orchestrator.store.rows import Kind

Field = tuple[str, bool]
"""A field's name, and whether it has to be NULL, which equals nothing."""


def given(name: str) -> str:
    """The parameter for what a field has to equal."""
    return f"given_{name}"


def written(name: str) -> str:
    """The parameter for what a field becomes, or for what is added to it."""
    return f"written_{name}"


@cache
def select_by_key(kind: Kind[Any]) -> Select[Any]:
    """The row of a key."""
    return select(kind.table).where(*_equal(kind, _key(kind)))


@cache
def select_in_order(
    kind: Kind[Any], equal: tuple[Field, ...], *, goes_on: bool, newest_first: bool, is_limited: bool
) -> Select[Any]:
    """In the order of the key: behind the number `after` where it goes on, at the most `most` where it is limited."""
    columns = kind.table.c
    query = select(kind.table).where(true(), *_equal(kind, equal))
    if goes_on:
        query = query.where(columns[kind.key[0]] > bindparam("after"))
    query = query.order_by(*(columns[name].desc() if newest_first else columns[name] for name in kind.key))
    return query.limit(bindparam("most")) if is_limited else query


@cache
def select_to_lock(kind: Kind[Any], equal: tuple[Field, ...], field: str) -> Select[Any]:
    """The rows whose field is one of `any_of`, in the order of the key: whoever locks several does it in one order."""
    columns = kind.table.c
    among = columns[field].in_(bindparam("any_of", expanding=True))
    query = select(kind.table).where(*_equal(kind, equal), among)
    return query.with_for_update().order_by(*(columns[name] for name in kind.key))


@cache
def insert_into(kind: Kind[Any]) -> Insert:
    """A whole row; its values are given by the names of its columns."""
    return insert(kind.table)


@cache
def update_by(kind: Kind[Any], equal: tuple[Field, ...], names: tuple[str, ...]) -> Update:
    """Write these fields."""
    return update(kind.table).where(*_equal(kind, equal)).values({name: bindparam(written(name)) for name in names})


@cache
def add_to(kind: Kind[Any], equal: tuple[Field, ...], names: tuple[str, ...]) -> Update:
    """Add to these fields."""
    columns = kind.table.c
    sums = {name: columns[name] + bindparam(written(name)) for name in names}
    return update(kind.table).where(*_equal(kind, equal)).values(sums)


@cache
def count_write(kind: Kind[Any]) -> Update:
    """Write the row of a key, by counting that."""
    return update(kind.table).where(*_equal(kind, _key(kind))).values(writes=kind.table.c.writes + 1)


@cache
def delete_by(kind: Kind[Any]) -> Delete:
    """The row of a key."""
    return delete(kind.table).where(*_equal(kind, _key(kind)))


def _key(kind: Kind[Any]) -> tuple[Field, ...]:
    return tuple((name, False) for name in kind.key)


def _equal(kind: Kind[Any], fields: tuple[Field, ...]) -> Iterator[ColumnElement[bool]]:
    for name, is_null in fields:
        column = kind.table.c[name]
        yield column.is_(None) if is_null else column == bindparam(given(name))
