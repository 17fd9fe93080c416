"""Values on their way to a transform and back: each arrives as it is, or its row is put in quarantine."""

from __future__ import annotations

import pytest

from orchestrator.domain.view import MigrationState

from .conftest import Site

COPY = """
table = "things"
reads = ("old",)
writes = ("new",)

def transform(self, row):
    return {"new": row["old"]}
"""


def add_values(site: Site, kind: str, *values: str, new: str = "") -> None:
    site.execute(f"CREATE TABLE things (id INTEGER PRIMARY KEY, old {kind}, new {new or kind})")
    site.execute(*(f"INSERT INTO things (id, old) VALUES ({n}, {value})" for n, value in enumerate(values, 1)))


def moved(site: Site, body: str) -> None:
    site.start("walk", body)
    facts = site.run("walk")
    assert (facts.state, facts.differences) == (MigrationState.COMPLETE, 0), facts.error


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("TIME", ["'30:00:00'", "'-838:59:59'", "'-00:00:01'", "NULL"], id="time"),
        pytest.param("TIME(6)", ["'838:59:58.999999'", "'-24:00:00.5'"], id="time with fractions"),
        pytest.param("FLOAT", ["16777217", "0.12345679", "3.4028234e38", "1e-45", "-0.0", "NULL"], id="float"),
        pytest.param("FLOAT(9, 2)", ["1234567.89", "1.255"], id="float with places"),
        pytest.param("DOUBLE", ["1e-15", "12345678901234567", "0.1", "-0.0", "NULL"], id="double"),
        pytest.param("DOUBLE(9, 3)", ["1e0 / 3"], id="double with places"),
    ],
)
def test_copy_is_the_same_value_on_mariadb(mysql_site: Site, kind: str, values: list[str]) -> None:
    add_values(mysql_site, kind, *values)
    moved(mysql_site, COPY)
    shown = "SELECT {0} * 1e0, CAST({0} AS CHAR) FROM things ORDER BY id"
    assert mysql_site.rows(shown.format("new")) == mysql_site.rows(shown.format("old"))


def test_numbers_of_mariadb_are_given_as_the_shortest_that_they_are(mysql_site: Site) -> None:
    add_values(mysql_site, "FLOAT", "0.1", "16777218", "0.12345679", new="TEXT")
    moved(mysql_site, COPY.replace('row["old"]', 'repr(row["old"])'))
    assert mysql_site.rows("SELECT new FROM things ORDER BY id") == [("0.1",), ("16777218.0",), ("0.12345679",)]


def test_time_of_mariadb_is_given_as_a_span(mysql_site: Site) -> None:
    add_values(mysql_site, "TIME", "'30:00:00'", "'-00:00:01'", new="INTEGER")
    moved(mysql_site, COPY.replace('row["old"]', 'int(row["old"].total_seconds())'))
    assert mysql_site.rows("SELECT new FROM things ORDER BY id") == [(108_000,), (-1,)]
