"""MariaDB 10.6 and MySQL 8 or newer, through PyMySQL. Only InnoDB tables keep what is promised here."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pymysql
import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    ExceptionContext,
    Table,
    event,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

from orchestrator.dialects import dead_servers, mysql_holders
from orchestrator.dialects.consulting import consulting_mysql
from orchestrator.dialects.dialect import ReadOnly
from orchestrator.dialects.driver_errors import layers, says_disconnected
from orchestrator.dialects.holders import Holder
from orchestrator.dialects.mysql_given import NUMBER, given_rows, name_table
from orchestrator.dialects.mysql_load import MySQLLoad
from orchestrator.dialects.mysql_roles import MySQLRoles
from orchestrator.dialects.mysql_server import code_of, is_mariadb
from orchestrator.dialects.mysql_stamps import KEEPING, stamped
from orchestrator.dialects.mysql_tagged import MySQLTagged
from orchestrator.dialects.mysql_triggers import MySQLTriggers
from orchestrator.dialects.mysql_values import as_read, differ, differs
from orchestrator.dialects.triggers import Triggers
from orchestrator.domain.errors import Conflict, Invalid

TRANSIENT_CODES = frozenset({1020, 1205, 1213, 1412, 3572})
"""Record changed since the snapshot, lock not had in time, deadlock (Galera's failed certification too), table changed
since the snapshot, lock not available."""

LOCK_TIMEOUT_SECONDS = 5
"""No session waits longer for a lock unless it says so: also who only reads a catalog waits for a locked table."""

_DISCONNECTED_CODES = frozenset(
    {
        # of the client: cannot connect, unknown host, gone away, handshake, lost
        *(2000, 2001, 2002, 2003, 2005, 2006, 2012, 2013, 2026, 2055),
        # of the server: no more connections, refused, shutting down, blocked, killed, timed out; Galera not ready
        *(1040, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1129, 1130, 1152, 1158, 1159, 1160, 1161),
        *(1184, 1203, 1226, 1251, 1698, 1927, 3118, 3159, 4031),
    }
)
_READ_ONLY_CODES = frozenset({1290, 1792, 1836})
_LOCK_TIMEOUT = 1205
_DEADLOCK = 1213
_CUT_OFF_CODES = frozenset({1317, 1969, 3024})
"""Interrupted; MariaDB's max_statement_time; MySQL's max_execution_time."""

_VALUE_CODES = frozenset(
    {
        # more than one row where one value is wanted; NULL, or no value, where there must be one; constraints
        *(1242, 1048, 1138, 1263, 1364, 1062, 1169, 1451, 1452, 1557, 1586, 3819, 4025),
        # too long, out of range, of another type, no such date, divided by zero, no such text
        *(1264, 1265, 1292, 1300, 1366, 1367, 1406, 1411, 1441, 1365, 1690, 1916, 3685, 3854),
        # JSON; raised by a function or trigger
        *(3140, 3141, 3143, 3144, 3155, 4035, 4036, 4037, 4038, 4076, 1643, 1644),
    }
)

_DONE_ALREADY_CODES = frozenset({1050, 1051, 1060, 1061, 1068, 1091, 1826})
_NOT_IN_CLUSTER = 1047
"""What a node of Galera answers that does not belong to the part of its cluster that may work."""

_OUT_OF_CLUSTER = (
    "Let its URL lead to a node that is in it, or bring the other nodes back; it is tried again. Only if those are "
    "lost for good, on one node: SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES';"
)
_LOST_CLUSTER = "WSREP has not yet prepared node for application use"
_CONNECT_DEFAULTS = {"program_name": "orchestrator", "connect_timeout": "10"}
_TIMEOUT_SET = "orchestrator_lock_timeout"

# Each assignment of an UPDATE sees the old row on every other database. MariaDB can be told so; to MySQL the part
# between /*M! and */ is a comment. And no server may leave out rows of an answer (sql_select_limit).
_SETTINGS = (
    "SET SESSION sql_mode = CONCAT('TRADITIONAL' /*M!100305 , ',SIMULTANEOUS_ASSIGNMENT' */), time_zone = '+00:00',"
    f" lock_wait_timeout = {LOCK_TIMEOUT_SECONDS}, innodb_lock_wait_timeout = {LOCK_TIMEOUT_SECONDS},"
    " sql_select_limit = 18446744073709551615"
)

# A transaction on a node of Galera first waits for what the cluster has committed (reading 1, changing and deleting 2,
# inserting 4): whoever was told something by one node finds it on every other one.
_SYNC_WAIT = "SET SESSION wsrep_sync_wait = 7"
_NODE_OF_CLUSTER = "orchestrator_node_of_cluster"

_IDLE_LIMITED = "orchestrator_idle_limited"
_CLUSTER_MEMBER = text("SHOW GLOBAL STATUS LIKE 'wsrep_gcomm_uuid'")
_GALERA = text("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'")

_WRITABLE = text(
    "SHOW SESSION VARIABLES WHERE variable_name IN "
    "('read_only', 'super_read_only', 'innodb_read_only', 'tx_read_only', 'transaction_read_only')"
)


class MySQL:
    """MariaDB 10.6 or newer, and MySQL 8 or newer, which differ in little.

    Every session reads committed rows, as on other databases: with the servers' default a transaction goes on seeing
    what its first reading saw, whatever it has locked since. Sessions run in UTC, and refuse values that do not fit.
    """

    name = "mysql"
    consulting = staticmethod(consulting_mysql)
    tagged = MySQLTagged()
    roles = MySQLRoles()
    load = MySQLLoad()
    tells_restores = True
    transactional_ddl = False
    many_writers = True
    triggers: Triggers = MySQLTriggers()

    def prepare_url(self, url: URL) -> URL:
        if url.drivername not in ("mysql", "mysql+pymysql"):
            raise _bad_url(f"MariaDB and MySQL are driven by PyMySQL, not by {url.drivername!r}")
        if not url.database:
            raise _bad_url("the URL of a MariaDB or MySQL server names no database")
        for option in ("password", "passwd"):  # the driver takes it there too; where it belongs it is never shown
            password = url.query.get(option)
            if isinstance(password, str):
                url = url.difference_update_query([option]).set(password=url.password or password)
        defaults = {**_CONNECT_DEFAULTS, **({"ssl_disabled": "true"} if "unix_socket" in url.query else {})}
        missing = {name: value for name, value in defaults.items() if name not in url.query}
        return url.set(drivername="mysql+pymysql").update_query_dict({**missing, "charset": "utf8mb4"})

    def prepare_engine(self, engine: Engine) -> None:
        # Before those who look at a new connection: SQLAlchemy keeps the isolation that it finds as the one to go
        # back to, oslo.db warns of a lenient SQL mode.
        for moment in ("connect", "first_connect"):
            event.listen(engine, moment, _prepare_connection, insert=True)
        event.listen(engine, "reset", _reset_timeouts)
        for rename in (_name_lost_cluster, name_table):
            event.listen(engine, "handle_error", rename, insert=True)  # before oslo.db looks at it
        event.listen(engine, "do_connect", dead_servers.limit_pymysql_greeting)
        own = engine.url.query.get("read_timeout")
        limit = float(own) if isinstance(own, str) else None
        event.listen(engine, "connect", lambda connection, _record: dead_servers.watch_pymysql(connection, limit))

    def limit_idle(self, engine: Engine, seconds: int) -> None:
        """MySQL has no such limit: there a session ends when it is idle, in a transaction or not."""

        def limit(connection: Any, _record: object) -> None:
            if "mariadb" in connection.get_server_info().lower():
                with connection.cursor() as cursor:
                    cursor.execute(f"SET SESSION idle_transaction_timeout = {seconds}")

        event.listen(engine, "connect", limit)

    def is_pooled(self, engine: Engine) -> bool:
        """Not known of any proxy."""
        return False

    def why_read_only(self, engine: Engine) -> ReadOnly | None:
        """Also for a user who could write in spite of it: a replica that is written to has gone its own way."""
        with engine.connect() as connection:
            found = {row[0].lower(): str(row[1]).upper() for row in connection.execute(_WRITABLE)}
        names = [name for name, value in found.items() if value not in ("OFF", "0")]
        if any(name.endswith("read_only") and not name.startswith(("tx_", "transaction_")) for name in names):
            return ReadOnly(
                f"{names[0]} is on, as on a replica",
                "Let its URL name the server that takes writes. If this is it: SET GLOBAL read_only = OFF;",
            )
        if names:
            return ReadOnly(f"{names[0]} is on", f"SET GLOBAL {names[0]} = OFF; and in the server's configuration.")
        return None

    def says_pooled(self, error: BaseException) -> bool:
        return False

    def says_read_only(self, error: BaseException) -> bool:
        return any(code_of(layer) in _READ_ONLY_CODES for layer in layers(error))

    def never_null(self, connection: Connection, table: Table, column: str) -> bool:
        return not table.c[column].nullable

    def unique_keys(self, connection: Connection, table: Table) -> tuple[tuple[str, ...], ...]:
        quoted = connection.dialect.identifier_preparer.format_table(table)
        indexes: dict[str, list[Any]] = {}
        for part in connection.exec_driver_sql(f"SHOW INDEX FROM {quoted}").mappings():
            if not part["Non_unique"]:
                indexes.setdefault(part["Key_name"], []).append(part)
        return tuple(
            tuple(part["Column_name"] for part in parts)
            for parts in indexes.values()
            if all(part["Column_name"] and not part["Sub_part"] and part["Index_type"] != "HASH" for part in parts)
        )

    def can_be_walked(self, column: Column[Any]) -> bool:
        """ENUM and SET sort by their numbers and compare as words; the others do not come back as they are stored."""
        if isinstance(column.type, sa.Float):
            return isinstance(column.type, sa.Double) and column.type.scale is None
        return not isinstance(column.type, sa.Enum | mysql.SET | mysql.BIT | sa.Time)

    def row_after(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        """Written out: comparing whole rows uses no index here, and reads the table from its first row."""
        return _written_out(row, other, operator.gt, operator.gt)

    def row_up_to(self, row: Sequence[ColumnElement[Any]], other: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
        return _written_out(row, other, operator.lt, operator.le)

    def now(self, connection: Connection) -> float:
        return float(connection.execute(text("SELECT UNIX_TIMESTAMP(NOW(6))")).scalar_one())

    def incarnation(self, connection: Connection) -> str:
        """Of the whole cluster on Galera, else of the server: its UUID on MySQL, its number and host on MariaDB."""
        found = connection.execute(_GALERA).first()
        if found is not None and found[1].strip("0-"):
            return f"galera.{found[1]}"
        if not is_mariadb(connection):
            return str(connection.execute(text("SELECT @@server_uuid")).scalar_one())
        number, host = connection.execute(text("SELECT @@server_id, @@hostname")).one()
        return f"{number}.{host}"[:255]

    def lock_timeout(self, connection: Connection, seconds: float) -> None:
        """In whole seconds, rounded up: the servers know no others. Holds until the connection is given back.

        Where MariaDB lets a statement run for no longer than that, it may run for a second longer: one that waited for
        a lock is told from one that took too long.
        """
        whole = max(1, math.ceil(seconds))
        also = _STATEMENT_TIME.format(least=whole + 1) if is_mariadb(connection) else ""
        connection.exec_driver_sql(f"{_set_lock_timeout(whole)}{also}")
        connection.info[_TIMEOUT_SET] = True

    @contextmanager
    def session_lock(self, connection: Connection, key: str) -> Iterator[None]:
        """Known to one server only: on Galera the other nodes do not see it."""
        name = lock_name(connection, key)
        if _own_transaction(connection, text("SELECT GET_LOCK(:name, 0)"), name) != 1:
            owner = _own_transaction(connection, text("SELECT IS_USED_LOCK(:name)"), name)
            raise Conflict(
                "lock_busy",
                f"another session holds the lock {key!r} of this database{f': session {owner}' if owner else ''}",
                remedy="It is free as soon as that session is done or has ended; repeat then.",
                lock=key,
            )
        try:
            yield
        finally:
            if not (connection.closed or connection.invalidated):
                self._unlock(connection, name)

    def _unlock(self, connection: Connection, name: str) -> None:
        try:
            _own_transaction(connection, text("SELECT RELEASE_LOCK(:name)"), name)
        except (DBAPIError, DBError):
            if not (connection.closed or connection.invalidated):  # else the server has released it
                raise

    def cluster_member(self, connection: Connection) -> str | None:
        """By the name that a node of Galera has as long as its server lives."""
        if not connection.info.get(_NODE_OF_CLUSTER):
            return None
        found = connection.execute(_CLUSTER_MEMBER).first()
        return str(found[1]) if found is not None and found[1] else None

    def end_when_idle(self, connection: Connection, seconds: int | None) -> None:
        connection.exec_driver_sql(f"SET SESSION wait_timeout = {'DEFAULT' if seconds is None else int(seconds)}")
        connection.info[_IDLE_LIMITED] = seconds is not None

    def is_transient(self, error: BaseException) -> bool:
        return any(code_of(layer) in TRANSIENT_CODES for layer in layers(error))

    def is_cut_off(self, error: BaseException) -> bool:
        return any(code_of(layer) in _CUT_OFF_CODES for layer in layers(error))

    def refuses_value(self, error: BaseException) -> bool:
        return any(code_of(layer) in _VALUE_CODES for layer in layers(error))

    def is_given_up(self, error: BaseException) -> bool:
        return any(code_of(layer) == _DEADLOCK for layer in layers(error))

    def is_done_already(self, error: BaseException) -> bool:
        return any(code_of(layer) in _DONE_ALREADY_CODES for layer in layers(error))

    def remedy_out_of_cluster(self, error: BaseException) -> str | None:
        return _OUT_OF_CLUSTER if any(code_of(layer) == _NOT_IN_CLUSTER for layer in layers(error)) else None

    def is_disconnect(self, error: BaseException) -> bool:
        return says_disconnected(error) or any(_says_away(layer) for layer in layers(error))

    def session_number(self, connection: Connection) -> int:
        """As the server knows it: a proxy in between tells its clients another one."""
        began = not connection.in_transaction()
        number = int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        if began:
            connection.rollback()
        return number

    def lock_holders(
        self, connection: Connection, tables: Sequence[str] = (), *, waiting: int | None = None
    ) -> tuple[Holder, ...]:
        """By table where the server tells (MySQL; MariaDB with its plugin metadata_lock_info), else every session of
        this database with an open transaction, any of which may be it. Without the PROCESS privilege only our own
        user's sessions are seen."""
        return mysql_holders.lock_holders(connection, tables, waiting=waiting)

    def end_idle_session(self, connection: Connection, holder: Holder, idle_seconds: float) -> bool:
        """The server has no way to end a session only if it idles: between the last look and the end it may go on."""
        return mysql_holders.end_idle(connection, holder, idle_seconds)

    @contextmanager
    def writing(self, engine: Engine) -> Iterator[Connection]:
        with engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[Connection]:
        """The moment is that of the first reading that locks nothing. MySQL, and MariaDB before 11.6, do not notice
        that a row was changed since: who is going to write a row locks it first."""
        with engine.begin() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # of this transaction only
            yield connection

    @contextmanager
    def schema_connection(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            yield connection

    def as_read(self, column: Column[Any]) -> ColumnElement[Any]:
        return as_read(column)

    def check_constraints(self, connection: Connection) -> None:
        """Here none waits."""

    def stamped(self, connection: Connection, table: Table) -> tuple[str, ...]:
        return stamped(connection, table)

    def update_rows(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> int:
        """Through a temporary table with the columns' own types: what a value becomes there, it becomes in the row."""
        if not rows:
            return 0
        quote = connection.dialect.identifier_preparer.quote
        target = connection.dialect.identifier_preparer.format_table(table)
        same = " AND ".join(f"target.{name} = given.{name}" for name in map(quote, key))
        kept = [quote(name) for name in stamped(connection, table) if name not in columns]
        values = ", ".join(
            (
                *(f"target.{name} = given.{name}" for name in map(quote, columns)),
                *(f"target.{name} = target.{name}" for name in kept),
            )
        )
        with given_rows(connection, table, key, columns, rows) as given:
            return connection.exec_driver_sql(
                f"{KEEPING if kept else ''}UPDATE {given.name} AS given"
                f" STRAIGHT_JOIN {target} AS target ON {same} SET {values}"
            ).rowcount

    def differing_keys(
        self,
        connection: Connection,
        table: Table,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        within: Sequence[ColumnElement[bool]] = (),
    ) -> tuple[tuple[Any, ...], ...]:
        if not rows:
            return ()
        with given_rows(connection, table, key, columns, rows) as given:
            same = sa.and_(*(table.c[name] == given.c[name] for name in key))
            query = (
                sa.select(*(given.c[name] for name in key))
                .prefix_with("STRAIGHT_JOIN")
                .select_from(given.join(table, same))
                .where(sa.or_(*(differ(table.c[name], given.c[name]) for name in columns)))
                .order_by(given.c[NUMBER])
            )
            return tuple(tuple(row) for row in connection.execute(query))

    def differs(self, column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
        return differs(column, value)


def _prepare_connection(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(_SETTINGS)
        cursor.execute("SHOW SESSION VARIABLES LIKE 'wsrep_on'")
        if cursor.fetchone() == ("wsrep_on", "ON"):
            if _has_lost_cluster(cursor):
                raise pymysql.err.OperationalError(_NOT_IN_CLUSTER, _LOST_CLUSTER)
            cursor.execute(_SYNC_WAIT)
            record.info[_NODE_OF_CLUSTER] = True


def _name_lost_cluster(context: ExceptionContext) -> None:
    """A node that has lost its cluster cannot wait for it, and may call that a lock timeout: give it its right name."""
    error, connection = context.original_exception, context.connection
    if code_of(error) != _LOCK_TIMEOUT or connection is None or not connection.info.get(_NODE_OF_CLUSTER):
        return
    with suppress(pymysql.err.MySQLError):
        if _has_lost_cluster(connection.connection.cursor()):
            error.args = (_NOT_IN_CLUSTER, _LOST_CLUSTER)


def _has_lost_cluster(cursor: Any) -> bool:
    cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")
    return bool(cursor.fetchone() == ("wsrep_ready", "OFF"))


def _reset_timeouts(connection: Any, record: Any, _state: object) -> None:
    """Nobody inherits a timeout from whoever had the connection before."""
    if record.info.pop(_IDLE_LIMITED, None):
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = DEFAULT")
    if record.info.pop(_TIMEOUT_SET, None):
        with connection.cursor() as cursor:
            also = ", max_statement_time = DEFAULT" if "MariaDB" in connection.get_server_info() else ""
            cursor.execute(f"{_set_lock_timeout(LOCK_TIMEOUT_SECONDS)}{also}")


_STATEMENT_TIME = (
    ", max_statement_time = IF(@@SESSION.max_statement_time = 0, 0, GREATEST(@@SESSION.max_statement_time, {least}))"
)


def _set_lock_timeout(seconds: int) -> str:
    """Waiting for tables, and for rows."""
    return f"SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}"


def _says_away(error: BaseException) -> bool:
    code = code_of(error)
    return code in _DISCONNECTED_CODES or (code == 0 and isinstance(error, pymysql.err.InterfaceError))


def _bad_url(what: str) -> Invalid:
    return Invalid("database_url_invalid", what, remedy="Write the URL as mysql://user:password@host:3306/name.")


def lock_name(connection: Connection, key: str) -> str:
    """Locks are known to the whole server by 64 characters; ours are of one database."""
    whole = f"{connection.engine.url.database}:{key}"
    return f"orchestrator.{hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()}"


def _own_transaction(connection: Connection, statement: sa.TextClause, name: str) -> int | None:
    """Run it, and end the transaction that running it began, if it did: a lock holder never idles in one."""
    began = not connection.in_transaction()
    answer: int | None = connection.execute(statement, {"name": name}).scalar_one()
    if began:
        connection.commit()
    return answer


def _written_out(
    row: Sequence[ColumnElement[Any]],
    other: Sequence[ColumnElement[Any]],
    before_last: Callable[[Any, Any], ColumnElement[bool]],
    last: Callable[[Any, Any], ColumnElement[bool]],
) -> ColumnElement[bool]:
    """a > x OR (a = x AND b > y) OR ..., which is read from an index over (a, b, ...)."""
    pairs = list(zip(row, other, strict=True))
    cases = [
        sa.and_(*(mine == theirs for mine, theirs in pairs[:place]), compare(*pairs[place]))
        for place, compare in enumerate([*[before_last] * (len(pairs) - 1), last])
    ]
    return sa.or_(*cases)
