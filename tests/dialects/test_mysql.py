"""What is particular to MariaDB and MySQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database, mysql_holders
from orchestrator.domain.errors import Unavailable
from tests.waiting_rooms import until_idle


@pytest.fixture
def database(open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
    return open_database("main", mysql_url)


def execute(database: Database, *statements: str) -> None:
    with database.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_kind_of_the_url_may_be_either_name(open_database: Callable[[str, str], Database], mysql_url: str) -> None:
    for kind in ("mysql", "mariadb", "mariadb+pymysql"):
        opened = open_database("main", mysql_url.replace("mysql+pymysql", kind, 1))
        assert opened.dialect.name == "mysql"
        with opened.reading() as connection:
            assert connection.execute(sa.text("SELECT DATABASE()")).scalar_one() == sa.make_url(mysql_url).database


def test_every_session_is_strict_reads_committed_rows_and_runs_in_utc(database: Database) -> None:
    query = sa.text(
        "SELECT @@session.sql_mode, @@session.time_zone, @@session.tx_isolation, @@character_set_connection"
    )
    with database.snapshot(), database.engine.connect().execution_options(isolation_level="AUTOCOMMIT"):
        pass
    for _ in range(3):  # those that were given back, and a new one
        with database.reading() as first, database.writing() as second, database.reading() as third:
            for connection in (first, second, third):
                mode, zone, isolation, characters = connection.execute(query).one()
                assert {"STRICT_ALL_TABLES", "SIMULTANEOUS_ASSIGNMENT"} <= set(mode.split(","))
                assert (zone, isolation, characters) == ("+00:00", "READ-COMMITTED", "utf8mb4")


def test_every_assignment_sees_the_old_row(database: Database) -> None:
    execute(
        database, "CREATE TABLE t (a INTEGER, b INTEGER)", "INSERT INTO t VALUES (1, 2)", "UPDATE t SET a = b, b = a"
    )
    with database.reading() as connection:
        assert connection.execute(sa.text("SELECT a, b FROM t")).one() == (2, 1)


def test_table_that_is_in_use_is_transient_and_its_user_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(database, "CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    with database.reading() as holder, database.reading() as asker:
        holder.execute(sa.text("SELECT * FROM customers"))
        number = holder.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
        with pytest.raises(Unavailable) as caught, database.writing() as connection:
            database.dialect.lock_timeout(connection, 1)
            connection.execute(sa.text("ALTER TABLE customers ADD COLUMN name VARCHAR(9)"))
        assert caught.value.code == "database_busy"
        assert "Lock wait timeout exceeded" in caught.value.message
        # A server without the plugin knows transactions, not their tables.
        unknown = mysql_holders._HOLDERS_MARIADB.replace("lock_info", "unknown")
        monkeypatch.setattr(mysql_holders, "_HOLDERS_MARIADB", unknown)
        (found,) = until_idle(lambda: database.dialect.lock_holders(asker, ["customers"]))
        assert found.sentence.startswith(f"session {number} idle in transaction for ")
        assert "(user root from localhost; its transaction began " in found.sentence
        assert found.sentence.endswith("which may be in the way or not")
        assert not found.certain


def test_user_without_privileges_is_told_of_no_holders(
    database: Database, open_database: Callable[[str, str], Database], request: pytest.FixtureRequest
) -> None:
    url = database.engine.url
    execute(database, f"CREATE USER '{url.database}'@'%%'", f"GRANT ALL ON {url.database}.* TO '{url.database}'@'%%'")
    request.addfinalizer(lambda: execute(database, f"DROP USER '{url.database}'@'%%'"))
    plain = open_database("main", url.set(username=url.database).render_as_string(hide_password=False))
    with plain.reading() as connection:
        assert plain.dialect.lock_holders(connection) == ()
        with database.reading() as owner:
            assert plain.dialect.incarnation(connection) == database.dialect.incarnation(owner)


def test_deadlock_is_transient(database: Database) -> None:
    execute(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)", "INSERT INTO t VALUES (1, 0), (2, 0)")
    errors: list[Exception] = []

    def update(connection: sa.Connection, row: int) -> None:
        try:
            connection.execute(sa.text(f"UPDATE t SET v = v + 1 WHERE id = {row}"))
        except Exception as error:
            errors.append(error)

    with database.engine.connect() as first, database.engine.connect() as second, ThreadPoolExecutor() as pool:
        update(first, 1)
        update(second, 2)
        waiting = pool.submit(update, second, 1)
        update(first, 2)
        waiting.result()
    assert len(errors) == 1
    assert "1213" in str(errors[0])
    assert database.dialect.is_transient(errors[0])


def test_row_that_changed_since_the_snapshot_is_transient(database: Database) -> None:
    """Servers that notice it: MariaDB from 11.6 on, earlier ones when they are told to."""
    execute(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)", "INSERT INTO t VALUES (1, 0)")
    with pytest.raises(Unavailable) as caught, database.snapshot() as connection:
        connection.exec_driver_sql("SET SESSION innodb_snapshot_isolation = ON")
        connection.execute(sa.text("SELECT * FROM t")).all()
        execute(database, "UPDATE t SET v = 1")
        connection.execute(sa.text("UPDATE t SET v = v + 1"))
    assert caught.value.code == "database_busy"


def test_killed_session_is_a_lost_connection(database: Database) -> None:
    with pytest.raises(Unavailable) as caught, database.reading() as connection:
        execute(database, f"KILL {connection.execute(sa.text('SELECT CONNECTION_ID()')).scalar_one()}")
        connection.execute(sa.text("SELECT 1"))
    assert caught.value.code == "database_unreachable"


def test_session_locks_of_two_databases_of_one_server_are_two(
    new_mysql_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    one, two = (open_database(name, new_mysql_url()) for name in ("one", "two"))
    with (
        one.engine.connect() as mine,
        two.engine.connect() as other,
        one.dialect.session_lock(mine, "k"),
        two.dialect.session_lock(other, "k"),
    ):
        assert not mine.in_transaction()


def test_incarnation_names_the_server(database: Database) -> None:
    with database.reading() as connection:
        found = database.dialect.incarnation(connection)
        host = connection.execute(sa.text("SELECT @@hostname")).scalar_one()
    assert found == f"1.{host}"


def test_columns_take_what_storing_makes_of_a_value(database: Database) -> None:
    """`differs` foresees rounding, padding and cutting as the server does them, for every type that does."""
    values = {
        "INTEGER": ["2.5", "'2.7'", "-7", "NULL", "99 * 1.0001"],
        "BIGINT UNSIGNED": ["18446744073709551615", "1.5"],
        "DECIMAL(8, 2)": ["9.99 * 1.19", "1e0 / 3", "'1.255'"],
        "FLOAT": ["0.1", "1e0 / 3"],
        "FLOAT(9, 2)": ["1.255", "10e0 / 3"],
        "DOUBLE": ["0.1", "1e0 / 3", "1763773200.123457"],
        "DOUBLE(9, 3)": ["1e0 / 3"],
        "CHAR(5)": ["'ab  '", "'Ä'", "12"],
        "VARCHAR(20)": ["'ab  '", "'Ä'", "12.50"],
        "VARCHAR(20) CHARACTER SET latin1": ["'Ä'"],
        "ENUM('x', 'y')": ["'X'", "2"],
        "DATETIME": ["'2026-01-01 00:00:00.9'", "NOW(6)"],
        "DATETIME(3)": ["'2026-01-01 00:00:00.9996'"],
        "TIMESTAMP(3) NULL": ["'2026-01-01 00:00:00.9996'"],
        "DATE": ["'2026-01-01 10:00:00'"],
        "TIME(1)": ["'10:00:00.19'"],
        "BINARY(4)": ["'a'", "x'00ff'"],
        "VARBINARY(9)": ["x'00ff'"],
        "BLOB": ["x'00ff'"],
        "BIT(4)": ["b'101'"],
        "YEAR": ["2026"],
        "BOOLEAN": ["1 = 1"],
    }
    for kind, expressions in values.items():
        execute(database, f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {kind})", "INSERT INTO t VALUES (1, NULL)")
        for expression in expressions:
            value: sa.ColumnElement[object] = sa.literal_column(f"({expression})")
            with database.writing() as connection:
                connection.exec_driver_sql("SET SESSION timestamp = 1767225600.123456")
                table = sa.Table("t", sa.MetaData(), autoload_with=connection)
                connection.execute(sa.update(table).values(v=value))
                differs = sa.select(database.dialect.differs(table.c.v, value)).select_from(table)
                assert not connection.execute(differs).scalar_one(), (kind, expression)
                connection.execute(sa.update(table).values(v=None))
                assert bool(connection.execute(differs).scalar_one()) == (expression != "NULL"), (kind, expression)
                connection.exec_driver_sql("SET SESSION timestamp = DEFAULT")
        execute(database, "DROP TABLE t")
