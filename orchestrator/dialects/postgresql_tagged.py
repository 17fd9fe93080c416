"""Sessions of PostgreSQL that carry a tag in their application name, and how one is ended."""

from __future__ import annotations

from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.tagged import MARK_LENGTH, TaggedSession
from orchestrator.domain.errors import Forbidden

_INSUFFICIENT_PRIVILEGE = "42501"

# Everybody is shown the names of everybody's sessions. The list is read once for a transaction, so nobody may call
# this twice in one.
_TAGGED = text("""
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND position(:mark IN application_name) > 0
    ORDER BY pid
""")
_END = text("""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE pid = :pid AND position(:mark IN application_name) > 0
""")


class PostgreSQLTagged:
    """Sessions that carry a tag are told by their names, which the server shows to everybody."""

    def member(self, connection: Connection) -> None:
        return None

    def other_servers(self, connection: Connection) -> tuple[tuple[str, int], ...]:
        return ()

    def find(self, connection: Connection, tag: str) -> tuple[TaggedSession, ...]:
        """The sessions of this database whose name holds the tag, or as much of it as goes into a name."""
        found = connection.execute(_TAGGED, {"mark": tag[:MARK_LENGTH]}).scalars()
        return tuple(TaggedSession(tag, number) for number in found)

    def end(self, connection: Connection, session: TaggedSession) -> bool:
        """Tell it to end. Returns whether it may be there still."""
        try:
            connection.execute(_END, {"pid": session.number, "mark": session.tag[:MARK_LENGTH]})
        except (DBAPIError, DBError) as error:
            refusal = may_not_end(connection, error, session.number)
            if refusal is None:
                raise
            raise refusal from error
        return True


def may_not_end(connection: Connection, error: BaseException, session: int) -> Forbidden | None:
    """The refusal to end a session, in our words; None for every other error."""
    if not any(getattr(layer, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE for layer in layers(error)):
        return None
    connection.rollback()
    role = connection.execute(text("SELECT current_user")).scalar_one()
    return Forbidden(
        "session_stays",
        f"role {role} may not end it",
        remedy=f"To let it: GRANT pg_signal_backend TO {role}; sessions of superusers stay even so.",
        session=session,
    )
