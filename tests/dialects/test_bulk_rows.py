"""Rows written and compared in bulk: exactly what a single UPDATE would store, for every type and nothing cut."""

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from orchestrator.dialects import Database, open_database


class Word(enum.StrEnum):
    B = "b"


WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
COLUMNS: dict[str, tuple[sa.types.TypeEngine[Any], list[Any]]] = {
    "short": (sa.String(5), ["abc", "", None, "ä€😀"]),
    "fixed": (sa.CHAR(4), ["ab  ", None, "abcd", "a   "]),
    "words": (sa.Text(), ["%s :x 'q' \"d\" {a,b} \\", None, "NULL", "a\nb"]),
    "whole": (sa.BigInteger(), [2**62, None, -1, 0]),
    "exact": (sa.Numeric(10, 2), [Decimal("1.25"), None, 3, 2.5]),
    "rough": (sa.Double(), [1.5, None, 3, -0.0]),
    "yes": (sa.Boolean(), [True, None, False, True]),
    "moment": (sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"), [WHEN, None, WHEN, WHEN]),
    "day": (sa.Date(), [WHEN.date(), None, WHEN.date(), WHEN.date()]),
    "blob": (sa.LargeBinary(), [b"\x00\xff", None, b"", b"x"]),
    "document": (sa.JSON(), [{"a": [1, None]}, None, [], "text"]),
    "kind": (sa.Enum("x", "y", name="kind_of"), ["x", None, "y", "x"]),
    "unique_id": (sa.Uuid(), [uuid.UUID(int=1), None, uuid.UUID(int=2), uuid.UUID(int=3)]),
}
POSTGRESQL_COLUMNS: dict[str, tuple[sa.types.TypeEngine[Any], list[Any]]] = {
    "numbers": (postgresql.ARRAY(sa.Integer), [[1, 2], None, [], [3]]),
    "binary_document": (postgresql.JSONB(), [{"a": 1}, None, [], "text"]),
    "moment_zone": (
        sa.DateTime(timezone=True),
        [WHEN.replace(tzinfo=datetime.UTC), None, WHEN.replace(tzinfo=datetime.UTC), None],
    ),
    "span": (postgresql.INTERVAL(), [datetime.timedelta(days=1, seconds=1), None, None, None]),
}
EAST = datetime.timezone(datetime.timedelta(hours=5))
MIXED: dict[str, tuple[sa.types.TypeEngine[Any], list[Any]]] = {
    "day": (sa.Date(), [WHEN.date(), None, "2024-01-02", datetime.datetime(2024, 1, 2)]),
    "moment": (sa.DateTime(), [WHEN, None, "2024-01-02 03:04:05", WHEN.date()]),
    "moment_zone": (sa.DateTime(timezone=True), [WHEN, WHEN.replace(tzinfo=EAST), None, "2024-01-02 03:04:05+05"]),
    "hour": (sa.Time(), [WHEN.time(), None, "03:04:05"]),
    "unique_id": (sa.Uuid(), [uuid.UUID(int=1), str(uuid.UUID(int=2)), uuid.UUID(int=3).hex, None]),
    "exact": (sa.Numeric(10, 2), [Decimal("1.25"), "2.5", 3, None, 1.75, True]),
    "whole": (sa.Integer(), [1, 2.0, Decimal(3), "4", None]),
    "rough": (sa.Double(), [1, 1.5, Decimal(2), "2.5", None]),
    "words": (sa.String(9), ["a", Word.B, None]),
    "blob": (sa.LargeBinary(), [b"a", bytearray(b"b"), memoryview(b"c"), None]),
    "document": (sa.JSON(), [{"a": 1}, [1], "x", 5, None]),
    "binary_document": (postgresql.JSONB(), [None, {"a": 1}, [1], "x", 5]),
    "numbers": (postgresql.ARRAY(sa.Integer), [[1], None, ["2"], [3.0], (4,)]),
}


def given_table(database: Database, columns: dict[str, sa.types.TypeEngine[Any]], rows: int) -> sa.Table:
    made = sa.Table(
        "things",
        sa.MetaData(),
        sa.Column("part", sa.String(20), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, kind) for name, kind in columns.items()),
    )
    with database.writing() as connection:
        made.create(connection)
        connection.execute(sa.insert(made), [{"part": "p", "id": number} for number in range(rows)])
        if database.dialect.name == "postgresql":
            return sa.Table("things", sa.MetaData(), autoload_with=connection)
    return made  # what reflection cannot know on SQLite (a UUID, an enum) is as its owner declares it


@pytest.mark.parametrize("name", [*COLUMNS, "all of them"])
def test_every_type_is_stored_and_found_equal(database: Database, name: str) -> None:
    columns = COLUMNS if name == "all of them" else {name: COLUMNS[name]}
    _check_stored(database, columns)


