"""The ground of a trial: a test database in backfill, and the program's own runner in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from orchestrator.bookkeeping import tables
from orchestrator.bookkeeping.copies import write_copy
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.data_migrations.loading import Definition, load
from orchestrator.data_migrations.target import Target, find_target
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.view import Copy, MigrationFacts, MigrationState
from orchestrator.testing.faults import Fault, MigrationFault

SCHEMA = "trial"
"""The name under which our own tables know a trial."""

PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.01
_PASSING = frozenset({"batch_claimed", "database_busy", "database_unreachable", "lock_busy", "lost_cursor"})
_ENDED = (MigrationState.COMPLETE, MigrationState.FAILED)
_UPGRADE = 1

T = TypeVar("T")
Beside = Callable[[], AbstractContextManager[None]]
"""What goes on while one batch runs."""


class Ground:
    """One data migration in one test database, with our own tables around it only while `prepared`."""

    def __init__(self, url: str, file: Path, *, is_reverse: bool) -> None:
        self.database = open_test_database(url)
        if file.parent.name != "data":
            raise MigrationFault(
                Fault(
                    "trial_file",
                    f"{file} does not stand in a directory named data, where data migrations are looked for",
                    "Give the path of the file as it stands in the migration tree: migrations/data/NAME.py.",
                )
            )
        self.file = file
        self.name = file.stem
        self._is_reverse = is_reverse
        try:
            self.definition: Definition = load(file, self.name)
            with self.database.reading() as connection:
                self.target: Target = find_target(self.database, connection, self.definition)
        except OrchestratorError as error:
            raise MigrationFault(Fault.of(error)) from None
        self.runner = self._new_runner()

    def _new_runner(self) -> DataMigrationRunner:
        """Loads the file anew; the table is as it was, and describing it again takes longer than moving its rows."""
        return DataMigrationRunner(self.database, SCHEMA, self.file.parent.parent, find=lambda *_: self.target)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Our own tables in the test database, in the phase in which this data migration runs; gone afterwards.

        Raises `MigrationFault` where a daemon has made them: that is no test database.
        """
        with self.database.reading() as connection:
            self._refuse_managed(connection)
        with self.database.writing() as connection:
            tables.metadata.drop_all(connection)
            tables.metadata.create_all(connection)
            phase = Phase.READ_NEW if self._is_reverse else Phase.BACKFILL
            incarnation = self.database.dialect.incarnation(connection)
            copy = Copy(_UPGRADE, phase, phase, 1, incarnation, reversing=self._is_reverse)
            write_copy(connection, SCHEMA, copy, now=0.0)
        try:
            yield
        finally:
            with self.database.writing() as connection:
                tables.metadata.drop_all(connection)
            self.database.engine.dispose()

    def _refuse_managed(self, connection: Connection) -> None:
        """A daemon makes our tables by revisions, and has a version table for them; a trial has none."""
        if sa.inspect(connection).has_table(tables.VERSION_TABLE):
            raise MigrationFault(
                Fault(
                    "trial_database_managed",
                    f"database {self.database.place} is managed by an orchestrator: it has {tables.VERSION_TABLE}",
                    "Give the trial a database of its own: it writes to every row, and makes tables.",
                )
            )

    def begin(self) -> None:
        """Before its first batch, as in a database where it never ran; another runner, as after a restart."""
        with self.database.writing() as connection:
            for table in tables.metadata.sorted_tables:
                if {"schema_name", "name"} <= set(table.c.keys()):
                    connection.execute(sa.delete(table))
        self.go_on()

    def go_on(self) -> None:
        """Another runner, that knows nothing but what the database holds."""
        self.runner = self._new_runner()
        forward, back = ((), (self.name,)) if self._is_reverse else ((self.name,), ())
        release = Release("trial", data_migrations=forward, reverse_data_migrations=back)
        self._patiently(lambda: self.runner.enrol(release, _UPGRADE))

    def run(self, batch_rows: int, beside: Beside = nullcontext) -> MigrationFacts:
        """Batch after batch, from wherever it stands to its end."""
        while True:
            with beside():
                facts = self._patiently(lambda: self.runner.run_batch(self.name, _UPGRADE, batch_rows))
            if facts.state in _ENDED:
                return facts

    def refused_rows(self) -> tuple[str, ...]:
        """What was wrong with each row that could not be moved."""
        return tuple(row.error for row in self.runner.quarantined(self.name))

    def _patiently(self, work: Callable[[], T]) -> T:
        """What it comes to when nobody is in the way any more; a killed session keeps its locks for a moment."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return work()
            except OrchestratorError as error:
                if error.code not in _PASSING or time.monotonic() > deadline:
                    raise MigrationFault(Fault.of(error)) from error
            time.sleep(_PAUSE_SECONDS)


def url_of(url: str | Engine) -> str:
    """The URL of the database that an engine speaks to, with its password. Raises `MigrationFault` for what is none."""
    if not isinstance(url, str | Engine):
        raise MigrationFault(
            Fault(
                "trial_database_unknown",
                f"{url!r} is no database: neither a URL nor an engine of SQLAlchemy",
                'Give it "sqlite:////absolute/path.sqlite", or the engine that the test has.',
            )
        )
    return url.url.render_as_string(hide_password=False) if isinstance(url, Engine) else url


def open_test_database(url: str) -> Database:
    """The database of that URL. Raises `MigrationFault` for one that a second connection would not see."""
    try:
        database = open_database("test", url)
    except OrchestratorError as error:
        raise MigrationFault(Fault.of(error)) from None
    if database.dialect.name == "sqlite" and database.engine.url.database in (None, "", ":memory:"):
        raise MigrationFault(
            Fault(
                "trial_database_in_memory",
                "a database in memory is seen by one connection only, and a trial needs several",
                "Give it a file: sqlite:////absolute/path.sqlite, in a temporary directory.",
            )
        )
    if database.dialect.name == "sqlite":
        event.listen(database.engine, "connect", _in_a_hurry)
    return database


def _in_a_hurry(connection: Any, _record: object) -> None:
    """No waiting for the disk: nothing that a trial kills is the machine."""
    connection.execute("PRAGMA synchronous = OFF")
