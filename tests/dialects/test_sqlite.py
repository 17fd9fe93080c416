"""What is particular to SQLite."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from oslo_db.exception import DBError
from sqlalchemy.exc import DBAPIError

from orchestrator.dialects import open_database


def test_a_forgotten_mark_does_not_take_the_transaction_away(sqlite_url: str) -> None:
    database = open_database("main", sqlite_url)
    with database.engine.connect() as connection:
        connection.info["in_transaction"] = True  # what oslo.db's listener leaves behind when a commit fails
    with database.writing() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        assert driver.in_transaction


def test_no_writer_starves_among_others(sqlite_url: str) -> None:
    """SQLite's own waiting serves those first who came last: of five writers one got three turns of four hundred."""
    database = open_database("main", sqlite_url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE turns (who INTEGER)")
    left = iter(range(600))

    def write(who: int) -> None:
        while next(left, None) is not None:
            with database.writing() as connection:
                connection.exec_driver_sql(f"INSERT INTO turns VALUES ({who})")
                time.sleep(0.005)  # at work

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(write, range(5)))
    with database.reading() as connection:
        query = "SELECT count(*) FROM turns GROUP BY who ORDER BY who"
        turns = connection.exec_driver_sql(query).scalars().all()
    database.engine.dispose()
    assert len(turns) == 5
    assert min(turns) >= 10, turns


def test_waiting_to_write_ends_as_it_was_told_to(sqlite_url: str) -> None:
    database = open_database("main", sqlite_url)
    with database.writing(), database.engine.connect() as other:
        database.dialect.lock_timeout(other, 0.05)
        other.rollback()
        with pytest.raises((DBAPIError, DBError), match="database is locked"):
            other.execution_options(sqlite_begin="IMMEDIATE").exec_driver_sql("SELECT 1")
        driver = other.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        assert driver.execute("PRAGMA busy_timeout").fetchone() == (50,)
    database.engine.dispose()
