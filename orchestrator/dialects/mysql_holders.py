"""Sessions of MariaDB and MySQL that hold locks: who they are, and how one that idles is ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.holders import RUNNING, Holder, describe, shortened
from orchestrator.dialects.mysql_server import code_of, is_mariadb
from orchestrator.dialects.mysql_tagged import kill

_DENIED_OR_MISSING = frozenset({1044, 1109, 1142, 1143, 1146, 1227})

_SESSION = """
    list.id AS id, list.user AS user, list.host AS host, list.command AS command, list.info AS statement,
    list.time AS seconds,
    TIMESTAMPDIFF(SECOND, trx.trx_started, CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM')) AS transaction_seconds,
    list.user = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AS is_own
"""
_OF_TABLES = "AND (:every OR held.table_name IN :tables) AND list.id <> :waiting"
_GROUPED = f"""
    WHERE held.table_schema = DATABASE() AND list.id <> CONNECTION_ID() {_OF_TABLES}
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 7 DESC, 1
"""
_HOLDERS_MARIADB = f"""
    SELECT {_SESSION}, GROUP_CONCAT(DISTINCT held.table_name ORDER BY held.table_name SEPARATOR ', ') AS tables
    FROM (SELECT thread_id, table_schema, table_name FROM information_schema.metadata_lock_info
          WHERE lock_type = 'Table metadata lock') AS held
    JOIN information_schema.processlist AS list ON list.id = held.thread_id
    LEFT JOIN information_schema.innodb_trx AS trx ON trx.trx_mysql_thread_id = list.id
    {_GROUPED}
"""
_HOLDERS_MYSQL = f"""
    SELECT {_SESSION}, GROUP_CONCAT(DISTINCT held.table_name ORDER BY held.table_name SEPARATOR ', ') AS tables
    FROM (SELECT owner_thread_id AS thread_id, object_schema AS table_schema, object_name AS table_name
          FROM performance_schema.metadata_locks
          WHERE object_type = 'TABLE' AND lock_status = 'GRANTED') AS held
    JOIN performance_schema.threads AS thread ON thread.thread_id = held.thread_id
    JOIN information_schema.processlist AS list ON list.id = thread.processlist_id
    LEFT JOIN information_schema.innodb_trx AS trx ON trx.trx_mysql_thread_id = list.id
    {_GROUPED}
"""
_OPEN_TRANSACTIONS = f"""
    SELECT {_SESSION}, NULL AS tables
    FROM information_schema.processlist AS list
    LEFT JOIN information_schema.innodb_trx AS trx ON trx.trx_mysql_thread_id = list.id
    WHERE list.db = DATABASE() AND list.id <> CONNECTION_ID() AND list.id <> :waiting
      AND (trx.trx_id IS NOT NULL OR list.info IS NOT NULL) AND COALESCE(list.state, '') NOT LIKE 'Waiting for %'
    ORDER BY 7 DESC, 1
"""
_STILL_IDLE = text(
    "SELECT COUNT(*) FROM information_schema.processlist WHERE id = :id AND command = 'Sleep' AND time >= :seconds"
)


def lock_holders(connection: Connection, tables: Sequence[str], *, waiting: int | None) -> tuple[Holder, ...]:
    """Sessions that hold locks on these tables, on any if none is given; without such a table of the server, every
    session with an open transaction."""
    names = [table.rpartition(".")[2] for table in tables]
    by_table = _HOLDERS_MARIADB if is_mariadb(connection) else _HOLDERS_MYSQL
    for query in (by_table, _OPEN_TRANSACTIONS):
        statement, values = text(query), {"waiting": waiting or 0}
        if query is by_table:
            statement = statement.bindparams(sa.bindparam("tables", expanding=True))
            statement = statement.bindparams(every=not names, tables=names)
        try:
            found = connection.execute(statement, values).all()
        except (SQLAlchemyError, DBError) as error:
            if not any(code_of(layer) in _DENIED_OR_MISSING for layer in layers(error)):
                raise
            continue
        return tuple(_holder(row, certain=query is by_table and bool(names)) for row in found)
    return ()


def end_idle(connection: Connection, holder: Holder, idle_seconds: float) -> bool:
    """End that session if it still idles. Returns whether it did. Raises `Forbidden` where the user may not."""
    values = {"id": holder.session, "seconds": math.ceil(idle_seconds)}
    if not connection.execute(_STILL_IDLE, values).scalar_one():
        return False
    return kill(connection, holder.session)


def _holder(row: Any, *, certain: bool) -> Holder:
    idles = row.command == "Sleep"
    is_in_transaction = row.transaction_seconds is not None or row.tables  # innodb_trx is a cache and may lag behind
    idle = "idle in transaction" if is_in_transaction else "idle"
    sentence = describe(
        row.id,
        user=row.user,
        host=str(row.host or "").rpartition(":")[0] or row.host,
        state=idle if idles else RUNNING,
        state_seconds=row.seconds,
        transaction_seconds=row.transaction_seconds,
        tables=row.tables,
        statement=shortened(row.statement, quoted_is_text=True),
    )
    if not certain:
        sentence += ", which may be in the way or not"
    return Holder(
        row.id,
        sentence,
        f"KILL {row.id};",
        idle_seconds=float(row.seconds or 0) if idles else None,
        is_own=bool(row.is_own),
        certain=certain,
    )
