"""Sessions of PostgreSQL that hold locks: who they are, and how one that idles is ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orchestrator.dialects.holders import RUNNING, Holder, describe, shortened
from orchestrator.dialects.postgresql_tagged import may_not_end

# Who waits behind somebody else who waits is not to blame: the blockers of blockers are asked for too.
_BLOCKERS = """
    WITH RECURSIVE chain (pid) AS (
        SELECT unnest(pg_blocking_pids(CAST(:waiting AS integer)))
        UNION SELECT unnest(pg_blocking_pids(chain.pid)) FROM chain WHERE chain.pid <> 0
    )
    SELECT chain.pid FROM chain WHERE cardinality(pg_blocking_pids(chain.pid)) = 0
"""
_OF_TABLES = """
    SELECT held.pid FROM pg_locks AS held JOIN pg_class AS class ON class.oid = held.relation
    WHERE held.granted AND held.locktype = 'relation' AND held.pid <> pg_backend_pid()
      AND held.pid IS DISTINCT FROM CAST(:waiting AS integer)
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND class.relnamespace NOT IN (SELECT oid FROM pg_namespace
                                     WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))
      AND (CAST(:every AS boolean) OR class.relname = ANY(CAST(:tables AS text[])))
"""
_HOLDERS = """
    SELECT activity.pid, activity.usename::text AS role, activity.application_name AS application,
           host(activity.client_addr) AS host, activity.state,
           activity.query AS statement, current_user::text AS asker,
           extract(epoch FROM clock_timestamp() - activity.state_change)::float8 AS state_seconds,
           extract(epoch FROM clock_timestamp() - activity.xact_start)::float8 AS transaction_seconds,
           activity.usename = current_user
            AND activity.application_name = current_setting('application_name') AS is_own,
           (SELECT string_agg(DISTINCT class.relname, ', ') FROM pg_locks AS held
            JOIN pg_class AS class ON class.oid = held.relation AND class.relkind IN ('r', 'p', 'm')
            JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
             AND namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
            WHERE held.pid = activity.pid AND held.granted
              AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS tables
    FROM pg_stat_activity AS activity WHERE activity.pid IN ({wanted})
    ORDER BY activity.xact_start NULLS LAST
"""
_PREPARED = text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared")

_END_IDLE = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = :pid AND state LIKE 'idle in transaction%'
      AND extract(epoch FROM clock_timestamp() - state_change) >= :seconds
""")


def lock_holders(connection: Connection, tables: Sequence[str], *, waiting: int | None) -> tuple[Holder, ...]:
    """What others' sessions do is shown to superusers and members of pg_read_all_stats only."""
    if waiting is not None:
        blockers = [row.pid for row in connection.execute(text(_BLOCKERS), {"waiting": waiting})]
        if blockers:
            wanted = text(_HOLDERS.format(wanted="SELECT unnest(CAST(:pids AS integer[]))"))
            found = [_holder(row) for row in connection.execute(wanted, {"pids": blockers})]
            return (*found, *(_prepared(connection) if 0 in blockers else ()))
    names = [table.rpartition(".")[2] for table in tables]
    values = {"every": not names, "tables": names, "waiting": waiting}
    return tuple(_holder(row) for row in connection.execute(text(_HOLDERS.format(wanted=_OF_TABLES)), values))


def end_idle(connection: Connection, holder: Holder, idle_seconds: float) -> bool:
    """End that session if it still idles. Returns whether it did. Raises `Forbidden` where the user may not."""
    try:
        ended = connection.execute(_END_IDLE, {"pid": holder.session, "seconds": idle_seconds}).scalar()
    except (DBAPIError, DBError) as error:
        refusal = may_not_end(connection, error, holder.session)
        if refusal is None:
            raise
        raise refusal from error
    return bool(ended)


def _holder(row: Any) -> Holder:
    is_hidden = row.role is not None and row.state is None
    state = row.state or ("doing what we are not shown" if is_hidden else "of the server itself")
    statement = None if row.statement == "<insufficient privilege>" else row.statement
    sentence = describe(
        row.pid,
        user=row.role,
        host=row.host,
        application=row.application,
        state=RUNNING if state == "active" else state,
        state_seconds=row.state_seconds,
        transaction_seconds=row.transaction_seconds,
        tables=row.tables,
        statement=shortened(statement, quoted_is_text=False),
    )
    return Holder(
        row.pid,
        sentence,
        f"SELECT pg_terminate_backend({row.pid});",
        idle_seconds=row.state_seconds if state.startswith("idle in transaction") else None,
        is_own=bool(row.is_own),
        hint=f"To be shown what it does: GRANT pg_read_all_stats TO {row.asker};" if is_hidden else "",
    )


def _prepared(connection: Connection) -> Iterator[Holder]:
    """Transactions that wait for the second phase of their commit belong to no session."""
    for (name,) in connection.execute(_PREPARED):
        yield Holder(
            0,
            f"transaction {name!r} is prepared and neither committed nor rolled back",
            f"COMMIT PREPARED '{name}'; or ROLLBACK PREPARED '{name}';",
            certain=False,
        )
