"""A manifest that changes while its upgrade is under way, or that another daemon has in another version."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.view import Blocker
from tests.api.world import World


def rewrite(world: World, **changes: object) -> None:
    """What the manifest says of release 2."""
    first, second, third = world.managed.releases.ordered
    changed: Release = replace(second, **changes)  # type: ignore[arg-type]
    world.managed._releases = Releases("inventory", (first, changed, third))


def blockers(world: World) -> tuple[Blocker, ...]:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return status.blockers


def test_a_data_migration_that_vanishes_from_the_manifest_is_not_taken_for_done() -> None:
    world = World().begun()
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    rewrite(world, data_migrations=())
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    (blocker,) = blockers(world)
    assert blocker.code == "manifest_changed"
    assert "data_migrations" in blocker.sentence
    rewrite(world, data_migrations=("split_name",))
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.SEALED


def test_a_fleet_that_vanishes_from_the_manifest_is_not_taken_for_nobody() -> None:
    world = World().begun()
    rewrite(world, fleets=("inventory-worker",))
    world.cycle()
    assert [blocker.code for blocker in blockers(world)] == ["manifest_changed"]


def test_an_upgrade_whose_manifest_changed_can_be_cancelled_and_begun_again() -> None:
    world = World().begun()
    world.cycle()
    rewrite(world, data_migrations=("split_name", "fill_kind"))
    world.cycle()
    assert "manifest_changed" in [blocker.code for blocker in blockers(world)]
    world.upgrades.cancel("inventory", actor="test", reason="another data migration is needed")
    world.cycle()
    world.upgrades.begin("inventory", "2", actor="test")
    world.cycle()
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.SEALED
