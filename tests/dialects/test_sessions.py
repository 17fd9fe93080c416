"""What sessions promise on each kind of database: transactions, time, identity, locks."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.tables import metadata
from orchestrator.dialects import Database, open_database
from orchestrator.dialects.holders import Holder
from orchestrator.dialects.mysql import lock_name
from orchestrator.domain.errors import Conflict, Unavailable
from tests.daemon.daemons import until
from tests.waiting_rooms import until_idle


@pytest.fixture(params=["postgresql_url", "mysql_url"])
def server(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A new database on a server, where several sessions work at once."""
    return open_database("main", request.getfixturevalue(request.param))


def own_number(connection: sa.Connection) -> int:
    """The session's number, as its server calls it."""
    function = "pg_backend_pid()" if connection.dialect.name == "postgresql" else "CONNECTION_ID()"
    return int(connection.execute(sa.text(f"SELECT {function}")).scalar_one())


def test_failed_transaction_leaves_no_table_and_no_row(database: Database) -> None:
    """No table only where DDL is transactional, which MariaDB's is not: it commits what was done before it."""
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE kept (id INTEGER PRIMARY KEY)"))
    schema_connection = database.dialect.schema_connection(database.engine)
    with pytest.raises(ZeroDivisionError), schema_connection as connection, connection.begin():
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        if database.dialect.transactional_ddl:
            connection.execute(sa.text("CREATE TABLE debris (id INTEGER PRIMARY KEY)"))
            connection.execute(sa.text("ALTER TABLE kept ADD COLUMN debris INTEGER"))
        raise ZeroDivisionError
    assert database.dialect.transactional_ddl == (database.dialect.name != "mysql")
    inspector = sa.inspect(database.engine)
    assert inspector.get_table_names() == ["kept"]
    assert [column["name"] for column in inspector.get_columns("kept")] == ["id"]
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0


