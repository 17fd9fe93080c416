"""Claims, fences, crashes: a batch is whole or leaves no trace, and no late one lands in a later phase."""

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.bookkeeping import ledger
from orchestrator.domain.errors import Conflict, LostCursor, MigrationRefused, NotFound, Unavailable
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationState
from tests.dying import when_free

from .conftest import SCHEMA, UPGRADE, Site
from .test_moving import SPLIT, split_in_sql

Before = Callable[[str, Callable[[Any], None]], None]


def everything(site: Site) -> list[object]:
    """All that a batch could change."""
    return [
        site.rows("SELECT * FROM customers ORDER BY id"),
        site.rows("SELECT * FROM orchestrator_data_migrations ORDER BY name"),
    ]


@pytest.mark.parametrize("kind", ["expression", "transform"])
@pytest.mark.parametrize("state", [MigrationState.RUNNING, MigrationState.VERIFYING])
def test_batch_whose_cursor_was_taken_is_rolled_back_whole(
    customers: Site, before: Before, kind: str, state: MigrationState
) -> None:
    customers.start("split_name", SPLIT if kind == "transform" else split_in_sql(customers.database))
    batch = 100 if state is MigrationState.VERIFYING else 10
    assert customers.runner.run_batch("split_name", UPGRADE, batch).state is state
    found = everything(customers)
    # A lock that ends at one node of a cluster does not keep others away: the revision does.
    before(
        "UPDATE orchestrator_data_migrations",
        lambda cursor: cursor.execute("UPDATE orchestrator_data_migrations SET revision = revision + 1"),
    )
    with pytest.raises(LostCursor):
        customers.runner.run_batch("split_name", UPGRADE, 10)
    assert everything(customers) == found
    assert customers.run("split_name").state is MigrationState.COMPLETE


KILLED_BEFORE = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import open_database

url, directory, schema, beginning = sys.argv[1:]
database = open_database("main", url)

