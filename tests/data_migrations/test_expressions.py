"""An expression that reads what it writes would destroy the old values: none is loaded, and hardly another refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.data_migrations.expressions import overwritten, read_columns
from orchestrator.data_migrations.loading import load
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.view import MigrationState

from .conftest import UPGRADE, Site

READING = [
    "CAST(status AS INTEGER) * 100",
    "upper(STATUS)",
    "upper(items.status)",
    "COALESCE(status, old)",
    "CASE WHEN items.status > '' THEN items.status ELSE old END",
    "(SELECT max(o.status) FROM items AS o WHERE o.id < items.id)",
    "(SELECT max(items.status) FROM items)",
    "(SELECT s.id FROM statuses AS s WHERE s.name = items.status)",
    "(SELECT s.id FROM statuses AS s WHERE s.name = status)",
    "(SELECT x.n FROM (SELECT i.status AS n FROM items AS i) AS x)",
]
SPARING = [
    "old",
    "'status'",
    "concat(old, 'items.status')",
    "(SELECT s.status FROM statuses AS s WHERE s.id = items.old)",
    "(SELECT statuses.status FROM statuses WHERE statuses.id = items.old)",
    "(SELECT items.status FROM old_items AS items WHERE items.id = 1)",
    "(SELECT x.status FROM (SELECT s.status FROM statuses AS s) AS x)",
    "json_extract(old, '$.status')",
    "old ->> '$.status'",
    "status(old)",
]


@pytest.mark.parametrize("dialect", [None, "postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize("sql", READING)
def test_expression_that_reads_what_it_writes(sql: str, dialect: str | None) -> None:
    assert overwritten("items", {"other": "old", "status": sql}, dialect) == ("status",)
    assert overwritten("shop.items", {"status": sql}, dialect) == ("status",)


@pytest.mark.parametrize("dialect", [None, "postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize("sql", SPARING)
def test_expression_that_only_names_what_it_writes(sql: str, dialect: str | None) -> None:
    assert overwritten("items", {"status": sql}, dialect) == ()


@pytest.mark.parametrize(
    ("column", "sql", "told_by"),
    [
        ("label", 'concat(old, "label")', ("postgresql", "sqlite")),
        ("day", "timestampdiff(DAY, old, other)", ("postgresql", "sqlite")),
        ("label", "concat(`label`, old)", (None, "postgresql", "mysql", "sqlite")),
        ("Label", "label", ("mysql", "sqlite")),
        ("Label", '"Label"', ("postgresql", "sqlite")),
        ("label", "label <<<< items.old", ("postgresql", "mysql", "sqlite")),
        ("label", "other.label <<<< 'label' <<<< label(1)", ()),
        ("label", "items.*", (None, "postgresql", "mysql", "sqlite")),
    ],
)
def test_dialects_that_are_of_several_minds(column: str, sql: str, told_by: tuple[str | None, ...]) -> None:
    dialects = (None, "postgresql", "mysql", "sqlite")
    assert tuple(each for each in dialects if overwritten("items", {column: sql}, each)) == told_by


def test_one_that_reads_what_another_of_the_same_file_writes() -> None:
    assert overwritten("items", {"a": "old", "b": "a"}) == ("a",)


def test_file_is_refused_where_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "hundredfold.py"
    path.write_text(
        "from orchestrator.data_migrations import DataMigration\n"
        'class A(DataMigration):\n    table = "t"\n    expressions = {"a": "CAST(a AS INTEGER) * 100"}\n'
    )
    with pytest.raises(MigrationRefused) as caught:
        load(path, "hundredfold")
    assert caught.value.code == "data_migration_overwrites"
    assert caught.value.message.endswith("has expressions that read columns that it writes: a")
    assert "Write new columns" in caught.value.remedy


@pytest.mark.parametrize("sql", ["CAST(old AS INTEGER) * 100", "COALESCE(new, old)"])
def test_no_row_is_touched_by_one_that_came_after_a_good_one(site: Site, sql: str) -> None:
    site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things VALUES (1, 1, 5), (2, 2, NULL)",
    )
    site.start("walk", 'table = "things"\nexpressions = {"new": "old"}')
    site.write("walk", f'table = "things"\nexpressions = {{"old": "{sql}", "new": "id"}}')
    for _ in range(2):
        facts = site.run("walk")
        assert facts.state is MigrationState.FAILED
        site.runner.retry("walk")
    facts = site.runner.run_batch("walk", UPGRADE, 10)
    assert facts.error is not None
    assert "has expressions that read columns that it writes" in facts.error
    assert "retry" not in facts.error
    assert site.rows("SELECT old, new FROM things ORDER BY id") == [(1, 5), (2, None)]


def test_quoted_name_is_refused_by_the_database_that_takes_it_for_a_column(site: Site) -> None:
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old VARCHAR(9), new VARCHAR(9))")
    site.write("walk", 'table = "things"\nexpressions = {"new": "concat(old, \\"new\\")"}')
    if site.database.dialect.name == "mysql":
        site.runner.check(site.release("walk"), expanded=True)
        return
    for expanded in (False, True):
        with pytest.raises(MigrationRefused) as caught:
            site.runner.check(site.release("walk"), expanded=expanded)
        assert caught.value.code == "data_migration_overwrites"


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("upper(old) || items.more", {"items.old", "items.more"}),
        ("(SELECT s.id FROM statuses AS s WHERE s.name = items.old)", {"statuses.id", "statuses.name", "items.old"}),
        ("(SELECT max(n) FROM x.statuses)", {"x.statuses.n", "items.n"}),
        ("(SELECT x.n FROM (SELECT i.old AS n FROM items AS i) AS x)", {"items.old"}),
        ("(SELECT count(*) FROM statuses)", set()),
        ("json_extract(old, '$.status')", {"items.old"}),
        ("(SELECT x.old FROM (SELECT * FROM items) AS x)", {"items.*"}),
        ("(WITH s AS (SELECT * FROM statuses) SELECT max(s.n) FROM s)", {"statuses.*"}),
        ("upper(CAST(items AS text))", {"items.items", "items.*"}),
        ("(SELECT CAST(s AS text) FROM statuses AS s)", {"statuses.s", "statuses.*", "items.s"}),
        ('(SELECT "c"."status" FROM "c" WHERE "c"."id" = "cid")', {"c.status", "c.id", "c.cid", "items.cid"}),
        ('lower("old")', {"items.old"}),
        ("lower(`old`)", {"items.old"}),
        ("((old +", {"items.old", "items.(", "items.+"}),
    ],
)
def test_columns_that_are_read_are_known_with_their_tables(sql: str, columns: set[str]) -> None:
    assert {f"{table}.{column}" for table, column in read_columns("items", {"new": sql})} == columns
