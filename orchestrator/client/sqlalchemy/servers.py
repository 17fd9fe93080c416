"""What differs between the databases: their clock, their identity, how a session is tagged and kept from hanging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Executable, TextClause, text

from orchestrator.client.errors import ClientError
from orchestrator.client.sqlalchemy.wire import Wire

MARK_LENGTH = 32
"""So many digits of a tag go into the name of a session."""

LONGEST_NAME = 63
"""Bytes of a session's name on PostgreSQL."""

LOCK_SECONDS = 5
IDLE_SECONDS = 15

_ROUNDS = 8
_SYNC_WAIT = "SET SESSION wsrep_sync_wait = 7"

_NOW = {
    "postgresql": text("SELECT extract(epoch FROM clock_timestamp())::float8"),
    "mysql": text("SELECT UNIX_TIMESTAMP(NOW(6))"),
    "sqlite": text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
}

_POSTGRESQL_INCARNATION = text("""
    SELECT system.system_identifier,
           CASE WHEN pg_is_in_recovery()
                THEN lpad(upper(to_hex(point.timeline_id)), 8, '0')
                ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
    FROM pg_control_system() AS system, pg_control_checkpoint() AS point
""")
_SQLITE_INCARNATION = text("SELECT value FROM orchestrator_incarnation WHERE id = 1")
_CLUSTER = text("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'")
_VERSION = text("SELECT VERSION()")
_SERVER_UUID = text("SELECT @@server_uuid")
_SERVER_NAME = text("SELECT @@server_id, @@hostname")

_SESSION = text("SELECT CONCAT(@@hostname, ':', @@port), CONNECTION_ID()")
_RECORD_SESSION = text("""
    INSERT INTO orchestrator_sessions (member, session, tag, started_at)
    VALUES (:member, :session, :tag, UNIX_TIMESTAMP(NOW(6)))
    ON DUPLICATE KEY UPDATE tag = :tag, started_at = UNIX_TIMESTAMP(NOW(6))
""")
_IS_THERE = text("SELECT COUNT(*) FROM information_schema.processlist WHERE id = :session")
_FORGET_SESSION = text("DELETE FROM orchestrator_sessions WHERE member = :member AND session = :session AND tag = :tag")

Session = tuple[str, int]
"""A session of MariaDB or MySQL: the server it lives on, and its number there."""


def now(wire: Wire) -> float:
    """The time of the database, in seconds since the epoch."""
    return float(wire.rows(_of(wire, _NOW))[0][0])


def incarnation(wire: Wire) -> str | None:
    """The identity of the database's history, as the daemon writes it into the copy; None before it was written."""
    if wire.kind == "postgresql":
        identifier, timeline = wire.rows(_POSTGRESQL_INCARNATION)[0]
        return f"{identifier}.{timeline}"
    if wire.kind == "sqlite":
        found = wire.rows(_SQLITE_INCARNATION)
        return str(found[0][0]) if found else None
    cluster = _cluster(wire)
    if cluster is not None:
        return f"galera.{cluster}"
    if "mariadb" not in str(wire.rows(_VERSION)[0][0]).lower():
        return str(wire.rows(_SERVER_UUID)[0][0])
    number, host = wire.rows(_SERVER_NAME)[0]
    return f"{number}.{host}"[:255]


