"""A managed database in backfill, and data migrations written to files as their authors do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.bookkeeping.tables import metadata
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.view import Copy, MigrationFacts, MigrationState

SCHEMA = "inventory"
UPGRADE = 7


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mysql", id="mariadb")])
def new_database_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes new databases of one kind, without rows; the test runs once per kind."""
    create: Callable[..., str] = request.getfixturevalue(f"new_{request.param}_url")
    if request.param == "postgresql":
        template = request.getfixturevalue("postgresql_template")(metadata)
        return lambda: create(template)
    return create


@dataclass
class Site:
    """One database with one schema, as a data migration finds it."""

    database: Database
    directory: Path
    runner: DataMigrationRunner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = self.another_runner()

    def another_runner(self) -> DataMigrationRunner:
        """As a second daemon, or the same after a restart."""
        return DataMigrationRunner(self.database, SCHEMA, self.directory)

    def execute(self, *statements: str) -> None:
        with self.database.writing() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def file(self, name: str) -> Path:
        return self.directory / "data" / f"{name}.py"

    def write(self, name: str, body: str) -> Path:
        """A file with one subclass whose body is given."""
        head = "from orchestrator.data_migrations import DataMigration\n\n\nclass Migration(DataMigration):\n"
        lines = dedent(body).strip().splitlines()
        self.file(name).write_text(head + "".join(f"    {line}\n" if line else "\n" for line in lines))
        return self.file(name)

    def release(self, *names: str) -> Release:
        return Release("2", data_migrations=names)

    def enter(
        self,
        phase: Phase,
        *,
        fence: Phase | None = None,
        upgrade_id: int | None = UPGRADE,
        reversing: bool = False,
    ) -> None:
        """Publish a phase, or fence, in this database."""
        with self.database.writing() as connection:
            known = read_copy(connection, SCHEMA)
            copy = Copy(
                upgrade_id,
                phase,
                phase if fence is None else fence,
                1 if known is None else known.revision + 1,
                self.database.dialect.incarnation(connection),
                reversing=reversing,
            )
            write_copy(connection, SCHEMA, copy, now=0.0)

    def lose_incarnation(self) -> None:
        """As after a failover to a server that missed the last commits."""
        with self.database.writing() as connection:
            known = read_copy(connection, SCHEMA)
            assert known is not None
            write_copy(connection, SCHEMA, replace(known, incarnation="another"), now=0.0)

    def start(self, name: str, body: str) -> None:
        """Write, enrol, and pass the first call, which checks and counts."""
        self.write(name, body)
        self.runner.enrol(self.release(name), UPGRADE)
        assert self.runner.run_batch(name, UPGRADE, 1).state is MigrationState.RUNNING

    def facts(self, name: str) -> MigrationFacts:
        return next(facts for facts in self.runner.progress() if facts.name == name)

    def run(self, name: str, *, batch_rows: int = 10, batches: int = 1000) -> MigrationFacts:
        """Batch after batch until it ends."""
        for _ in range(batches):
            facts = self.runner.run_batch(name, UPGRADE, batch_rows)
            if facts.state in (MigrationState.COMPLETE, MigrationState.FAILED):
                return facts
        raise AssertionError(f"{name} did not end within {batches} batches: {self.facts(name)}")


def new_site(database: Database, tmp_path: Path) -> Site:
    directory = tmp_path / "migrations"
    (directory / "data").mkdir(parents=True)
    with database.writing() as connection:
        metadata.create_all(connection)
    site = Site(database, directory)
    site.enter(Phase.BACKFILL)
    return site


def add_customers(site: Site) -> Site:
    """25 customers, whose new columns hold stale values here and there."""
    site.execute(
        "CREATE TABLE customers"
        " (id INTEGER PRIMARY KEY, name VARCHAR(40), first_name VARCHAR(20), last_name VARCHAR(20))"
    )
    with site.database.writing() as connection:
        connection.execute(
            sa.text("INSERT INTO customers VALUES (:id, :name, :first, NULL)"),
            [
                {"id": 3 * n, "name": f"First{n} Last{n}", "first": "stale" if n % 4 == 0 else None}
                for n in range(1, 26)
            ],
        )
    return site


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return new_site(database, tmp_path)


@pytest.fixture
def customers(site: Site) -> Site:
    return add_customers(site)


@pytest.fixture
def sqlite_site(open_database: Callable[[str, str], Database], sqlite_url: str, tmp_path: Path) -> Site:
    return new_site(open_database("main", sqlite_url), tmp_path)


@pytest.fixture
def postgresql_site(open_database: Callable[[str, str], Database], postgresql_url: str, tmp_path: Path) -> Site:
    return new_site(open_database("main", postgresql_url), tmp_path)


@pytest.fixture
def mysql_site(open_database: Callable[[str, str], Database], mysql_url: str, tmp_path: Path) -> Site:
    return new_site(open_database("main", mysql_url), tmp_path)


@pytest.fixture(params=["postgresql_site", "mysql_site"])
def served_site(request: pytest.FixtureRequest) -> Site:
    """On a server, where sessions meet at rows and not at the whole database."""
    site: Site = request.getfixturevalue(request.param)
    return site


@pytest.fixture
def served_customers(served_site: Site) -> Site:
    return add_customers(served_site)


@pytest.fixture
def before(site: Site) -> Iterator[Callable[[str, Callable[[Any], None]], None]]:
    """Runs something in the same transaction just before the first statement that begins so."""
    listeners: list[Any] = []

    def arrange(beginning: str, act: Callable[[Any], None]) -> None:
        done: list[bool] = []

        def listener(_connection: Any, cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith(beginning) and not done:
                done.append(True)
                act(cursor)

        sa.event.listen(site.database.engine, "before_cursor_execute", listener)
        listeners.append(listener)

    yield arrange
    for listener in listeners:
        sa.event.remove(site.database.engine, "before_cursor_execute", listener)
