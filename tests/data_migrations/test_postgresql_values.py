"""Values that PostgreSQL and Python do not have in common: moved as they are, or refused by row, and found the same."""

from __future__ import annotations

import pytest

from orchestrator.domain.view import MigrationState

from .conftest import UPGRADE, Site


def transform(result: str) -> str:
    return f"""table = "things"
reads = ("old",)
writes = ("new",)

def transform(self, row):
    return {{"new": {result}}}
"""


EXPRESSION = 'table = "things"\nexpressions = {"new": "old"}'


def add(site: Site, kind: str, *values: str) -> None:
    """Rows whose old column holds these values, written in SQL."""
    rows = ", ".join(f"({number}, {value})" for number, value in enumerate(values, 1))
    site.execute(
        f"CREATE TABLE things (id INTEGER PRIMARY KEY, old {kind}, new {kind})",
        f"INSERT INTO things (id, old) VALUES {rows}",
    )


def to_be_proven(site: Site, body: str) -> None:
    """All rows are moved, and none is compared yet."""
    site.start("walk", body)
    while site.facts("walk").state is MigrationState.RUNNING:
        site.runner.run_batch("walk", UPGRADE, 100)
    assert site.facts("walk").state is MigrationState.VERIFYING


def test_interval_of_months_is_not_given_to_python(postgresql_site: Site) -> None:
    site = postgresql_site
    values = ["'1 mon'", "'30 days'", "'-2 days +01:02:03.5'", "NULL", "'2 years 1 day'", "'-1 mons'"]
    add(site, "INTERVAL", *values)
    site.start("walk", transform("row['old']"))
    facts = site.run("walk")
    assert (facts.state, facts.rows_done) == (MigrationState.FAILED, 3)
    assert [row.key for row in site.runner.quarantined("walk")] == ["id=1", "id=5", "id=6"]
    assert "the interval '1 mon' has months" in site.runner.quarantined("walk")[0].error
    assert site.rows("SELECT id FROM things WHERE new::text = old::text ORDER BY id") == [(2,), (3,)]


@pytest.mark.parametrize("kind", ["INTERVAL", "INTERVAL[]", "span"])
def test_interval_of_days_is_found_where_months_belong(postgresql_site: Site, kind: str) -> None:
    site = postgresql_site
    site.execute("CREATE DOMAIN span AS INTERVAL")
    months, days = ("'{1 mon}'", "'{30 days}'") if kind == "INTERVAL[]" else ("'1 mon'", "'30 days'")
    add(site, kind, months, "NULL")
    to_be_proven(site, EXPRESSION)
    site.execute(f"UPDATE things SET new = {days} WHERE id = 1")
    facts = site.run("walk")
    assert (facts.state, facts.first_differences) == (MigrationState.FAILED, "id=1")
    site.runner.retry("walk")
    assert site.run("walk").state is MigrationState.COMPLETE


DOCUMENTS = ["""'{"a": "\\u0000"}'""", """'{"a":   1}'""", "NULL", """'"\\u0000"'"""]


@pytest.mark.parametrize("body", [EXPRESSION, transform("row['old']")], ids=["expression", "transform"])
def test_document_with_a_character_that_jsonb_refuses_is_proven(postgresql_site: Site, body: str) -> None:
    site = postgresql_site
    add(site, "JSON", *DOCUMENTS)
    to_be_proven(site, body)
    site.execute(r"""UPDATE things SET new = '{"a": "\u0000 "}' WHERE id = 1""")
    facts = site.run("walk")
    assert (facts.state, facts.first_differences) == (MigrationState.FAILED, "id=1")
    site.runner.retry("walk")
    assert site.run("walk").state is MigrationState.COMPLETE


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_of_two_types_are_moved_together_and_proven(postgresql_site: Site, workers: int) -> None:
    site = postgresql_site
    add(site, "DATE", *(f"'2024-01-{day:02}'" for day in range(1, 21)))
    site.runner.workers = workers
    site.start("walk", transform("row['old'] if row['old'].day % 2 else str(row['old'])"))
    facts = site.run("walk")
    assert (facts.state, facts.error) == (MigrationState.COMPLETE, None)
    assert site.rows("SELECT count(*) FROM things WHERE new = old") == [(20,)]


def test_value_that_cannot_be_sent_is_named_with_its_row_and_column(postgresql_site: Site) -> None:
    site = postgresql_site
    add(site, "DATE", *(f"'2024-01-{day:02}'" for day in range(1, 21)))
    site.start("walk", transform("[row['old']] if row['old'].day == 7 else row['old']"))
    assert site.run("walk").rows_quarantined == 1
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=7"
    assert row.error.endswith(
        "the row id=7: a value of type list does not belong in a column of type DATE; its transform gave new as list"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_row_that_cannot_be_compared_is_named(postgresql_site: Site, workers: int) -> None:
    """Nothing that was moved comes to this, unless the transform looks at more than its row."""
    site = postgresql_site
    add(site, "DATE", *(f"'2024-01-{day:02}'" for day in range(1, 21)))
    site.runner.workers = workers
    to_be_proven(site, transform("object() if row['old'].day == 7 and self.is_over() else row['old']") + OVER)
    (site.directory / "over").touch()
    facts = site.run("walk")
    assert facts.state is MigrationState.FAILED
    assert facts.error is not None
    assert "failed on things, the row id=7: " in facts.error
    assert "its transform gave new as object" in facts.error


OVER = """
def is_over(self):
    from pathlib import Path

    return (Path(__file__).parent.parent / "over").exists()
"""