def test_reading_writes_nothing(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE kept (id INTEGER PRIMARY KEY)"))
    with database.reading() as connection:
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        if database.dialect.transactional_ddl:
            connection.execute(sa.text("CREATE TABLE debris (id INTEGER PRIMARY KEY)"))
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0
    assert sa.inspect(database.engine).get_table_names() == ["kept"]


def test_writer_that_read_first_is_not_refused_for_a_write_in_between(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER)"))
        connection.execute(sa.text("INSERT INTO counters VALUES (1, 0)"))
    with database.writing() as first:
        first.execute(sa.text("SELECT value FROM counters")).all()
        first.execute(sa.text("UPDATE counters SET value = value + 1"))
    with database.writing() as second:
        second.execute(sa.text("UPDATE counters SET value = value + 1"))
        assert second.execute(sa.text("SELECT value FROM counters")).scalar_one() == 2


def test_lock_comes_before_what_is_read_after_it(server: Database) -> None:
    """Who waited for a row sees what others committed until then, in that row and in all others."""
    with server.writing() as connection:
        connection.execute(sa.text("CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER)"))
        connection.execute(sa.text("INSERT INTO counters VALUES (1, 0), (2, 0)"))
    with server.writing() as mine:
        assert mine.execute(sa.text("SELECT sum(value) FROM counters")).scalar_one() == 0
        with server.writing() as other:
            other.execute(sa.text("UPDATE counters SET value = value + 1"))
        mine.execute(sa.text("UPDATE counters SET value = value + 1 WHERE id = 1"))
        assert list(mine.execute(sa.text("SELECT value FROM counters ORDER BY id")).scalars()) == [2, 1]


def test_snapshot_sees_one_moment(server: Database) -> None:
    database = server
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE counters (value INTEGER)"))
        connection.execute(sa.text("INSERT INTO counters VALUES (1)"))
    with database.snapshot() as snapshot:
        before = snapshot.execute(sa.text("SELECT value FROM counters")).scalar_one()
        with database.writing() as connection:
            connection.execute(sa.text("UPDATE counters SET value = 2"))
        assert snapshot.execute(sa.text("SELECT value FROM counters")).scalar_one() == before == 1
    # The session is as it was for whoever comes next.
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT value FROM counters")).scalar_one() == 2
        with database.writing() as other:
            other.execute(sa.text("UPDATE counters SET value = 3"))
        assert connection.execute(sa.text("SELECT value FROM counters")).scalar_one() == 3


def test_time_is_seconds_since_the_epoch(database: Database) -> None:
    with database.reading() as connection:
        first, second = database.dialect.now(connection), database.dialect.now(connection)
    assert abs(first - time.time()) < 3600
    assert first <= second


def test_incarnation_stays_the_same_and_differs_between_sqlite_files(tmp_path: Path) -> None:
    values = []
    for name in ("one", "two", "one"):
        database = open_database(name, f"sqlite:///{tmp_path}/{name}.db")
        with database.writing() as connection:
            metadata.create_all(connection)
            values.append(database.dialect.incarnation(connection))
    assert values[0] == values[2] != values[1]


def test_incarnation_of_a_server_is_known_to_a_role_without_privileges(
    postgresql_url: str, request: pytest.FixtureRequest
) -> None:
    owner = open_database("main", postgresql_url)
    role = f"plain_{sa.make_url(postgresql_url).database}"
    with owner.writing() as connection:
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN"))
        found = owner.dialect.incarnation(connection)

    def drop_role() -> None:
        with owner.writing() as connection:
            connection.execute(sa.text(f"DROP ROLE {role}"))
        owner.engine.dispose()

    request.addfinalizer(drop_role)
    plain = open_database("main", sa.make_url(postgresql_url).set(username=role).render_as_string(hide_password=False))
    with plain.reading() as connection:
        assert plain.dialect.incarnation(connection) == found
    plain.engine.dispose()
    identifier, timeline = found.split(".")
    assert identifier.isdigit()
    assert timeline == "00000001"


def test_session_lock_has_one_holder_and_leaves_no_transaction_open(database: Database) -> None:
    lock = database.dialect.session_lock
    with database.engine.connect() as mine, database.engine.connect() as other:
        with lock(mine, "schema inventory"):
            assert not mine.in_transaction()
            with pytest.raises(Conflict) as caught, lock(other, "schema inventory"):
                pass
            assert caught.value.code == "lock_busy"
            assert not other.in_transaction()
            with lock(other, "another schema"):
                pass
        with lock(other, "schema inventory"):
            pass


def test_session_lock_of_another_database_is_nobodys_holder(
    postgresql_url: str, new_postgresql_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    """On one server, whose list of locks shows those of all databases."""
    here = open_database("here", postgresql_url)
    lock = here.dialect.session_lock
    with ExitStack() as held, here.engine.connect() as mine, here.engine.connect() as other:
        for name in ("there", "elsewhere", "far away"):
            neighbour = held.enter_context(open_database(name, new_postgresql_url()).engine.connect())
            held.enter_context(lock(neighbour, "schema inventory"))
        number = own_number(mine)
        mine.rollback()
        held.enter_context(lock(mine, "schema inventory"))
        with pytest.raises(Conflict, match=f": session {number}"), lock(other, "schema inventory"):
            pass


def test_session_lock_is_released_after_a_failed_statement(database: Database) -> None:
    lock = database.dialect.session_lock
    with database.engine.connect() as mine, database.engine.connect() as other:
        with pytest.raises(Exception, match="nowhere"), lock(mine, "k"):
            mine.execute(sa.text("SELECT * FROM nowhere"))
        with lock(other, "k"):
            pass


def test_session_lock_ends_with_its_session(server: Database) -> None:
    with server.engine.connect() as mine, server.engine.connect() as other:
        number = own_number(mine)
        mine.rollback()
        with server.dialect.session_lock(mine, "k"):
            if server.dialect.name == "postgresql":
                assert other.execute(sa.text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number}).scalar()
            else:
                other.execute(sa.text(f"KILL {number}"))
                # It is gone when its lock is: waiting for that is the server's.
                assert (
                    other.execute(sa.text("SELECT GET_LOCK(:name, 5)"), {"name": lock_name(other, "k")}).scalar() == 1
                )
                other.execute(sa.text("DO RELEASE_LOCK(:name)"), {"name": lock_name(other, "k")})
            other.rollback()
            with server.dialect.session_lock(other, "k"):
                pass
            mine.invalidate()


def test_lock_that_is_not_had_in_time_is_transient(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    with database.writing() as holder:
        holder.execute(sa.text("UPDATE t SET id = 2"))
        with pytest.raises(Unavailable) as caught, database.reading() as waiter:
            database.dialect.lock_timeout(waiter, 0.05)
            waiter.execute(sa.text("UPDATE t SET id = 3"))
    assert caught.value.code == "database_busy"


def test_lock_timeout_of_an_autocommit_connection_is_not_inherited(server: Database) -> None:
    show = "SHOW lock_timeout" if server.dialect.name == "postgresql" else "SELECT @@innodb_lock_wait_timeout"
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        number, usual = own_number(connection), connection.execute(sa.text(show)).scalar_one()
        server.dialect.lock_timeout(connection, 2)
        assert connection.execute(sa.text(show)).scalar_one() in ("2s", 2)
    with server.reading() as connection:
        assert own_number(connection) == number
        assert connection.execute(sa.text(show)).scalar_one() == usual


def test_no_session_waits_for_a_lock_without_an_end(server: Database) -> None:
    """Who only reads a catalog waits for a table too."""
    show = "SHOW lock_timeout" if server.dialect.name == "postgresql" else "SELECT @@lock_wait_timeout"
    with server.reading() as connection:
        assert connection.execute(sa.text(show)).scalar_one() in ("5s", 5)


def test_lock_holders_are_named(server: Database) -> None:
    with server.writing() as connection:
        connection.execute(sa.text("CREATE TABLE customers (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    with server.reading() as holder, server.reading() as asker:
        number = own_number(holder)
        is_postgresql = server.dialect.name == "postgresql"
        holder.execute(sa.text("LOCK TABLE customers" if is_postgresql else "SELECT * FROM customers"))
        (found,) = until_idle(lambda: server.dialect.lock_holders(asker, ["customers"]))
        if not is_postgresql:  # InnoDB shows transactions as they were when nobody had looked for 0.1 s
            (found,) = until(lambda: _shown(server.dialect.lock_holders(asker, ["customers"])), "it is seen")
        assert found.session == number
        assert found.sentence.startswith(f"session {number} idle in transaction for ")
        who = "user postgres from this host, orchestrator" if is_postgresql else "user root from localhost"
        assert f" s ({who}; its transaction began " in found.sentence
        assert "; holds customers" in found.sentence
        assert str(number) in found.end
        assert len(until_idle(lambda: server.dialect.lock_holders(asker))) == 1
        assert server.dialect.lock_holders(asker, ["orders"]) == ()


def _shown(holders: tuple[Holder, ...]) -> tuple[Holder, ...] | None:
    return holders if all("its transaction began" in each.sentence for each in holders) else None


def test_rebuilding_a_table_deletes_no_row_that_refers_to_it(new_sqlite_url: Callable[[], str]) -> None:
    database = open_database("main", new_sqlite_url())
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        connection.execute(sa.text("CREATE TABLE child (id INTEGER REFERENCES parent (id) ON DELETE CASCADE)"))
        connection.execute(sa.text("INSERT INTO parent VALUES (1)"))
        connection.execute(sa.text("INSERT INTO child VALUES (1)"))
    with database.dialect.schema_connection(database.engine) as connection, connection.begin():
        connection.execute(sa.text("CREATE TABLE rebuilt (id INTEGER PRIMARY KEY, more INTEGER)"))
        connection.execute(sa.text("INSERT INTO rebuilt (id) SELECT id FROM parent"))
        connection.execute(sa.text("DROP TABLE parent"))
        connection.execute(sa.text("ALTER TABLE rebuilt RENAME TO parent"))
    with database.writing() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM child")).scalar_one() == 1
        connection.execute(sa.text("DELETE FROM parent"))  # and elsewhere references are enforced as ever
        assert connection.execute(sa.text("SELECT count(*) FROM child")).scalar_one() == 0
