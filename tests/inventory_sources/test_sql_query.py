"""A query on a table like nova's `services`, with the queries that the page about inventory sources shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.inventories import Inventory, Sighting
from orchestrator.inventory_sources.sql_query import SqlQuery, refusal

PAGE = Path(__file__).parents[2] / "docs" / "inventory-sources.md"
SECTION = "inventory:nova_cell:nova-compute"
RELEASES = {"66": "2026.1", "67": "2026.2"}

# As nova 2026.1 has it, without what tells nothing here.
SERVICES = sa.Table(
    "services",
    sa.MetaData(),
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("deleted_at", sa.DateTime),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(255)),
    sa.Column("binary", sa.String(255)),
    sa.Column("topic", sa.String(255)),
    sa.Column("report_count", sa.Integer, nullable=False),
    sa.Column("disabled", sa.Boolean),
    sa.Column("deleted", sa.Integer),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("last_seen_up", sa.DateTime),
    sa.Column("forced_down", sa.Boolean),
    sa.Column("version", sa.Integer),
    sa.Column("uuid", sa.String(36)),
)


def documented_query(kind: str) -> str:
    """The query that the page shows for that kind of database."""
    blocks = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if f"# {kind}" in block.lower())
    query = found.partition("query =")[2].partition("\nreleases")[0]
    return " ".join(query.split()).replace("$$", "$")


def a_service(host: str, **changes: Any) -> Mapping[str, Any]:
    now = datetime.now(UTC).replace(tzinfo=None)
    usual = {
        "host": host, "binary": "nova-compute", "topic": "compute", "report_count": 7, "disabled": False, "deleted": 0,
        "forced_down": False, "version": 66, "created_at": now - timedelta(days=9), "updated_at": now,
        "deleted_at": None, "disabled_reason": None, "last_seen_up": now, "uuid": None,
    }  # fmt: skip
    return usual | changes


@pytest.fixture
def cell(database: Database) -> Database:
    """A database with the table, and nobody in it."""
    SERVICES.metadata.create_all(database.engine)
    return database


@pytest.fixture
def source(cell: Database) -> SqlQuery:
    """The documented query of this kind of database."""
    kind = {"postgresql": "postgresql", "mysql": "mariadb", "sqlite": "sqlite"}[cell.dialect.name]
    return SqlQuery(SECTION, "nova-compute", documented_query(kind), RELEASES)


def add(cell: Database, *services: Mapping[str, Any]) -> None:
    with cell.writing() as connection:
        connection.execute(SERVICES.insert(), list(services))


def asking(source: SqlQuery, query: str, **changes: Any) -> SqlQuery:
    return replace(source, query=query, **changes)


def only(inventory: Inventory) -> Sighting:
    """The one sighting of an inventory without errors."""
    assert inventory.error is None
    (found,) = inventory.sightings
    return found


# -- the documented query ----------------------------------------------------------------------------------------------


def test_services_are_listed_with_what_is_known_of_them(cell: Database, source: SqlQuery) -> None:
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    add(
        cell,
        a_service("compute-1"),
        a_service("compute-2", version=67, last_seen_up=long_ago),
        a_service("compute-3", forced_down=True),
        a_service("compute-4", disabled=True, disabled_reason="no new servers here"),
        a_service("compute-5", created_at=None, last_seen_up=None),
        a_service("compute-6", deleted=6, deleted_at=long_ago),
        a_service("conductor-1", binary="nova-conductor", version=12),
    )
    inventory = source.read(cell)
    assert (inventory.error, inventory.fleet, inventory.source) == (None, "nova-compute", f"[{SECTION}]")
    found = {each.id: each for each in inventory.sightings}
    assert sorted(found) == ["compute-1", "compute-2", "compute-3", "compute-4", "compute-5"]
    assert [found[name].release for name in sorted(found)] == ["2026.1", "2026.2", "2026.1", "2026.1", "2026.1"]
    assert [found[name].is_down for name in sorted(found)] == [False, False, True, False, False]
    assert [inventory.is_silent(found[name]) for name in sorted(found)] == [False, True, False, False, False]
    assert (found["compute-2"].age_seconds or 0) == pytest.approx(7200, abs=300)
    assert found["compute-5"].age_seconds is None


def test_nobody_is_listed_where_nobody_is(cell: Database, source: SqlQuery) -> None:
    assert source.read(cell) == Inventory("nova-compute", f"[{SECTION}]", max_age_seconds=60.0)


def test_version_that_no_release_is_named_for_is_an_error_and_the_others_stay(cell: Database, source: SqlQuery) -> None:
    add(cell, a_service("compute-1"), *(a_service(f"old-{number}", version=61) for number in range(7)))
    add(cell, a_service("compute-9", version=None))
    found = source.read(cell)
    assert [each.id for each in found.sightings] == ["compute-1"]
    assert found.error == (
        "old-0, old-1, old-2, old-3, old-4 and 2 more: it holds version 61, which releases does not name; "
        "compute-9: it has no version"
    )
    assert f"[{SECTION}]" in (found.remedy or "")


# -- what cannot be read -----------------------------------------------------------------------------------------------


def test_query_that_fails_is_named_with_its_section(database: Database) -> None:
    found = SqlQuery(SECTION, "nova-compute", "SELECT host AS instance FROM services", RELEASES).read(database)
    assert found.sightings == ()
    assert (found.error or "").startswith("its query failed: ")
    assert "services" in (found.error or "")
    assert f"[{SECTION}]" in (found.remedy or "")


def test_query_that_takes_too_long_is_ended(cell: Database, source: SqlQuery) -> None:
    add(cell, *(a_service(f"compute-{number}") for number in range(100)))
    joins = " ".join(f"CROSS JOIN services s{number}" for number in range(2, 9))
    endless = f"SELECT count(*) AS instance, 1 AS version FROM services s1 {joins} WHERE s1.id + s8.id < 0"
    found = asking(source, endless, timeout_seconds=0.2).read(cell)
    assert found.sightings == ()
    assert found.error is not None


def test_query_can_write_nothing(cell: Database, source: SqlQuery) -> None:
    add(cell, a_service("compute-1"))
    assert asking(source, "DELETE FROM services").read(cell).error == "its query would write"
    assert only(source.read(cell)).id == "compute-1"


@pytest.mark.parametrize("columns", ["host AS name, version", "host AS instance", "1"])
def test_query_without_its_columns_is_refused(cell: Database, source: SqlQuery, columns: str) -> None:
    found = asking(source, f"SELECT {columns} FROM services").read(cell)
    assert (found.error or "").startswith("its query returns the columns ")
    assert "Let query in [inventory:nova_cell:nova-compute] return instance" in (found.remedy or "")


def test_signs_that_drivers_take_for_parameters_are_taken_as_they_are(cell: Database, source: SqlQuery) -> None:
    add(cell, a_service("100%"))
    query = "SELECT host AS instance, version FROM services WHERE host LIKE '100%' AND '12:30' <> ':host'"
    assert only(asking(source, query).read(cell)).id == "100%"


# -- values ------------------------------------------------------------------------------------------------------------


def given(source: SqlQuery, cell: Database, **columns: str) -> Inventory:
    """What is made of one row with these values."""
    values = {"instance": "'w1'", "release": "'2026.1'", **columns}
    query = "SELECT " + ", ".join(f"{value} AS {_quoted(name, cell)}" for name, value in values.items())
    return asking(source, query, releases={}).read(cell)


def _quoted(name: str, cell: Database) -> str:
    return f"`{name}`" if cell.dialect.name == "mysql" else f'"{name}"'


def test_without_a_map_values_are_names_of_releases(cell: Database, source: SqlQuery) -> None:
    assert only(given(source, cell)) == Sighting("w1", "2026.1")


@pytest.mark.parametrize(
    ("value", "down"), [("NULL", False), ("0", False), ("1", True), ("'true'", True), ("'f'", False), ("1 = 1", True)]
)
def test_down_is_true_false_or_nothing(cell: Database, source: SqlQuery, value: str, down: bool) -> None:
    assert only(given(source, cell, down=value)).is_down is down


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"down": "'maybe'"}, "w1: its down is 'maybe', neither true nor false"),
        ({"down": "2"}, "w1: its down is 2, neither true nor false"),
        ({"instance": "NULL"}, "a row: it has no instance"),
        ({"instance": "' '"}, "a row: it has no instance"),
        ({"release": "NULL"}, "w1: it has no release"),
        ({"age_seconds": "'yesterday'"}, "w1: its age_seconds is 'yesterday', which is no number"),
        ({"age_seconds": "-7200"}, "w1: its age_seconds is -7200: compare in one time zone, as UTC"),
    ],
)
def test_row_that_cannot_be_understood_is_an_error(
    cell: Database, source: SqlQuery, columns: dict[str, str], why: str
) -> None:
    found = given(source, cell, **columns)
    assert (found.sightings, found.error) == ((), why)


@pytest.mark.parametrize(("value", "seconds"), [("NULL", None), ("3", 3.0), ("3.5", 3.5), ("-2", 0.0)])
def test_age_is_a_number_of_seconds(cell: Database, source: SqlQuery, value: str, seconds: float | None) -> None:
    assert only(given(source, cell, age_seconds=value)).age_seconds == seconds


def test_names_of_columns_may_be_written_large(cell: Database, source: SqlQuery) -> None:
    add(cell, a_service("compute-1"))
    query = f"SELECT host AS {_quoted('INSTANCE', cell)}, version AS {_quoted('Version', cell)} FROM services"
    assert only(asking(source, query).read(cell)).release == "2026.1"


# -- queries that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "it is empty"),
        (" ; ", "it is empty"),
        ("-- nothing", "it is empty"),
        ("SELECT 1; DELETE FROM services", "it is more than one statement"),
        ("DELETE FROM services", "it is no query: it has to begin with SELECT, or WITH"),
        ("SELECT 'open", "it cannot be read as SQL: "),
    ],
)
def test_query_that_is_none_is_refused(query: str, why: str) -> None:
    assert (refusal(query, "postgresql://db/nova") or "").startswith(why)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT host AS instance, version FROM services;",
        "select ';' AS instance -- not; an end",
        "WITH alive AS (SELECT 1) SELECT * FROM alive",
        "(SELECT 1) UNION (SELECT 2)",
        "SELECT ';' /* ; */",
    ],
)
@pytest.mark.parametrize("url", ["postgresql+psycopg://db/nova", "mariadb://db/nova", "sqlite:////x"])
def test_query_is_accepted(query: str, url: str) -> None:
    assert refusal(query, url) is None


def test_source_covers_all_databases_or_those_that_it_names() -> None:
    everywhere = SqlQuery(SECTION, "nova-compute", "SELECT 1", {})
    assert everywhere.covers("cell01")
    assert not replace(everywhere, databases=("cell02",)).covers("cell01")
