"""Several daemons move the rows of one data migration: in turn, at the pace that was set, each with the same file."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.domain.errors import Conflict, Invalid
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.data_migrations.test_moving import SPLIT


@pytest.fixture
def customers(customers: Site) -> Site:
    """With a data migration of theirs that is entered, and not begun."""
    customers.write("split_name", SPLIT)
    customers.runner.enrol(customers.release("split_name"), UPGRADE)
    return customers


def follower(site: Site, directory: Path) -> DataMigrationRunner:
    """A daemon that has another file of the data migration."""
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "split_name.py").write_text(site.file("split_name").read_text() + "# edited\n")
    return DataMigrationRunner(site.database, SCHEMA, directory)


def test_daemons_take_turns_at_one_cursor(customers: Site) -> None:
    other = customers.another_runner()
    customers.runner.run_batch("split_name", UPGRADE, 10)
    first, second = (runner.run_batch("split_name", UPGRADE, 10) for runner in (customers.runner, other))
    assert (first.rows_done, second.rows_done) == (10, 20)


def test_pause_between_batches_holds_whoever_runs_them(customers: Site) -> None:
    other = customers.another_runner()
    for runner in (customers.runner, other):
        runner.pause_seconds = 1e6
    customers.runner.run_batch("split_name", UPGRADE, 10)
    done = customers.runner.run_batch("split_name", UPGRADE, 10)
    for runner in (customers.runner, other):
        with pytest.raises(Conflict) as refusal:
            runner.run_batch("split_name", UPGRADE, 10)
        assert refusal.value.code == "batch_too_soon"
    assert customers.facts("split_name") == done
    other.pause_seconds = 1e-9
    assert other.run_batch("split_name", UPGRADE, 10).rows_done == 20


def test_rest_after_a_batch_is_as_long_as_its_ratio_says_whoever_runs_the_next(customers: Site) -> None:
    times = iter([0.0, 50.0])  # a batch that takes 50 s
    directory = customers.runner.directory
    worker = DataMigrationRunner(customers.database, SCHEMA, directory, nice_ratio=4.0, clock=lambda: next(times))
    other = DataMigrationRunner(customers.database, SCHEMA, directory, nice_ratio=4.0)
    worker.run_batch("split_name", UPGRADE, 10)  # begins it, and moves no row yet
    assert worker.run_batch("split_name", UPGRADE, 10).rows_done == 10
    with pytest.raises(Conflict) as refusal:
        other.run_batch("split_name", UPGRADE, 10)
    assert refusal.value.code == "batch_too_soon"
    assert 150 < refusal.value.fields["wait_seconds"] <= 200


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_other_file_on_a_daemon_that_does_not_lead_fails_nothing(customers: Site, tmp_path: Path, batches: int) -> None:
    for _ in range(batches):
        customers.runner.run_batch("split_name", UPGRADE, 10)
    before = customers.facts("split_name")
    other = follower(customers, tmp_path / "other")
    for _ in range(2):
        with pytest.raises(Invalid, match="split_name"):
            other.run_batch("split_name", UPGRADE, 10, leads=False)
        (other.directory / "data" / "split_name.py").unlink(missing_ok=True)
    assert customers.facts("split_name") == before
    assert customers.run("split_name").state is MigrationState.COMPLETE
