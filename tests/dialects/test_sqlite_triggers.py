"""Triggers on SQLite: those that fire others, tables without row numbers, foreign keys, and marks that stay behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.dialects.triggers import Standing, SyncTrigger, TableKind
from tests.dialects.standing import UPPER, deny, keep, refused, rows, run, stands

SEALED = "is sealed for release 2; stop or upgrade this program"
LOSSY = SyncTrigger("t", None, "", (("old", "substr({new}, 1, 1)"),), (("new", "lower({old})"),))


@pytest.fixture
def database(open_database: Callable[[str, str], Database], sqlite_url: str) -> Database:
    return open_database("test", sqlite_url)


@pytest.fixture
def recursive(database: Database) -> Database:
    """Where triggers may fire themselves."""
    sa.event.listen(
        database.engine, "connect", lambda connection, _: connection.execute("PRAGMA recursive_triggers=ON")
    )
    return database


def test_one_change_causes_one_other_where_triggers_may_fire_themselves(recursive: Database) -> None:
    run(recursive, "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT, new TEXT)")
    keep(recursive, LOSSY)
    run(recursive, "INSERT INTO t (old) VALUES ('ABC'), ('DEF')", "INSERT INTO t (new) VALUES ('ghi')")
    assert rows(recursive, "SELECT old, new FROM t") == [("ABC", "abc"), ("DEF", "def"), ("g", "ghi")]
    run(recursive, "UPDATE t SET new = new || '!' WHERE id < 3", "REPLACE INTO t (id, old) VALUES (1, 'XYZ')")
    assert rows(recursive, "SELECT old, new FROM t") == [("XYZ", "xyz"), ("d", "def!"), ("g", "ghi")]
    assert rows(recursive, "SELECT * FROM orchestrator_syncing") == []


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE t (a TEXT, b INTEGER, old TEXT, new TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE TABLE t (a TEXT, b INTEGER, old TEXT, new TEXT, rowid TEXT, PRIMARY KEY (a, b))",
        "CREATE TABLE t (a TEXT, b INTEGER, old TEXT, new TEXT, rowid TEXT, _rowid_ TEXT)",
    ],
)
def test_the_row_is_found_whatever_identifies_it(database: Database, table: str) -> None:
    run(database, table)
    keep(database, LOSSY)
    run(
        database,
        "INSERT INTO t (a, b, old) VALUES ('x', 1, 'ABC'), ('x', 2, 'DEF')",
        "UPDATE t SET new = 'uv' WHERE b = 2",
    )
    assert rows(database, "SELECT old, new FROM t ORDER BY b") == [("ABC", "abc"), ("u", "uv")]
    run(database, "UPDATE t SET a = 'y', b = b + 10, old = 'GHI' WHERE b = 1")
    assert rows(database, "SELECT old, new FROM t ORDER BY b") == [("u", "uv"), ("GHI", "ghi")]


def test_a_statement_that_stops_in_its_middle_leaves_the_other_rows_in_step(database: Database) -> None:
    """OR FAIL keeps what the statement did before, the mark of the failed row included."""
    run(
        database,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT, new TEXT CHECK (new <> 'bad'))",
        "INSERT INTO t (old) VALUES ('A'), ('B')",
    )
    keep(database, UPPER)
    with database.writing() as connection, pytest.raises(Exception, match="CHECK"):
        connection.exec_driver_sql("UPDATE OR FAIL t SET old = 'BAD' WHERE id = 2")
    run(database, "UPDATE t SET old = 'GOOD' WHERE id = 1", "INSERT INTO t (old) VALUES ('C')")
    assert rows(database, "SELECT old, new FROM t WHERE id <> 2") == [("GOOD", "good"), ("C", "c")]


def test_conflict_clauses_do_not_reach_the_marks(database: Database) -> None:
    run(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT UNIQUE, new TEXT)")
    keep(database, UPPER)
    for clause in ("REPLACE", "IGNORE", "ABORT", "ROLLBACK", "FAIL"):
        run(
            database,
            f"INSERT OR {clause} INTO t (old) VALUES ('{clause}')",
            f"UPDATE OR {clause} t SET old = old || '!'",
        )
    assert len(rows(database, "SELECT 1 FROM t WHERE new = lower(old)")) == 5
    assert rows(database, "SELECT * FROM orchestrator_syncing") == []


def test_what_a_foreign_key_does_by_itself_is_not_denied(database: Database) -> None:
    run(
        database,
        "CREATE TABLE parent (a INTEGER, b INTEGER, PRIMARY KEY (a, b))",
        "CREATE TABLE legacy (id INTEGER, a INTEGER, b INTEGER,"
        " FOREIGN KEY (a, b) REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE t (id INTEGER, old INTEGER, b INTEGER,"
        " FOREIGN KEY (old, b) REFERENCES parent ON DELETE SET NULL)",
        "INSERT INTO parent VALUES (1, 1), (2, 2)",
        "INSERT INTO legacy VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 1)",
        "INSERT INTO t VALUES (1, 1, 1)",
    )
    deny(database, "legacy")
    deny(database, "t.old")
    run(database, "DELETE FROM parent WHERE a = 1", "UPDATE parent SET a = 3")
    assert rows(database, "SELECT a, b FROM legacy") == [(3, 2), (None, 1)]
    assert rows(database, "SELECT old, b FROM t") == [(None, None)]
    assert SEALED in refused(database, "DELETE FROM legacy WHERE id = 3")
    assert SEALED in refused(database, "DELETE FROM legacy WHERE id = 2")
    assert SEALED in refused(database, "UPDATE t SET old = 3, b = 2")


def test_case_and_type_count_whatever_the_column_says(database: Database) -> None:
    run(
        database,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT COLLATE NOCASE DEFAULT 'plain', n NUMERIC DEFAULT 0,"
        " d TEXT DEFAULT CURRENT_TIMESTAMP, g TEXT AS (old || 'x'))",
        "INSERT INTO t (id) VALUES (1)",
    )
    for column in ("old", "n", "d"):
        deny(database, f"t.{column}")
    run(
        database,
        "INSERT INTO t (id) VALUES (2)",
        "INSERT INTO t (old, n) VALUES ('plain', 0.0)",
        "UPDATE t SET old = old",
    )
    assert SEALED in refused(database, "UPDATE t SET old = 'PLAIN'")
    assert SEALED in refused(database, "INSERT INTO t (old) VALUES ('PLAIN')")
    assert SEALED in refused(database, "INSERT INTO t (n) VALUES (1)")
    assert SEALED in refused(database, "UPDATE t SET d = '2020-01-01'")
    run(database, "INSERT INTO t (d) VALUES ('2020-01-01')")
    with database.reading() as connection:
        facts = database.dialect.triggers.table(connection, None, "t")
        assert facts is not None
        assert [column.name for column in facts.columns if column.generated] == ["g"]


def test_one_that_was_edited_does_not_stand(database: Database) -> None:
    run(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT, new TEXT)")
    keep(database, UPPER)
    name = f"{UPPER.identifier}_u"
    run(database, f"DROP TRIGGER {name}", f"CREATE TRIGGER {name} AFTER UPDATE ON t BEGIN SELECT 1; END")
    assert stands(database, UPPER) is Standing.PARTLY
    keep(database, UPPER)


def test_it_is_known_what_a_name_stands_for(database: Database) -> None:
    run(database, "CREATE TABLE t (id INTEGER)", "CREATE VIEW v AS SELECT * FROM t")
    with database.reading() as connection:
        found = {name: database.dialect.triggers.table(connection, None, name) for name in ("t", "v", "nowhere")}
    assert {name: facts and facts.kind for name, facts in found.items()} == {
        "t": TableKind.TABLE,
        "v": TableKind.VIEW,
        "nowhere": None,
    }
