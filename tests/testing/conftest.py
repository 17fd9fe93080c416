"""A database with customers in it, and data migrations written to files as their authors do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from orchestrator.testing import DataMigrationTrial, MigrationFault

ROWS = 12

_FIXTURES = {"mariadb": "mysql"}

SPLIT = """
    table = "customers"
    reads = ("name",)
    writes = ("first_name", "last_name")

    def transform(self, row):
        first_name, _, last_name = (row["name"] or "").partition(" ")
        return {"first_name": first_name, "last_name": last_name}
"""


@dataclass(frozen=True)
class Shop:
    """A test database of a service, and its migration tree."""

    url: str
    directory: Path

    def write(self, name: str, body: str, head: str = "") -> Path:
        """A file with one subclass whose body is given."""
        text = f"from orchestrator.data_migrations import DataMigration\n{head}\n\nclass Migration(DataMigration):\n"
        file = self.directory / "data" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines()))
        return file

    def execute(self, *statements: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.exec_driver_sql(query)]
        engine.dispose()
        return found

    def trial(self, body: str = SPLIT, *, head: str = "", **given: Any) -> DataMigrationTrial:
        return DataMigrationTrial(self.url, self.write("split_name", body, head), **given)


def make_shop(url: str, directory: Path) -> Shop:
    shop = Shop(driver_url(url), directory)
    shop.execute(
        "CREATE TABLE customers"
        " (id INTEGER PRIMARY KEY, name VARCHAR(40), first_name VARCHAR(20), last_name VARCHAR(20))",
        *(f"INSERT INTO customers VALUES ({3 * n}, 'First{n} Last{n}', 'stale', NULL)" for n in range(1, ROWS + 1)),
    )
    return shop


def driver_url(url: str) -> str:
    """As a service writes it: with the driver that is installed here."""
    made = sa.make_url(url)
    driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}[made.get_backend_name()]
    return made.set(drivername=driver).render_as_string(hide_password=False)


@pytest.fixture
def shop(sqlite_url: str, tmp_path: Path) -> Shop:
    """On SQLite, where most authors try things out."""
    return make_shop(sqlite_url, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """The test runs once per kind of database."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{_FIXTURES.get(request.param, request.param)}_url")
    return make_shop(create(), tmp_path)


def fault_of(check: Callable[[], object]) -> MigrationFault:
    """What a check says is wrong."""
    with pytest.raises(MigrationFault) as raised:
        check()
    return raised.value


def _name(random: Random) -> str:
    return f"New{random.randrange(100)} Name{random.randrange(100)}"


def old_release(connection: Connection, random: Random) -> None:
    """Knows only the name."""
    named = {"id": 3 * random.randint(1, ROWS), "name": _name(random)}
    connection.execute(sa.text("UPDATE customers SET name = :name WHERE id = :id"), named)


def new_release(connection: Connection, random: Random) -> None:
    """Writes both shapes: renames, and now and then a new customer."""
    name = _name(random)
    first_name, _, last_name = name.partition(" ")
    named = {"name": name, "first": first_name, "last": last_name}
    if random.random() < 0.2:
        number = random.randrange(1_000, 1_000_000_000)
        insert = "INSERT INTO customers (id, name, first_name, last_name) VALUES (:id, :name, :first, :last)"
        connection.execute(sa.text(insert), {"id": number, **named})
        return
    number = 3 * random.randint(1, ROWS)
    update = "UPDATE customers SET name = :name, first_name = :first, last_name = :last WHERE id = :id"
    connection.execute(sa.text(update), {"id": number, **named})
