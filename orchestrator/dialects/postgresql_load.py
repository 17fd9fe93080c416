"""The load of a PostgreSQL server. What others do is shown to superusers and members of pg_monitor only."""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.dialects.load import KeptLog, Replica, hidden
from orchestrator.domain.errors import Unavailable

_WRITTEN = text("SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bigint)")

# Whoever copies the server or its log, and replays nothing, has no replay_lsn.
_REPLICAS = text("""
    SELECT application_name AS name, host(client_addr) AS host, state IS NULL AS is_hidden,
           CAST(pg_wal_lsn_diff(replay_lsn, '0/0') AS bigint) AS position,
           CAST(extract(epoch FROM replay_lag) AS float8) AS lag_seconds
    FROM pg_stat_replication
    WHERE state IS NULL OR (state IN ('startup', 'catchup', 'streaming') AND replay_lsn IS NOT NULL)
    ORDER BY 1, 2, pid
""")
_REPLICA = text("""
    SELECT pg_is_in_recovery() AS is_replica,
           CAST(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0') AS bigint) AS position,
           CAST(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS float8) AS lag_seconds
""")

_IS_OURS = "usename = current_user AND application_name = current_setting('application_name')"
_ACTIVE = text(f"""
    SELECT count(*) FILTER (WHERE state = 'active' AND backend_type = 'client backend' AND NOT ({_IS_OURS})),
           count(*) FILTER (WHERE query = '<insufficient privilege>')
    FROM pg_stat_activity WHERE datid <> 0
""")

# pg_locks, unlike what sessions wait for, is shown to everybody.
_LOCK_WAITS = text(f"""
    SELECT count(*) FROM (
        SELECT DISTINCT pid FROM pg_locks
        WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity
                                      WHERE datname = current_database() AND NOT ({_IS_OURS}))
    ) AS waiting
    WHERE EXISTS (SELECT FROM unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
                  JOIN pg_stat_activity AS ours ON ours.pid = blocking.pid WHERE {_IS_OURS})
""")

# A prepared transaction belongs to no session, and holds everything up as long.
_OLDEST = text(f"""
    SELECT greatest(
        max(CAST(extract(epoch FROM clock_timestamp() - xact_start) AS float8)) FILTER (WHERE NOT ({_IS_OURS})),
        (SELECT max(CAST(extract(epoch FROM clock_timestamp() - prepared) AS float8)) FROM pg_prepared_xacts
         WHERE database = current_database())
    ), count(*) FILTER (WHERE query = '<insufficient privilege>')
    FROM pg_stat_activity WHERE datname = current_database()
""")

_KEPT = text("""
    SELECT slot_name AS name, CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bigint) AS size
    FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY 1
""")
_ME = text("SELECT quote_ident(current_user)")


class PostgreSQLLoad:
    """Implements `orchestrator.dialects.load.Load`."""

    knows_replicas = True

    def written(self, connection: Connection) -> int:
        return int(connection.execute(_WRITTEN).scalar_one())

    def replicas(self, connection: Connection) -> tuple[Replica, ...]:
        found = connection.execute(_REPLICAS).all()
        if any(row.is_hidden for row in found):
            raise self._hidden(connection, "how far replicas are")
        return tuple(
            Replica(f"{row.name} ({row.host})" if row.host else row.name, row.position, row.lag_seconds)
            for row in found
        )

    def replica(self, connection: Connection, name: str) -> Replica:
        row = connection.execute(_REPLICA).one()
        if not row.is_replica:
            raise Unavailable(
                "replica_is_none", "that server is no replica now", remedy="Name its replicas as they are now."
            )
        if row.position is None:
            raise Unavailable("replica_silent", "it has replayed nothing yet", remedy="It says so by itself, later.")
        return Replica(name, row.position, row.lag_seconds)

    def active_sessions(self, connection: Connection) -> int:
        active, unseen = connection.execute(_ACTIVE).one()
        if unseen:
            raise self._hidden(connection, "what other sessions do")
        return int(active)

    def lock_waits(self, connection: Connection) -> int:
        return int(connection.execute(_LOCK_WAITS).scalar_one())

    def oldest_transaction_seconds(self, connection: Connection) -> float:
        seconds, unseen = connection.execute(_OLDEST).one()
        if unseen:
            raise self._hidden(connection, "since when transactions are open")
        return float(seconds or 0.0)

    def kept_log(self, connection: Connection) -> tuple[KeptLog, ...]:
        return tuple(KeptLog(row.name, row.size) for row in connection.execute(_KEPT))

    def _hidden(self, connection: Connection, what: str) -> Exception:
        me = connection.execute(_ME).scalar_one()
        return hidden(f"role {me} is not shown {what}", f"GRANT pg_monitor TO {me};")
