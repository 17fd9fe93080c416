"""Sessions of MariaDB and MySQL that are on record with a tag, and how one is ended.

The servers show no name of a session, so each writes down its number, before it looks whether it may work.
"""

from __future__ import annotations

from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.mysql_server import code_of, is_mariadb
from orchestrator.dialects.tagged import TaggedSession
from orchestrator.domain.errors import Forbidden

_NO_SUCH_SESSION = 1094
_MAY_NOT_END = frozenset({1095, 1227})
_CLOCK_SECONDS = 2.0
"""A server tells since when it is up in whole seconds."""

_MEMBER = text("SELECT CONCAT(@@hostname, ':', @@port)")
_TAGGED = text("SELECT member, session, started_at FROM orchestrator_sessions WHERE tag = :tag ORDER BY 1, 2")
_FORGET = text("DELETE FROM orchestrator_sessions WHERE member = :member AND session = :session AND tag = :tag")
_NODES = text("SHOW GLOBAL STATUS LIKE 'wsrep_incoming_addresses'")
_UPTIME = text("SHOW GLOBAL STATUS LIKE 'Uptime'")
_NOW = text("SELECT UNIX_TIMESTAMP(NOW(6))")
_OF_ANOTHER_DATABASE = text(
    "SELECT COUNT(*) FROM information_schema.processlist WHERE id = :id AND db IS NOT NULL AND db <> DATABASE()"
)


class MySQLTagged:
    """Sessions that carry a tag are told by what they wrote down, with the server, of a cluster the node."""

    def member(self, connection: Connection) -> str:
        """The server, of a cluster the node."""
        return str(connection.execute(_MEMBER).scalar_one())

    def other_servers(self, connection: Connection) -> tuple[tuple[str, int], ...]:
        """The nodes of a Galera cluster: many say no more than AUTO of where they listen."""
        found = connection.execute(_NODES).first()
        places = (each.strip().rpartition(":") for each in (found[1] if found else "").split(","))
        return tuple((host, int(port)) for host, _, port in places if host and port.isdigit())

    def find(self, connection: Connection, tag: str) -> tuple[TaggedSession, ...]:
        """The sessions that wrote down this tag and are not known to have ended."""
        return tuple(
            TaggedSession(tag, row.session, row.member, row.started_at)
            for row in connection.execute(_TAGGED, {"tag": tag})
        )

    def end(self, connection: Connection, session: TaggedSession) -> bool:
        """Only the server's word that there is no session of that number counts as its end: others' sessions may be
        hidden from us."""
        if not _is_anothers(connection, session) and kill(connection, session.number):
            return True
        connection.execute(_FORGET, {"member": session.member, "session": session.number, "tag": session.tag})
        return False


def kill(connection: Connection, session: int) -> bool:
    """End the session of that number. Returns whether there was one.

    Raises `Forbidden` (code `session_stays`) where the user may not.
    """
    try:
        connection.exec_driver_sql(f"KILL {int(session)}")
    except (SQLAlchemyError, DBError) as error:
        codes = {code_of(layer) for layer in layers(error)}
        if _NO_SUCH_SESSION in codes:
            return False
        if not codes & _MAY_NOT_END:
            raise
        user = connection.execute(text("SELECT CURRENT_USER()")).scalar_one()
        name, _, host = str(user).rpartition("@")
        right = "CONNECTION ADMIN" if is_mariadb(connection) else "CONNECTION_ADMIN"
        raise Forbidden(
            "session_stays",
            f"user {user} may not end it",
            remedy=f"To let it: GRANT {right} ON *.* TO '{name}'@'{host}';",
            session=session,
        ) from error
    return True


def _is_anothers(connection: Connection, session: TaggedSession) -> bool:
    """Whether the server was started anew since, and gave the number to a session of another database."""
    if session.started_at is None:
        return False
    uptime, now = connection.execute(_UPTIME).one()[1], connection.execute(_NOW).scalar_one()
    if session.started_at > float(now) - float(uptime) - _CLOCK_SECONDS:
        return False
    return bool(connection.execute(_OF_ANOTHER_DATABASE, {"id": session.number}).scalar_one())
