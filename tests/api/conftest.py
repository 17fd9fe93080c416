"""A world for each test of the API."""

from collections.abc import Iterator

import pytest

from tests.api.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """An orchestrator that manages one schema, which has no release yet."""
    yield World()
