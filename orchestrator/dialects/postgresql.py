"""PostgreSQL: version 12 or newer, through psycopg 3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import URL, Column, ColumnElement, Connection, Engine, Table, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NULLTYPE

from orchestrator.dialects import postgresql_holders
from orchestrator.dialects.consulting import consulting_postgresql
from orchestrator.dialects.dead_servers import LIBPQ_OPTIONS
from orchestrator.dialects.dialect import ReadOnly
from orchestrator.dialects.driver_errors import layers, says_disconnected
from orchestrator.dialects.holders import Holder
from orchestrator.dialects.postgresql_given import given_rows, same_key
from orchestrator.dialects.postgresql_load import PostgreSQLLoad
from orchestrator.dialects.postgresql_roles import PostgreSQLRoles
from orchestrator.dialects.postgresql_tagged import PostgreSQLTagged
from orchestrator.dialects.postgresql_triggers import PostgreSQLTriggers
from orchestrator.dialects.postgresql_values import differ, underlying
from orchestrator.dialects.row_order import whole
from orchestrator.dialects.triggers import Triggers
from orchestrator.domain.errors import Conflict, Invalid

_SETTINGS = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET row_security = off"
"""What an expression computes depends on no daemon's surroundings. A policy that would hide rows from whoever moves or
proves them is an error."""

TRANSIENT_STATES = frozenset({"55P03", "40P01", "40001"})
"""Lock not available in time, deadlock, serialization failure."""

_GIVEN_UP_STATES = frozenset({"40P01", "40001"})
_CANCELLED = "57014"
_VALUE_CLASSES = frozenset({"21", "22", "23", "44"})
"""Classes of SQLSTATE: more than one row where one value is wanted, data, constraints, check option of a view."""

_VALUE_STATES = frozenset({"P0001", "54000"})
"""Raised by a function or trigger; too long, e.g. for an index."""

_PROTOCOL_VIOLATION = "08P01"
_READ_ONLY = "25006"
_DISCONNECTED_STATES = frozenset({"57P01", "57P02", "57P03"})
_CONNECT_DEFAULTS = {"application_name": "orchestrator", "connect_timeout": "10", **LIBPQ_OPTIONS}
LOCK_TIMEOUT_SECONDS = 5.0
"""No session waits longer for a lock unless it says so: also who only reads a catalog waits for a locked table."""

_TIMEOUT_SET = "orchestrator_lock_timeout"
_ROUNDS = 8

_INCARNATION = text("""
    SELECT system.system_identifier,
           CASE WHEN pg_is_in_recovery()
                THEN lpad(upper(to_hex(point.timeline_id)), 8, '0')
                ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
    FROM pg_control_system() AS system, pg_control_checkpoint() AS point
""")

_LOCK_TIMEOUT = text("""
    SELECT set_config('lock_timeout', greatest(1, least(:ms, nullif(longest, 0) * 500)::int) || 'ms', :in_transaction)
    FROM (SELECT extract(epoch FROM current_setting('statement_timeout')::interval) AS longest) AS found
""")
_WRITABLE = text("SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'")

_UNIQUE_INDEXES = text("""
    SELECT array_agg(attribute.attname::text ORDER BY part.position) AS names
    FROM pg_index AS index
    CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS part (number, position)
    JOIN pg_attribute AS attribute ON attribute.attrelid = index.indrelid AND attribute.attnum = part.number
    WHERE index.indrelid = CAST(
        coalesce(quote_ident(CAST(:schema AS text)) || '.', '') || quote_ident(CAST(:table AS text)) AS regclass
    ) AND part.position <= index.indnkeyatts
      AND index.indisunique AND index.indisvalid AND index.indimmediate
      AND index.indpred IS NULL AND index.indexprs IS NULL
    GROUP BY index.indexrelid
    ORDER BY index.indexrelid
