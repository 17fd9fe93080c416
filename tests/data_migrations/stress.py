"""Stress: writers that keep books of their own beside a data migration, as Vitess does with its schema changes.

What each writer chooses follows from the seed; how they and the batches meet is up to the database. In the end rows,
sums and each new value must be what the books say, however they met.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import sqlalchemy as sa
from oslo_db.exception import DBDuplicateEntry

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.domain.errors import Conflict, LostCursor, Unavailable
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site

PATIENCE_SECONDS = 60.0
IN_SQL = 'table = "things"\nexpressions = {"new": "3 * old + 1"}'
IN_PYTHON = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        return {"new": 3 * row["old"] + 1}
    """
ENDED = (MigrationState.COMPLETE, MigrationState.FAILED)

things = sa.table("things", sa.column("id"), sa.column("old"), sa.column("new"))


def f(old: int) -> int:
    """The new value of an old one, as the data migration computes it too."""
    return 3 * old + 1


@dataclass
class Books:
    """So many rows there are, and the sums of what is in them. `took_effect` counts what was committed, by its kind."""

    rows: int = 0
    old: int = 0
    new: int = 0
    took_effect: Counter[str] = field(default_factory=Counter)

    def add(self, other: Books) -> None:
        """Count what the other has counted."""
        self.rows, self.old, self.new = self.rows + other.rows, self.old + other.old, self.new + other.new
        self.took_effect += other.took_effect


@dataclass(frozen=True)
class Size:
    """Half of the `keys` have a row when it begins. Each writer has so many `transactions`, `a_batch` of all of them
    while a batch runs."""

    keys: int
    writers: int
    transactions: int
    a_batch: int
    batches: BatchSizes


