"""SQLite: one file, one writer at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table, event, text
from sqlalchemy.types import NULLTYPE, TypeEngine

from orchestrator.dialects.dialect import ReadOnly
from orchestrator.dialects.driver_errors import layers, says_disconnected
from orchestrator.dialects.holders import Holder
from orchestrator.dialects.load import NoLoad
from orchestrator.dialects.roles import NoRoles
from orchestrator.dialects.row_order import whole
from orchestrator.dialects.sqlite_triggers import SQLiteTriggers
from orchestrator.dialects.sqlite_values import as_read, refuse_lost_digits
from orchestrator.dialects.tagged import NoSessions
from orchestrator.dialects.times import refuse_losses
from orchestrator.dialects.triggers import Triggers
from orchestrator.domain.errors import Conflict, Invalid

_INSTRUCTIONS_BETWEEN_LOOKS = 10_000  # of SQLite's own machine, which does some millions in a second
BUSY_TIMEOUT_SECONDS = 10.0
_TURN_SECONDS = (0.001, 0.005)
_BUSY = 5
_LOCKED = 6
_READ_ONLY = 8
_CANNOT_OPEN = 14
_VALUE_CODES = frozenset({18, 19, 20})  # too big, a constraint or trigger, of another type
_VALUE_WORDS = ("integer overflow", "malformed JSON", "bad JSON path", "Error binding parameter")
_PRIMARY_CODE = 0xFF  # SQLite's extended result codes carry the primary one in their lowest byte

_UNIQUE_INDEXES = text("""
    SELECT list.name AS index_name, info.name AS column_name
    FROM pragma_index_list(:table) AS list, pragma_index_info(list.name) AS info
    WHERE list."unique" AND NOT list.partial
    ORDER BY list.seq, info.seqno
