"""Triggers on PostgreSQL: rights, partitions, foreign keys, types that cannot be compared, and names in schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from orchestrator.dialects import Database
from orchestrator.dialects.triggers import Standing, SyncTrigger, TableKind
from tests.dialects.standing import UPPER, allow, denials, deny, keep, refused, rows, run, stands

SEALED = "is sealed for release 2; stop or upgrade this program"


@pytest.fixture
def database(open_database: Callable[[str, str], Database], postgresql_url: str) -> Database:
    return open_database("test", postgresql_url)


def as_role(role: str, statement: str) -> tuple[str, str]:
    return f"SET LOCAL ROLE {role}", statement


@pytest.fixture
def service(database: Database) -> Iterator[str]:
    """A role that may write the table of services, and nothing else."""
    name = f"service_{database.engine.url.database}"
    run(database, f"CREATE ROLE {name}")
    yield name
    run(database, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def test_a_refusal_counts_although_it_is_rolled_back_and_needs_no_right_on_the_counter(
    database: Database, service: str
) -> None:
    run(database, "CREATE TABLE t (id int PRIMARY KEY, old text)", f"GRANT ALL ON t TO {service}")
    made = deny(database, "t.old")
    for number in range(1, 4):
        assert SEALED in refused(database, *as_role(service, f"INSERT INTO t VALUES ({number}, 'x')"))
        assert denials(database, made) == number
    assert "permission denied" in refused(database, *as_role(service, f"SELECT nextval('{made.identifier}')"))


def test_nobody_else_can_make_a_trigger_of_the_function_or_slip_one_under_it(database: Database, service: str) -> None:
    run(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, old text)",
        f"GRANT ALL ON t TO {service}",
        f"CREATE SCHEMA mine AUTHORIZATION {service}",
        "CREATE FUNCTION mine.nextval(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 1 / 0'",
        "CREATE FUNCTION mine.num_nulls(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    made = deny(database, "t.old")
    path = "SET LOCAL search_path = mine, pg_temp, public, pg_catalog"
    assert SEALED in refused(database, path, *as_role(service, "INSERT INTO public.t VALUES (1, 'x')"))
    assert denials(database, made) == 1
    assert "permission denied for function" in refused(
        database,
        f"SET LOCAL ROLE {service}",
        "CREATE TABLE mine.bait (old text)",
        f"CREATE TRIGGER bait BEFORE INSERT ON mine.bait FOR EACH ROW EXECUTE FUNCTION public.{made.identifier}()",
    )


def test_a_denied_table_denies_truncating_it_too(database: Database) -> None:
    run(database, "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    made = deny(database, "t")
    assert SEALED in refused(database, "TRUNCATE t")
    assert SEALED in refused(database, "DELETE FROM t")
    assert denials(database, made) == 2
    allow(database, made)
    run(database, "TRUNCATE t")


def test_copy_is_denied_and_kept_in_step_as_inserts_are(database: Database) -> None:
    run(database, "CREATE TABLE t (id int PRIMARY KEY, old text, new text)")
    keep(database, UPPER)

    def copy(columns: str, lines: bytes) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with driver.cursor().copy(f"COPY t ({columns}) FROM STDIN".encode()) as stream:
            stream.write(lines)

    with database.writing() as connection:
        copy("id, old", b"1\tABC\n2\tDEF\n")
        copy("id, new", b"3\tghi\n")
    assert rows(database, "SELECT old, new FROM t ORDER BY id") == [("ABC", "abc"), ("DEF", "def"), ("GHI", "ghi")]
    deny(database, "t.old")
    with pytest.raises(psycopg.errors.RaiseException, match="is sealed"), database.writing() as connection:
        copy("id, old", b"4\tJKL\n")
    run(database, f"DROP TRIGGER {UPPER.identifier} ON t")
    with database.writing() as connection:
        copy("id, new", b"4\tjkl\n")


def test_an_insert_that_turns_into_an_update_is_judged_by_what_it_names(database: Database) -> None:
    run(database, "CREATE TABLE t (id int PRIMARY KEY, old text DEFAULT 'plain', new text)", "INSERT INTO t VALUES (1)")
    deny(database, "t.old")
    run(database, "INSERT INTO t (id, new) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET new = excluded.new")
    assert rows(database, "SELECT old, new FROM t") == [("plain", "x")]
    assert SEALED in refused(
        database, "INSERT INTO t (id, new) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET old = excluded.new"
    )


PARTITIONED = (
    "CREATE TABLE t (id int, region text, old text, new text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)",
    "CREATE TABLE t_north PARTITION OF t FOR VALUES IN ('north')",
    "CREATE TABLE t_south PARTITION OF t FOR VALUES IN ('south')",
)


def test_on_a_partitioned_table_a_row_that_moves_is_no_new_one(database: Database) -> None:
    run(database, *PARTITIONED, "INSERT INTO t VALUES (1, 'north', 'x')")
    made = deny(database, "t.old")
    run(database, "UPDATE t SET region = 'south', new = 'y'")
    assert rows(database, "SELECT tableoid::regclass::text, old, new FROM t") == [("t_south", "x", "y")]
    assert SEALED in refused(database, "UPDATE t SET region = 'north', old = 'z'")
    assert SEALED in refused(database, "UPDATE t SET region = 'north'", "INSERT INTO t VALUES (2, 'south', 'x')")
    assert SEALED in refused(database, "INSERT INTO t_north VALUES (2, 'north', 'x')")
    run(database, "INSERT INTO t (id, region) VALUES (2, 'north')")
    assert denials(database, made) == 3
    run(database, f"ALTER TABLE t_north DISABLE TRIGGER {made.identifier}")
    assert stands(database, made) is Standing.PARTLY
    allow(database, made)
    run(database, "UPDATE t SET old = 'again'")


def test_on_a_partitioned_table_shapes_are_kept_in_step_and_survive_a_move(database: Database) -> None:
    run(database, *PARTITIONED)
    lossy = SyncTrigger("t", None, "", (("old", "left({new}, 1)"),), (("new", "lower({old})"),))
    keep(database, lossy)
    run(database, "INSERT INTO t (id, region, old) VALUES (1, 'north', 'ABC')", "UPDATE t SET region = 'south'")
    assert rows(database, "SELECT old, new FROM t") == [("ABC", "abc")]
    run(database, "UPDATE t SET new = 'xyz'", "UPDATE t SET region = 'north'")
    assert rows(database, "SELECT old, new FROM t") == [("x", "xyz")]


def test_what_a_foreign_key_does_by_itself_is_not_denied(database: Database) -> None:
    run(
        database,
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE legacy (id int, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE t (id int, old int REFERENCES parent ON DELETE SET NULL)",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO legacy VALUES (1, 1), (2, 2)",
        "INSERT INTO t VALUES (1, 1)",
    )
    deny(database, "legacy")
    deny(database, "t.old")
    run(database, "DELETE FROM parent WHERE id = 1", "UPDATE parent SET id = 3")
    assert rows(database, "SELECT parent FROM legacy") == [(3,)]
    assert rows(database, "SELECT old FROM t") == [(None,)]
    assert SEALED in refused(database, "DELETE FROM legacy")
    assert SEALED in refused(database, "UPDATE t SET old = 3")


def test_types_without_equality_and_defaults_of_every_kind(database: Database) -> None:
    run(
        database,
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN percent AS int DEFAULT 50",
        "CREATE TABLE t (id int, a json, b int[], c point, d numeric(10, 2) DEFAULT 0, e mood DEFAULT 'good',"
        " f timestamptz DEFAULT now(), g int GENERATED BY DEFAULT AS IDENTITY, h percent, i text[] DEFAULT '{x}',"
        " j boolean DEFAULT true, k int DEFAULT -1)",
    )
    columns = "abcdefghijk"
    made = [deny(database, f"t.{column}") for column in columns]
    run(database, "INSERT INTO t (id) VALUES (1)", "UPDATE t SET id = 2, a = a, b = b, c = c, d = d, e = e, f = f")
    values = {
        "a": "'{}'", "b": "'{1}'", "c": "'(1,2)'", "d": "1", "e": "'bad'", "f": "'2020-01-01'", "g": "7", "h": "7",
        "i": "'{y}'", "j": "false", "k": "1",
    }  # fmt: skip
    for column, value in values.items():
        assert SEALED in refused(database, f"UPDATE t SET {column} = {value}"), column
        if column not in "fgh":  # a computed default, a number, a type's own default
            assert SEALED in refused(database, f"INSERT INTO t ({column}) VALUES ({value})"), column
    assert denials(database, *made) == 19
    run(database, "INSERT INTO t (d, e, j, k) VALUES (0.00, 'good', true, -1)")


def test_in_another_schema_everything_lies_beside_the_table(database: Database) -> None:
    run(database, 'CREATE SCHEMA "Sales Ü"', 'CREATE TABLE "Sales Ü".t (id int, old text, new text)')
    sync = SyncTrigger("t", "Sales Ü", "", UPPER.old, UPPER.new)
    keep(database, sync)
    run(database, "INSERT INTO \"Sales Ü\".t (id, old) VALUES (1, 'ABC')")
    assert rows(database, 'SELECT new FROM "Sales Ü".t') == [("abc",)]
    run(database, f'DROP TRIGGER {sync.identifier} ON "Sales Ü".t')
    made = deny(database, "t.old", "Sales Ü")
    assert SEALED in refused(database, "UPDATE \"Sales Ü\".t SET old = 'x'")
    assert denials(database, made) == 1
    run(database, 'DROP TABLE "Sales Ü".t')
    allow(database, made)
    query = "SELECT relname FROM pg_class WHERE relname LIKE 'orchestrator%' UNION ALL SELECT proname FROM pg_proc"
    assert made.identifier not in {name for (name,) in rows(database, query)}


def test_a_function_that_was_edited_or_a_trigger_that_was_narrowed_does_not_stand(database: Database) -> None:
    run(database, "CREATE TABLE t (id int, old text, new text)")
    keep(database, UPPER)
    name = UPPER.identifier
    run(database, f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    assert stands(database, UPPER) is Standing.PARTLY
    keep(database, UPPER)
    run(
        database,
        f"DROP TRIGGER {name} ON t",
        f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON t FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION {name}()",
    )
    assert stands(database, UPPER) is Standing.PARTLY
    keep(database, UPPER)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("CREATE VIEW t AS SELECT 1 AS id", TableKind.VIEW),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS id", TableKind.OTHER),
        ("CREATE TABLE t (id int); CREATE TABLE child () INHERITS (t)", TableKind.PARENT),
        ("CREATE TABLE t (id int) PARTITION BY LIST (id)", TableKind.PARTITIONED),
        ("CREATE TABLE t (id int)", TableKind.TABLE),
    ],
)
def test_it_is_known_what_a_name_stands_for(database: Database, made: str, kind: TableKind) -> None:
    run(database, *made.split("; "))
    with database.reading() as connection:
        facts = database.dialect.triggers.table(connection, None, "t")
        assert facts is not None
        assert facts.kind is kind
        assert database.dialect.triggers.table(connection, None, "nowhere") is None


def test_missing_rights_are_named_with_their_remedy(database: Database, service: str) -> None:
    run(database, "CREATE TABLE t (id int)", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    triggers = database.dialect.triggers
    with database.reading() as connection:
        assert triggers.missing_rights(connection, [(None, "t")]) == ()
        connection.exec_driver_sql(f"SET LOCAL ROLE {service}")
        missing = triggers.missing_rights(connection, [(None, "t"), (None, "t")])
        owner = connection.exec_driver_sql("SELECT session_user").scalar_one()
    assert [each.sentence for each in missing] == [
        f"role {service} does not own table t, so it may not drop triggers of it",
        f"role {service} may not create functions and sequences in schema public",
    ]
    for each in missing:
        run(database, each.remedy.partition(" or: ")[0])
    assert owner == "postgres"
    with database.reading() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {service}")
        assert triggers.missing_rights(connection, [(None, "t")]) == ()
