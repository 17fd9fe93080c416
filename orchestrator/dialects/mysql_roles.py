"""Users of MariaDB and MySQL: who is connected under each name, and how its accounts are locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_db.exception import DBError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.dialects.driver_errors import layers
from orchestrator.dialects.mysql_server import code_of, is_mariadb
from orchestrator.dialects.roles import SeenRole, own_role
from orchestrator.domain.errors import Forbidden
from orchestrator.domain.roles import RoleSession

_DENIED = frozenset({1044, 1142, 1143, 1227})

_SESSIONS = text("""
    SELECT user AS role, id, host FROM information_schema.processlist
    WHERE user IN :names AND id <> CONNECTION_ID() ORDER BY id
""").bindparams(sa.bindparam("names", expanding=True))
_ACCOUNTS_MARIADB = text("""
    SELECT User AS name, Host AS host, COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) IN ('1', 'true') AS is_locked
    FROM mysql.global_priv WHERE User IN :names
""").bindparams(sa.bindparam("names", expanding=True))
_ACCOUNTS_MYSQL = text("""
    SELECT User AS name, Host AS host, account_locked = 'Y' AS is_locked FROM mysql.user WHERE User IN :names
""").bindparams(sa.bindparam("names", expanding=True))
_ME = text("SELECT CURRENT_USER()")
_MY_RIGHTS = text("SELECT privilege_type FROM information_schema.user_privileges WHERE grantee = :grantee")
_WANTED = ("PROCESS", "CREATE USER")
_CLUSTER_SIZE = text("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'")


class MySQLRoles:
    """A role is every account of that name, from whichever host. The server does not tell since when one is connected.

    Who is connected is shown with the PROCESS privilege only; without it nobody would seem to be there.
    """

    def read(self, connection: Connection, names: Sequence[str]) -> tuple[SeenRole, ...]:
        me, host = _me(connection)
        rights = {row[0] for row in connection.execute(_MY_RIGHTS, {"grantee": f"'{me}'@'{host}'"})}
        missing = [right for right in _WANTED if right not in rights]
        accounts, refused = _accounts(connection, names)
        sessions: dict[str, list[RoleSession]] = defaultdict(list)
        for row in connection.execute(_SESSIONS, {"names": list(names)}):
            place = str(row.host or "").rpartition(":")[0] or row.host
            sessions[row.role].append(RoleSession(row.id, place))
        table = _accounts_table(connection)
        found = []
        for name in names:
            problem = remedy = None
            if name == me:
                problem, remedy = "the orchestrator itself works under it", "Give the orchestrator a user of its own."
            elif missing:
                problem = (
                    f"user {me}@{host} lacks {' and '.join(missing)}, so nobody can tell who is connected, or lock it"
                )
                remedy = f"GRANT {', '.join(missing)} ON *.* TO '{me}'@'{host}';"
            elif refused:
                problem = f"user {me}@{host} may not read {table}, which says whether it is locked"
                remedy = f"GRANT SELECT ON {table} TO '{me}'@'{host}';"
            elif not accounts.get(name):
                problem, remedy = "there is no such user", "Mend the name in the option roles."
            locks = accounts.get(name, {})
            is_locked = bool(locks) and all(locks.values())
            found.append(SeenRole(name, is_locked, tuple(sessions[name]), problem, remedy))
        return tuple(found)

    def lock(self, connection: Connection, name: str) -> None:
        if name == _me(connection)[0]:
            raise own_role(name)
        self._alter(connection, name, "LOCK")

    def unlock(self, connection: Connection, name: str) -> None:
        self._alter(connection, name, "UNLOCK")

    def servers(self, connection: Connection) -> int:
        found = connection.execute(_CLUSTER_SIZE).first()
        return max(1, int(found[1])) if found and str(found[1]).isdigit() else 1

    def _alter(self, connection: Connection, name: str, verb: str) -> None:
        accounts, refused = _accounts(connection, (name,))
        if refused:
            raise Forbidden(
                "accounts_hidden",
                f"the accounts of {name} cannot be read, so none can be locked or unlocked",
                remedy=f"GRANT SELECT ON {_accounts_table(connection)} to the orchestrator's user.",
            )
        for host in accounts.get(name, {}):
            account = "@".join("'" + each.replace("\\", "\\\\").replace("'", "''") + "'" for each in (name, host))
            connection.exec_driver_sql(f"ALTER USER {account} ACCOUNT {verb}".replace("%", "%%"))


def _me(connection: Connection) -> tuple[str, str]:
    name, _, host = str(connection.execute(_ME).scalar_one()).rpartition("@")
    return name, host


def _accounts_table(connection: Connection) -> str:
    return "mysql.global_priv" if is_mariadb(connection) else "mysql.user"


def _accounts(connection: Connection, names: Sequence[str]) -> tuple[dict[str, dict[str, bool]], bool]:
    """For each name its accounts' hosts and whether they are locked; and whether we may not read that."""
    query = _ACCOUNTS_MARIADB if is_mariadb(connection) else _ACCOUNTS_MYSQL
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    try:
        for row in connection.execute(query, {"names": list(names)}):
            found[row.name][row.host] = bool(row.is_locked)
    except (SQLAlchemyError, DBError) as error:
        if not any(code_of(layer) in _DENIED for layer in layers(error)):
            raise
        return {}, True
    return found, False