""")


class PostgreSQL:
    """PostgreSQL 12 or newer."""

    name = "postgresql"
    consulting = staticmethod(consulting_postgresql)
    tagged = PostgreSQLTagged()
    roles = PostgreSQLRoles()
    load = PostgreSQLLoad()
    tells_restores = True
    transactional_ddl = True
    many_writers = True
    triggers: Triggers = PostgreSQLTriggers()

    def prepare_url(self, url: URL) -> URL:
        if url.drivername not in ("postgresql", "postgresql+psycopg"):
            raise Invalid(
                "database_url_invalid",
                f"PostgreSQL is driven by psycopg 3, not by {url.drivername!r}",
                remedy="Write the URL as postgresql://user:password@host:5432/name.",
            )
        password = url.query.get("password")  # libpq takes it there too; where it belongs it is never shown
        if isinstance(password, str):
            url = url.difference_update_query(["password"]).set(password=url.password or password)
        missing = {name: value for name, value in _CONNECT_DEFAULTS.items() if name not in url.query}
        return url.set(drivername="postgresql+psycopg").update_query_dict(missing)

    def prepare_engine(self, engine: Engine) -> None:
        # Before those who look at a new connection: they hide what a pooler says that lets nobody begin a transaction.
        event.listen(engine, "connect", _prepare_connection, insert=True)
        event.listen(engine, "reset", _reset_lock_timeout)

    def limit_idle(self, engine: Engine, seconds: int) -> None:
        def limit(connection: Any, _record: object) -> None:
            connection.execute(f"SET idle_in_transaction_session_timeout = '{seconds}s'")
            connection.commit()

        event.listen(engine, "connect", limit)

    def is_pooled(self, engine: Engine) -> bool:
        """A pooler tells its clients a session number of its own. If there is one: two connections that are open at
        once, one of which finds itself in the other's session or changes its own, do not have a session each.

        In the pool's modes transaction and statement a connection takes whichever session was used last, or the next
        in turn: that both keep theirs through all rounds takes somebody else who borrows the right one each time.
        """
        with ExitStack() as opened:
            connections = [opened.enter_context(engine.connect()) for _ in range(2)]
            drivers = [connection.connection.driver_connection for connection in connections]
            found = [[self.session_number(each) for each in connections]]
            if all(driver.info.backend_pid == number for driver, number in zip(drivers, found[0], strict=True)):  # type: ignore[union-attr]
                return False
            found += [[self.session_number(each) for each in connections] for _ in range(_ROUNDS)]
        return found[0][0] == found[0][1] or any(numbers != found[0] for numbers in found)

    def why_read_only(self, engine: Engine) -> ReadOnly | None:
        with engine.connect() as connection:
            is_replica, is_read_only = connection.execute(_WRITABLE).one()
        if is_replica:
            return ReadOnly(
                "it is a replica of another server",
                "Let its URL name the primary. With several hosts it is found after a failover too: "
                "postgresql://user:password@/name?host=db1:5432&host=db2:5432&target_session_attrs=read-write",
            )
        if is_read_only:
            return ReadOnly(
                "default_transaction_read_only is on",
                f"ALTER DATABASE {engine.url.database} RESET default_transaction_read_only; or the same for the role, "
                "or the server.",
            )
        return None

    def says_pooled(self, error: BaseException) -> bool:
        return any(
            getattr(layer, "sqlstate", None) == _PROTOCOL_VIOLATION and "pooling mode" in str(layer)
            for layer in layers(error)
        )

    def says_read_only(self, error: BaseException) -> bool:
        return any(getattr(layer, "sqlstate", None) == _READ_ONLY for layer in layers(error))

    def never_null(self, connection: Connection, table: Table, column: str) -> bool:
        return not table.c[column].nullable

    def unique_keys(self, connection: Connection, table: Table) -> tuple[tuple[str, ...], ...]:
        rows = connection.execute(_UNIQUE_INDEXES, {"schema": table.schema, "table": table.name})
        return tuple(tuple(row.names) for row in rows)

    def can_be_walked(self, column: Column[Any]) -> bool:
        """The driver sends a `real` as a double, which most of them are not equal to."""
        return not isinstance(underlying(column.type), sa.REAL)

    def row_after(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return whole(row) > whole(other)

    def row_up_to(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return whole(row) <= whole(other)

    def now(self, connection: Connection) -> float:
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one())

    def incarnation(self, connection: Connection) -> str:
        """System identifier and timeline.

        The timeline comes from the name of the current WAL file: the control file learns of a promotion only at
        the next checkpoint. Every role may call these functions.
        """
        identifier, timeline = connection.execute(_INCARNATION).one()
        return f"{identifier}.{timeline}"

    def lock_timeout(self, connection: Connection, seconds: float) -> None:
        """At most half of the time that the server lets a statement run, if it has a limit: a statement that waited
        for a lock is told from one that took too long."""
        autocommit = bool(getattr(connection.connection.driver_connection, "autocommit", False))
        connection.execute(_LOCK_TIMEOUT, {"ms": max(1, int(seconds * 1000)), "in_transaction": not autocommit})
        if autocommit:
            connection.info[_TIMEOUT_SET] = True

    @contextmanager
    def session_lock(self, connection: Connection, key: str) -> Iterator[None]:
        number = _lock_number(key)
        if not _own_transaction(connection, text("SELECT pg_try_advisory_lock(:number)"), number):
            raise Conflict(
                "lock_busy",
                f"another session holds the lock {key!r} of this database{self._lock_owner(connection, number)}",
                remedy="It is free as soon as that session is done or has ended; repeat then.",
                lock=key,
            )
        try:
            yield
        finally:
            if not (connection.closed or connection.invalidated):
                self._unlock(connection, number)

    def _unlock(self, connection: Connection, number: int) -> None:
        release = text("SELECT pg_advisory_unlock(:number)")
        try:
            _own_transaction(connection, release, number)
        except (DBAPIError, DBError):  # a failed transaction refuses every statement until it is rolled back
            if connection.closed or connection.invalidated:
                return
            connection.rollback()
            _own_transaction(connection, release, number)

    def _lock_owner(self, connection: Connection, number: int) -> str:
        high, low = (number >> 32) & 0xFFFFFFFF, number & 0xFFFFFFFF
        owner = text(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND classid::bigint = :high AND objid::bigint = :low"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        began = not connection.in_transaction()
        pid = connection.execute(owner, {"high": high, "low": low}).scalar()
        if began:
            connection.rollback()
        return "" if pid is None else f": session {pid}"

    def cluster_member(self, connection: Connection) -> None:
        return None

    def end_when_idle(self, connection: Connection, seconds: int | None) -> None:
        """Of members only."""

    def is_transient(self, error: BaseException) -> bool:
        return any(getattr(layer, "sqlstate", None) in TRANSIENT_STATES for layer in layers(error))

    def is_cut_off(self, error: BaseException) -> bool:
        return any(getattr(layer, "sqlstate", None) == _CANCELLED for layer in layers(error))

    def refuses_value(self, error: BaseException) -> bool:
        return any(_says_value(layer) for layer in layers(error))

    def is_given_up(self, error: BaseException) -> bool:
        return any(getattr(layer, "sqlstate", None) in _GIVEN_UP_STATES for layer in layers(error))

    def is_done_already(self, error: BaseException) -> bool:
        return False

    def remedy_out_of_cluster(self, error: BaseException) -> None:
        return None

    def is_disconnect(self, error: BaseException) -> bool:
        return says_disconnected(error) or any(_says_away(layer) for layer in layers(error))

    def session_number(self, connection: Connection) -> int:
        """As the server knows it: a pooler in between tells its clients another one."""
        began = not connection.in_transaction()
        number = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        if began:
            connection.rollback()
        return number

    def lock_holders(
        self, connection: Connection, tables: Sequence[str] = (), *, waiting: int | None = None
    ) -> tuple[Holder, ...]:
        return postgresql_holders.lock_holders(connection, tables, waiting=waiting)

    def end_idle_session(self, connection: Connection, holder: Holder, idle_seconds: float) -> bool:
        return postgresql_holders.end_idle(connection, holder, idle_seconds)

    @contextmanager
    def writing(self, engine: Engine) -> Iterator[Connection]:
        with engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            yield connection

    @contextmanager
    def schema_connection(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            yield connection

    def as_read(self, column: Column[Any]) -> ColumnElement[Any]:
        return column

    def check_constraints(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

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
        changed = 0
        for given in given_rows(table, key, columns, rows):
            statement = (
                sa.update(table)
                .where(*same_key(table, key, given), *within)
                .values({name: given.c[f"new_{i}"] for i, name in enumerate(columns)})
            )
            changed += connection.execute(statement).rowcount
        return changed

    def differing_keys(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        found: list[tuple[Any, ...]] = []
        for given in given_rows(table, key, columns, rows):
            query = sa.select(*(sa.type_coerce(table.c[name], NULLTYPE) for name in key)).where(
                *same_key(table, key, given),
                *within,
                sa.or_(*(self.differs(table.c[name], given.c[f"new_{i}"]) for i, name in enumerate(columns))),
            )
            found += [tuple(row) for row in connection.execute(query)]
        return tuple(found)

    def differs(self, column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
        return differ(column, value)


def _says_value(error: BaseException) -> bool:
    import psycopg  # as in `_says_away`

    state = getattr(error, "sqlstate", None)
    if state is None:  # the driver itself could not send it
        return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
    return state[:2] in _VALUE_CLASSES or state in _VALUE_STATES


def _lock_number(key: str) -> int:
    """Advisory locks have numbers; ours come from the name, with a prefix against those of other programs."""
    digest = hashlib.blake2b(f"orchestrator:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _own_transaction(connection: Connection, statement: sa.TextClause, number: int) -> bool:
    """Run it, and end the transaction that running it began, if it did: a lock holder never idles in one."""
    began = not connection.in_transaction()
    answer = bool(connection.execute(statement, {"number": number}).scalar_one())
    if began:
        connection.commit()
    return answer


def _prepare_connection(connection: Any, _record: object) -> None:
    from orchestrator.dialects.postgresql_intervals import ExactIntervals  # as in `_says_away`

    connection.adapters.register_loader("interval", ExactIntervals)
    connection.execute(f"SET lock_timeout = '{int(LOCK_TIMEOUT_SECONDS * 1000)}ms'; {_SETTINGS}")
    connection.commit()


def _reset_lock_timeout(connection: Any, record: Any, _state: object) -> None:
    """Nobody inherits a lock timeout from whoever had the connection before."""
    if record.info.pop(_TIMEOUT_SET, None):
        connection.rollback()
        _prepare_connection(connection, record)


def _says_away(error: BaseException) -> bool:
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith("08") or state in _DISCONNECTED_STATES
    import psycopg  # slow to import: where there is no PostgreSQL, nobody needs it

    # It raises its connection failures (refused, wrong password, unknown host) without a state.
    return type(error) in (psycopg.OperationalError, psycopg.errors.ConnectionTimeout)
