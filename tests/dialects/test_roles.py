"""Roles: who is connected, how one is locked, and what is missing where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.dialects.roles import SeenRole, read_roles
from orchestrator.domain.errors import Invalid


@pytest.fixture(params=["postgresql_url", "mysql_url"])
def server(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A new database on a server, as an administrator."""
    return open_database("main", request.getfixturevalue(request.param))


class Users:
    """Makes users of one database."""

    def __init__(self, server: Database) -> None:
        self.server = server
        self.is_postgresql = server.dialect.name == "postgresql"
        self.made: list[str] = []

    def new(self, kind: str) -> str:
        name = f"{kind}_{self.server.engine.url.database}"
        self.made.append(name)
        if self.is_postgresql:
            self.execute(f"CREATE ROLE {name} LOGIN")
        else:
            database = self.server.engine.url.database
            self.execute(f"CREATE USER '{name}'@'%%'", f"GRANT ALL ON {database}.* TO '{name}'@'%%'")
        return name

    def engine(self, name: str) -> sa.Engine:
        return sa.create_engine(self.server.engine.url.set(username=name), poolclass=sa.NullPool)

    def execute(self, *statements: str) -> None:
        with self.server.autocommitting() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def may_connect(self, name: str) -> bool:
        try:
            with self.engine(name).connect():
                return True
        except sa.exc.DBAPIError:
            return False

    def drop(self) -> None:
        for name in self.made:
            self.execute(f"DROP OWNED BY {name}") if self.is_postgresql else None
            self.execute(f"DROP ROLE {name}" if self.is_postgresql else f"DROP USER '{name}'@'%%'")


@pytest.fixture
def users(server: Database) -> Iterator[Users]:
    users = Users(server)
    yield users
    users.drop()


def seen(database: Database, name: str) -> SeenRole:
    (role,) = read_roles(database, [name])
    return role


def test_locked_role_lets_nobody_in_and_ends_nobody(server: Database, users: Users) -> None:
    role = users.new("old")
    roles = server.dialect.roles
    with users.engine(role).connect() as mine, server.autocommitting() as connection:
        for _ in range(2):
            roles.lock(connection, role)
        assert seen(server, role).is_locked
        assert not users.may_connect(role)
        assert mine.execute(sa.text("SELECT 1")).scalar_one() == 1
        for _ in range(2):
            roles.unlock(connection, role)
        assert not seen(server, role).is_locked
        assert users.may_connect(role)


def test_sessions_of_a_role_are_counted_and_those_of_others_are_not(server: Database, users: Users) -> None:
    role, other = users.new("old"), users.new("other")
    assert seen(server, role) == SeenRole(role, is_locked=False)
    with users.engine(role).connect() as mine, users.engine(other).connect() as theirs:
        theirs.execute(sa.text("SELECT 1"))
        number = server.dialect.session_number(mine)
        (session,) = seen(server, role).sessions
        assert session.number == number
        if users.is_postgresql:
            assert session.since is not None
        else:
            assert session.host == "localhost"


def test_own_role_is_never_locked(server: Database) -> None:
    own = str(server.engine.url.username)
    assert "the orchestrator itself works under it" in str(seen(server, own).problem)
    with server.autocommitting() as connection, pytest.raises(Invalid) as caught:
        server.dialect.roles.lock(connection, own)
    assert caught.value.code == "role_own"


def test_role_that_is_not_there_is_named(server: Database) -> None:
    assert "there is no such" in str(seen(server, "nobody").problem)


def test_what_a_plain_user_lacks_is_named_with_what_grants_it(
    server: Database, users: Users, open_database: Callable[[str, str], Database]
) -> None:
    role, plain = users.new("old"), users.new("plain")
    database = open_database("main", server.engine.url.set(username=plain).render_as_string(hide_password=False))
    for _ in range(3):  # each grant brings to light what else is missing
        found = seen(database, role)
        if found.problem is None:
            break
        assert plain in found.problem
        assert found.remedy is not None
        users.execute(*(each.strip().replace("%", "%%") for each in found.remedy.split(";") if each.strip()))
        database.engine.dispose()
    assert found.problem is None
    with database.autocommitting() as connection:
        database.dialect.roles.lock(connection, role)
    assert seen(server, role).is_locked


def test_superuser_is_no_role_of_a_service(open_database: Callable[[str, str], Database], postgresql_url: str) -> None:
    server = open_database("main", postgresql_url)
    users = Users(server)
    plain = users.new("plain")
    database = open_database("main", server.engine.url.set(username=plain).render_as_string(hide_password=False))
    assert "superuser" in str(seen(database, "postgres").problem)
    database.engine.dispose()
    users.drop()


def test_node_that_nobody_asked_closes_the_eyes(
    open_database: Callable[[str, str], Database], mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = open_database("main", mysql_url)
    monkeypatch.setattr(type(server.dialect.roles), "servers", lambda self, connection: 2)
    users = Users(server)
    role = users.new("old")
    nowhere = open_database("main, member 1", "mysql://root@127.0.0.1:1/x")
    (found,) = read_roles(server, [role], (server, nowhere))
    assert "only 1 of the 2 servers of the cluster can be asked" in str(found.problem)
    assert "does not answer" in str(found.problem)
    users.drop()
