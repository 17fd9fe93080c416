"""Expressions: which columns the SQL of an author reads, told without asking a database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

PARSERS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}
"""What the parser calls the dialects."""


@lru_cache(maxsize=256)
def parsed(sql: str, dialect: str) -> exp.Expr | None:
    """The expression as the only value of a SELECT, as a database of that dialect reads it. None: cannot be parsed."""
    try:
        return sqlglot.parse_one(f"SELECT (\n{sql}\n)", read=PARSERS[dialect])
    except (SqlglotError, RecursionError):
        return None


def columns_of(sql: str, dialect: str) -> frozenset[str]:
    """The names of all columns in an expression, whichever table they are of."""
    tree = parsed(sql, dialect)
    return frozenset() if tree is None else frozenset(each.name for each in tree.find_all(exp.Column))


def overwritten(table: str, expressions: Mapping[str, str], dialect: str | None = None) -> tuple[str, ...]:
    """The columns that these expressions read, in whichever row of the table, and write.

    A name without its table is taken for one of this table, in subqueries too. Without a dialect: those on which all
    that can parse the expression agree. With one: where it cannot be parsed, the words decide.
    """
    found: set[str] = set()
    for sql in expressions.values():
        if dialect is not None:
            read = _read(sql, table, expressions, dialect)
            found |= _named(sql, table, expressions, dialect) if read is None else read
            continue
        agreed = [read for each in PARSERS if (read := _read(sql, table, expressions, each)) is not None]
        found |= frozenset.intersection(*agreed) if agreed else frozenset()
    return tuple(name for name in expressions if name in found)


def read_columns(table: str, expressions: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """The columns that expressions over the rows of that table read, with the table of each; the column `*` is all.

    Those on which all dialects agree that can parse an expression; where none can, its words decide. A name without its
    table, inside of a subquery, may be one of each table around it.
    """
    found: set[tuple[str, str]] = set()
    for sql in expressions.values():
        trees = {each: tree for each in PARSERS if (tree := parsed(sql, each)) is not None}
        if '"' in sql and len(trees) > 1:
            trees.pop("mysql", None)  # to whom that is text, and no name
        read = [frozenset(_read_in(tree, table)) for tree in trees.values()]
        found |= frozenset.intersection(*read) if read else {(table, word) for word in _words(sql)}
    return frozenset(found)


def _read_in(tree: exp.Expr, table: str) -> Iterator[tuple[str, str]]:
    named = {each.alias.casefold() for each in tree.find_all(exp.CTE)}  # queries, and no tables
    for column in tree.find_all(exp.Column):
        yield from (pair for pair in _pairs(column, table) if pair[0].casefold() not in named)
    for query in tree.find_all(exp.Select):
        if any(isinstance(each, exp.Star) for each in query.expressions):
            sources = (_name_of(source) for _, source in _sources(query) if source is not None)
            yield from ((name, "*") for name in sources if name.casefold() not in named)


def _pairs(column: exp.Column, table: str) -> Iterator[tuple[str, str]]:
    """The column, with each table that it may be of; the name of a table itself is all of its row."""
    name = "*" if isinstance(column.this, exp.Star) else column.name
    qualifier = column.table.casefold()
    for query in _queries_around(column):
        for known_as, source in _sources(query):
            if source is not None and qualifier in ("", known_as):
                yield _name_of(source), name
            if source is not None and not qualifier and name.casefold() == known_as:
                yield _name_of(source), "*"
            if qualifier == known_as:
                return
    yield table, name
    if not qualifier and name.casefold() == table.rpartition(".")[2].casefold():
        yield table, "*"


def _name_of(source: exp.Table) -> str:
    return ".".join(filter(None, (source.db, source.name)))


def _words(sql: str) -> frozenset[str]:
    try:
        tokens = sqlglot.tokenize(sql)
    except SqlglotError:
        return frozenset(re.findall(r"\w+", sql))
    return frozenset(token.text for token in tokens if "STRING" not in token.token_type.name)


def _read(sql: str, table: str, names: Iterable[str], dialect: str) -> frozenset[str] | None:
    """Which of these columns of that table the expression reads. None where it cannot be parsed."""
    tree = parsed(sql, dialect)
    if tree is None:
        return None
    columns = [each for each in tree.find_all(exp.Column) if _is_of(each, table, dialect)]
    if any(isinstance(each.this, exp.Star) for each in columns):
        return frozenset(names)
    return frozenset(name for name in names if any(_is(each.this, name, dialect) for each in columns))


def _is_of(column: exp.Column, table: str, dialect: str) -> bool:
    """Whether it is, or may be, a column of that table."""
    qualifier = column.args.get("table")
    name = column.name if qualifier is None else qualifier.name
    for query in _queries_around(column):
        sources = dict(_sources(query))
        if name.casefold() in sources:
            source = sources[name.casefold()]
            return qualifier is not None and source is not None and _is_table(source, table, dialect)
    return qualifier is None or _is(qualifier, table.rpartition(".")[2], dialect)


def _queries_around(column: exp.Column) -> Iterator[exp.Select]:
    query = column.find_ancestor(exp.Select)
    while query is not None:
        yield query
        query = query.find_ancestor(exp.Select)


def _sources(query: exp.Select) -> Iterator[tuple[str, exp.Table | None]]:
    """What a query selects from, by the name that it has there; None stands for what is no table."""
    for each in query.find_all(exp.Table, exp.TableAlias):
        if each.find_ancestor(exp.Select) is not query or isinstance(each.parent, exp.Table):
            continue
        if isinstance(each, exp.Table):
            yield each.alias_or_name.casefold(), each
        else:
            yield each.name.casefold(), None


def _is_table(source: exp.Table, table: str, dialect: str) -> bool:
    schema, _, name = table.rpartition(".")
    same_schema = not (schema and source.db) or source.db.casefold() == schema.casefold()
    return same_schema and _is(source.this, name, dialect)


def _is(identifier: exp.Expr, name: str, dialect: str) -> bool:
    """Whether it names that: PostgreSQL alone tells upper from lower case, where it is quoted."""
    if dialect != "postgresql":
        return identifier.name.casefold() == name.casefold()
    return (identifier.name if identifier.args.get("quoted") else identifier.name.lower()) == name


def _named(sql: str, table: str, names: Iterable[str], dialect: str) -> frozenset[str]:
    """Which of these columns stand in an expression word by word, with the table's own name before them or none."""
    try:
        tokens = sqlglot.tokenize(sql, read=PARSERS[dialect])
    except SqlglotError:
        return frozenset()
    words = ["" if "STRING" in token.token_type.name else token.text.casefold() for token in tokens]
    own = table.rpartition(".")[2].casefold()
    found = {
        word
        for at, word in enumerate(words)
        if words[at + 1 : at + 2] != ["("] and (words[at - 1 : at] != ["."] or words[at - 2 : at - 1] == [own])
    }
    return frozenset(name for name in names if name.casefold() in found)
