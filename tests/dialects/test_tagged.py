"""Sessions that carry a tag: found, ended, and not taken for ended too early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.tables import sessions as on_record
from orchestrator.dialects import Database
from orchestrator.dialects.mysql_tagged import MySQLTagged
from orchestrator.dialects.tagged import MARK_LENGTH, end_tagged
from orchestrator.domain.errors import Forbidden, Unavailable

TAG, OTHER = "5a" * 32, "6b" * 32

PATIENCE_SECONDS = 60.0


@pytest.fixture(params=["postgresql_url", "mysql_url"])
def server(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A new database on a server, with room for sessions on record."""
    database = open_database("main", request.getfixturevalue(request.param))
    with database.writing() as connection:
        on_record.create(connection)
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
    return database


@contextmanager
def session_of(database: Database, tag: str, *, member: str = "") -> Iterator[sa.Connection]:
    """A session of somebody else that carries the tag, in the middle of a transaction; gone at the end."""
    url = database.engine.url
    if url.get_backend_name() == "postgresql":
        url = url.update_query_dict({"application_name": f"orchestrator:{tag}"[:63]})
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        if database.dialect.name == "mysql":
            record(connection, tag, member=member or database.dialect.tagged.member(connection) or "")
            connection.commit()
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
        yield connection
        connection.invalidate()
    engine.dispose()


def record(connection: sa.Connection, tag: str, *, member: str, number: int = 0, age_seconds: float = 0.0) -> None:
    """What a session of MariaDB writes down of itself."""
    found = number or connection.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
    now = connection.execute(sa.text("SELECT UNIX_TIMESTAMP(NOW(6))")).scalar_one()
    connection.execute(
        sa.insert(on_record).values(member=member, session=found, tag=tag, started_at=float(now) - age_seconds)
    )


def can_work(connection: sa.Connection) -> bool:
    """Whether the session goes on where it was: its commit succeeds."""
    try:
        connection.commit()
    except sa.exc.DBAPIError:
        return False
    return True


def rows(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM t")).scalar_one())


def test_all_sessions_of_the_tag_are_ended_and_their_transactions_rolled_back(server: Database) -> None:
    with session_of(server, TAG) as mine:
        end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)
        with server.autocommitting() as connection:
            assert server.dialect.tagged.find(connection, TAG) == ()
        assert not can_work(mine)
    assert rows(server) == 0
    end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)  # repeatable


def test_sessions_of_others_go_on(server: Database) -> None:
    with session_of(server, OTHER) as other:
        end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)
        assert can_work(other)
    assert rows(server) == 1


