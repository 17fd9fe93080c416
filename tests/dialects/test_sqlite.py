"""What is particular to SQLite."""

import sqlite3

from orchestrator.dialects import open_database


def test_a_forgotten_mark_does_not_take_the_transaction_away(sqlite_url: str) -> None:
    database = open_database("main", sqlite_url)
    with database.engine.connect() as connection:
        connection.info["in_transaction"] = True  # what oslo.db's listener leaves behind when a commit fails
    with database.writing() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        assert driver.in_transaction
