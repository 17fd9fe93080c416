"""A service of the old release in a process of its own, that can be held in the middle of a transaction."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from orchestrator.client import Member
from orchestrator.client.sqlalchemy import guard
from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import loaded, until
from tests.faults.points import is_stopped

FLEET, NAME = "inventory-api", "old-1"
STALE = "written by nobody"


class HeldService:
    """It joins, and begins a transaction when it is told. What came of it is in files of its directory."""

    def __init__(self, daemon_url: str, database_url: str, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self._process = loaded().Process(target=_serve, args=(daemon_url, database_url, str(directory)))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._until("joined")

    def begin(self) -> None:
        """Write a row as the old release does, and do not commit it yet."""
        (self._directory / "begin").touch()
        self._until("begun")

    def let_commit(self) -> None:
        """It is about to send its commit, as soon as it runs and the network lets it."""
        (self._directory / "let-commit").touch()

    def outcome(self, what: str) -> str:
        """What came of its commit, or of the next transaction that it tried: `done`, or what stopped it."""
        return until(lambda: self._said(what), f"{what} has ended")  # type: ignore[no-any-return]

    def stop(self) -> None:
        """SIGSTOP, and return when it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: is_stopped(self.pid), "the service has stopped")

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever it does."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.join()

    def _until(self, what: str) -> None:
        until(lambda: (self._directory / what).exists() or self._said("died"), f"the service has {what}")
        assert not self._said("died"), self._said("died")

    def _said(self, what: str) -> str:
        with suppress(FileNotFoundError):
            return (self._directory / what).read_text()
        return ""


def _serve(daemon_url: str, database_url: str, directory: str) -> None:
    place = Path(directory)

    def wait_for(name: str) -> None:
        while not (place / name).exists():
            time.sleep(0.02)

    def say(name: str, what: str) -> None:
        written = place / f"{name}.new"
        written.write_text(what)
        written.rename(place / name)

    try:
        engine = sa.create_engine(database_url, poolclass=sa.QueuePool)
        member = Member(daemon_url, schema=SCHEMA, fleet=FLEET, release="1", host="test", instance_id=NAME)
        guard(engine, member)
        member.join(wait_seconds=60)
        say("joined", "yes")
        wait_for("begin")
        insert = sa.text("INSERT INTO customers (name) VALUES (:name)")
        with member.transaction(), engine.connect() as connection:
            connection.execute(insert, {"name": STALE})
            say("begun", "yes")
            wait_for("let-commit")
            # As if it had been held right after every check of its own, with the commit on its way.
            driver = connection.connection.dbapi_connection
            assert driver is not None
            try:
                driver.commit()
            except engine.dialect.loaded_dbapi.Error as error:
                say("commit", f"{type(error).__name__}: {error}")
                connection.invalidate()
            else:
                say("commit", "done")
        try:
            with member.transaction(), engine.begin() as connection:
                connection.execute(insert, {"name": STALE})
        except Exception as error:
            say("again", f"{type(error).__name__}: {error}")
        else:
            say("again", "done")
    except BaseException as error:
        say("died", repr(error))
        raise
