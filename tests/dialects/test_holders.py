"""Who holds a lock is named, and nothing private with it; ended only where that is right."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.dialects.holders import Holder, describe, lasting, shortened
from orchestrator.domain.errors import Forbidden
from tests.daemon.daemons import until
from tests.waiting_rooms import until_idle

SERVERS = ["postgresql", "mysql"]


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE users SET password = 'let''me \\' in'\n  WHERE id = 42", "UPDATE users SET password = ? WHERE id = ?"),
        ("INSERT INTO t1 VALUES (-1.5e3, 0xFF, $1)", "INSERT INTO t1 VALUES (?, ?, $1)"),
        ("ALTER ROLE app PASSWORD 'cut o", "ALTER ROLE app PASSWORD ?"),
        ("DO $do$ secret $do$", "DO ?"),
        ("SELECT 1 -- token abc\n/* and", "SELECT ?"),
        ('SELECT "a column" FROM c2', 'SELECT "a column" FROM c2'),
        ("   ", None),
        (None, None),
    ],
)
def test_statement_is_shown_on_one_line_without_its_values(statement: str | None, shown: str | None) -> None:
    assert shortened(statement, quoted_is_text=False) == shown


def test_statement_is_cut_and_double_quotes_may_hold_text() -> None:
    assert shortened('SELECT "secret" FROM c2', quoted_is_text=True) == "SELECT ? FROM c2"
    long = shortened("SELECT " + "a" * 500, quoted_is_text=True)
    assert long is not None
    assert len(long) < 110
    assert long.endswith(" ...")


def test_lengths_of_time_are_said_in_one_unit() -> None:
    assert [lasting(each) for each in (0.2, 89, 90, 2460, 5399, 5400, 100_000)] == [
        "0 s",
        "89 s",
        "2 min",
        "41 min",
        "90 min",
        "2 h",
        "28 h",
    ]


def test_names_of_applications_cannot_break_the_line() -> None:
    said = describe(7, user="u", host=None, state="idle", state_seconds=1, application="a\nsession 8 " * 50)
    assert "\n" not in said
    assert len(said) < 200


# -- on servers ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]
) -> Iterator[tuple[Database, Database]]:
    """A database with a table t, as its owner opens it, and as another user does, who may use that table."""
    owner = open_database("main", request.getfixturevalue(f"{request.param}_url"))
    url = owner.engine.url
    other = f"other_{url.database}"
    is_postgresql = owner.dialect.name == "postgresql"
    with owner.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY, secret VARCHAR(20))"))
        if is_postgresql:
            connection.exec_driver_sql(f"CREATE ROLE {other} LOGIN")
            connection.exec_driver_sql(f"GRANT ALL ON t TO {other}")
        else:
            connection.exec_driver_sql(f"CREATE USER '{other}'@'%%'")
            connection.exec_driver_sql(f"GRANT ALL ON {url.database}.* TO '{other}'@'%%'")
    yield owner, open_database("main", url.set(username=other).render_as_string(hide_password=False))
    with owner.writing() as connection:
        if is_postgresql:
            end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :name"
            connection.execute(sa.text(end), {"name": other})
            connection.exec_driver_sql(f"DROP OWNED BY {other}")
            connection.exec_driver_sql(f"DROP ROLE {other}")
        else:
            connection.exec_driver_sql(f"DROP USER '{other}'@'%%'")


def lock(connection: sa.Connection) -> int:
    """Use the table, and stay in the transaction. Returns the session's number."""
    connection.execute(sa.text("SELECT * FROM t WHERE secret = 'let me in'")).all()
    name = connection.dialect.name
    number = "pg_backend_pid()" if name == "postgresql" else "CONNECTION_ID()"
    return int(connection.execute(sa.text(f"SELECT {number} /* let me in */")).scalar_one())


@contextmanager
def altering(database: Database) -> Iterator[int]:
    """Somebody waits for the table to be free. Gives that session's number."""
    with database.engine.connect() as waiter:
        number = database.dialect.session_number(waiter)
        assert number is not None
        assert not waiter.in_transaction()

        def alter() -> None:
            with waiter.begin():
                database.dialect.lock_timeout(waiter, 60)
                waiter.exec_driver_sql("ALTER TABLE t ADD COLUMN more INTEGER")

        thread = threading.Thread(target=alter)
        thread.start()
        yield number
        thread.join()


def holders(database: Database, waiting: int) -> tuple[Holder, ...]:
    with database.reading() as asker:
        return database.dialect.lock_holders(asker, ["t"], waiting=waiting)