def kill(_connection, _cursor, statement, *_rest):
    if statement.startswith(beginning):
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(database.engine, "after_cursor_execute", kill)
DataMigrationRunner(database, schema, Path(directory)).run_batch("split_name", 7, 10)
"""


@pytest.mark.parametrize("statement", ["rows", "UPDATE orchestrator_data_migrations"])
def test_batch_killed_before_its_commit_is_repeated_and_counted_once(customers: Site, statement: str) -> None:
    customers.start("split_name", SPLIT)
    customers.runner.run_batch("split_name", UPGRADE, 10)
    found = everything(customers)
    if statement == "rows":
        is_mysql = customers.database.dialect.name == "mysql"
        statement = "UPDATE orchestrator_given" if is_mysql else "UPDATE customers"
    url = customers.database.engine.url.render_as_string(hide_password=False)
    arguments = [sys.executable, "-c", KILLED_BEFORE, url, str(customers.directory), SCHEMA, statement]
    killed = subprocess.run(arguments, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert everything(customers) == found
    facts = when_free(lambda: customers.run("split_name"))
    assert facts.state is MigrationState.COMPLETE
    assert (facts.rows_done, facts.rows_verified) == (25, 25)


@pytest.mark.parametrize(
    ("phase", "fence", "upgrade_id"),
    [
        (Phase.EXPANDED, Phase.EXPANDED, UPGRADE),
        (Phase.EXPANDED, Phase.BACKFILL, UPGRADE),
        (Phase.BACKFILL, Phase.READ_NEW, UPGRADE),
        (Phase.BACKFILL, Phase.EXPANDED, UPGRADE),
        (Phase.READ_NEW, Phase.READ_NEW, UPGRADE),
        (Phase.BACKFILL, Phase.BACKFILL, UPGRADE + 1),
        (Phase.BASE, Phase.BASE, None),
    ],
)
@pytest.mark.parametrize("started", [False, True])
def test_no_row_moves_outside_backfill_of_its_upgrade(
    customers: Site, phase: Phase, fence: Phase, upgrade_id: int | None, started: bool
) -> None:
    customers.write("split_name", SPLIT)
    customers.runner.enrol(customers.release("split_name"), UPGRADE)
    if started:
        customers.runner.run_batch("split_name", UPGRADE, 10)
    customers.enter(phase, fence=fence, upgrade_id=upgrade_id)
    found = everything(customers)
    for claimed in (UPGRADE, upgrade_id):
        if claimed is not None:
            with pytest.raises(Conflict) as caught:
                customers.runner.run_batch("split_name", claimed, 10)
            assert caught.value.code == "not_in_backfill"
    assert everything(customers) == found


def test_no_row_moves_where_no_copy_was_ever_written(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.execute("DELETE FROM orchestrator_copies")
    with pytest.raises(Conflict) as caught:
        customers.runner.run_batch("split_name", UPGRADE, 10)
    assert caught.value.code == "not_in_backfill"


def test_copy_of_another_incarnation_admits_no_batch(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.lose_incarnation()
    with pytest.raises(Conflict) as caught:
        customers.runner.run_batch("split_name", UPGRADE, 10)
    assert caught.value.code == "not_in_backfill"


def test_fence_takes_every_cursor(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    with customers.database.reading() as connection:
        seen = ledger.find(connection, SCHEMA, "split_name")
    assert seen is not None
    with customers.database.writing() as connection:
        ledger.fence(connection, SCHEMA)
    with pytest.raises(LostCursor), customers.database.writing() as connection:
        ledger.save(connection, seen)


def test_worker_finds_a_batch_under_way_and_leaves_it_alone(served_customers: Site) -> None:
    site = served_customers
    site.start("split_name", SPLIT)
    with site.database.writing() as busy:
        assert ledger.claim(busy, SCHEMA, "split_name") is not None
        with pytest.raises(Conflict) as caught:
            site.another_runner().run_batch("split_name", UPGRADE, 10)
        assert caught.value.code == "batch_claimed"


def test_transform_reads_rows_that_nobody_else_can_change_meanwhile(
    served_customers: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = served_customers
    site.start("split_name", SPLIT)
    monkeypatch.setattr("orchestrator.data_migrations.runner.LOCK_TIMEOUT_SECONDS", 0.05)
    with site.database.writing() as writer:
        writer.exec_driver_sql("UPDATE customers SET name = 'Other Name' WHERE id = 6")
        with pytest.raises(Unavailable) as caught:
            site.run("split_name")
        assert caught.value.code == "database_busy"
        writer.rollback()
    assert site.rows("SELECT id FROM customers WHERE last_name IS NOT NULL") == [(3,)]  # the only one before it
    assert site.run("split_name").state is MigrationState.COMPLETE


def test_going_below_backfill_starts_again_from_the_first_row(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    assert customers.run("split_name").state is MigrationState.COMPLETE
    with customers.database.writing() as connection:
        ledger.fence(connection, SCHEMA)
        ledger.reset(connection, SCHEMA, UPGRADE)
    customers.enter(Phase.EXPANDED)
    facts = customers.facts("split_name")
    assert (facts.state, facts.witness, facts.rows_done, facts.rows_verified) == (MigrationState.PENDING, None, 0, 0)
    customers.execute("UPDATE customers SET name = 'Old Writer'")  # the old release writes the old shape only
    customers.enter(Phase.BACKFILL)
    assert customers.run("split_name").state is MigrationState.COMPLETE
    assert customers.rows("SELECT DISTINCT first_name, last_name FROM customers") == [("Old", "Writer")]


def test_enrolling_is_repeatable_and_takes_nothing_back(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.runner.run_batch("split_name", UPGRADE, 10)
    found = everything(customers)
    customers.another_runner().enrol(customers.release("split_name"), UPGRADE)
    assert everything(customers) == found


def test_next_upgrade_begins_with_nothing_proven(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.run("split_name")
    customers.runner.enrol(customers.release("split_name"), UPGRADE + 1)
    facts = customers.facts("split_name")
    assert (facts.state, facts.witness, facts.rows_done) == (MigrationState.PENDING, None, 0)


def test_file_that_changed_after_the_start_is_refused_by_name(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    path = customers.write("split_name", SPLIT + "\nretries = 3\n")
    with pytest.raises(MigrationRefused) as caught:
        customers.runner.enrol(customers.release("split_name"), UPGRADE)
    assert caught.value.code == "data_migration_changed"
    assert str(path) in caught.value.message
    found = customers.rows("SELECT * FROM customers ORDER BY id")
    facts = customers.runner.run_batch("split_name", UPGRADE, 10)
    assert facts.state is MigrationState.FAILED
    assert facts.error is not None
    assert str(path) in facts.error
    assert customers.rows("SELECT * FROM customers ORDER BY id") == found
    # The author meant it: it starts again, with the file as it is now.
    assert customers.runner.retry("split_name").state is MigrationState.PENDING
    assert customers.run("split_name").state is MigrationState.COMPLETE


def test_file_that_changed_before_the_start_is_taken_as_it_is(customers: Site) -> None:
    customers.write("split_name", SPLIT.replace("customers", "nowhere"))
    customers.runner.enrol(customers.release("split_name"), UPGRADE)
    customers.write("split_name", SPLIT)
    customers.runner.enrol(customers.release("split_name"), UPGRADE)
    assert customers.run("split_name").state is MigrationState.COMPLETE


def test_assumed_one_is_never_run(customers: Site) -> None:
    customers.write("split_name", SPLIT)
    customers.runner.assume([customers.release("split_name")])
    customers.runner.assume([customers.release("split_name")])
    assert customers.facts("split_name").state is MigrationState.ASSUMED
    assert customers.runner.run_batch("split_name", UPGRADE, 10).state is MigrationState.ASSUMED
    with pytest.raises(Conflict):
        customers.runner.retry("split_name")
    assert customers.rows("SELECT count(*) FROM customers WHERE last_name IS NULL") == [(25,)]


def test_proof_is_not_thrown_away_after_backfill(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.run("split_name")
    customers.enter(Phase.WRITE_NEW)
    with pytest.raises(Conflict) as caught:
        customers.runner.retry("split_name")
    assert caught.value.code == "not_in_backfill"
    assert customers.facts("split_name").state is MigrationState.COMPLETE


def test_unknown_name_is_refused(customers: Site) -> None:
    with pytest.raises(NotFound) as caught:
        customers.runner.run_batch("nowhere", UPGRADE, 10)
    assert caught.value.code == "data_migration_unknown"
    with pytest.raises(NotFound) as caught:
        customers.runner.retry("nowhere")
    assert caught.value.code == "data_migration_unknown"