@pytest.mark.parametrize("name", [*POSTGRESQL_COLUMNS, "all of them"])
def test_types_of_postgresql_are_stored_and_found_equal(postgresql_url: str, name: str) -> None:
    database = open_database("main", postgresql_url)
    columns = POSTGRESQL_COLUMNS if name == "all of them" else {name: POSTGRESQL_COLUMNS[name]}
    _check_stored(database, columns)
    database.engine.dispose()


def _check_stored(database: Database, columns: dict[str, tuple[sa.types.TypeEngine[Any], list[Any]]]) -> None:
    table = given_table(database, {name: kind for name, (kind, _) in columns.items()}, 5)
    rows = [("p", number, *(values[number] for _, values in columns.values())) for number in range(4)]
    key, names = ["part", "id"], list(columns)
    with database.writing() as connection:
        assert database.dialect.update_rows(connection, table, key, names, rows) == 4
        assert database.dialect.differing_keys(connection, table, key, names, rows) == ()
        for number, name in enumerate(names):
            stored = list(connection.execute(sa.select(table.c[name]).order_by(table.c.id)).scalars())
            given = columns[name][1]
            if name != "fixed":
                assert stored == [*given, None]
            # The next row's values are other ones, and say so.
            swapped = [
                (*row[: 2 + number], given[(row[1] + 1) % 4], *row[3 + number :])
                for row in rows
                if _differ(given[row[1]], given[(row[1] + 1) % 4])
            ]
            found = database.dialect.differing_keys(connection, table, key, names, swapped)
            assert sorted(found) == [("p", row[1]) for row in swapped]


def _differ(one: object, other: object) -> bool:
    return (one.rstrip() if isinstance(one, str) else one) != (other.rstrip() if isinstance(other, str) else other)


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("beside", [{}, {"many": postgresql.ARRAY(sa.Integer)}], ids=["alone", "beside an array"])
def test_value_is_stored_and_found_the_same_whatever_stands_in_the_other_rows(
    postgresql_url: str, name: str, beside: dict[str, sa.types.TypeEngine[Any]]
) -> None:
    database = open_database("main", postgresql_url)
    kind, values = MIXED[name]
    table = given_table(database, {name: kind, **beside}, len(values))
    key, names = ["part", "id"], [name, *beside]
    rows = [("p", number, value, *([number] for _ in beside)) for number, value in enumerate(values)]
    query = sa.select(sa.cast(table.c[name], sa.Text)).order_by(table.c.id)
    with database.writing() as connection:
        for row in rows:
            assert database.dialect.update_rows(connection, table, key, names, [row]) == 1
            assert database.dialect.differing_keys(connection, table, key, names, [row]) == ()
        alone = connection.execute(query).scalars().all()
        connection.execute(sa.update(table).values(dict.fromkeys(names)))
        assert database.dialect.update_rows(connection, table, key, names, rows) == len(rows)
        assert connection.execute(query).scalars().all() == alone
        assert database.dialect.differing_keys(connection, table, key, names, rows) == ()
    database.engine.dispose()


LISTS = {"a": [["x"], ["y", "z"], []], "b": [[1, [2]], None, {"k": [3]}], "c": [[], [[4]], [[5], [6]]]}


@pytest.mark.parametrize("kind", ["json", "jsonb", "JSON of its own"])
def test_lists_in_json_stay_lists(postgresql_url: str, kind: str) -> None:
    database = open_database("main", postgresql_url)
    with database.writing() as connection:
        connection.exec_driver_sql('CREATE DOMAIN "JSON of its own" AS jsonb')
        columns = ", ".join(f'{name} "{kind}"' for name in LISTS)
        connection.exec_driver_sql(f"CREATE TABLE things (id integer PRIMARY KEY, {columns})")
        connection.exec_driver_sql("INSERT INTO things (id) VALUES (0), (1), (2)")
        table = sa.Table("things", sa.MetaData(), autoload_with=connection)
        rows = [(number, *values) for number, values in enumerate(zip(*LISTS.values(), strict=True))]
        assert database.dialect.update_rows(connection, table, ["id"], list(LISTS), rows) == 3
        stored = connection.exec_driver_sql("SELECT * FROM things ORDER BY id")
        assert [tuple(row) for row in stored] == rows
        assert database.dialect.differing_keys(connection, table, ["id"], list(LISTS), rows) == ()
        other = [(0, ["X"], *rows[0][2:]), (2, [[]], *rows[2][2:])]
        assert database.dialect.differing_keys(connection, table, ["id"], list(LISTS), other) == ((0,), (2,))
    database.engine.dispose()