def waited_for(database: Database, waiting: int) -> Holder:
    """Who is waited for, as soon as somebody is."""
    (holder,) = until(lambda: holders(database, waiting), "somebody is waited for")
    return cast("Holder", holder)


def test_who_blocks_is_named_while_we_wait_for_him(server: tuple[Database, Database]) -> None:
    owner, other = server
    with other.engine.connect() as idle:
        number = lock(idle)
        with altering(owner) as waiting:
            (found,) = until_idle(lambda: holders(owner, waiting))
            idle.rollback()
    assert found.session == number
    assert found.sentence.startswith(f"session {number} idle in transaction for ")
    assert f"user {other.engine.url.username} from " in found.sentence
    assert "holds t" in found.sentence
    assert "let me in" not in found.sentence
    assert found.certain
    assert not found.is_own
    assert found.idle_seconds is not None


def test_who_waits_himself_is_not_to_blame(server: tuple[Database, Database]) -> None:
    """We stand behind an ALTER TABLE of somebody else's, which stands behind an idle session."""
    owner, other = server
    if owner.dialect.name != "postgresql":
        return  # MariaDB tells who holds a table, not who waits for it: the one in the middle is never named
    with other.engine.connect() as idle:
        number = lock(idle)
        with altering(owner) as first:
            waited_for(owner, first)
            with owner.engine.connect() as second:
                waiting = owner.dialect.session_number(second)
                assert waiting is not None

                def read() -> None:
                    second.execute(sa.text("SELECT count(*) FROM t"))

                thread = threading.Thread(target=read)
                thread.start()
                assert waited_for(owner, waiting).session == number
                idle.rollback()
                thread.join()
                second.rollback()


def test_idle_session_in_the_way_is_ended(server: tuple[Database, Database]) -> None:
    owner, other = server
    with other.engine.connect() as idle:
        lock(idle)
        with altering(owner) as waiting:
            found = waited_for(owner, waiting)
            with owner.reading() as asker:
                assert not owner.dialect.end_idle_session(asker, found, 3600)
            with owner.reading() as asker:
                assert owner.dialect.end_idle_session(asker, found, 0)
        idle.invalidate()
    assert {column["name"] for column in sa.inspect(owner.engine).get_columns("t")} == {"id", "secret", "more"}


def grant(server: tuple[Database, Database], right: str) -> Database:
    """Let the other user do more. Returns it as it is from then on."""
    owner, other = server
    name = other.engine.url.username
    with owner.writing() as connection:
        to_whom = f" ON *.* TO '{name}'@'%%'" if owner.dialect.name == "mysql" else f" TO {name}"
        connection.exec_driver_sql(f"GRANT {right}{to_whom}")
    other.engine.dispose()  # some rights are looked at when a session begins
    return other


def test_missing_privilege_to_end_a_session_is_told_with_its_grant(server: tuple[Database, Database]) -> None:
    owner, _ = server
    other = grant(server, "PROCESS" if owner.dialect.name == "mysql" else "pg_read_all_stats")
    with owner.engine.connect() as idle:
        holder = Holder(lock(idle), "session", "end", idle_seconds=1)
        with pytest.raises(Forbidden) as caught, other.reading() as asker:
            other.dialect.end_idle_session(asker, holder, 0)
        assert idle.execute(sa.text("SELECT 1")).scalar_one() == 1
    assert caught.value.code == "session_stays"
    assert str(other.engine.url.username) in caught.value.message
    assert "GRANT " in caught.value.remedy


def test_role_that_is_not_shown_what_others_do_is_told_how_to_be(server: tuple[Database, Database]) -> None:
    owner, other = server
    with owner.engine.connect() as idle, other.reading() as asker:
        number = lock(idle)
        found = other.dialect.lock_holders(asker, ["t"])
    if owner.dialect.name == "mysql":
        assert found == ()
        return
    assert found[0].session == number
    assert "doing what we are not shown" in found[0].sentence
    assert found[0].hint == f"To be shown what it does: GRANT pg_read_all_stats TO {other.engine.url.username};"
    assert found[0].idle_seconds is None


def test_own_sessions_are_recognised(server: tuple[Database, Database]) -> None:
    owner, _ = server
    with owner.engine.connect() as idle, owner.reading() as asker:
        lock(idle)
        (found,) = owner.dialect.lock_holders(asker, ["t"])
        assert found.is_own
