"""SQL text: what an expression asks for besides its row. What cannot be parsed is not judged: then only runs tell."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from orchestrator.data_migrations.expressions import PARSERS, parsed

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
    tree = parsed(sql, dialect)
    return tree is not None and any(each.name.lower() == table.lower() for each in tree.find_all(exp.Table))


def _changing(sql: str, dialect: str) -> Iterator[str]:
    tree = parsed(sql, dialect)
    for call in () if tree is None else tree.find_all(exp.Func):
        written = call.sql(dialect=PARSERS[dialect])
        name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
        words = {name.upper(), written.partition("(")[0].strip().upper()}
        of_now = words & _OF_NOW and any(each.name.lower() == "now" for each in call.find_all(exp.Literal))
        if of_now or (words & _CHANGING and call.find(exp.Column) is None):  # one that is given a column converts it
            yield written
