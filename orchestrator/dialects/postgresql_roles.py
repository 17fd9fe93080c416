"""Roles of PostgreSQL: who is connected under each, and how one is locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, text

from orchestrator.dialects.roles import SeenRole, own_role
from orchestrator.domain.roles import RoleSession

_SESSIONS = text("""
    SELECT usename::text AS role, pid, host(client_addr) AS host, extract(epoch FROM backend_start)::float8 AS since
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = ANY(CAST(:names AS text[])) AND pid <> pg_backend_pid()
    ORDER BY backend_start, pid
""")
_ME = text("""
    SELECT current_user::text AS name, rolsuper AS is_superuser, rolcreaterole AS makes_roles,
           CAST(current_setting('server_version_num') AS integer) AS version
    FROM pg_roles WHERE rolname = current_user
""")
_ROLES = text("""
    SELECT rolname::text AS name, rolcanlogin AS may_log_in, rolsuper AS is_superuser,
           rolname IN (current_user, session_user) AS is_own,
           pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION') AS is_ours_to_give
    FROM pg_roles WHERE rolname = ANY(CAST(:names AS text[]))
""")
_IS_OWN = text("SELECT :name IN (current_user, session_user)")

_GIVEN_SINCE = 160000
"""Since this version the right to make roles is none to change those that somebody else made."""


class PostgreSQLRoles:
    """Everybody is shown who is connected; since when and from where is shown to members of pg_read_all_stats."""

    def read(self, connection: Connection, names: Sequence[str]) -> tuple[SeenRole, ...]:
        me = connection.execute(_ME).one()
        known = {row.name: row for row in connection.execute(_ROLES, {"names": list(names)})}
        sessions: dict[str, list[RoleSession]] = defaultdict(list)
        for row in connection.execute(_SESSIONS, {"names": list(names)}):
            sessions[row.role].append(RoleSession(row.pid, row.host, row.since))
        quote = connection.dialect.identifier_preparer.quote
        found = []
        for name in names:
            role = known.get(name)
            problem = remedy = None
            if role is None:
                problem, remedy = "there is no such role", "Mend the name in the option roles."
            elif role.is_own:
                problem = "the orchestrator itself works under it"
                remedy = "Give the orchestrator a role of its own."
            elif role.is_superuser and not me.is_superuser:
                problem = f"it is a superuser, which role {me.name} may not lock"
                remedy = f"ALTER ROLE {quote(name)} NOSUPERUSER;"
            elif not (me.is_superuser or (me.makes_roles and (me.version < _GIVEN_SINCE or role.is_ours_to_give))):
                problem = f"role {me.name} may not lock it"
                remedy = f"ALTER ROLE {quote(me.name)} CREATEROLE;"
                if me.version >= _GIVEN_SINCE:
                    remedy += f" GRANT {quote(name)} TO {quote(me.name)} WITH ADMIN OPTION;"
            is_locked = role is not None and not role.may_log_in
            found.append(SeenRole(name, is_locked, tuple(sessions[name]), problem, remedy))
        return tuple(found)

    def lock(self, connection: Connection, name: str) -> None:
        if connection.execute(_IS_OWN, {"name": name}).scalar_one():
            raise own_role(name)
        connection.exec_driver_sql(f"ALTER ROLE {connection.dialect.identifier_preparer.quote(name)} NOLOGIN")

    def unlock(self, connection: Connection, name: str) -> None:
        connection.exec_driver_sql(f"ALTER ROLE {connection.dialect.identifier_preparer.quote(name)} LOGIN")

    def servers(self, connection: Connection) -> int:
        return 1
