"""A bound in bytes: a batch of a transform ends where its rows are long, whatever its number of rows."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationState

from .conftest import SCHEMA, UPGRADE, Site

SHORT, LONG = 200, 12
MEGABYTE = 1_000_000
BOUND = 2_500_000
SIZES = BatchSizes(100, 1000, math.inf, BOUND)
LENGTH = """
table = "pages"
reads = ("body",)
writes = ("length",)


def transform(self, row):
    return {"length": len(row["body"])}
"""


@pytest.fixture(params=[("TEXT", "LONGTEXT"), ("BLOB", "LONGBLOB")], ids=["text", "bytes"])
def pages(site: Site, request: pytest.FixtureRequest) -> Site:
    """Rows of ten bytes each, then rows of a megabyte."""
    kind, in_mysql = request.param
    if site.database.dialect.name == "mysql":
        kind = in_mysql
    elif site.database.dialect.name == "postgresql" and kind == "BLOB":
        kind = "BYTEA"
    site.execute(f"CREATE TABLE pages (id INTEGER PRIMARY KEY, body {kind}, length INTEGER)")
    body: Any = "x" if "TEXT" in kind else b"x"
    rows = [{"id": n, "body": body * (10 if n <= SHORT else MEGABYTE)} for n in range(1, SHORT + LONG + 1)]
    with site.database.writing() as connection:
        for row in rows:  # one at a time: a server takes no statement of many megabytes
            connection.execute(sa.text("INSERT INTO pages (id, body) VALUES (:id, :body)"), row)
    return site


def batches(site: Site, sizes: BatchSizes = SIZES) -> Iterator[tuple[MigrationState, int]]:
    """What each batch moved, or verified, to the end."""
    done = 0
    for _ in range(200):
        facts = site.runner.run_batch("measure", UPGRADE, sizes)
        yield facts.state, facts.rows_done + facts.rows_verified - done
        done = facts.rows_done + facts.rows_verified
        if facts.state in (MigrationState.COMPLETE, MigrationState.FAILED):
            return


@pytest.mark.parametrize("workers", [1, 2])
def test_batch_ends_with_the_row_that_takes_it_beyond_the_bound(pages: Site, workers: int) -> None:
    pages.runner = DataMigrationRunner(pages.database, SCHEMA, pages.directory, workers=workers)
    pages.start("measure", LENGTH)
    tracemalloc.start()
    try:
        found = list(batches(pages))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[-1][0] is MigrationState.COMPLETE
    assert sum(rows for _, rows in found) == 2 * (SHORT + LONG)
    assert max(rows for _, rows in found) >= 100
    long_rows = [rows for _, rows in found if 0 < rows <= 3]
    assert len(long_rows) >= 2 * (LONG // 3 - 1)
    assert peak < 8 * BOUND, "far less than all rows of a megabyte"
    assert pages.rows("SELECT count(*) FROM pages WHERE length IN (10, 1000000)") == [(SHORT + LONG,)]


def test_row_that_is_longer_than_the_bound_is_moved_alone(pages: Site) -> None:
    pages.start("measure", LENGTH)
    found = list(batches(pages, BatchSizes(100, 1000, math.inf, 1000)))
    assert found[-1][0] is MigrationState.COMPLETE
    assert [rows for _, rows in found].count(1) >= 2 * LONG - 2


def test_rows_that_are_not_moved_are_not_locked(served_site: Site) -> None:
    site = served_site
    kind = "TEXT" if site.database.dialect.name == "postgresql" else "LONGTEXT"
    site.execute(f"CREATE TABLE pages (id INTEGER PRIMARY KEY, body {kind}, length INTEGER)")
    for n in range(1, 7):
        site.execute(f"INSERT INTO pages (id, body) VALUES ({n}, repeat('x', 1000000))")
    site.write(
        "measure",
        LENGTH.replace("def transform(self, row):", "def transform(self, row):\n    self.meanwhile()")
        + "\nmeanwhile = staticmethod(lambda: None)\n",
    )
    site.runner.enrol(site.release("measure"), UPGRADE)
    site.runner.run_batch("measure", UPGRADE, SIZES)
    site.runner._load("measure")
    definition, _ = site.runner._prepared["measure"]
    author = type(definition.transform.__self__)  # type: ignore[union-attr]
    author.meanwhile = staticmethod(
        lambda: site.rows("SELECT id FROM pages WHERE id > 3 ORDER BY id FOR UPDATE NOWAIT")
    )
    facts = site.runner.run_batch("measure", UPGRADE, SIZES)
    assert (facts.state, facts.rows_done, facts.error) == (MigrationState.RUNNING, 3, None)


@pytest.mark.parametrize("kind", ["INTEGER", "VARCHAR(40)"])
def test_where_no_row_can_be_long_nothing_is_asked_beside(served_site: Site, kind: str) -> None:
    site = served_site
    site.execute(
        f"CREATE TABLE pages (id INTEGER PRIMARY KEY, body {kind}, length INTEGER)",
        "INSERT INTO pages (id, body) VALUES (1, '1')",
    )
    site.start("measure", LENGTH.replace('len(row["body"])', "1"))
    asked: list[str] = []
    sa.event.listen(
        site.database.engine, "before_cursor_execute", lambda c, cursor, statement, *rest: asked.append(statement)
    )
    list(batches(site, BatchSizes(100, 1000, math.inf, 1000 * 160)))
    assert not any("octet_length" in each for each in asked)
    assert site.facts("measure").state is MigrationState.COMPLETE


@pytest.mark.parametrize("kind", ["JSON", "JSONB", "TEXT[]", "CITEXT"])
def test_every_type_that_can_be_long_is_measured(postgresql_site: Site, kind: str) -> None:
    site = postgresql_site
    if kind == "CITEXT":
        site.execute("CREATE EXTENSION IF NOT EXISTS citext")
    site.execute(f"CREATE TABLE pages (id INTEGER PRIMARY KEY, body {kind}, length INTEGER)")
    value = "ARRAY[repeat('x', 1000)]" if kind == "TEXT[]" else f"to_json(repeat('x', 1000))::text::{kind}"
    site.execute(f"INSERT INTO pages SELECT n, {value}, NULL FROM generate_series(1, 50) n")
    site.start("measure", LENGTH)
    found = list(batches(site, BatchSizes(100, 1000, math.inf, 9_500)))
    assert found[-1][0] is MigrationState.COMPLETE
    assert found[0][1] == 10
