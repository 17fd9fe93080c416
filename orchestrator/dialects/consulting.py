"""Consulting: transactions for queries that are not ours. They write nothing, and end in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from orchestrator.dialects.mysql_server import is_mariadb


@contextmanager
def consulting_postgresql(engine: Engine, seconds: float) -> Iterator[Connection]:
    """On PostgreSQL, where both hold for the one transaction."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{max(1, int(seconds * 1000))}ms'")
        yield connection


@contextmanager
def consulting_mysql(engine: Engine, seconds: float) -> Iterator[Connection]:
    """On MariaDB and MySQL, where both are set for the session and set back."""
    with engine.connect() as connection:
        in_mariadb = is_mariadb(connection)
        limit = "max_statement_time" if in_mariadb else "max_execution_time"
        longest = f"{seconds:.3f}" if in_mariadb else max(1, int(seconds * 1000))
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET SESSION {limit} = {longest}")
        connection.rollback()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.exec_driver_sql("SET SESSION TRANSACTION READ WRITE")
            connection.exec_driver_sql(f"SET SESSION {limit} = DEFAULT")