""")


class SQLite:
    """SQLite 3.35 or newer.

    A transaction that will write begins IMMEDIATE: a deferred one that read first is refused at its first write if
    somebody else wrote in between, and no waiting helps it.
    """

    name = "sqlite"
    tagged = NoSessions()  # here whoever works looks in each transaction whether its epoch was refused
    roles = NoRoles()
    load = NoLoad()
    tells_restores = False
    transactional_ddl = True
    many_writers = False
    triggers: Triggers = SQLiteTriggers()

    def prepare_url(self, url: URL) -> URL:
        if url.drivername not in ("sqlite", "sqlite+pysqlite"):
            raise Invalid(
                "database_url_invalid",
                f"SQLite is driven by Python's own module, not by {url.drivername!r}",
                remedy="Write the URL as sqlite:////absolute/path.db.",
            )
        return url

    def limit_idle(self, engine: Engine, seconds: int) -> None:
        """Nobody could end a session here but its own process."""

    def prepare_engine(self, engine: Engine) -> None:
        event.listen(engine, "connect", _prepare_connection)
        # Before oslo.db's own listener, which then finds a transaction begun and leaves it alone.
        event.listen(engine, "begin", _begin, insert=True)

    def is_pooled(self, engine: Engine) -> bool:
        return False

    def why_read_only(self, engine: Engine) -> ReadOnly | None:
        """The file, and its directory: what protects a transaction from a crash is written beside the file."""
        name = engine.url.database
        if not name or name == ":memory:":
            return None
        options = {key: value for key, value in engine.url.query.items() if key in ("mode", "immutable")}
        if options.get("mode") == "ro" or "immutable" in options:
            return ReadOnly("its URL asks for that", "Take the options mode and immutable out of its URL.")
        file = os.path.abspath(name.removeprefix("file:"))
        directory = os.path.dirname(file)
        if not os.path.isdir(directory):
            return None  # it is unreachable, which opening it says
        for path, what in ((directory, "the directory"), (file, "the file")):
            if os.path.exists(path) and not os.access(path, os.W_OK):
                user = _user()
                return ReadOnly(
                    f"{what} {path} cannot be written by user {user}",
                    f"Let it write there: chown {user} {path}. If the disk went read-only, mount it anew.",
                )
        return None

    def says_pooled(self, error: BaseException) -> bool:
        return False

    def says_read_only(self, error: BaseException) -> bool:
        return any(_primary_code(layer) == _READ_ONLY for layer in layers(error))

    def never_null(self, connection: Connection, table: Table, column: str) -> bool:
        """By SQLite's old mistake a primary key may hold NULL, unless it is the row's own number.

        Not each that looks so is: INTEGER PRIMARY KEY DESC has an index of its own.
        """
        described = sa.text('SELECT name, type, "notnull", pk FROM pragma_table_info(:table)')
        rows = connection.execute(described, {"table": table.name}).all()
        found = next((row for row in rows if row.name == column), None)
        if found is None:
            return False
        if found.notnull or found.pk != 1 or found.type.upper() != "INTEGER" or max(row.pk for row in rows) != 1:
            return bool(found.notnull)
        index = sa.text("SELECT 1 FROM pragma_index_list(:table) WHERE origin = 'pk'")
        return connection.execute(index, {"table": table.name}).first() is None

    def unique_keys(self, connection: Connection, table: Table) -> tuple[tuple[str, ...], ...]:
        rows = connection.execute(_UNIQUE_INDEXES, {"table": table.name})
        indexes: dict[str, list[str | None]] = {}
        for row in rows:
            indexes.setdefault(row.index_name, []).append(row.column_name)
        return tuple(tuple(filter(None, names)) for names in indexes.values() if None not in names)

    def can_be_walked(self, column: Column[Any]) -> bool:
        return True

    def row_after(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return whole(row) > whole(other)

    def row_up_to(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return whole(row) <= whole(other)

    def now(self, connection: Connection) -> float:
        return float(connection.execute(text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())

    def incarnation(self, connection: Connection) -> str:
        """A random value kept in a row. It tells two files apart; a file put back from a copy it cannot tell."""
        found = connection.execute(text("SELECT value FROM orchestrator_incarnation WHERE id = 1")).scalar()
        if found is None:
            connection.execute(
                text("INSERT OR IGNORE INTO orchestrator_incarnation (id, value) VALUES (1, :value)"),
                {"value": f"sqlite.{uuid4().hex}"},
            )
            found = connection.execute(text("SELECT value FROM orchestrator_incarnation WHERE id = 1")).scalar_one()
        return str(found)

    def lock_timeout(self, connection: Connection, seconds: float) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(0, int(seconds * 1000))}")

    @contextmanager
    def session_lock(self, connection: Connection, key: str) -> Iterator[None]:
        """SQLite has no locks by name: an operating system's lock on a file beside the database stands in for one.

        It is gone with the process that holds it, however that ends.
        """
        path = connection.engine.url.database
        if not path or path == ":memory:":
            with _memory_lock(connection, key):
                yield
            return
        digest = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
        lock_path = f"{os.path.abspath(path)}-orchestrator-{digest}.lock"
        descriptor = _lock_file(lock_path)
        if descriptor is None:
            raise _busy(key)
        try:
            yield
        finally:
            os.unlink(lock_path)
            os.close(descriptor)

    def cluster_member(self, connection: Connection) -> None:
        return None

    def end_when_idle(self, connection: Connection, seconds: int | None) -> None:
        """Of members only."""

    def is_transient(self, error: BaseException) -> bool:
        return any(_primary_code(layer) in (_BUSY, _LOCKED) for layer in layers(error))

    def is_cut_off(self, error: BaseException) -> bool:
        return False

    def refuses_value(self, error: BaseException) -> bool:
        return any(_primary_code(layer) in _VALUE_CODES or _says_value(layer) for layer in layers(error))

    def is_given_up(self, error: BaseException) -> bool:
        return False

    def is_done_already(self, error: BaseException) -> bool:
        return False

    def remedy_out_of_cluster(self, error: BaseException) -> None:
        return None

    def is_disconnect(self, error: BaseException) -> bool:
        return says_disconnected(error) or any(_primary_code(layer) == _CANNOT_OPEN for layer in layers(error))

    def session_number(self, connection: Connection) -> None:
        return None

    def lock_holders(
        self, connection: Connection, tables: Sequence[str] = (), *, waiting: int | None = None
    ) -> tuple[Holder, ...]:
        """SQLite knows that somebody has the file locked, not who."""
        path = connection.engine.url.database
        if not path or path == ":memory:":
            return ()
        file = os.path.abspath(path)
        sentence = f"another process has the file {file} open and writes in it; SQLite cannot tell which"
        return (Holder(0, sentence, f"find it with `fuser -v {file}`, and stop it.", certain=False),)

    def end_idle_session(self, connection: Connection, holder: Holder, idle_seconds: float) -> bool:
        return False

    @contextmanager
    def writing(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection, connection.begin():
            yield connection

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[Connection]:
        with self.writing(engine) as connection:
            yield connection

    @contextmanager
    def consulting(self, engine: Engine, seconds: float) -> Iterator[Connection]:
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            give_up_at = time.monotonic() + seconds
            driver.execute("PRAGMA query_only = ON")
            driver.set_progress_handler(lambda: time.monotonic() > give_up_at, _INSTRUCTIONS_BETWEEN_LOOKS)
            try:
                yield connection
            finally:
                driver.set_progress_handler(None, 0)
                driver.execute("PRAGMA query_only = OFF")

    @contextmanager
    def schema_connection(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.execute("PRAGMA foreign_keys = OFF")  # of no effect inside a transaction, so not through SQLAlchemy
            try:
                yield connection
            finally:
                if connection.in_transaction():
                    connection.rollback()
                driver.execute("PRAGMA foreign_keys = ON")
                driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")

    def as_read(self, column: Column[Any]) -> ColumnElement[Any]:
        return as_read(column)

    def check_constraints(self, connection: Connection) -> None:
        """Nobody can ask for it: a deferred foreign key is checked at the commit, which then refuses."""

    def stamped(self, connection: Connection, table: Table) -> tuple[str, ...]:
        return ()

    def update_rows(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> int:
        refuse_losses(table, columns, rows)
        refuse_lost_digits(table, columns, rows)
        if not rows:
            return 0
        matches = [
            sa.type_coerce(table.c[name], NULLTYPE) == sa.bindparam(f"key_{index}", type_=NULLTYPE)
            for index, name in enumerate(key)
        ]
        statement = (
            sa.update(table)
            .where(*matches)
            .values(
                {name: sa.bindparam(f"new_{i}", type_=_transport(table.c[name].type)) for i, name in enumerate(columns)}
            )
        )
        names = [f"key_{i}" for i in range(len(key))] + [f"new_{i}" for i in range(len(columns))]
        return connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows]).rowcount

    def differing_keys(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        refuse_losses(table, columns, rows)
        refuse_lost_digits(table, columns, rows)
        if not rows:
            return ()
        given = sa.table(  # no `Table`: each would be another one, for which all is compiled, and kept, anew
            "orchestrator_given",
            *(sa.column(f"key_{i}", NULLTYPE) for i in range(len(key))),
            *(sa.column(f"new_{i}", _transport(table.c[name].type)) for i, name in enumerate(columns)),
        )
        names = [column.name for column in given.columns]
        # Columns of no type take values as they are, so that only the stored column's type has a say in comparing.
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {given.name} ({', '.join(names)})")
        connection.execute(sa.insert(given), [dict(zip(names, row, strict=True)) for row in rows])
        keys = [given.c[f"key_{i}"] for i in range(len(key))]
        # A subquery for each given row keeps SQLite from walking the whole table instead.
        stored = sa.select(sa.literal(1)).where(
            *(sa.type_coerce(table.c[name], NULLTYPE) == keys[i] for i, name in enumerate(key)),
            sa.or_(*(self.differs(table.c[name], given.c[f"new_{i}"]) for i, name in enumerate(columns))),
        )
        query = sa.select(*keys).where(stored.correlate(given).exists()).order_by(sa.literal_column("rowid"))
        found = tuple(tuple(row) for row in connection.execute(query))
        connection.exec_driver_sql(f"DROP TABLE {given.name}")
        return found

    def differs(self, column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
        if isinstance(column.type, sa.JSON):
            return sa.func.json(column).is_distinct_from(sa.func.json(value))
        if isinstance(column.type, sa.String):
            return column.collate("BINARY").is_distinct_from(value)
        return column.is_distinct_from(value)


def _transport(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """None is NULL in a column of JSON too."""
    return sa.JSON(none_as_null=True) if isinstance(kind, sa.JSON) else kind


def _prepare_connection(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if _primary_code(error) not in (_BUSY, _LOCKED):
            raise
        # Somebody is using the file in its old mode right now; it works that way too, with more waiting.


def _begin(connection: Connection) -> None:
    """Begin by what the driver says of its state. A mark kept beside it may be wrong after a failure, and what then
    runs without a transaction, or in one of SQLite's lazy ones, fails or commits by itself."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    if driver.in_transaction:
        driver.rollback()
    how = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    if how == "DEFERRED":
        connection.exec_driver_sql("BEGIN DEFERRED")
    else:
        _begin_in_turn(connection, driver, how)
    connection.info["in_transaction"] = True  # tells oslo.db's listener that there is nothing left to do


