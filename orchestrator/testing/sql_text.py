"""SQL text: what an expression asks for besides its row. What cannot be parsed is not judged: then only runs tell."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}
_CHANGING = frozenset(
    {
        "CLOCK_TIMESTAMP", "CURDATE", "CURRENT_DATE", "CURRENT_DATETIME", "CURRENT_TIME", "CURRENT_TIMESTAMP",
        "CURTIME", "GEN_RANDOM_UUID", "LOCALTIME", "LOCALTIMESTAMP", "NEXTVAL", "NOW", "RAND", "RANDOM", "RANDOMBLOB",
        "STATEMENT_TIMESTAMP", "SYSDATE", "TIMEOFDAY", "TRANSACTION_TIMESTAMP", "UNIX_TIMESTAMP", "UTC_TIMESTAMP",
        "UUID", "UUID_GENERATE_V4",
    }
)  # fmt: skip
_OF_NOW = frozenset({"DATE", "DATETIME", "JULIANDAY", "STRFTIME", "TIME", "UNIXEPOCH"})
"""Functions of SQLite that read the clock when they are given `'now'`."""


def asks_for_more(sql: str, dialect: str) -> tuple[str, ...]:
    """The functions in an expression whose answer changes by itself, as they are written."""
    found = dict.fromkeys(_changing(sql, dialect))
    return tuple(found)


def reads_own_table(sql: str, table: str, dialect: str) -> bool:
    """Whether a subquery of the expression reads the table whose rows it changes."""
    parsed = _parsed(sql, dialect)
    return parsed is not None and any(each.name.lower() == table.lower() for each in parsed.find_all(exp.Table))


def columns_of(sql: str, dialect: str) -> frozenset[str]:
    """The names of all columns in an expression, whichever table they are of."""
    parsed = _parsed(sql, dialect)
    return frozenset() if parsed is None else frozenset(each.name for each in parsed.find_all(exp.Column))


def _changing(sql: str, dialect: str) -> Iterator[str]:
    parsed = _parsed(sql, dialect)
    for call in () if parsed is None else parsed.find_all(exp.Func):
        written = call.sql(dialect=_DIALECTS[dialect])
        name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
        words = {name.upper(), written.partition("(")[0].strip().upper()}
        of_now = words & _OF_NOW and any(each.name.lower() == "now" for each in call.find_all(exp.Literal))
        if of_now or (words & _CHANGING and call.find(exp.Column) is None):  # one that is given a column converts it
            yield written


def _parsed(sql: str, dialect: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(sql, read=_DIALECTS[dialect])
    except SqlglotError:
        return None
