"""The load of a MariaDB or MySQL server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.load import KeptLog, Replica, hidden, no_such_load
from orchestrator.dialects.mysql_server import code_of, is_mariadb
from orchestrator.domain.errors import Unavailable

_DENIED = frozenset({1044, 1142, 1143, 1227})

_ACTIVE = text("SHOW GLOBAL STATUS LIKE 'Threads_running'")
_OURS = "SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
_WAITS_MARIADB = text(f"""
    SELECT COUNT(DISTINCT waits.requesting_trx_id)
    FROM information_schema.innodb_lock_waits AS waits
    JOIN information_schema.innodb_trx AS blocking ON blocking.trx_id = waits.blocking_trx_id
    JOIN information_schema.processlist AS list ON list.id = blocking.trx_mysql_thread_id
    WHERE list.db = DATABASE() AND list.user = {_OURS}
""")
_WAITS_MYSQL = text(f"""
    SELECT COUNT(DISTINCT waits.requesting_engine_transaction_id)
    FROM performance_schema.data_lock_waits AS waits
    JOIN performance_schema.threads AS blocking ON blocking.thread_id = waits.blocking_thread_id
    WHERE blocking.processlist_db = DATABASE() AND blocking.processlist_user = {_OURS}
""")

# In the server's own time zone, whatever this session's is.
_OLDEST = text(f"""
    SELECT MAX(TIMESTAMPDIFF(SECOND, trx.trx_started, CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM')))
    FROM information_schema.innodb_trx AS trx
    LEFT JOIN information_schema.processlist AS list ON list.id = trx.trx_mysql_thread_id
    WHERE trx.trx_mysql_thread_id <> CONNECTION_ID() AND NOT (list.user <=> {_OURS})
""")
_ME = text("SELECT CURRENT_USER()")
_IS_SHOWN = text("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()")

_LOOKS = 6
"""So often it is looked whether transactions are shown as they are now."""

_KEPT_SECONDS = 0.1
"""InnoDB shows transactions, and who waits for whom, as they were, as long as somebody looks that often."""


class MySQLLoad:
    """Implements `orchestrator.dialects.load.Load`. A server does not know how far its replicas are: they do."""

    knows_replicas = False

    def written(self, connection: Connection) -> None:
        return None

    def replicas(self, connection: Connection) -> tuple[Replica, ...]:
        raise no_such_load("a MariaDB or MySQL server does not know how far its replicas are: name them in replicas")

    def replica(self, connection: Connection, name: str) -> Replica:
        """Of several sources, the one that it is furthest behind."""
        statement = "SHOW ALL SLAVES STATUS" if is_mariadb(connection) else "SHOW REPLICA STATUS"
        with _shown(connection, "how far it is", "REPLICA MONITOR" if is_mariadb(connection) else "REPLICATION CLIENT"):
            found = [
                {key.lower(): value for key, value in row.items()}
                for row in connection.execute(text(statement)).mappings()
            ]
        if not found:
            raise Unavailable(
                "replica_is_none", "that server is no replica now", remedy="Name its replicas as they are now."
            )
        every = [row.get("seconds_behind_master", row.get("seconds_behind_source")) for row in found]
        lags = [float(lag) for lag in every if lag is not None]
        if len(lags) < len(found):
            errors = [str(row[name]) for row in found for name in ("last_io_error", "last_sql_error") if row.get(name)]
            raise Unavailable(
                "replica_stopped",
                f"its replication does not run{': ' if errors else ''}{'; '.join(errors)}",
                remedy="Start it again there.",
            )
        return Replica(name, lag_seconds=max(lags))

    def active_sessions(self, connection: Connection) -> int:
        """Without the one that asks."""
        return max(0, int(connection.execute(_ACTIVE).one()[1]) - 1)

    def lock_waits(self, connection: Connection) -> int:
        if is_mariadb(connection):
            with _shown(connection, "who waits for locks", "PROCESS"), _present(connection):
                return int(connection.execute(_WAITS_MARIADB).scalar_one())
        with _shown(connection, "who waits for locks", "SELECT", "performance_schema.*"):
            return int(connection.execute(_WAITS_MYSQL).scalar_one())

    def oldest_transaction_seconds(self, connection: Connection) -> float:
        with _shown(connection, "since when transactions are open", "PROCESS"), _present(connection):
            return float(connection.execute(_OLDEST).scalar_one() or 0.0)

    def kept_log(self, connection: Connection) -> tuple[KeptLog, ...]:
        raise no_such_load("a MariaDB or MySQL server keeps its log by age, whoever has read it")


@contextmanager
def _present(connection: Connection) -> Iterator[None]:
    """See to it that InnoDB shows transactions as they are: with the one that begins here.

    Of this process one at a time looks at a server: the others began before it looked, and need no silence of their
    own then. Raises `Unavailable` where others look so often that it goes on to show them as they were.
    """
    connection.rollback()
    connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    url = connection.engine.url
    with _looking_at(url.host, url.port, url.query.get("unix_socket")):
        for _ in range(_LOOKS):
            if connection.execute(_IS_SHOWN).scalar_one():
                break
            time.sleep(random.uniform(1.1, 3.0) * _KEPT_SECONDS)
        else:
            raise Unavailable(
                "load_outdated",
                "the server shows its transactions as they were a while ago: somebody looks at them many times a "
                "second",
                remedy="Let whatever reads information_schema.innodb_trx there, a monitor most often, read it more "
                "seldom.",
            )
        yield


@cache
def _looking_at(*place: object) -> threading.Lock:
    """Who looks at the transactions of the server at that place just now."""
    return threading.Lock()


@contextmanager
def _shown(connection: Connection, what: str, right: str, on: str = "*.*") -> Iterator[None]:
    """A refusal of the server as the right that is missing."""
    try:
        yield
    except (SQLAlchemyError, DBError) as error:
        if not any(code_of(layer) in _DENIED for layer in layers(error)):
            raise
        name, _, host = str(connection.execute(_ME).scalar_one()).rpartition("@")
        me = f"'{name}'@'{host}'"
        raise hidden(f"user {name}@{host} is not shown {what}", f"GRANT {right} ON {on} TO {me};") from error
