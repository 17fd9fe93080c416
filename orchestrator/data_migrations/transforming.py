"""Transforming: reading a range of rows, and asking the author's Python what they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from orchestrator.data_migrations.faults import RowFault
from orchestrator.data_migrations.keyset import Range
from orchestrator.data_migrations.loading import Definition, line_in, words_of
from orchestrator.data_migrations.target import Target
from orchestrator.domain.errors import StepFailed

Row = tuple[Any, ...]
"""The key values of a row, then its new values in the order of `writes`."""


def read_and_transform(
    connection: Connection, definition: Definition, target: Target, range_: Range, *, lock: bool
) -> list[Row]:
    """The rows of a range with their new values. With `lock` nobody else can change them before the commit.

    Raises `RowFault` naming file, table and key when the transform raises, `StepFailed` when it asks for a column that
    it does not read, or returns anything but its columns.
    """
    keyset = target.keyset
    width = len(keyset.names)
    reads = (keyset.dialect.as_read(target.table.c[name]) for name in definition.reads)
    query = (
        sa.select(*keyset.columns, *(column.label(f"read_{i}") for i, column in enumerate(reads)))
        .where(*keyset.within(range_))
        .order_by(*keyset.columns)
    )
    if lock:
        query = query.with_for_update(of=target.table)
    try:
        rows: Sequence[sa.Row[Any]] = connection.execute(query).all()
    except (ValueError, TypeError, LookupError) as error:  # a stored value that its own type cannot be made of
        raise _of_a_row(
            "row_unreadable",
            definition,
            range_,
            f"cannot read a row of {definition.table}, {keyset.describe_range(range_)}: {error}",
            "Mend the stored value.",
        ) from error
    transformed = _transforming(definition, target, range_)
    return [transformed(tuple(row[:width]), tuple(row[width:])) for row in rows]


def refuse_unsteady(
    connection: Connection, definition: Definition, target: Target, found: Sequence[Row], keys: Sequence[Row]
) -> None:
    """Ask once more about rows that were found to differ, `keys`: what it made of each, `found`, it has to make again.

    Raises `StepFailed` (code `transform_unsteady`), which names the first row for which it gave two answers.
    """
    width = len(target.keyset.names)
    before = {row[:width]: row for row in found}
    for key in keys:
        known = before.get(key)
        for again in read_and_transform(connection, definition, target, Range(None, key, is_one=True), lock=False):
            if known is not None and known != again and repr(known) != repr(again):
                raise failed(
                    "transform_unsteady",
                    definition,
                    f"gave two answers for {_row(definition, target, key)} when it was asked twice",
                    "It may look at nothing but the row: at no clock, no random number, nothing that it keeps between "
                    "two calls.",
                )


def _transforming(definition: Definition, target: Target, range_: Range) -> Callable[[Row, Row], Row]:
    """What makes of a key and the values that are read the key and its new values. Called once for each row."""
    transform, reads, writes = definition.transform, definition.reads, definition.writes
    assert transform is not None
    wanted = set(writes)

    def transformed(key: Row, values: Row) -> Row:
        try:
            result = transform(dict(zip(reads, values, strict=True)))
            if (type(result) is dict or isinstance(result, Mapping)) and result.keys() == wanted:
                return (*key, *[result[name] for name in writes])
        except (Exception, SystemExit) as error:  # whatever the author's code raises, people get a sentence
            line = line_in(definition.path, error)
            at = "" if line is None else f" at line {line}"
            if column := _unread(error, definition, target):
                raise failed(
                    "transform_column_unread",
                    definition,
                    f"asks{at} for column {column}, which it does not say it reads",
                    "Add it to `reads`.",
                ) from error
            raise _of_a_row(
                "transform_raised",
                definition,
                range_,
                f"raised {type(error).__name__}{at} for {_row(definition, target, key)}: {words_of(error)}",
                "Let the transform handle such a row, or mend the row.",
            ) from error
        raise _wrong_result(definition, _row(definition, target, key), result)

    return transformed


def _unread(error: BaseException, definition: Definition, target: Target) -> str | None:
    """The column of the table that it asked the row for in vain."""
    asked = error.args[0] if type(error) is KeyError and error.args else None
    is_column = isinstance(asked, str) and asked in target.table.c
    return asked if is_column and asked not in definition.reads else None


def _row(definition: Definition, target: Target, key: Row) -> str:
    return f"the row {target.keyset.describe(key)} of {definition.table}"


def _wrong_result(definition: Definition, row: str, result: object) -> StepFailed:
    if not isinstance(result, Mapping):
        return failed(
            "transform_result",
            definition,
            f"returned {type(result).__name__} for {row}",
            "Return a dictionary of new values, one for each column in `writes`.",
        )
    if unknown := sorted(str(name) for name in result if name not in definition.writes):
        return failed(
            "transform_column_unknown",
            definition,
            f"returned columns for {row} that it does not say it writes: {', '.join(unknown)}",
            "Add them to `writes`, or do not return them.",
        )
    missing = ", ".join(name for name in definition.writes if name not in result)
    return failed(
        "transform_column_missing",
        definition,
        f"returned no value for {missing} for {row}",
        "Return every column in `writes`, None included.",
    )


def _of_a_row(code: str, definition: Definition, range_: Range, what: str, remedy: str) -> RowFault:
    return RowFault(
        code,
        f"{definition.place} {what}",
        range_=range_,
        remedy=remedy,
        file=str(definition.path),
        data_migration=definition.name,
        table=definition.table,
    )


def failed(code: str, definition: Definition, what: str, remedy: str) -> StepFailed:
    """What went wrong with a data migration, and no single row of it, with its file and table."""
    return StepFailed(
        code,
        f"{definition.place} {what}",
        remedy=remedy,
        file=str(definition.path),
        data_migration=definition.name,
        table=definition.table,
    )
