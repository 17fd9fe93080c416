"""Data migrations that count as done on somebody's word: those of an earlier release, which cannot be run any more."""

from __future__ import annotations

import pytest

from orchestrator.domain.view import MigrationState

from .conftest import UPGRADE, Site
from .test_moving import SPLIT


def state(site: Site) -> MigrationState:
    (facts,) = site.runner.progress()
    return facts.state


def test_one_that_the_ledger_does_not_know_is_entered(customers: Site) -> None:
    customers.write("split_name", SPLIT)
    for _ in range(2):
        customers.runner.attest(customers.release("split_name"), "split_name")
    assert state(customers) is MigrationState.ASSUMED
    assert customers.runner.run_batch("split_name", UPGRADE, 10).state is MigrationState.ASSUMED


def test_one_that_was_broken_off_is_assumed_and_its_cursor_taken(customers: Site) -> None:
    customers.start("split_name", SPLIT)
    customers.runner.run_batch("split_name", UPGRADE, 10)
    revision = customers.rows("SELECT revision FROM orchestrator_data_migrations")
    customers.runner.attest(customers.release("split_name"), "split_name")
    assert state(customers) is MigrationState.ASSUMED
    assert customers.rows("SELECT revision FROM orchestrator_data_migrations") > revision


@pytest.mark.parametrize("attempts", [1, 2])
def test_one_that_was_proven_keeps_its_proof(customers: Site, attempts: int) -> None:
    customers.start("split_name", SPLIT)
    customers.run("split_name")
    for _ in range(attempts):
        customers.runner.attest(customers.release("split_name"), "split_name")
    assert state(customers) is MigrationState.COMPLETE
