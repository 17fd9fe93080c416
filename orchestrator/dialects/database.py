"""Database: how one is opened, its transactions, and its errors in our words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from oslo_db import exception as oslo_exception
from oslo_db.sqlalchemy import engines
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from orchestrator.dialects.dialect import Dialect, ReadOnly
from orchestrator.dialects.driver_errors import reason
from orchestrator.dialects.mysql import MySQL
from orchestrator.dialects.postgresql import PostgreSQL
from orchestrator.dialects.sqlite import SQLite
from orchestrator.dialects.triggers import Triggers
from orchestrator.domain.errors import Conflict, Invalid, OrchestratorError, Unavailable

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

    @property
    def file(self) -> str | None:
        """The file that it is; None where it has a server."""
        name = self.engine.url.database
        if self.dialect.name != "sqlite" or not name or name == ":memory:":
            return None
        return os.path.abspath(name.removeprefix("file:"))

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
