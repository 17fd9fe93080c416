"""Data migrations that follow one another, and daemons that come late: what was proven stays true."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.daemon import live_schema
from orchestrator.daemon.live_schema import LiveSchema
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.view import MigrationState

from .conftest import SCHEMA, UPGRADE, Site

NAMES = ("first", "second")
FIRST = """
    table = "customers"
    expressions = {"first_name": "lower(name)"}
"""
SECOND = """
    table = "customers"
    expressions = {"last_name": "first_name"}
"""


def live(site: Site) -> LiveSchema:
    """The schema as the daemon has it, without a tree of revisions."""
    releases = Releases(SCHEMA, (Release("1"), site.release(*NAMES)))
    return LiveSchema(
        SCHEMA,
        cast(Any, SimpleNamespace(releases=releases)),
        {"test": site.database},
        {"test": site.runner},
        batches=10,
    )


@pytest.fixture
def proven(customers: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The second one copies what the first one made; both are complete."""
    monkeypatch.setattr(live_schema, "prepare", lambda database, **_: None)  # the site has our tables
    customers.write("first", FIRST)
    customers.write("second", SECOND)
    customers.runner.enrol(customers.release(*NAMES), UPGRADE)
    for name in NAMES:
        assert customers.run(name).state is MigrationState.COMPLETE
    return customers


def test_retrying_one_sends_those_back_that_may_have_read_what_it_wrote(proven: Site) -> None:
    proven.write("first", FIRST.replace("lower", "upper"))
    live(proven).retry_migration("test", "first")
    assert proven.run("first").state is MigrationState.COMPLETE
    assert proven.facts("second").state is MigrationState.PENDING, "it holds what the first one made before"
    assert proven.run("second").state is MigrationState.COMPLETE
    assert proven.rows("SELECT count(*) FROM customers WHERE last_name <> upper(name)") == [(0,)]


def test_retrying_one_leaves_those_alone_that_ran_before_it(proven: Site) -> None:
    live(proven).retry_migration("test", "second")
    assert proven.facts("first").state is MigrationState.COMPLETE


def test_a_step_that_ends_late_does_not_take_the_ledger_back_to_its_upgrade(proven: Site) -> None:
    """A daemon slept in the expand step. Meanwhile its upgrade was cancelled, and the next one began."""
    proven.enter(Phase.BACKFILL, upgrade_id=UPGRADE + 1)
    proven.another_runner().enrol(proven.release(*NAMES), UPGRADE + 1)
    with pytest.raises(Conflict) as refused:
        proven.runner.enrol(proven.release(*NAMES), UPGRADE)
    assert refused.value.code == "upgrade_passed"
    assert proven.runner.run_batch("first", UPGRADE + 1, 10).state is MigrationState.RUNNING
