"""Why the server did not do it: which errors say something of a value, and which of a statement that took too long."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database

TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, code VARCHAR(3) NOT NULL UNIQUE, n INTEGER, CHECK (n <> 3))"


def error_of(database: Database, *statements: str) -> Exception:
    with pytest.raises((SQLAlchemyError, DBError)) as caught, database.writing() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    error: Exception = caught.value
    return error


@pytest.fixture
def things(database: Database) -> Database:
    with database.writing() as connection:
        connection.exec_driver_sql(TABLE)
        connection.exec_driver_sql("INSERT INTO things VALUES (1, 'a', 1), (2, 'b', 2)")
    return database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE things SET code = NULL",
        "UPDATE things SET code = 'b' WHERE id = 1",
        "UPDATE things SET n = 3",
    ],
)
def test_value_is_refused(things: Database, statement: str) -> None:
    error = error_of(things, statement)
    assert things.dialect.refuses_value(error)
    assert not things.dialect.is_cut_off(error)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE things SET code = 'long'",
        "UPDATE things SET n = 10000000000",
        "UPDATE things SET n = 1 / (n - 2)",
        "UPDATE things SET n = (SELECT x FROM (SELECT 1 AS x UNION SELECT 2) AS y)",
    ],
)
def test_value_is_refused_by_a_server(things: Database, statement: str) -> None:
    if things.dialect.name == "sqlite":
        return  # there, a column holds anything
    assert things.dialect.refuses_value(error_of(things, statement))


def test_value_that_sqlite_cannot_compute_is_refused(new_sqlite_url: object, things: Database) -> None:
    if things.dialect.name != "sqlite":
        return
    for expression in ("abs(-9223372036854775807 - 1)", "json_extract('{', '$.x')"):
        assert things.dialect.refuses_value(error_of(things, f"UPDATE things SET n = {expression}"))


@pytest.mark.parametrize("statement", ["UPDATE things SET nowhere = 1", "UPDATE nothings SET n = 1", "UPDATE"])
def test_statement_is_refused_for_what_it_is(things: Database, statement: str) -> None:
    error = error_of(things, statement)
    assert not things.dialect.refuses_value(error)
    assert not things.dialect.is_cut_off(error)


def test_statement_that_runs_for_too_long_is_cut_off(things: Database) -> None:
    if things.dialect.name == "sqlite":
        return  # it has no such limit
    statements: tuple[str, ...]
    if things.dialect.name == "postgresql":
        statements = ("SET LOCAL statement_timeout = 1", "SELECT pg_sleep(60)")
    else:
        statements = ("SET STATEMENT max_statement_time = 0.001 FOR SELECT SLEEP(60)",)
    error = error_of(things, *statements)
    assert things.dialect.is_cut_off(error)
    assert not things.dialect.refuses_value(error)