def test_session_that_was_told_to_end_counts_until_it_has(server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last statement may still commit: the server's word counts, not ours."""
    monkeypatch.setattr(type(server.dialect.tagged), "end", lambda *_: True)
    with session_of(server, TAG), pytest.raises(Unavailable) as caught:
        end_tagged(server, TAG, patience_seconds=0)
    assert caught.value.code == "session_ending"
    assert "database main was told to end" in caught.value.message


def test_session_that_may_not_be_ended_is_told_with_the_grant(
    server: Database, open_database: Callable[[str, str], Database], request: pytest.FixtureRequest
) -> None:
    """A role that is shown least of all: what it is not shown counts as there."""
    name = f"plain_{server.engine.url.database}"
    is_postgresql = server.dialect.name == "postgresql"
    user = name if is_postgresql else f"'{name}'@'%%'"
    with server.writing() as connection:
        if is_postgresql:
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        else:
            connection.exec_driver_sql(f"CREATE USER {user}")
            connection.exec_driver_sql(f"GRANT ALL ON {server.engine.url.database}.* TO {user}")

    def drop() -> None:
        with server.writing() as connection:
            connection.exec_driver_sql(f"DROP ROLE {name}" if is_postgresql else f"DROP USER {user}")

    request.addfinalizer(drop)
    url = server.engine.url.set(username=name).render_as_string(hide_password=False)
    plain = open_database("main", url)
    with session_of(server, TAG) as mine:
        with pytest.raises(Forbidden) as caught:
            end_tagged(plain, TAG, patience_seconds=PATIENCE_SECONDS)
        assert caught.value.code == "session_stays"
        assert caught.value.message.startswith("session ")
        assert f"of database main stays: {'role' if is_postgresql else 'user'} {name}" in caught.value.message
        wanted = "GRANT pg_signal_backend TO" if is_postgresql else "GRANT CONNECTION ADMIN ON *.* TO"
        assert wanted in caught.value.remedy
        assert can_work(mine)
    plain.engine.dispose()


def test_name_that_holds_the_start_of_a_tag_is_enough(
    open_database: Callable[[str, str], Database], postgresql_url: str
) -> None:
    """A name on PostgreSQL has no room for a whole one."""
    database = open_database("main", postgresql_url)
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
    with session_of(database, TAG[:MARK_LENGTH]) as mine:
        end_tagged(database, TAG, patience_seconds=PATIENCE_SECONDS)
        assert not can_work(mine)


class TestOnRecord:
    """MariaDB and MySQL: sessions wrote themselves down."""

    @pytest.fixture
    def server(self, open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
        database = open_database("main", mysql_url)
        with database.writing() as connection:
            on_record.create(connection)
            connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        return database

    def test_session_on_a_server_that_nobody_reaches_is_named(self, server: Database) -> None:
        with session_of(server, TAG, member="db2:3306") as mine:
            with pytest.raises(Unavailable) as caught:
                end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)
            assert caught.value.code == "member_unreachable"
            assert "on db2:3306 of database main lives on a server that cannot be reached" in caught.value.message
            assert "db2:3306" in caught.value.remedy
            assert can_work(mine)

    def test_member_that_does_not_answer_is_named_and_the_sessions_of_the_others_are_ended(
        self, server: Database, open_database: Callable[[str, str], Database]
    ) -> None:
        nowhere = open_database("member", "mysql://root@127.0.0.1:1/x")
        with session_of(server, TAG) as mine:
            with server.writing() as connection:
                record(connection, TAG, member="db2:3306", number=7)
            with pytest.raises(Unavailable) as caught:
                end_tagged(server, TAG, (nowhere,), patience_seconds=PATIENCE_SECONDS)
            assert "does not answer" in caught.value.message
            assert not can_work(mine)

    def test_session_is_ended_on_the_member_that_it_lives_on(
        self, server: Database, open_database: Callable[[str, str], Database], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        member = open_database("member", server.engine.url.render_as_string(hide_password=False))
        real = MySQLTagged.member
        monkeypatch.setattr(
            MySQLTagged, "member", lambda self, at: "db2:3306" if at.engine is member.engine else real(self, at)
        )
        with session_of(server, TAG, member="db2:3306") as mine:
            end_tagged(server, TAG, (member,), patience_seconds=PATIENCE_SECONDS)
            assert not can_work(mine)

    def test_what_is_over_is_taken_off_the_record(self, server: Database) -> None:
        with session_of(server, TAG):
            end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)
        with server.reading() as connection:
            assert connection.execute(sa.select(on_record)).all() == []

    def test_number_that_a_server_gave_to_another_database_since_is_let_be(
        self, server: Database, open_database: Callable[[str, str], Database], new_mysql_url: Callable[[], str]
    ) -> None:
        """After a restart numbers begin anew."""
        elsewhere = open_database("elsewhere", new_mysql_url())
        with elsewhere.reading() as innocent, server.writing() as connection:
            number = elsewhere.dialect.session_number(innocent)
            assert number is not None
            member = server.dialect.tagged.member(connection)
            assert member is not None
            record(connection, TAG, member=member, number=number, age_seconds=1e6)
            connection.commit()
            end_tagged(server, TAG, patience_seconds=PATIENCE_SECONDS)
            assert innocent.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_sqlite_has_no_sessions_to_end(open_database: Callable[[str, str], Database], sqlite_url: str) -> None:
    end_tagged(open_database("main", sqlite_url), TAG)
