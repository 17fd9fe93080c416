"""Sizing: where the next batch ends, by its rows, and of a transform by the bytes that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from orchestrator.data_migrations.keyset import Key, Range
from orchestrator.data_migrations.loading import Definition
from orchestrator.data_migrations.target import Target
from orchestrator.dialects.sizes import longest, size_of


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of the next batch, and how many it was to have: fewer than were asked for where they are long."""

    range: Range
    rows: int


def next_batch(
    connection: Connection,
    definition: Definition,
    target: Target,
    after: Key | None,
    rows: int,
    most_bytes: int | None,
    up_to: Key | None = None,
) -> Batch:
    """The next `rows` rows, or up to that key; open above when it reaches the end of the table.

    What a transform reads ends at the row that takes it beyond `most_bytes`. The database counts: none of these rows is
    fetched, or locked, and no row behind the end will be. It is not asked where no row can be that long.
    """
    range_ = target.keyset.next_range(connection, after, rows, up_to)
    if most_bytes is None or definition.transform is None or rows <= 1 or _fits(definition, target, rows, most_bytes):
        return Batch(range_, rows)
    size, within = _size(definition, target), target.keyset.within(range_)
    total = connection.execute(sa.select(sa.func.sum(size)).select_from(target.table).where(*within)).scalar_one()
    if total is None or int(total) <= most_bytes:
        return Batch(range_, rows)
    columns = target.keyset.columns
    read = 0
    query = sa.select(*columns, size).where(*within).order_by(*columns)
    with connection.execute(query) as found:
        for number, row in enumerate(found, 1):
            read += row[-1]
            if read > most_bytes:
                return Batch(Range(after, tuple(row[:-1])), number)
    return Batch(range_, rows)  # rows became shorter meanwhile


def _fits(definition: Definition, target: Target, rows: int, most_bytes: int) -> bool:
    """Whether so many rows can never be more."""
    dialect, total = target.keyset.dialect.name, 0
    for name in definition.reads:
        most = longest(target.table.c[name], dialect)
        if most is None:
            return False
        total += most
    return rows * total <= most_bytes


def _size(definition: Definition, target: Target) -> ColumnElement[Any]:
    sizes = [size_of(target.table.c[name]) for name in definition.reads]
    flat = sum(each for each in sizes if isinstance(each, int))
    return reduce(add, (each for each in sizes if not isinstance(each, int)), sa.literal_column(str(flat)))
