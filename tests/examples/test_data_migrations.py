"""The example's data migrations on trial, on the tables that its own revisions make and beside its own code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Table

from orchestrator.demo.example import migrations_directory, service_module
from orchestrator.testing import DataMigrationTrial, Writer, expand

v2 = service_module("inventory_v2")
NAMES = ("Ada Lovelace", "Plato", "Juana Inés de la Cruz", "", " leading", "two  blanks", "at its end ")
STATUSES = ("available", "reserved", "sold", "retired")


@dataclass(frozen=True)
class Behaviour:
    """How release 2 behaves."""

    writes_old: bool
    reads_new: bool = False


def on_each_database(names: Iterable[str]) -> pytest.MarkDecorator:
    """Each of them on each kind of database; without `kill` each on one, SQLite and PostgreSQL in turn."""
    usual = dict(zip(names, ("sqlite", "postgresql"), strict=True))
    return pytest.mark.parametrize(
        ("expanded", "name"),
        [
            pytest.param(kind, name, marks=() if usual[name] == kind else pytest.mark.kill)
            for kind in ("sqlite", "postgresql", "mysql")
            for name in usual
        ],
        indirect=["expanded"],
    )


@pytest.fixture
def expanded(request: pytest.FixtureRequest) -> sa.Engine:
    """Tables as release 2 expands them, with rows in both shapes."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    url = sa.make_url(create())
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
    engine = sa.create_engine(url.set(drivername=drivers.get(request.param, request.param)), poolclass=sa.NullPool)
    expand(engine, migrations_directory(), "2")
    with engine.begin() as connection:
        for name in NAMES * 2:
            connection.execute(sa.insert(v2.customers).values(v2.name_columns(Behaviour(writes_old=True), name)))
        for at, status in enumerate(STATUSES * 3):
            columns = v2.status_columns(Behaviour(writes_old=True), status)
            connection.execute(sa.insert(v2.items).values(title=f"item {at}", **columns))
    return engine


Columns = Callable[[Random], dict[str, Any]]


def updates(table: Table, columns: Columns) -> Writer:
    """A transaction that gives some row other values."""

    def write(connection: Connection, random: Random) -> None:
        one = table.c.id == random.randint(1, 12)
        connection.execute(sa.update(table).where(one).values(columns(random)))

    return write


def named(*, new: bool, old: bool) -> Writer:
    def columns(random: Random) -> dict[str, Any]:
        given: dict[str, Any] = v2.name_columns(Behaviour(writes_old=old), random.choice(NAMES))
        return given if new else {"name": given["name"]}

    return updates(v2.customers, columns)


def with_status(*, new: bool, old: bool) -> Writer:
    def columns(random: Random) -> dict[str, Any]:
        given: dict[str, Any] = v2.status_columns(Behaviour(writes_old=old), random.choice(STATUSES))
        return given if new else {"status": given["status"]}

    return updates(v2.items, columns)


FORWARD = {"split_name": named, "link_status": with_status}
BACK = {"join_name": named, "name_status": with_status}


@on_each_database(FORWARD)
def test_rows_are_moved_into_the_new_shape(expanded: sa.Engine, name: str) -> None:
    """Old names are never NULL while rows move: release 1 cannot, and release 2 writes both shapes."""
    DataMigrationTrial(
        expanded,
        migrations_directory() / "data" / f"{name}.py",
        writes_one_shape=FORWARD[name](new=False, old=True),
        writes_both_shapes=FORWARD[name](new=True, old=True),
        never_null=["name"] if name == "split_name" else [],
    ).check()


@on_each_database(BACK)
def test_rows_are_moved_back_into_the_old_shape(expanded: sa.Engine, name: str) -> None:
    DataMigrationTrial(
        expanded,
        migrations_directory() / "data" / f"{name}.py",
        is_reverse=True,
        writes_one_shape=BACK[name](new=True, old=False),
        writes_both_shapes=BACK[name](new=True, old=True),
    ).check()
