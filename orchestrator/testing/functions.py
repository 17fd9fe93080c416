"""Functions: whether f is one: the same row gives the same answer, whoever asks, whenever, after whichever row."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.data_migrations.keyset import Key
from orchestrator.data_migrations.loading import load
from orchestrator.testing.faults import Fault, told
from orchestrator.testing.ground import Ground
from orchestrator.testing.sql_text import asks_for_more, reads_own_table
from orchestrator.testing.values import Rows, shown

_ROW_ONLY = "Let it look at nothing but the row: rows are moved, compared and moved again at different times."
_CLOCKS = frozenset({"datetime.now", "datetime.utcnow", "date.today"})
_OUTSIDE = frozenset(
    {
        *(("time", name) for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter")),
        ("_io", "open"), ("io", "open"), ("posix", "open"), ("posix", "urandom"), ("posix", "getenv"),
        ("_sqlite3", "connect"), ("sqlite3", "connect"),
    }
)  # fmt: skip
"""Built-in functions that answer by something else than their arguments."""


def faults_of_function(ground: Ground, rows: Rows) -> tuple[Fault, ...]:
    """What shows that f is no function of the row alone, as far as asking twice and looking at it can show."""
    if ground.definition.transform is None:
        return (*_faults_of_sql(ground), *_unlike_itself(ground, rows))
    return _faults_of_transform(ground)


def _faults_of_sql(ground: Ground) -> Iterator[Fault]:
    dialect = ground.database.dialect.name
    for column, sql in ground.definition.expressions:
        where = f"{ground.definition.place} computes {column} by {sql!r}, which"
        for call in asks_for_more(sql, dialect):
            yield Fault("trial_not_a_function", f"{where} asks {call}, so its answer changes by itself", _ROW_ONLY)
        if reads_own_table(sql, ground.target.table.name, dialect):
            yield Fault(
                "trial_other_rows",
                f"{where} reads other rows of {ground.definition.table}, which services change meanwhile",
                "Compute it from the row's own columns, or from tables that do not change meanwhile.",
            )


def _unlike_itself(ground: Ground, rows: Rows) -> tuple[Fault, ...]:
    """By asking the database twice, in two transactions."""
    answers = []
    for _ in range(2):
        with ground.database.reading() as connection:
            answers.append(rows.computed(connection))
    return told(
        [
            _two_answers(ground, f"row {each.key}", each.column, each.expected, each.found)
            for each in rows.differences(answers[1], answers[0])
        ]
    )


def _faults_of_transform(ground: Ground) -> tuple[Fault, ...]:
    """By asking each row twice: in order, and then the other way round of an instance that has seen no other row."""
    given = _given(ground)
    outside: dict[str, Fault] = {}
    first: dict[Key, object] = {}
    for key, row in given.items():
        with _watched() as calls:
            first[key] = _answer(ground.definition.transform, row)
        for call in calls:
            sentence = f"{ground.definition.place} asks {call} for the {_words(ground, key, row)}"
            outside.setdefault(call, Fault("trial_not_a_function", sentence, _ROW_ONLY))
    again = load(ground.file, ground.name).transform
    differing = [
        _two_answers(ground, _words(ground, key, given[key]), column, before, after)
        for key in reversed(given)
        for column, before, after in _differences(first[key], _answer(again, given[key]))
    ]
    return (*outside.values(), *told(differing))


def _given(ground: Ground) -> dict[Key, dict[str, Any]]:
    """What transform is given for each row; nothing where one cannot be read, which the runs tell with its key."""
    keyset, table, reads = ground.target.keyset, ground.target.table, ground.definition.reads
    labelled = (keyset.dialect.as_read(table.c[name]).label(f"read_{at}") for at, name in enumerate(reads))
    width = len(keyset.names)
    with ground.database.reading() as connection:
        try:
            found = connection.execute(sa.select(*keyset.columns, *labelled).order_by(*keyset.columns)).all()
        except (SQLAlchemyError, DBError, ValueError, TypeError, LookupError):
            return {}
        return {tuple(row[:width]): dict(zip(reads, row[width:], strict=True)) for row in found}


def _answer(transform: Any, row: Mapping[str, Any]) -> object:
    """What it returns; None where it raises, which the runs tell with its line."""
    try:
        return transform(dict(row))
    except (Exception, SystemExit):
        return None


def _differences(before: object, after: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for column in before:
            if column in after and before[column] != after[column]:
                yield column, before[column], after[column]


def _words(ground: Ground, key: Key, row: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} = {shown(value)}" for name, value in row.items())
    return f"row {ground.target.keyset.describe(key)} ({values})"


def _two_answers(ground: Ground, row: str, column: str, before: object, after: object) -> Fault:
    return Fault(
        "trial_not_a_function",
        f"{ground.definition.place} gives two answers for the {row}: "
        f"{column} = {shown(before)}, and asked again {shown(after)}",
        "Let it look at nothing but the row: no clock, no random numbers, nothing that it keeps from one row to the "
        "next, and no table that changes meanwhile.",
    )


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Which calls of the block ask for something else than what they are given. Those of logging do not count."""
    calls: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and (name := _outside(called)) and not _is_logging(frame):
            calls.append(name)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def _outside(called: Any) -> str | None:
    qualified = getattr(called, "__qualname__", "")
    if qualified in _CLOCKS or qualified.startswith("socket."):
        return f"{qualified}()"
    module, name = getattr(called, "__module__", None), getattr(called, "__name__", "")
    return f"{module.lstrip('_')}.{name}()" if (module, name) in _OUTSIDE and module else None


def _is_logging(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "logging"
