"""Triggers on MariaDB: what counts as a write, foreign keys, rights, and a server that writes a binary log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.demo import mariadb_server
from orchestrator.dialects import Database
from orchestrator.dialects.triggers import Standing, TableKind
from tests.conftest import RUN_DIRECTORY
from tests.dialects.standing import UPPER, allow, denials, deny, keep, refused, rows, run, stands

SEALED = "is sealed for release 2; stop or upgrade this program"


@pytest.fixture
def database(open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
    return open_database("test", mysql_url)


@pytest.fixture
def user(database: Database) -> Iterator[str]:
    """Somebody who may do nothing yet."""
    name = f"user_{database.engine.url.database}"
    run(database, f"CREATE USER {name}@localhost IDENTIFIED BY 'secret'")
    yield name
    run(database, f"DROP USER {name}@localhost")


def as_user(open_database: Callable[[str, str], Database], database: Database, user: str) -> Database:
    url = database.engine.url.set(username=user, password="secret")
    return open_database("theirs", url.render_as_string(hide_password=False))


def test_a_refusal_counts_although_it_is_rolled_back_and_needs_no_right_on_the_counter(
    database: Database, user: str, open_database: Callable[[str, str], Database]
) -> None:
    run(database, "CREATE TABLE t (id INT PRIMARY KEY, old TEXT)", f"GRANT INSERT ON t TO {user}@localhost")
    made = deny(database, "t.old")
    theirs = as_user(open_database, database, user)
    for number in range(1, 4):
        assert SEALED in refused(theirs, f"INSERT INTO t VALUES ({number}, 'x')")
        assert SEALED in refused(database, f"INSERT IGNORE INTO t VALUES ({number}, 'x')")
        assert denials(database, made) == 2 * number
    run(theirs, "INSERT INTO t (id) VALUES (1)")
    allow(database, made)
    run(theirs, "INSERT INTO t VALUES (2, 'x')")


def test_values_count_byte_by_byte_and_defaults_as_left_out(database: Database) -> None:
    run(
        database,
        "CREATE TABLE t (id INT, a VARCHAR(20) DEFAULT 'it''s \\\\ plain', b DECIMAL(10, 2) DEFAULT 0,"
        " c DATETIME DEFAULT CURRENT_TIMESTAMP, d JSON, e ENUM('x', 'y') NOT NULL DEFAULT 'x', f FLOAT DEFAULT 1.5,"
        " g INT AS (id + 1), h DATE DEFAULT '2020-01-01', i TEXT DEFAULT (CONCAT('a', 'b')), j BLOB,"
        " k TINYINT DEFAULT -1)",
        "INSERT INTO t (id) VALUES (1)",
    )
    made = [deny(database, f"t.{column}") for column in "abcdefhijk"]
    run(
        database,
        "INSERT INTO t (id) VALUES (2)",
        "INSERT INTO t (id, a, b, e) VALUES (3, 'it''s \\\\ plain', 0.00, 'x')",
        "UPDATE t SET id = id + 1, a = a, b = b, c = c, d = d, e = e, f = f, h = h, i = i, j = j, k = k",
        "DELETE FROM t WHERE id = 2",
    )
    values = {
        "a": "'IT''S \\\\ PLAIN'", "b": "1", "c": "'2020-01-01'", "d": "'{}'", "e": "'y'", "f": "2.5",
        "h": "'2021-01-01'", "i": "'x'", "j": "'x'", "k": "1",
    }  # fmt: skip
    for column, value in values.items():
        assert SEALED in refused(database, f"UPDATE t SET {column} = {value}"), column
        if column not in "ci":
            assert SEALED in refused(database, f"INSERT INTO t ({column}) VALUES ({value})"), column
    assert SEALED in refused(database, "UPDATE t SET a = CONCAT(a, ' ')")
    assert denials(database, *made) == 19
    with database.reading() as connection:
        facts = database.dialect.triggers.table(connection, None, "t")
        assert facts is not None
        assert [column.name for column in facts.columns if column.generated] == ["g"]


def test_what_a_foreign_key_does_by_itself_is_not_denied(database: Database) -> None:
    run(
        database,
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE legacy (id INT, parent INT, FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)",
        "CREATE TABLE t (id INT, old INT, FOREIGN KEY (old) REFERENCES parent (id) ON DELETE SET NULL)",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO legacy VALUES (1, 1), (2, 2)",
        "INSERT INTO t VALUES (1, 1)",
    )
    deny(database, "legacy")
    deny(database, "t.old")
    run(database, "DELETE FROM parent WHERE id = 1")
    assert rows(database, "SELECT parent FROM legacy") == [(2,)]
    assert rows(database, "SELECT old FROM t") == [(None,)]
    assert SEALED in refused(database, "DELETE FROM legacy")


def test_triggers_of_the_site_stay(database: Database) -> None:
    run(
        database,
        "CREATE TABLE t (id INT PRIMARY KEY, old VARCHAR(20), new VARCHAR(20), stamp VARCHAR(20))",
        "CREATE TRIGGER stamp BEFORE INSERT ON t FOR EACH ROW SET NEW.stamp = 'site'",
    )
    keep(database, UPPER)
    run(database, "INSERT INTO t (id, old) VALUES (1, 'ABC')")
    assert rows(database, "SELECT new, stamp FROM t") == [("abc", "site")]


def test_one_that_was_edited_does_not_stand(database: Database) -> None:
    run(database, "CREATE TABLE t (id INT, old TEXT, new TEXT)")
    keep(database, UPPER)
    name = f"{UPPER.identifier}_u"
    run(database, f"CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE ON t FOR EACH ROW SET @x = 1")
    assert stands(database, UPPER) is Standing.PARTLY
    keep(database, UPPER)


def test_it_is_known_what_a_name_stands_for(database: Database) -> None:
    run(database, "CREATE TABLE t (id INT)", "CREATE VIEW v AS SELECT * FROM t", "CREATE SEQUENCE s")
    with database.reading() as connection:
        found = {name: database.dialect.triggers.table(connection, None, name) for name in ("t", "v", "s", "nowhere")}
    assert {name: facts and facts.kind for name, facts in found.items()} == {
        "t": TableKind.TABLE,
        "v": TableKind.VIEW,
        "s": TableKind.OTHER,
        "nowhere": None,
    }


def test_a_missing_right_is_named_with_its_remedy(
    database: Database, user: str, open_database: Callable[[str, str], Database]
) -> None:
    name = database.engine.url.database
    run(database, "CREATE TABLE t (id INT)", f"GRANT SELECT, INSERT ON `{name}`.* TO {user}@localhost")
    theirs = as_user(open_database, database, user)
    with theirs.reading() as connection:
        (missing,) = theirs.dialect.triggers.missing_rights(connection, [(None, "t")])
    assert missing.sentence == f"user {user}@localhost may not create triggers"
    assert missing.remedy == f"GRANT TRIGGER ON `{name}`.* TO '{user}'@'localhost';"
    assert "TRIGGER command denied" in refused(theirs, "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @x = 1")
    run(database, missing.remedy.rstrip(";"))
    with theirs.reading() as connection:
        assert theirs.dialect.triggers.missing_rights(connection, [(None, "t")]) == ()
    theirs.engine.dispose()  # a session keeps the rights that it began with
    run(theirs, "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @x = 1")


@pytest.mark.parametrize("place", ["*.*", "`{name}`.*", "`{name}`.t", "`test\\_%`.*"])
def test_the_right_may_come_from_any_grant(
    database: Database, user: str, open_database: Callable[[str, str], Database], place: str
) -> None:
    where = place.format(name=database.engine.url.database)
    run(
        database,
        "CREATE TABLE t (id INT)",
        f"GRANT SELECT ON `{database.engine.url.database}`.* TO {user}@localhost",
        f"GRANT TRIGGER ON {where} TO {user}@localhost",
    )
    theirs = as_user(open_database, database, user)
    with theirs.reading() as connection:
        assert theirs.dialect.triggers.missing_rights(connection, [(None, "t")]) == ()


@pytest.fixture(scope="module")
def logging_server() -> Iterator[sa.URL]:
    """A server that writes a binary log, as every one does that has replicas."""
    directory = Path(os.environ[RUN_DIRECTORY]) / f"logging-{os.getpid()}"
    options = ("--log-bin=binlog", "--server-id=7", "--binlog-format=ROW")
    yield mariadb_server.start(directory, os.getpid(), options=options)
    mariadb_server.stop(directory)


def test_a_server_that_writes_a_binary_log_is_told_to_trust_triggers(
    logging_server: sa.URL, open_database: Callable[[str, str], Database]
) -> None:
    url = logging_server.set(database="mysql")
    root = open_database("root", url.render_as_string(hide_password=False))
    run(
        root,
        "CREATE DATABASE shop",
        "CREATE TABLE shop.t (id INT PRIMARY KEY, old TEXT, new TEXT)",
        "CREATE USER orchestrator@localhost IDENTIFIED BY 'secret'",
        "GRANT ALL ON shop.* TO orchestrator@localhost",
    )
    theirs = url.set(database="shop", username="orchestrator", password="secret")
    database = open_database("shop", theirs.render_as_string(hide_password=False))
    with database.reading() as connection:
        (missing,) = database.dialect.triggers.missing_rights(connection, [(None, "t")])
    assert missing.sentence == (
        "the server writes a binary log, and lets user orchestrator@localhost create no triggers for that"
    )
    assert missing.remedy.startswith("SET GLOBAL log_bin_trust_function_creators = 1;")
    assert "1419" in refused(database, "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @x = 1")
    run(root, "SET GLOBAL log_bin_trust_function_creators = 1")
    with database.reading() as connection:
        assert database.dialect.triggers.missing_rights(connection, [(None, "t")]) == ()
    keep(database, UPPER)
    made = deny(database, "t.old")
    assert SEALED in refused(database, "INSERT INTO t (id, old) VALUES (1, 'X')")
    assert denials(database, made) == 1
