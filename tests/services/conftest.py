"""Sites on every store: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.dialects import Database
from orchestrator.ports import Store
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.fakes import Clock
from tests.services.site import Site

MakeSite = Callable[..., Site]
NewStore = Callable[[], Store]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.protocol), "postgresql"])
def new_store(request: pytest.FixtureRequest, clock: Clock) -> NewStore:
    """Makes new, empty stores of one kind; the test runs once per kind."""
    if request.param == "memory":
        return lambda: MemoryStore(clock)
    new_url: Callable[..., str] = request.getfixturevalue(f"new_{request.param}_url")
    open_database: Callable[[str, str], Database] = request.getfixturevalue("open_database")

    def create() -> Store:
        if request.param == "postgresql":
            template = request.getfixturevalue("postgresql_template")(tables.metadata)
            return SqlStore(open_database("state", new_url(template)), clock)
        database = open_database("state", new_url())
        tables.metadata.create_all(database.engine)
        return SqlStore(database, clock)

    return create


@pytest.fixture
def make_site(clock: Clock) -> MakeSite:
    """Makes sites in memory."""
    return lambda **options: Site(MemoryStore(clock), clock, **options)


@pytest.fixture
def make_stored_site(new_store: NewStore, clock: Clock) -> MakeSite:
    """Makes sites on every store, each on one of its own."""
    return lambda **options: Site(new_store(), clock, **options)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site in memory, with three databases, of whose fleets nothing was ever reported."""
    return make_site()


@pytest.fixture
def stored_site(make_stored_site: MakeSite) -> Site:
    """The same on every store."""
    return make_stored_site()