def test_array_of_a_domain_is_stored_whole(postgresql_url: str) -> None:
    database = open_database("main", postgresql_url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE DOMAIN many AS integer[]")
        connection.exec_driver_sql("CREATE TABLE things (id integer PRIMARY KEY, numbers many)")
        connection.exec_driver_sql("INSERT INTO things VALUES (0), (1)")
        table = sa.Table("things", sa.MetaData(), autoload_with=connection)
        rows = [(0, [1, 2]), (1, [3, 4])]
        assert database.dialect.update_rows(connection, table, ["id"], ["numbers"], rows) == 2
        stored = connection.exec_driver_sql("SELECT * FROM things ORDER BY id")
        assert [tuple(row) for row in stored] == rows
        assert database.dialect.differing_keys(connection, table, ["id"], ["numbers"], rows) == ()
    database.engine.dispose()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (sa.Text(), ["x"]),
        (sa.String(9), ["x", "y"]),
        (sa.Integer(), [[1]]),
        (sa.Text(), []),
        (sa.Text(), ("x",)),
        (postgresql.ARRAY(sa.Text), "xy"),
    ],
)
def test_list_in_the_place_of_one_value_and_text_in_that_of_a_list_are_refused(
    postgresql_url: str, kind: sa.types.TypeEngine[Any], value: object
) -> None:
    """Of an array of lists PostgreSQL makes more rows, each with what belongs to another; the driver splits text."""
    database = open_database("main", postgresql_url)
    table = given_table(database, {"one": kind}, 1)
    with pytest.raises(TypeError, match="does not belong in a column of type"), database.writing() as connection:
        database.dialect.update_rows(connection, table, ["part", "id"], ["one"], [("p", 0, value)])
    database.engine.dispose()


@pytest.mark.parametrize("kind", ["postgresql_url", "mysql_url"])
def test_text_too_long_is_refused_and_not_cut(kind: str, request: pytest.FixtureRequest) -> None:
    database = open_database("main", request.getfixturevalue(kind))
    table = given_table(database, {"short": sa.String(3)}, 1)
    with pytest.raises(Exception, match="too long"), database.writing() as connection:
        database.dialect.update_rows(connection, table, ["part", "id"], ["short"], [("p", 0, "four")])
    with database.writing() as connection:
        database.dialect.update_rows(connection, table, ["part", "id"], ["short"], [("p", 0, "fou")])
        found = database.dialect.differing_keys(connection, table, ["part", "id"], ["short"], [("p", 0, "fo")])
        assert found == (("p", 0),)
    database.engine.dispose()


def test_none_is_null_in_a_document_too(database: Database) -> None:
    table = given_table(database, {"document": sa.JSON()}, 2)
    rows = [("p", 0, None), ("p", 1, {"a": None})]
    with database.writing() as connection:
        assert database.dialect.update_rows(connection, table, ["part", "id"], ["document"], rows) == 2
        nulls = connection.exec_driver_sql("SELECT id FROM things WHERE document IS NULL")
        assert [tuple(row) for row in nulls] == [(0,)]
        assert database.dialect.differing_keys(connection, table, ["part", "id"], ["document"], rows) == ()
        connection.exec_driver_sql("UPDATE things SET document = 'null' WHERE id = 0")
        found = database.dialect.differing_keys(connection, table, ["part", "id"], ["document"], rows)
        assert found == (("p", 0),)


def test_rows_that_are_gone_are_not_counted(database: Database) -> None:
    table = given_table(database, {"whole": sa.Integer()}, 2)
    with database.writing() as connection:
        rows = [("p", 0, 1), ("p", 7, 1)]
        assert database.dialect.update_rows(connection, table, ["part", "id"], ["whole"], rows) == 1
        assert database.dialect.update_rows(connection, table, ["part", "id"], ["whole"], []) == 0
        assert database.dialect.differing_keys(connection, table, ["part", "id"], ["whole"], []) == ()


def test_more_rows_than_parameters_fit_in_one_statement(database: Database) -> None:
    table = given_table(database, {"whole": sa.Integer(), "more": sa.Integer()}, 9000)
    rows = [("p", number, number, None) for number in range(9000)]
    key, names = ["part", "id"], ["whole", "more"]
    with database.writing() as connection:
        assert database.dialect.update_rows(connection, table, key, names, rows) == 9000
        rows[8999] = ("p", 8999, 1, None)
        assert database.dialect.differing_keys(connection, table, key, names, rows) == (("p", 8999),)


def test_letters_that_the_database_calls_equal_are_different_values(database: Database) -> None:
    kinds = {"sqlite": "text COLLATE NOCASE", "postgresql": "citext", "mysql": "varchar(20) COLLATE utf8mb4_general_ci"}
    kind = kinds[database.dialect.name]
    with database.writing() as connection:
        if kind == "citext":
            connection.execute(sa.text("CREATE EXTENSION citext"))
        connection.execute(sa.text(f"CREATE TABLE names (id integer PRIMARY KEY, name {kind})"))
        connection.execute(sa.text("INSERT INTO names VALUES (1, 'ada')"))
        assert connection.execute(sa.text("SELECT count(*) FROM names WHERE name = 'ADA'")).scalar_one() == 1
        table = sa.Table("names", sa.MetaData(), autoload_with=connection)
        assert database.dialect.differing_keys(connection, table, ["id"], ["name"], [(1, "ADA")]) == ((1,),)
        assert database.dialect.update_rows(connection, table, ["id"], ["name"], [(1, "ADA")]) == 1
        assert database.dialect.differing_keys(connection, table, ["id"], ["name"], [(1, "ADA")]) == ()
