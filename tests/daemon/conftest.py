"""A site for each test: its directory, its configuration, its daemons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.daemons import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on SQLite. Whatever runs of it at the end is killed, and no log of it may hold a traceback."""
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def any_site(new_database_url: Callable[[], str], tmp_path: Path) -> Iterator[Site]:
    """A site on each kind of database."""
    site = Site(tmp_path)
    site.state_url = new_database_url()
    site.databases = {"main": new_database_url()}
    yield site
    site.close()
