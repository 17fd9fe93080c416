"""Ways back: reverse data migrations, which make the old shape valid again, and proofs that are given anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.copies import read_copy, write_copy
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.view import MigrationState

from .conftest import SCHEMA, UPGRADE, Site
from .test_moving import split_in_sql

BACK = """
table = "customers"
reads = ("first_name", "last_name")
writes = ("name",)


def transform(self, row):
    return {"name": f"{row['first_name'] or ''} {row['last_name'] or ''}".strip()}
"""


GIVEN = sa.text("SELECT first_name FROM customers WHERE id = :id")
GIVE = sa.text("UPDATE customers SET first_name = :name WHERE id = :id")


def let_back(site: Site) -> None:
    """Everybody writes both shapes at read_new, on the way back."""
    site.enter(Phase.READ_NEW)
    with site.database.writing() as connection:
        copy = read_copy(connection, SCHEMA)
        assert copy is not None
        write_copy(connection, SCHEMA, replace(copy, reversing=True, revision=copy.revision + 1), now=0.0)


def test_reverse_data_migration_runs_on_the_way_back_only(customers: Site) -> None:
    customers.write("join_name", BACK)
    customers.runner.enrol(Release("2", reverse_data_migrations=("join_name",)), UPGRADE)
    for phase in (Phase.BACKFILL, Phase.READ_NEW, Phase.WRITE_NEW):
        customers.enter(phase)
        with pytest.raises(Conflict) as refused:
            customers.runner.run_batch("join_name", UPGRADE, 10)
        assert refused.value.code == "not_in_backfill"
    let_back(customers)
    assert customers.run("join_name").state is MigrationState.COMPLETE
    customers.enter(Phase.WRITE_NEW)
    with pytest.raises(Conflict):
        customers.runner.retry("join_name")


def test_proof_is_given_anew_where_rows_are_not_moved_any_more(customers: Site) -> None:
    customers.start("split_name", split_in_sql(customers.database))
    assert customers.run("split_name").state is MigrationState.COMPLETE
    customers.enter(Phase.READ_NEW)
    with customers.database.writing() as connection:
        ledger.doubt(connection, SCHEMA, UPGRADE)
        first = connection.exec_driver_sql("SELECT MIN(id) FROM customers").scalar_one()
        right = connection.execute(GIVEN, {"id": first}).scalar_one()
        connection.execute(GIVE, {"id": first, "name": "Eve"})
    assert customers.run("split_name").state is MigrationState.FAILED
    with customers.database.writing() as connection:
        connection.execute(GIVE, {"id": first, "name": right})
    found = customers.runner.retry("split_name")
    assert (found.state, found.witness, found.differences) == (MigrationState.VERIFYING, None, 0)
    assert customers.run("split_name").state is MigrationState.COMPLETE


@pytest.mark.parametrize("batches", [0, 1])
@pytest.mark.parametrize("mended", [False, True])
def test_what_a_restored_database_holds_as_under_way_is_proven_where_rows_are_not_moved_any_more(
    customers: Site, batches: int, mended: bool
) -> None:
    customers.start("split_name", split_in_sql(customers.database))
    for _ in range(batches):
        customers.runner.run_batch("split_name", UPGRADE, 5)
    customers.enter(Phase.READ_NEW)
    if mended:
        for id_, name in customers.rows("SELECT id, name FROM customers"):
            first, _, last = name.partition(" ")
            customers.execute(f"UPDATE customers SET first_name = '{first}', last_name = '{last}' WHERE id = {id_}")
    assert customers.runner.retry("split_name").state is MigrationState.VERIFYING
    found = customers.run("split_name")
    assert found.state is (MigrationState.COMPLETE if mended else MigrationState.FAILED)
    assert found.rows_verified == 25
