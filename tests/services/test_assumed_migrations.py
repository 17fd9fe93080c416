"""Data migrations of earlier releases that did not run in a database, and somebody's word that their rows are right."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.api.world import World


def upgrading(release: str) -> World:
    """On the way to that release; `split_name` belongs to release 2, and its ledger does not know it."""
    world = World()
    before = str(int(release) - 1)
    world.upgrades.initialise("inventory", before, actor="test")
    for fleet in ("inventory-api", "inventory-worker"):
        world.leases.report("inventory", fleet, release=before, instances=0, actor="test", reason=None)
    world.managed.on["main"].migrations.pop("split_name", None)
    world.upgrades.begin("inventory", release, actor="test")
    world.cycle()
    return world


def skipped(world: World) -> bool:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return "data_migration_skipped" in {blocker.code for blocker in status.blockers}


@pytest.mark.parametrize("database", ["main", None])
def test_one_of_an_earlier_release_counts_as_done_on_somebodys_word(database: str | None) -> None:
    world = upgrading("3")
    assert skipped(world)
    world.data_migrations.assume(
        "inventory", "split_name", database, attested_done=True, actor="alice", reason="done by hand"
    )
    world.cycle()
    assert world.board.schema("inventory").release == "3"
    lines = world.board.events(schema="inventory", after=0, limit=99)
    (line,) = [each for each in lines if each.action == "data_migration.assume"]
    assert (line.actor, line.reason, line.subject) == ("alice", "done by hand", "split_name")
    assert line.sentence == "alice vouches that split_name is done in main"


@pytest.mark.parametrize(
    ("name", "database", "attested", "reason", "code"),
    [
        ("split_name", None, False, "done by hand", "attestation_required"),
        ("split_name", None, True, "", "reason_required"),
        ("split_name", "second", True, "done by hand", "nothing_to_assume"),
        ("nothing", None, True, "done by hand", "data_migration_unknown"),
    ],
)
def test_what_is_not_vouched_for_does_not_count(
    name: str, database: str | None, attested: bool, reason: str, code: str
) -> None:
    world = upgrading("3")
    with pytest.raises(OrchestratorError) as refusal:
        world.data_migrations.assume("inventory", name, database, attested_done=attested, actor="alice", reason=reason)
    assert refusal.value.code == code
    assert skipped(world)


def test_one_of_the_release_that_is_upgraded_to_is_never_taken_on_trust() -> None:
    """Its rows are moved, and proven by query."""
    world = upgrading("2")
    assert world.phase() is Phase.BACKFILL
    with pytest.raises(OrchestratorError) as refusal:
        world.data_migrations.assume(
            "inventory", "split_name", None, attested_done=True, actor="alice", reason="surely done"
        )
    assert refusal.value.code == "data_migration_to_be_proven"
    assert world.managed.on["main"].migrations["split_name"].state is MigrationState.PENDING


def test_one_that_is_complete_stays_so() -> None:
    world = upgrading("3")
    world.managed.on["main"].migrations["split_name"] = MigrationFacts("split_name", MigrationState.COMPLETE)
    world.cycle()
    with pytest.raises(OrchestratorError) as refusal:
        world.data_migrations.assume("inventory", "split_name", None, attested_done=True, actor="alice", reason="twice")
    assert refusal.value.code == "nothing_to_assume"
