"""These tests run on every kind of database."""

from collections.abc import Callable

import pytest


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mysql", id="mariadb")])
def new_database_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes new, empty databases of one kind; the test runs once per kind."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    return create