class Pace:
    """Keeps writers and batches side by side, whichever are quicker: nobody waits for the clock."""

    def __init__(self, writers: int, a_batch: int) -> None:
        self._changed = threading.Condition()
        self._writing = writers
        self._a_batch = a_batch
        self._allowed = 0
        self._under_way = 0
        self._is_free = False

    def next_batch(self) -> None:
        """Wait until all transactions that go with the last batch have begun, and allow those of the next one."""
        with self._changed:
            self._until(lambda: not self._allowed or not self._writing)
            self._allowed = self._a_batch
            self._changed.notify_all()

    def until_written(self) -> None:
        """Wait until those that were allowed have ended."""
        with self._changed:
            self._until(lambda: not (self._allowed or self._under_way) or not self._writing)

    def free(self) -> None:
        """There are no more batches."""
        with self._changed:
            self._is_free = True
            self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, when it is allowed."""
        with self._changed:
            self._until(lambda: self._allowed or self._is_free)
            self._allowed = max(0, self._allowed - 1)
            self._under_way += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def one_less(self) -> None:
        """A writer has ended."""
        with self._changed:
            self._writing -= 1
            self._changed.notify_all()

    def _until(self, holds: Callable[[], object]) -> None:
        assert self._changed.wait_for(holds, PATIENCE_SECONDS), "the others never came so far"


class Writer:
    """One process of a service: one connection at a time, keys from the whole table, before and behind the cursor."""

    def __init__(self, site: Site, size: Size, pace: Pace, seed: str, *, writes_both: bool = True) -> None:
        self.books = Books()
        self._site = site
        self._size = size
        self._pace = pace
        self._chance = Random(seed)
        self._writes_both = writes_both

    def run(self) -> None:
        """All its transactions."""
        try:
            for _ in range(self._size.transactions):
                with self._pace.writing():
                    self._transact()
        finally:
            self._pace.one_less()

    def _transact(self) -> None:
        """One to three changes, of which all take effect or none does."""
        changes = (self._insert, self._overwrite, self._add, self._delete)
        found = Books()
        try:
            with self._site.database.writing() as connection:
                for _ in range(self._chance.randint(1, 3)):
                    (change,) = self._chance.choices(changes, weights=(4, 2, 2, 2))
                    found.add(change(connection, self._chance.randint(1, self._size.keys)))
        except DBDuplicateEntry:
            return
        except Unavailable as error:
            assert error.code == "database_busy", error
            return
        self.books.add(found)

    def _insert(self, connection: sa.Connection, key: int) -> Books:
        old = self._chance.randrange(1000)
        connection.execute(sa.insert(things).values(id=key, **self._shapes(old)))
        return Books(1, old, f(old), Counter(inserted=1))

    def _overwrite(self, connection: sa.Connection, key: int) -> Books:
        """As an object mapper does: it reads the row first."""
        before = self._locked(connection, key)
        if before is None:
            return Books()
        old = self._chance.randrange(1000)
        connection.execute(sa.update(things).where(things.c.id == key).values(**self._shapes(old)))
        return Books(0, old - before, f(old) - f(before), Counter(overwritten=1))

    def _add(self, connection: sa.Connection, key: int) -> Books:
        """In one statement, which knows the row only when it has its lock."""
        more = self._chance.randrange(1, 100)
        shapes = {"old": things.c.old + more, "new": 3 * (things.c.old + more) + 1}
        if not self._writes_both:
            del shapes["new"]
        rows = connection.execute(sa.update(things).where(things.c.id == key).values(shapes)).rowcount
        return Books(0, rows * more, rows * 3 * more, Counter(added=rows))

    def _delete(self, connection: sa.Connection, key: int) -> Books:
        before = self._locked(connection, key)
        if before is None:
            return Books()
        connection.execute(sa.delete(things).where(things.c.id == key))
        return Books(-1, -before, -f(before), Counter(deleted=1))

    def _locked(self, connection: sa.Connection, key: int) -> int | None:
        query = sa.select(things.c.old).where(things.c.id == key).with_for_update()
        found: int | None = connection.execute(query).scalar_one_or_none()
        return found

    def _shapes(self, old: int) -> dict[str, int]:
        return {"old": old, "new": f(old)} if self._writes_both else {"old": old}


@dataclass
class Stress:
    """A table, its writers, and what they know of it."""

    site: Site
    size: Size
    seed: int
    pace: Pace = field(init=False)
    books: Books = field(init=False, default_factory=Books)
    seen: dict[int, list[MigrationFacts]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.pace = Pace(self.size.writers, self.size.a_batch)

    def fill(self, *, is_moved: bool) -> None:
        """Rows for half of the keys, with nothing in the new shape, or something stale, or else moved already."""
        self.site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER NOT NULL, new INTEGER)")
        chance = Random(self.seed)
        rows = []
        for key in sorted(chance.sample(range(1, self.size.keys + 1), self.size.keys // 2)):
            old = chance.randrange(1000)
            rows.append({"id": key, "old": old, "new": f(old) if is_moved else chance.choice((None, 0, f(old) - 1))})
            self.books.add(Books(1, old, f(old)))
        with self.site.database.writing() as connection:
            connection.execute(sa.insert(things), rows)
        if self.site.database.dialect.name == "postgresql":  # it looks for deadlocks only after a second
            name = self.site.database.engine.url.database
            self.site.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '10ms'")
            self.site.database.engine.dispose()

    def run(self, *runners: DataMigrationRunner, writes_both: bool = True) -> None:
        """Writers and, where there are any, runners at once, each in a thread, until all of them have ended."""
        writers = [
            Writer(self.site, self.size, self.pace, f"{self.seed}:{number}", writes_both=writes_both)
            for number in range(self.size.writers)
        ]
        with ThreadPoolExecutor(len(writers) + len(runners)) as pool:
            writing = [pool.submit(writer.run) for writer in writers]
            moving = [pool.submit(self._move, runner, number) for number, runner in enumerate(runners)]
            try:
                for each in moving:
                    each.result()
            finally:
                self.pace.free()
            for each in writing:
                each.result()
        for writer in writers:
            self.books.add(writer.books)

    def _move(self, runner: DataMigrationRunner, number: int) -> None:
        """Batch after batch, and what was told of them after each."""
        told = self.seen[number] = []
        while not told or told[-1].state not in ENDED:
            self.pace.next_batch()
            with suppress(Conflict, LostCursor, Unavailable):
                runner.run_batch("walk", UPGRADE, self.size.batches)
            told += runner.progress()

    def judge(self) -> None:
        """Raise `AssertionError` where the table is not what the books say, or a new value is wrong."""
        found = tuple(int(value or 0) for value in self.site.rows("SELECT count(*), sum(old), sum(new) FROM things")[0])
        wrong = self.site.rows("SELECT id, old, new FROM things WHERE new IS NULL OR new <> 3 * old + 1")
        assert (found, wrong) == ((self.books.rows, self.books.old, self.books.new), []), f"seed {self.seed}"
        assert all(self.books.took_effect[kind] for kind in ("inserted", "overwritten", "added", "deleted")), self.books


def runner_of(site: Site, workers: int) -> DataMigrationRunner:
    """A daemon that is told so many workers."""
    return DataMigrationRunner(site.database, SCHEMA, site.directory, workers=workers)
