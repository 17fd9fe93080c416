"""Reports: what they say cannot be refused, so it has to count, also when it comes at the wrong time."""

from __future__ import annotations

from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationState
from tests.api.world import World


def codes(world: World) -> list[str]:
    upgrade = world.board.schema("inventory").upgrade
    assert upgrade is not None
    return [blocker.code for blocker in upgrade.blockers]


def report(world: World, release: str, instances: int) -> None:
    world.leases.report(
        "inventory", "inventory-api", release=release, instances=instances, actor="test", reason=None
    )  # fmt: skip


def moved() -> World:
    """Every row is moved and proven, and the daemon has not looked again."""
    world = World().begun()
    world.cycle()
    assert world.phase() is Phase.BACKFILL
    world.move_rows()
    assert world.managed.on["main"].migrations["split_name"].state is MigrationState.COMPLETE
    return world


def test_a_report_of_the_new_release_from_before_its_upgrade_stands_for_no_leases() -> None:
    """Instances that hold no lease never hear of a phase: they may not be taken for ones that follow it."""
    world = World().at_rest()
    report(world, "2", 5)
    world.upgrades.begin("inventory", "2", actor="test")
    world.cycle()
    assert world.phase() is Phase.BASE
    assert codes(world) == ["lease_required"]
    report(world, "2", 0)
    world.cycle()
    assert world.phase() is Phase.BACKFILL


def test_what_was_proven_while_the_old_release_ran_is_proven_again() -> None:
    """In backfill the old release turns up, writes only the old shape, and is gone before the next look."""
    world = moved()
    report(world, "1", 3)
    report(world, "1", 0)
    world.cycle()
    assert world.phase() is Phase.BACKFILL, "its rows do not carry the new shape"
    assert codes(world) == ["proof_doubtful"]
    world.upgrades.rollback("inventory", Phase.EXPANDED, actor="test", reason="old processes ran")
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    assert world.managed.on["main"].migrations["split_name"].state is MigrationState.PENDING
    world.upgrades.resume("inventory", actor="test", reason=None)
    world.cycle()
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.SEALED


def test_no_row_is_moved_while_the_old_release_is_known_to_run() -> None:
    world = World().begun()
    world.cycle()
    report(world, "1", 3)
    world.move_rows()
    assert world.managed.on["main"].migrations["split_name"].state is MigrationState.PENDING
