"""Rows that a server does not show to whoever moves and proves them: nothing is proven then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import Site, new_site

TRANSFORM = """
table = "people"
reads = ("name",)
writes = ("nick",)

def transform(self, row):
    return {"nick": row["name"].lower()}
"""


def people(site: Site) -> Site:
    site.execute(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR(20), nick VARCHAR(20))",
        "INSERT INTO people VALUES " + ", ".join(f"({n}, 'N{n}', NULL)" for n in range(1, 41)),
    )
    return site


def test_rows_that_a_policy_hides_are_refused_and_not_passed(
    open_database: Callable[[str, str], Database], postgresql_url: str, tmp_path: Path
) -> None:
    role = f"tenant_{os.getpid()}"
    with open_database("admin", postgresql_url).autocommitting() as admin:
        admin.exec_driver_sql(f"DROP ROLE IF EXISTS {role}")
        admin.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        admin.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {role}")
    url = sa.make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
    site = people(new_site(open_database("main", url), tmp_path))
    site.execute(
        "ALTER TABLE people ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE people FORCE ROW LEVEL SECURITY",
        "CREATE POLICY odd ON people USING (mod(id, 2) = 1)",
    )
    site.write("walk", TRANSFORM)
    with pytest.raises(MigrationRefused, match="row-level security"):
        site.runner.check(site.release("walk"), expanded=True)


def test_proof_by_some_of_the_rows_is_none(mysql_site: Site) -> None:
    """As a server's own limit of what a query returns leaves rows out, of those that are moved too."""
    site = people(mysql_site)

    @sa.event.listens_for(site.database.engine, "checkout")
    def limited(connection: Any, *_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_select_limit = 7")

    site.start("walk", TRANSFORM)
    facts = site.run("walk")
    assert (facts.state, facts.rows_verified) == (MigrationState.FAILED, 0)
    assert "was given 7 of the 10 rows of people" in (facts.error or "")
    assert "limits how many rows a query returns" in (facts.error or "")


def test_no_server_leaves_out_rows_of_ours(mysql_site: Site) -> None:
    assert mysql_site.rows("SELECT @@SESSION.sql_select_limit") == [(2**64 - 1,)]
