"""Signals are read from real servers."""

from collections.abc import Callable

import pytest

from orchestrator.dialects import Database


@pytest.fixture
def postgresql(open_database: Callable[[str, str], Database], postgresql_url: str) -> Database:
    """A new, empty PostgreSQL database."""
    return open_database("main", postgresql_url)


@pytest.fixture
def mariadb(open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
    """A new, empty MariaDB database."""
    return open_database("main", mysql_url)


@pytest.fixture
def sqlite(open_database: Callable[[str, str], Database], sqlite_url: str) -> Database:
    """A new, empty SQLite database."""
    return open_database("main", sqlite_url)
