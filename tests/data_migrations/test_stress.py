"""Rows that services write while they are moved: in the end all of them are what the writers' own books say.

The oracle is tried too: alone, where nothing is moved, and against runners and writers with one thing wrong.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data_migrations import batches, splitting, transforming
from orchestrator.data_migrations.keyset import Keyset
from orchestrator.dialects import Database
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import Site, new_site
from tests.data_migrations.stress import IN_PYTHON, IN_SQL, Size, Stress, runner_of

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
SHORT = Size(keys=120, writers=3, transactions=25, a_batch=5, batches=BatchSizes(3, 12, 0.2))
LONG = Size(keys=6_000, writers=8, transactions=500, a_batch=40, batches=BatchSizes(5, 200, 0.05))
AT_ONCE = replace(SHORT, a_batch=75, batches=BatchSizes.fixed(120))
"""All that is written is written while one batch moves all rows."""

SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.kill)]


@pytest.fixture(autouse=True)
def seed() -> None:
    print(f"seed {SEED}; to repeat: SEED={SEED}")


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three batches, so that there are many."""
    monkeypatch.setattr(splitting, "RANGE_BATCHES", 3)
    monkeypatch.setattr(splitting, "RANGES_EACH", 1)


def stress(site: Site, size: Size, kind: str = "expression", *, is_moved: bool = False, workers: int = 1) -> Stress:
    """A filled table, and its data migration begun."""
    found = Stress(site, size, SEED)
    found.fill(is_moved=is_moved)
    site.runner = runner_of(site, workers)
    site.start("walk", IN_SQL if kind == "expression" else IN_PYTHON)
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_rows_are_what_the_books_of_their_writers_say(site: Site, kind: str, size: Size) -> None:
    assert_right(stress(site, size, kind))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_rows_that_two_workers_move_are_what_the_books_of_their_writers_say(
    served_site: Site, kind: str, size: Size
) -> None:
    assert_right(stress(served_site, size, kind, workers=2), workers=2)


def assert_right(stressed: Stress, workers: int = 1) -> None:
    """Run it, and look at everything."""
    site = stressed.site
    stressed.run(*(runner_of(site, workers) for _ in range(workers)))
    stressed.judge()
    facts = site.facts("walk")
    assert (facts.state, facts.differences) == (MigrationState.COMPLETE, 0)
    for told in stressed.seen.values():
        assert told == sorted(told, key=lambda each: (each.rows_done, each.rows_verified)), "it never goes back"


# -- the oracle itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_books_are_right_where_nothing_is_moved(site: Site, size: Size) -> None:
    alone = stress(site, size, is_moved=True)
    alone.run()
    alone.judge()


@pytest.fixture
def one_site(open_database: Callable[[str, str], Database], sqlite_url: str, tmp_path: Path) -> Site:
    """Of one kind: what is tried with it is the oracle, which is the same everywhere."""
    database = open_database("main", sqlite_url)
    return new_site(database, tmp_path)


def test_books_show_rows_that_nobody_moved(one_site: Site) -> None:
    alone = stress(one_site, SHORT)
    alone.run()
    with pytest.raises(AssertionError, match="seed"):
        alone.judge()


def test_books_show_a_writer_that_forgets_the_new_shape(one_site: Site) -> None:
    stressed = stress(one_site, SHORT)
    stressed.run(one_site.runner, writes_both=False)
    with pytest.raises(AssertionError, match="seed"):
        stressed.judge()


@pytest.mark.parametrize("fixture", ["postgresql_site", "mysql_site"])
def test_books_show_rows_that_were_read_without_their_locks(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SQLite a transaction that writes has all rows locked anyway."""
    stressed = stress(request.getfixturevalue(fixture), AT_ONCE, "transform")
    usual = transforming.read_and_transform

    def unlocked(*arguments: Any, lock: bool) -> Any:
        found = usual(*arguments, lock=False)
        stressed.pace.until_written()
        return found

    monkeypatch.setattr(batches, "read_and_transform", unlocked)
    stressed.run(stressed.site.runner)
    with pytest.raises(AssertionError, match="seed"):
        stressed.judge()
    assert stressed.site.facts("walk").state is MigrationState.FAILED


def test_books_show_rows_that_no_range_holds_though_the_runner_proves_all_that_it_sees(
    one_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stressed = stress(one_site, SHORT)
    usual = Keyset.within
    passed = lambda self, range_: (*usual(self, range_), self.columns[0] % 4 != 1)  # noqa: E731
    monkeypatch.setattr(Keyset, "within", passed)
    stressed.run(one_site.runner)
    assert one_site.facts("walk").state is MigrationState.COMPLETE
    with pytest.raises(AssertionError, match="seed"):
        stressed.judge()
