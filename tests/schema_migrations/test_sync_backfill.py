"""Rows are moved while sync triggers stand: what was written last stays, and both shapes say the same in the end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.view import Copy, MigrationState
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.schema_migrations.test_sync_triggers import CONTRACT, FIRST, MANIFEST, NAMES, anywhere
from tests.schema_migrations.trees import TreeWriter, execute

__all__ = ["anywhere"]

UPGRADE = 7
SEED = 20261122
ROWS = 40

MOVE = """
from orchestrator.data_migrations import DataMigration


class SplitName(DataMigration):
    table = "customers"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row):
        if row["name"] is None:
            return {"first_name": None, "last_name": None}
        first_name, _, last_name = row["name"].partition(" ")
        return {"first_name": first_name, "last_name": last_name or None}
"""


class Place:
    """A database that is expanded, with old rows, and what moves them."""

    def __init__(self, tree: TreeWriter, database: Database) -> None:
        tree.revision("expand", "e1", FIRST)
        tree.revision("expand", "e2", NAMES, after="e1")
        tree.revision("contract", "c2", CONTRACT, depends_on="e2")
        tree.manifest(MANIFEST + 'data_migrations = ["split_name"]\n')
        Path(tree.directory / "data" / "split_name.py").write_text(MOVE)
        self.database = database
        self.driver: AlembicDriver = tree.driver()
        self.runner = DataMigrationRunner(database, "shop", tree.directory)
        self.driver.install(database, "1")
        with database.writing() as connection:
            connection.execute(
                sa.text("INSERT INTO customers (id, name) VALUES (:id, :name)"),
                [{"id": n, "name": None if n % 10 == 0 else f"First{n}  Last {n} "} for n in range(1, ROWS + 1)],
            )
        self.driver.run(database, "2", Step.EXPAND, owner_epoch=1)
        self.runner.enrol(self.driver.releases["2"], UPGRADE)
        with database.writing() as connection:
            known = read_copy(connection, "shop")
            assert known is None
            incarnation = database.dialect.incarnation(connection)
            copy = Copy(UPGRADE, Phase.BACKFILL, Phase.BACKFILL, 1, incarnation)
            write_copy(connection, "shop", copy, now=0.0)

    def move(self, rows: int = 7) -> MigrationState:
        facts = self.runner.run_batch("split_name", UPGRADE, rows)
        while facts.state in (MigrationState.RUNNING, MigrationState.VERIFYING, MigrationState.PENDING):
            facts = self.runner.run_batch("split_name", UPGRADE, rows)
        assert facts.error is None
        return facts.state

    def rows(self) -> dict[int, tuple[str | None, str | None, str | None]]:
        with self.database.reading() as connection:
            query = sa.text("SELECT id, name, first_name, last_name FROM customers")
            return {row.id: (row.name, row.first_name, row.last_name) for row in connection.execute(query)}


@pytest.fixture
def place(tree: TreeWriter, anywhere: Database) -> Place:
    return Place(tree, anywhere)


def split(name: str | None) -> tuple[str | None, str | None]:
    first, _, last = (name or "").partition(" ")
    return (None, None) if name is None else (first, last or None)


def test_a_batch_leaves_the_old_shape_as_it_is_and_the_triggers_too(place: Place) -> None:
    """Joined again, its names would have lost their spaces."""
    before = {key: name for key, (name, _, _) in place.rows().items()}
    assert place.move() is MigrationState.COMPLETE
    assert {key: name for key, (name, _, _) in place.rows().items()} == before
    assert all((first, last) == split(name) for name, first, last in place.rows().values())
    for _ in range(3):  # also on the connection that the batch has used
        execute(place.database, "UPDATE customers SET name = 'Ada Lovelace' WHERE id = 1")
        assert place.rows()[1] == ("Ada Lovelace", "Ada", "Lovelace")
        execute(place.database, "UPDATE customers SET first_name = 'Eve', last_name = 'Moon' WHERE id = 1")
        assert place.rows()[1] == ("Eve Moon", "Eve", "Moon")


def test_a_batch_that_fails_leaves_no_bypass_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("in the middle of a batch")

    assert place.runner.run_batch("split_name", UPGRADE, 7).state is MigrationState.RUNNING
    monkeypatch.setattr("orchestrator.data_migrations.runner.move", fails)
    with pytest.raises(RuntimeError):
        place.runner.run_batch("split_name", UPGRADE, 7)
    execute(place.database, "UPDATE customers SET name = 'Ada Lovelace' WHERE id = 1")
    assert place.rows()[1] == ("Ada Lovelace", "Ada", "Lovelace")
    assert place.driver.position(place.database, "2").triggers.in_step


Write = Callable[[random.Random], tuple[str, dict[str, object]]]


def old_write(chance: random.Random) -> tuple[str, dict[str, object]]:
    key, name = chance.randint(1, ROWS + 10), f"Old{chance.randint(1, 99)} Name  {chance.randint(1, 99)}"
    update = "UPDATE customers SET name = :name WHERE id = :id"
    return chance.choice([update, update, "DELETE FROM customers WHERE id = :id"]), {"id": key, "name": name}


def new_write(chance: random.Random) -> tuple[str, dict[str, object]]:
    key, name = chance.randint(1, ROWS + 10), f"New{chance.randint(1, 99)}"
    update = "UPDATE customers SET first_name = :name, last_name = 'Of New' WHERE id = :id"
    return chance.choice([update, update, "UPDATE customers SET age = 1 WHERE id = :id"]), {"id": key, "name": name}


class Writer(threading.Thread):
    """A service that writes one shape, as often as it is told, and repeats what the database gives up."""

    def __init__(self, database: Database, write: Write, seed: int, times: int) -> None:
        super().__init__(daemon=True)
        self._database, self._write, self._chance, self._times = database, write, random.Random(seed), times
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            for _ in range(self._times):
                self._once(*self._write(self._chance))
        except Exception as error:  # the test's own thread raises it
            self.failed = error

    def _once(self, statement: str, values: dict[str, object]) -> None:
        values = {name: value for name, value in values.items() if f":{name}" in statement}
        while True:
            try:
                with self._database.writing() as connection:
                    connection.execute(sa.text(statement), values)
            except Exception as error:
                if not self._database.dialect.is_transient(error) and getattr(error, "code", "") != "database_busy":
                    raise
            else:
                return


def test_old_and_new_writers_beside_each_other_leave_every_row_in_step(place: Place) -> None:
    early = [Writer(place.database, old_write, SEED + number, times=30) for number in range(2)]
    for writer in early:
        writer.start()
    assert place.move(rows=5) is MigrationState.COMPLETE
    for writer in early:
        writer.join()
    assert all((first, last) == split(name) for name, first, last in place.rows().values())
    late = [Writer(place.database, write, SEED + 10, times=30) for write in (old_write, new_write)]
    for writer in late:
        writer.start()
    for writer in late:
        writer.join()
    assert [writer.failed for writer in (*early, *late)] == [None] * 4
    for name, first, last in place.rows().values():
        joined = " ".join(part for part in (first, last) if part is not None)
        assert (first, last) == split(name) or name == joined
    written = {first for _, first, _ in place.rows().values()}
    assert {str(first)[:3] for first in written} >= {"Old", "New"}
