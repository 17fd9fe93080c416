"""A place for each test, and the proof that its entry of docs/recovery.md was produced and mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.daemons import Site
from tests.recovery.entries import Entry
from tests.recovery.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place on SQLite, not open yet."""
    place = Place(Site(tmp_path))
    yield place
    place.close()


@pytest.fixture
def server_place(place: Place, new_postgresql_url: Callable[[], str]) -> Place:
    """The same with its managed database on PostgreSQL."""
    place.site.databases = {"main": new_postgresql_url()}
    return place


@pytest.fixture(autouse=True)
def entry_was_produced(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the page shows was shown, and what it says to type was typed."""
    place: Place | None = request.getfixturevalue("place") if "place" in request.fixturenames else None
    yield
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    for entry in (params.get("entry"), *params.get("entries", ())):
        if isinstance(entry, Entry):
            assert entry.was_shown, f"nobody asked whether {entry.title!r} is shown"
            assert entry.was_typed or not (entry.types or entry.sql), f"nobody typed what {entry.title!r} says"
            assert place is None or set(entry.codes) <= place.codes, f"{entry.title!r} has other codes: {place.codes}"
