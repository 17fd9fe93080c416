"""A managed database of each kind, and the engine with which a service connects to it."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from tests.client.managed import Daemon, Managed


@pytest.fixture
def new_database_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes new, empty databases of one kind: SQLite, unless a test says on which it runs."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{getattr(request, 'param', 'sqlite')}_url")
    return create


@pytest.fixture
def managed(database: Database) -> Managed:
    """A managed database that admits releases 1 and 2."""
    return Managed(database)


@pytest.fixture
def service(managed: Managed) -> Iterator[sa.Engine]:
    """The engine of a service, as it would make it itself."""
    engine = sa.create_engine(managed.database.engine.url)
    yield engine
    engine.dispose()


@pytest.fixture
def daemon() -> Daemon:
    """A daemon that can be away."""
    return Daemon()
