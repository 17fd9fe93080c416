"""Moving rows: every row once, overwriting what stands there, whatever the key."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.data_migrations.keyset import Keyset
from orchestrator.dialects import Database
from orchestrator.domain.view import MigrationState

from .conftest import Site

SPLIT = """
table = "customers"
reads = ("name",)
writes = ("first_name", "last_name")

def transform(self, row):
    first, _, last = row["name"].partition(" ")
    return {"first_name": first, "last_name": last}
"""
SPLIT_IN_SQL = """
table = "customers"
expressions = {
    "first_name": "substr(name, 1, %s - 1)",
    "last_name": "substr(customers.name, %s + 1)",
}
"""


def split_in_sql(database: Database) -> str:
    position = "instr(name, ' ')" if database.dialect.name == "sqlite" else "position(' ' in name)"
    return SPLIT_IN_SQL % (position, position)


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("batch_rows", [1, 10, 25, 1000])
def test_every_row_gets_its_new_values_and_is_verified(customers: Site, kind: str, batch_rows: int) -> None:
    customers.start("split_name", SPLIT if kind == "transform" else split_in_sql(customers.database))
    facts = customers.run("split_name", batch_rows=batch_rows)
    assert facts.state is MigrationState.COMPLETE
    assert (facts.rows_total, facts.rows_done, facts.rows_verified, facts.differences) == (25, 25, 25, 0)
    with customers.database.reading() as connection:
        assert facts.witness == customers.database.dialect.incarnation(connection)
    rows = customers.rows("SELECT name, first_name, last_name FROM customers")
    assert len(rows) == 25
    assert all(name == f"{first} {last}" for name, first, last in rows)


def test_empty_table_is_complete(customers: Site) -> None:
    customers.execute("DELETE FROM customers")
    customers.start("split_name", SPLIT)
    facts = customers.run("split_name")
    assert facts.state is MigrationState.COMPLETE
    assert (facts.rows_total, facts.rows_done, facts.rows_verified) == (0, 0, 0)


def test_complete_one_stays_as_it_is(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    facts = customers.run("split_name")
    customers.execute("UPDATE customers SET first_name = 'changed later'")
    assert customers.run("split_name") == facts
    assert customers.rows("SELECT count(*) FROM customers WHERE first_name = 'changed later'") == [(25,)]


def test_rows_that_come_and_go_while_it_runs_are_right_in_the_end(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.runner.run_batch("split_name", 7, 10)
    customers.execute(
        "DELETE FROM customers WHERE id IN (3, 60)",
        "UPDATE customers SET name = 'New Name', first_name = 'New', last_name = 'Name' WHERE id IN (6, 63)",
        "INSERT INTO customers VALUES (1, 'Low Key', 'Low', 'Key')",
        "INSERT INTO customers VALUES (1000, 'High Key', 'High', 'Key')",
    )
    assert customers.run("split_name").state is MigrationState.COMPLETE
    rows = customers.rows("SELECT name, first_name, last_name FROM customers")
    assert len(rows) == 25
    assert all(name == f"{first} {last}" for name, first, last in rows)


def test_expression_may_look_into_another_table(site: Site) -> None:
    site.execute(
        "CREATE TABLE statuses (id INTEGER PRIMARY KEY, name VARCHAR(20))",
        "INSERT INTO statuses VALUES (1, 'sold'), (2, 'free')",
        "CREATE TABLE items (id INTEGER PRIMARY KEY, status VARCHAR(20), status_id INTEGER)",
        "INSERT INTO items VALUES (1, 'free', NULL), (2, 'sold', 9), (3, NULL, 9), (4, 'unheard of', 9)",
    )
    site.start(
        "link_status",
        """
        table = "items"
        expressions = {"status_id": "(SELECT statuses.id FROM statuses WHERE statuses.name = items.status)"}
        """,
    )
    assert site.run("link_status", batch_rows=2).state is MigrationState.COMPLETE
    assert site.rows("SELECT status_id FROM items ORDER BY id") == [(2,), (1,), (None,), (None,)]


def test_expression_may_hold_signs_that_drivers_know(customers: Site) -> None:
    backslash = r"\\\\" if customers.database.dialect.name == "mysql" else r"\\"
    customers.start(
        "signs",
        f"""
        table = "customers"
        expressions = {{"last_name": "CASE WHEN name LIKE 'First1%' THEN ':a %s %%' ELSE '{backslash}' END"}}
        """,
    )
    assert customers.run("signs").state is MigrationState.COMPLETE
    found = customers.rows("SELECT DISTINCT last_name FROM customers")
    assert sorted(found, reverse=True) == [("\\",), (":a %s %%",)]


def test_transform_sees_values_as_their_types(site: Site) -> None:
    site.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, at TIMESTAMP, price NUMERIC(8, 2), year INTEGER, cents INTEGER)",
        "INSERT INTO events VALUES (1, '2026-02-03 04:05:06.000000', 12.34, NULL, NULL), (2, NULL, NULL, 5, 5)",
    )
    site.start(
        "parts",
        """
        table = "events"
        reads = ("id", "at", "price")
        writes = ("year", "cents")

        def transform(self, row):
            if row["at"] is None:
                return {"year": None, "cents": -row["id"]}
            return {"year": row["at"].year, "cents": int(row["price"] * 100)}
        """,
    )
    assert site.run("parts").state is MigrationState.COMPLETE
    assert site.rows("SELECT year, cents FROM events ORDER BY id") == [(2026, 1234), (None, -2)]


def test_number_that_its_column_rounds_is_verified_as_stored(site: Site) -> None:
    site.execute(
        "CREATE TABLE prices (id INTEGER PRIMARY KEY, net NUMERIC(8, 2), gross NUMERIC(8, 2), shown CHAR(8))",
        "INSERT INTO prices VALUES (1, 9.99, NULL, NULL), (2, 0.01, NULL, NULL), (3, NULL, 1, 'x')",
    )
    if site.database.dialect.name == "postgresql":
        body = 'table = "prices"\nexpressions = {"gross": "net * 1.19", "shown": "CAST(net AS text)"}'
    elif site.database.dialect.name == "mysql":
        body = 'table = "prices"\nexpressions = {"gross": "net * 1.19", "shown": "CONCAT(net, \'  \')"}'
    else:
        body = 'table = "prices"\nexpressions = {"gross": "round(net * 1.19, 2)", "shown": "CAST(net AS text)"}'
    site.start("tax", body)
    facts = site.run("tax")
    assert facts.state is MigrationState.COMPLETE, facts.error
    assert [float(gross) for (gross,) in site.rows("SELECT gross FROM prices WHERE id < 3 ORDER BY id")] == [
        11.89,
        0.01,
    ]


KEYS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "big integer": ("k BIGINT NOT NULL PRIMARY KEY", [(n,) for n in (-(2**40), -1, 0, 7, 2**40, 2**62)]),
    "text": (
        "k VARCHAR(20) NOT NULL PRIMARY KEY",
        [(k,) for k in ("", "B", "a", "aa", "é", "Z z", "%s :x '", "10", "9")],
    ),
    "fixed text": ("k CHAR(4) {binary} NOT NULL PRIMARY KEY", [(k,) for k in ("a", "ab", "b", "B", "", "zzzz")]),
    "numeric": (
        "k NUMERIC(20, 4) NOT NULL PRIMARY KEY",
        [(k,) for k in ("-1.5", "0.0001", "0.0002", "3", "12345678.1234")],
    ),
    "day": ("k DATE NOT NULL PRIMARY KEY", [(f"2026-01-0{n}",) for n in range(1, 8)]),
    "moment": ("k {moment} NOT NULL PRIMARY KEY", [(f"2026-01-01 00:00:00.00000{n}",) for n in range(1, 8)]),
    "two columns": (
        "a INTEGER NOT NULL, b VARCHAR(9) {binary} NOT NULL, {payload}, PRIMARY KEY (a, b)",
        [(a, b) for a in (1, 2, 3) for b in ("x", "Y", "y")],
    ),
    "columns in another order": (
        "b VARCHAR(9) {binary} NOT NULL, a INTEGER NOT NULL, {payload}, PRIMARY KEY (a, b)",
        [(b, a) for a in (1, 2, 3) for b in ("x", "Y", "y")],
    ),
}


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("key", KEYS)
def test_table_is_walked_by_any_key(site: Site, key: str, kind: str) -> None:
    columns, values = KEYS[key]
    _walk(site, columns, values, 2, kind)


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("batch_rows", [1, 3])
def test_table_is_walked_by_uuid_and_bytes(site: Site, batch_rows: int, kind: str) -> None:
    ids = [uuid.UUID(int=n * 2**120 + n) for n in (0, 1, 5, 128, 255)]
    if site.database.dialect.name == "postgresql":
        _walk(site, "k UUID NOT NULL PRIMARY KEY", [(value,) for value in ids], batch_rows, kind)
    else:
        _walk(site, "k CHAR(32) NOT NULL PRIMARY KEY", [(value.hex,) for value in ids], batch_rows, kind)
    site.execute("DROP TABLE things", "DELETE FROM orchestrator_data_migrations")
    kind_of_bytes = {"postgresql": "BYTEA", "mysql": "VARBINARY(16)", "sqlite": "BLOB"}[site.database.dialect.name]
    _walk(site, f"k {kind_of_bytes} NOT NULL PRIMARY KEY", [(value.bytes,) for value in ids], batch_rows, kind)


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("batch_rows", [1, 3])
def test_text_key_is_walked_in_the_order_of_its_own_collation(site: Site, batch_rows: int, kind: str) -> None:
    words = ["a", "B", "c", "D", "e", "F", "aa", "Ab", "_", "Z"]
    if site.database.dialect.name == "postgresql":
        site.execute("CREATE EXTENSION citext")
        columns = "k CITEXT NOT NULL PRIMARY KEY"
    elif site.database.dialect.name == "mysql":
        columns = "k VARCHAR(20) COLLATE utf8mb4_unicode_ci NOT NULL PRIMARY KEY"
    else:
        columns = "k VARCHAR(20) COLLATE NOCASE NOT NULL PRIMARY KEY"
    _walk(site, columns, [(word,) for word in words], batch_rows, kind)


def _walk(site: Site, columns: str, values: list[tuple[Any, ...]], batch_rows: int, kind: str) -> None:
    payload = "old INTEGER, new INTEGER"
    if "{payload}" not in columns:
        columns += ", {payload}"
    is_mysql = site.database.dialect.name == "mysql"
    words = {"binary": "BINARY" if is_mysql else "", "moment": "DATETIME(6)" if is_mysql else "TIMESTAMP"}
    site.execute(f"CREATE TABLE things ({columns.format(payload=payload, **words)})")
    names = ", ".join(f":v{i}" for i in range(len(values[0])))
    with site.database.writing() as connection:
        for number, value in enumerate(values):
            connection.execute(
                sa.text(f"INSERT INTO things VALUES ({names}, :old, 99)"),
                {**{f"v{i}": part for i, part in enumerate(value)}, "old": number},
            )
    expression = 'table = "things"\nexpressions = {"new": "old + 1"}'
    transform = """
        table = "things"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            return {"new": row["old"] + 1}
    """
    site.start("walk", expression if kind == "expression" else transform)
    facts = site.run("walk", batch_rows=batch_rows)
    assert facts.state is MigrationState.COMPLETE, facts.error
    assert (facts.rows_done, facts.rows_verified) == (len(values), len(values))
    assert site.rows("SELECT count(*) FROM things WHERE new = old + 1") == [(len(values),)]


def test_declared_key_is_used_where_there_is_no_primary_key(site: Site) -> None:
    site.execute(
        "CREATE TABLE things (code VARCHAR(9) NOT NULL UNIQUE, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES ('a', 1, NULL), ('b', 2, NULL), ('c', 3, NULL)",
    )
    site.start("walk", 'table = "things"\nkey = ("code",)\nexpressions = {"new": "old + 1"}')
    assert site.run("walk", batch_rows=2).state is MigrationState.COMPLETE


def test_table_of_another_schema_is_found(postgresql_site: Site) -> None:
    site = postgresql_site
    site.execute(
        "CREATE SCHEMA stock",
        "CREATE TABLE stock.things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO stock.things VALUES (1, 1, NULL), (2, 2, NULL)",
    )
    site.start("walk", 'table = "stock.things"\nexpressions = {"new": "things.old + 1"}')
    assert site.run("walk", batch_rows=1).state is MigrationState.COMPLETE


@pytest.mark.parametrize("columns", [("a", "b"), ("a", "b", "c")])
def test_batch_reads_its_own_rows_only(mysql_site: Site, columns: tuple[str, ...]) -> None:
    """Also by a key of several columns, which this server looks up in its index only when it is written out."""
    rows = ", ".join(f"({n // 100}, {n // 10 % 10 if len(columns) == 3 else n % 100}, {n % 10})" for n in range(3000))
    mysql_site.execute(
        f"CREATE TABLE things (a INTEGER, b INTEGER, c INTEGER, new INTEGER, PRIMARY KEY ({', '.join(columns)}))",
        f"INSERT INTO things (a, b, c) VALUES {rows}",
    )
    with mysql_site.database.writing() as connection:
        table = sa.Table("things", sa.MetaData(), autoload_with=connection)
        keyset = Keyset(table, columns, mysql_site.database.dialect)
        for after in [None, (2, 5, 5), (27, 3, 0)]:
            connection.exec_driver_sql("FLUSH STATUS")
            range_ = keyset.next_range(connection, None if after is None else after[: len(columns)], 100)
            assert connection.execute(sa.update(table).where(*keyset.within(range_)).values(new=1)).rowcount == 100
            read = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'").all()
            assert sum(int(number) for _, number in read) < 320


PERCENT = "50% or %%s"


@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_names_may_have_percent_signs(site: Site, kind: str) -> None:
    is_sqlite, quote = site.database.dialect.name == "sqlite", "`" if site.database.dialect.name == "mysql" else '"'
    table = f"{quote}{PERCENT}{quote}"
    for statement in (
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {quote}100%{quote} INTEGER, {quote}%(a)s{quote} INTEGER)",
        f"INSERT INTO {table} VALUES (1, 7, NULL), (2, NULL, 3)",
    ):
        site.execute(statement if is_sqlite else statement.replace("%", "%%"))
    body = f"""
        table = {PERCENT!r}
        reads = ("100%",)
        writes = ("%(a)s",)

        def transform(self, row):
            return {{"%(a)s": row["100%"]}}
    """
    if kind == "expression":
        expressions = {"%(a)s": f"{quote}100%{quote}"}
        body = f"table = {PERCENT!r}\nexpressions = {expressions!r}"
    site.start("walk", body)
    facts = site.run("walk")
    assert (facts.state, facts.error, facts.rows_done) == (MigrationState.COMPLETE, None, 2)