def prepare(wire: Wire) -> None:
    """Begin a transaction that waits for nobody long, and that a server ends when its client has stopped in it."""
    if wire.kind == "sqlite":
        wire.run(text(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000}"))
        wire.dialect.set_isolation_level(wire.connection, "AUTOCOMMIT")  # or the driver begins one of its own, later
        wire.run(text("BEGIN IMMEDIATE"))
        return
    wire.dialect.set_isolation_level(wire.connection, "READ COMMITTED")
    if wire.kind == "postgresql":
        wire.run(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
        wire.run(text(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"))
        wire.commit()
        return
    wire.run(text(f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, wait_timeout = {IDLE_SECONDS}"))
    if _cluster(wire) is not None:
        wire.run(text(_SYNC_WAIT))


def end(wire: Wire, *, well: bool) -> None:
    """Commit, or roll back."""
    if wire.kind == "sqlite":
        wire.run(text("COMMIT" if well else "ROLLBACK"))
    elif well:
        wire.commit()
    else:
        wire.rollback()


@contextmanager
def seeing_the_cluster(wire: Wire) -> Iterator[None]:
    """On a node of Galera, see in this block what any node has committed."""
    if wire.kind != "mysql" or _cluster(wire) is None:
        yield
        return
    before = int(wire.rows(text("SELECT @@wsrep_sync_wait"))[0][0])
    wire.run(text(_SYNC_WAIT))
    yield
    wire.run(text(f"SET SESSION wsrep_sync_wait = {before}"))


def tag_session(wire: Wire, tag: str) -> Session | None:
    """Make the session one that can be told by the tag, and commit that. Returns its number where that is recorded.

    Raises `ClientError` (code `database_pooled`) where a session is no session.
    """
    if wire.kind == "postgresql":
        _name_session(wire, tag)
    elif wire.kind == "mysql":
        member, number = wire.rows(_SESSION)[0]
        wire.run(_RECORD_SESSION.bindparams(member=str(member), session=int(number), tag=tag))
        wire.commit()
        return str(member), int(number)
    return None


def forget(wire: Wire, tag: str, ended: Iterable[Session]) -> None:
    """Take away the records of these sessions."""
    for member, number in ended:
        wire.run(_FORGET_SESSION.bindparams(member=member, session=number, tag=tag))


def forget_ended(wire: Wire, tag: str, closed: Iterable[Session]) -> list[Session]:
    """Take away the records of sessions that have ended at the server too, and commit. Returns the other ones.

    A server may not have noticed yet that its client is gone: what it still does must be found.
    """
    here = str(wire.rows(_SESSION)[0][0])
    left = [
        (member, number)
        for member, number in closed
        if member != here or wire.rows(_IS_THERE.bindparams(session=number))[0][0]
    ]
    forget(wire, tag, set(closed).difference(left))
    wire.commit()
    return left


def _name_session(wire: Wire, tag: str) -> None:
    mark = tag[:MARK_LENGTH]
    own = str(wire.rows(text("SELECT current_setting('application_name')"))[0][0])
    room = LONGEST_NAME - len(mark) - 1
    name = own.encode("ascii", "replace").decode()[:room].strip() or "orchestrator"
    wire.rows(text("SELECT set_config('application_name', :name, false)").bindparams(name=f"{name} {mark}"))
    number = wire.rows(text("SELECT pg_backend_pid()"))[0][0]
    wire.commit()
    if number == _number_of_driver(wire):
        return
    for _ in range(_ROUNDS):  # a pooler in between; it may give each client a session of its own, or not
        found = wire.rows(text("SELECT pg_backend_pid(), current_setting('application_name')"))[0]
        wire.commit()
        if found != (number, f"{name} {mark}"):
            raise ClientError(
                "database_pooled",
                "the database is behind a pooler that gives each transaction another session: no session can be told",
                remedy="Connect to the server itself, or to a pool with pool_mode = session.",
            )


def _number_of_driver(wire: Wire) -> int | None:
    """What the server said its session's number is when the connection was made; None where the driver hides it."""
    driver = getattr(wire.connection, "driver_connection", wire.connection)
    info = getattr(driver, "info", None)
    number = getattr(info, "backend_pid", None)
    if number is None and hasattr(driver, "get_server_pid"):
        number = driver.get_server_pid()
    return number if isinstance(number, int) else None


def _cluster(wire: Wire) -> str | None:
    found = wire.rows(_CLUSTER)
    return str(found[0][1]) if found and str(found[0][1]).strip("0-") else None


def _of(wire: Wire, known: dict[str, TextClause]) -> Executable:
    statement = known.get(wire.kind)
    if statement is None:
        raise ClientError(
            "database_unsupported",
            f"a database of kind {wire.kind} keeps no copy",
            remedy="The orchestrator manages PostgreSQL, MariaDB, MySQL and SQLite.",
        )
    return statement
