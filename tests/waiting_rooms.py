"""Waiting rooms: a table that we want, and somebody else who has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects import Database
from orchestrator.dialects.holders import Holder
from tests.daemon.daemons import until


def until_idle(holders: Callable[[], tuple[Holder, ...]]) -> tuple[Holder, ...]:
    """The holders, as soon as there are some and none of them works: MariaDB calls a session idle only after it has
    answered it, and shows transactions as they were a moment ago."""

    def found() -> tuple[Holder, ...] | None:
        holding = holders()
        return holding if holding and all(each.idle_seconds is not None for each in holding) else None

    idle: tuple[Holder, ...] = until(found, "the holders are idle")
    return idle


@dataclass
class Session:
    """Somebody's session that has locked the table."""

    connection: sa.Connection
    number: int

    def rollback(self) -> None:
        """Let go of the table."""
        if self.connection.in_transaction():
            self.connection.rollback()

    def is_alive(self) -> bool:
        return bool(self.connection.execute(sa.text("SELECT 1")).scalar_one())


@dataclass
class Busy:
    """Somebody's session that runs a statement until it is let finish."""

    number: int
    gate: sa.Connection

    def finish(self) -> None:
        """Give the statement what it waits for, or cancel it."""
        if self.gate.dialect.name == "postgresql":
            self.gate.execute(sa.text("SELECT pg_cancel_backend(:number)"), {"number": self.number})
        if self.gate.in_transaction():
            self.gate.rollback()


@dataclass
class Room:
    """A database with a table `t`: as we open it, and as others do."""

    ours: Database
    others: Database
    granted: list[Database] = field(default_factory=list)

    @property
    def is_postgresql(self) -> bool:
        return self.ours.dialect.name == "postgresql"

    def end(self, number: int) -> str:
        """The command that ends a session."""
        return f"SELECT pg_terminate_backend({number});" if self.is_postgresql else f"KILL {number};"

    @contextmanager
    def idle_session(self, whose: Database | None = None) -> Iterator[Session]:
        """Somebody read the table, and idles in his transaction."""
        with (whose or self.others).engine.connect() as connection:
            number = (whose or self.others).dialect.session_number(connection)
            assert number is not None
            connection.execute(sa.text("SELECT * FROM t WHERE secret = 'let me in'")).all()
            try:
                yield Session(connection, number)
            finally:
                connection.invalidate()

    @contextmanager
    def busy_session(self) -> Iterator[Busy]:
        """Somebody has read the table, and runs a statement that takes its time."""
        with self.ours.engine.connect() as gate, self.others.engine.connect() as connection:
            number = self.others.dialect.session_number(connection)
            assert number is not None
            connection.execute(sa.text("SELECT * FROM t")).all()
            if self.is_postgresql:
                statement = "SELECT pg_sleep(60)"  # it waits for nobody
            else:
                gate.execute(sa.text("INSERT INTO gates VALUES (1)"))
                statement = "SELECT * FROM gates WHERE id = 1 FOR UPDATE"
                connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 60")

            def work() -> None:
                with suppress(SQLAlchemyError, DBError):  # somebody may end it as soon as it idles
                    connection.exec_driver_sql(statement)
                    connection.rollback()

            thread = threading.Thread(target=work)
            thread.start()
            busy = Busy(number, gate)
            try:
                yield busy
            finally:
                busy.finish()
                thread.join()
                connection.invalidate()

    def others_who_may_look(self) -> Database:
        """The others, who may own the table, and see what all sessions do."""
        name = self.others.engine.url.username
        with self.ours.writing() as connection:
            if self.is_postgresql:
                connection.exec_driver_sql(f"GRANT pg_read_all_stats TO {name}")
                connection.exec_driver_sql(f"ALTER TABLE t OWNER TO {name}")
            else:
                connection.exec_driver_sql(f"GRANT PROCESS ON *.* TO '{name}'@'%%'")
        self.others.engine.dispose()  # some rights are looked at when a session begins
        return self.others


@contextmanager
def waiting_room(ours: Database, others: Database) -> Iterator[Room]:
    """The table and the other user, for as long as a test lasts."""
    name = others.engine.url.username
    is_postgresql = ours.dialect.name == "postgresql"
    with ours.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY, secret VARCHAR(20))"))
        connection.execute(sa.text("CREATE TABLE gates (id INTEGER PRIMARY KEY)"))
        if is_postgresql:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
            connection.exec_driver_sql(f"GRANT ALL ON t, gates TO {name}")
            connection.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {name}")
        else:
            connection.exec_driver_sql(f"CREATE USER '{name}'@'%%'")
            connection.exec_driver_sql(f"GRANT ALL ON {ours.engine.url.database}.* TO '{name}'@'%%'")
    yield Room(ours, others)
    others.engine.dispose()
    with ours.writing() as connection:
        if is_postgresql:
            end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :name"
            connection.execute(sa.text(end), {"name": name})
            connection.exec_driver_sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")
        else:
            connection.exec_driver_sql(f"DROP USER '{name}'@'%%'")
