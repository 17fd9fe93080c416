"""Databases: how one is opened, and what differs between the kinds. One file per kind; nobody else asks which it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from oslo_db import exception as oslo_exception
from oslo_db.sqlalchemy import engines
from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from orchestrator.dialects.driver_errors import reason
from orchestrator.dialects.endpoints import ReadOnly
from orchestrator.dialects.holders import Holder
from orchestrator.dialects.mysql import MySQL
from orchestrator.dialects.postgresql import PostgreSQL
from orchestrator.dialects.roles import Roles
from orchestrator.dialects.sqlite import SQLite
from orchestrator.dialects.tagged import Tagged
from orchestrator.dialects.triggers import Triggers
from orchestrator.domain.errors import Conflict, Invalid, OrchestratorError, Unavailable

__all__ = ["Database", "Dialect", "Holder", "open_database", "reason", "triggers_of"]


class Dialect(Protocol):
    """What one kind of database does in its own way."""

    name: str
    transactional_ddl: bool

    @property
    def tagged(self) -> Tagged:
        """Sessions that carry the tag of an instance."""
        ...

    @property
    def roles(self) -> Roles:
        """The roles, or users, that services work under."""
        ...

    tells_restores: bool  # a database that was restored has another incarnation, at least after some restores
    triggers: Triggers

    def prepare_url(self, url: URL) -> URL:
        """The URL with our driver and defaults filled in. Raises `Invalid` where it cannot be used."""
        ...

    def prepare_engine(self, engine: Engine) -> None:
        """Settings that every connection gets. Does not connect."""
        ...

    def limit_idle(self, engine: Engine, seconds: int) -> None:
        """From now on, let the server end a session of ours that does nothing in an open transaction for so long.

        Whoever is paused then holds no locks for longer. Not where the server has no such limit. Does not connect.
        """
        ...

    def is_pooled(self, engine: Engine) -> bool:
        """Whether a pooler gives the statements of one connection to several sessions."""
        ...

    def why_read_only(self, engine: Engine) -> ReadOnly | None:
        """Why nothing can be written, and what to do about it; None where it can."""
        ...

    def says_pooled(self, error: BaseException) -> bool:
        """Whether a pooler refused what only a session of one's own can do."""
        ...

    def says_read_only(self, error: BaseException) -> bool:
        """Whether a write was refused because nothing can be written."""
        ...

    def never_null(self, connection: Connection, table: Table, column: str) -> bool:
        """Whether the database itself keeps NULL out of this column."""
        ...

    def unique_keys(self, connection: Connection, table: Table) -> tuple[tuple[str, ...], ...]:
        """Lists of columns that an index keeps unique over all rows and at every statement, in the index's order."""
        ...

    def can_be_walked(self, column: Column[Any]) -> bool:
        """Whether values of this column, as the driver reads them, compare in the order of the column's index."""
        ...

    def row_after(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """True where `row` comes after `other` in the order of an index over its columns, which the database uses."""
        ...

    def row_up_to(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """True where `row` comes before `other`, or is it."""
        ...

    def now(self, connection: Connection) -> float:
        """The database's time: seconds since the epoch, UTC."""
        ...

    def incarnation(self, connection: Connection) -> str:
        """The identity of this database's history: it changes when the history forks (failover, restore to a point)."""
        ...

    def lock_timeout(self, connection: Connection, seconds: float) -> None:
        """Let no statement wait longer than this for a lock.

        Holds in this transaction; on an autocommit connection, until it is given back.
        """
        ...

    def session_lock(self, connection: Connection, key: str) -> AbstractContextManager[None]:
        """Hold the lock of that name as long as the block runs and the session lives.

        Raises `Conflict` (code `lock_busy`) at once if another session holds it. Leaves no transaction open.
        """
        ...

    def cluster_member(self, connection: Connection) -> str | None:
        """The member of a cluster that this session is of, in its present life; None where there is no cluster, and the
        whole database knows who holds the lock of a session."""
        ...

    def end_when_idle(self, connection: Connection, seconds: int | None) -> None:
        """Let its server end the session of a member as soon as it is asked nothing for so long; None: as it was.

        Holds until the connection is given back.
        """
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same transaction may succeed when repeated: lock timeout, deadlock, serialization failure."""
        ...

    def is_cut_off(self, error: BaseException) -> bool:
        """Whether the server ended a statement that ran for too long, or that somebody had ended."""
        ...

    def is_given_up(self, error: BaseException) -> bool:
        """Whether a transaction was given up in favour of another one: a deadlock, or a failed certification or
        serialization. Nobody holds anything for long: it may be repeated at once."""
        ...

    def is_done_already(self, error: BaseException) -> bool:
        """Whether DDL that commits by itself was refused because what it makes is there, or what it drops is not."""
        ...

    def remedy_out_of_cluster(self, error: BaseException) -> str | None:
        """What to do where a member answered that does not belong to the part of its cluster that may work; None for
        every other error."""
        ...

    def is_disconnect(self, error: BaseException) -> bool:
        """Whether the server went away or could not be reached."""
        ...

    def session_number(self, connection: Connection) -> int | None:
        """By what number the server knows this connection's session, None where there is no server.

        Leaves no transaction open.
        """
        ...

    def lock_holders(
        self, connection: Connection, tables: Sequence[str] = (), *, waiting: int | None = None
    ) -> tuple[Holder, ...]:
        """Other sessions that the session `waiting` waits for; else those that hold locks on these tables (on any,
        when none is given). Who works or idles longest comes first.

        Empty where this kind of database cannot tell.
        """
        ...

    def end_idle_session(self, connection: Connection, holder: Holder, idle_seconds: float) -> bool:
        """End the session if it still idles in its transaction, for that long already. Returns whether it did.

        Raises `Forbidden` (code `session_stays`) where we may not.
        """
        ...

    def writing(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A transaction that is going to write: it is never promoted, so it cannot fail for having read first."""
        ...

    def snapshot(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A transaction that sees one moment in all its reads, and may write rows that it locks before it reads.

        A collision is a transient error where the database notices it.
        """
        ...

    def consulting(self, engine: Engine, seconds: float) -> AbstractContextManager[Connection]:
        """A transaction for somebody else's query: it can write nothing, and no statement runs longer than this."""
        ...

    def schema_connection(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A connection for DDL, with no transaction begun.

        On SQLite, foreign keys are not enforced on it: a table that is rebuilt is dropped on the way, which would
        delete the rows that refer to it.
        """
        ...

    def update_rows(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> int:
        """Write `columns` of many rows in bulk; each row is its key values, then its new values. Returns rows hit.

        `within` are conditions that all these rows meet; they keep a database from looking through the whole table.
        """
        ...

    def differing_keys(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        """Keys of the rows, all given as for `update_rows`, whose stored values are not these values."""
        ...

    def differs(self, column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
        """True where `column` does not hold what storing `value` in it would leave there. NULL equals NULL."""
        ...


# oslo.db logs the traceback of every error that it has no class for, and raises it too. Raising is enough.
logging.getLogger("oslo_db.sqlalchemy.exc_filters").setLevel(logging.CRITICAL)
# A pool shows a traceback of every connection that it finds dead when it is given back. It makes another one.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

_DIALECTS: dict[str, Dialect] = {"sqlite": SQLite(), "postgresql": PostgreSQL(), "mysql": MySQL()}
_ALIASES = {"postgres": "postgresql", "mariadb": "mysql"}


@dataclass(frozen=True, slots=True)
class Database:
    """One database, ready for use. Nothing is connected before the first statement."""

    name: str
    engine: Engine
    dialect: Dialect

    @property
    def place(self) -> str:
        """The URL as people may see it: without its password, and without options, which may hold another."""
        url = self.engine.url
        socket = {name: url.query[name] for name in ("host", "unix_socket") if name in url.query}
        return url.set(drivername=url.get_backend_name(), query=socket).render_as_string(hide_password=True)

    def on_server(self, host: str, port: int) -> Database:
        """The same database on another server of its cluster."""
        url = self.engine.url.difference_update_query(["host", "unix_socket"]).set(host=host, port=port)
        return open_database(self.name, url.render_as_string(hide_password=False))

    def refuse_pooler(self) -> None:
        """Raise `Conflict` (code `database_pooled`) where locks and sessions would mean nothing. Some queries long."""
        with self._explained():
            is_pooled = self.dialect.is_pooled(self.engine)
        if is_pooled:
            raise self._pooled()

    def refuse_read_only(self) -> None:
        """Raise `Unavailable` (code `database_read_only`) where nothing can be written now: a replica, most often."""
        with self._explained():
            found = self.dialect.why_read_only(self.engine)
        if found is not None:
            raise self._read_only(found)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads; rolled back at the end. Raises `Unavailable` where there is no connection."""
        with self._explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end. Raises `Unavailable`: no connection, or no lock in time."""
        with self._explained(), self.dialect.writing(self.engine) as connection:
            yield connection

    @contextmanager
    def consulting(self, seconds: float) -> Iterator[Connection]:
        """As `reading`, for a query that is not ours: nothing can be written, and none runs longer than this."""
        with self._explained(), self.dialect.consulting(self.engine, seconds) as connection:
            yield connection

    @contextmanager
    def autocommitting(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction of its own. Raises `Unavailable`."""
        options = {"isolation_level": "AUTOCOMMIT"}
        with self._explained(), self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As `writing`, and all its reads see one moment."""
        with self._explained(), self.dialect.snapshot(self.engine) as connection:
            yield connection

    def explain(self, error: BaseException) -> OrchestratorError | None:
        """The error in our words, where it says that the database is away, busy, read-only, out of its cluster, or
        behind a pooler; None for every other error."""
        if self.dialect.says_pooled(error):
            return self._pooled()
        if self.dialect.says_read_only(error):
            return self._read_only(ReadOnly(reason(error, self.engine.url)))
        out_of_cluster = self.dialect.remedy_out_of_cluster(error)
        if out_of_cluster is not None:
            return Unavailable(
                "database_unreachable",
                f"database {self.name} at {self.place} does not work: this node is not in the primary component of its "
                f"cluster ({reason(error, self.engine.url)})",
                remedy=out_of_cluster,
                database=self.name,
            )
        if self.dialect.is_disconnect(error):
            return Unavailable(
                "database_unreachable",
                f"database {self.name} at {self.place} does not answer: {reason(error, self.engine.url)}",
                remedy="Start the database or mend its URL; it is tried again.",
                database=self.name,
            )
        if self.dialect.is_transient(error):
            return Unavailable(
                "database_busy",
                f"database {self.name} refused for now: {reason(error, self.engine.url)}",
                remedy="Nothing was changed; it is tried again. If it stays so, end the session that holds the lock.",
                database=self.name,
            )
        return None

    def _pooled(self) -> Conflict:
        return Conflict(
            "database_pooled",
            f"database {self.name} at {self.place} is behind a pooler that gives each transaction another session: "
            "locks and the end of a session mean nothing there",
            remedy="Let its URL name the server itself, or a pool with pool_mode = session.",
            database=self.name,
        )

    def _read_only(self, found: ReadOnly) -> Unavailable:
        return Unavailable(
            "database_read_only",
            f"database {self.name} at {self.place} takes no writes: {found.why}",
            remedy=found.remedy,
            database=self.name,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, oslo_exception.DBError) as error:
            explained = self.explain(error)
            if explained is None:
                raise
            raise explained from error


def triggers_of(kind: str) -> Triggers:
    """How that kind of database, by SQLAlchemy's name of it, has triggers. Raises `Invalid`."""
    dialect = _DIALECTS.get(_ALIASES.get(kind, kind))
    if dialect is None:
        raise Invalid(
            "database_unsupported",
            f"this version makes no triggers on databases of kind {kind!r}",
            remedy=f"It makes them on: {', '.join(sorted(_DIALECTS))}.",
        )
    return dialect.triggers


def open_database(name: str, url: str) -> Database:
    """The database of that URL. Does not connect.

    Raises `Invalid`: code `database_url_invalid` for a URL that cannot be read, `database_unsupported` for a kind of
    database, or a driver, that this version does not know. The URL's password is never part of a message.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise Invalid(
            "database_url_invalid",
            f"the URL of database {name} cannot be read",
            remedy="Write it as sqlite:////absolute/path.db, postgresql://user:password@host:5432/name or "
            "mysql://user:password@host:3306/name; in a password characters such as @ and / are in percent form.",
            database=name,
        ) from (None if ":" in url else error)
    kind = _ALIASES.get(kind, kind)
    dialect = _DIALECTS.get(kind)
    if dialect is None:
        raise Invalid(
            "database_unsupported",
            f"database {name} is of kind {kind!r}, which this version does not manage",
            remedy=f"It manages: {', '.join(sorted(_DIALECTS))}.",
            database=name,
        )
    try:
        driver = parsed.drivername.partition("+")[2]
        prepared = dialect.prepare_url(parsed.set(drivername=f"{kind}+{driver}" if driver else kind))
        engine = engines.create_engine(prepared, max_retries=0, thread_checkin=False)
    except Invalid as invalid:
        invalid.fields.setdefault("database", name)
        raise
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        raise Invalid(
            "database_url_invalid",
            f"the URL of database {name} cannot be used: {reason(error, parsed)}",
            remedy="Mend the URL in the configuration.",
            database=name,
        ) from None
    dialect.prepare_engine(engine)
    return Database(name, engine, dialect)
