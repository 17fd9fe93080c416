"""A data migration that is killed at any moment moves and counts every row once when another runner goes on."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.dying import dying, when_free

from .conftest import UPGRADE, Site
from .test_moving import SPLIT, split_in_sql


def from_the_start(site: Site) -> None:
    """Nothing of it has run, and the new columns hold what was there before."""
    site.execute("DELETE FROM orchestrator_data_migrations", "UPDATE customers SET first_name = 'x', last_name = NULL")


def run(site: Site) -> MigrationFacts:
    """From wherever it stands to its end, as a daemon does after its start."""
    site.runner = site.another_runner()
    site.runner.enrol(site.release("split_name"), UPGRADE)
    facts: MigrationFacts = when_free(lambda: site.run("split_name"))
    return facts


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.kill)], ids=["few", "all"])
@pytest.mark.parametrize("kind", ["expression", "transform"])
def test_every_row_is_moved_and_counted_once(customers: Site, kind: str, every: bool) -> None:
    customers.write("split_name", SPLIT if kind == "transform" else split_in_sql(customers.database))
    from_the_start(customers)
    run(customers)
    moved = customers.rows("SELECT * FROM customers ORDER BY id")
    for moment in itertools.count(1, step=1 if every else 3):
        from_the_start(customers)
        with dying(customers.database, moment, every=every) as life:
            run(customers)
        facts = run(customers)
        assert facts.state is MigrationState.COMPLETE, (moment, life.died)
        assert (facts.rows_done, facts.rows_verified, facts.differences) == (25, 25, 0), (moment, life.died)
        assert customers.rows("SELECT * FROM customers ORDER BY id") == moved, (moment, life.died)
        if life.died is None:
            assert moment > 10
            break