def _begin_in_turn(connection: Connection, driver: sqlite3.Connection, how: str) -> None:
    """Begin as soon as nobody else writes.

    SQLite's own waiting sleeps longer the longer it has waited, up to a tenth of a second, so that those who came last
    are served first and a few wait for seconds. Here all ask equally often.
    """
    (longest,) = driver.execute("PRAGMA busy_timeout").fetchone()
    give_up_at = time.monotonic() + longest / 1000
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < give_up_at:
            try:
                driver.execute(f"BEGIN {how}")
                return
            except sqlite3.OperationalError as error:
                if _primary_code(error) != _BUSY:
                    break
            time.sleep(random.uniform(*_TURN_SECONDS))
        connection.exec_driver_sql(f"BEGIN {how}")  # what is wrong is said as of every statement
    finally:
        driver.execute(f"PRAGMA busy_timeout = {longest}")


def _user() -> str:
    """Who we are, by name or else by number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _primary_code(error: BaseException) -> int | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return None if code is None else int(code) & _PRIMARY_CODE
    return None


def _says_value(error: BaseException) -> bool:
    """These errors have no code of their own. A number beyond 64 bits is not even sent."""
    is_of_server = isinstance(error, sqlite3.Error) and str(error).startswith(_VALUE_WORDS)
    return is_of_server or isinstance(error, OverflowError)


def _lock_file(path: str) -> int | None:
    """Lock the file of that name, made if need be. Returns its descriptor, or None while somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # the holder before us removed the file that we had opened; there may be a new one


_memory_keys: set[tuple[int, str]] = set()
_memory_guard = threading.Lock()


@contextmanager
def _memory_lock(connection: Connection, key: str) -> Iterator[None]:
    """A database in memory is known to this process only, so a lock of this process is enough."""
    mark = (id(connection.engine), key)
    with _memory_guard:
        if mark in _memory_keys:
            raise _busy(key)
        _memory_keys.add(mark)
    try:
        yield
    finally:
        with _memory_guard:
            _memory_keys.discard(mark)


def _busy(key: str) -> Conflict:
    return Conflict(
        "lock_busy",
        f"another process holds the lock {key!r} of this database",
        remedy="It is free as soon as that process is done or has ended; repeat then.",
        lock=key,
    )
