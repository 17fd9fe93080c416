"""Databases that change behind an upgrade: added to the configuration, or put back without what expand had made."""

from __future__ import annotations

import pytest

from orchestrator.domain.ladder import Phase
from tests.api.world import World
from tests.fakes import FakeDatabase


def codes(world: World) -> list[tuple[str, tuple[str, ...]]]:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return [(blocker.code, blocker.culprits) for blocker in status.blockers]


def expanded_for_release_3() -> World:
    """At expanded, in an upgrade that moves no rows, with a process of the old release."""
    world = World()
    world.upgrades.initialise("inventory", "2", actor="test")
    for fleet in ("inventory-api", "inventory-worker"):
        world.leases.report("inventory", fleet, release="2", instances=0, actor="test", reason=None)
    old = world.join("old-1", release="2")
    begun = world.upgrades.begin("inventory", "3", actor="test")
    world.leases.renew("inventory", "inventory-api", "old-1", epoch=old, ack=begun.publication)
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    world.leases.leave("inventory", "inventory-api", "old-1", epoch=old)
    return world


@pytest.mark.parametrize("how", ["added", "put back"])
def test_no_phase_is_entered_above_a_database_that_is_not_expanded(how: str) -> None:
    world = expanded_for_release_3()
    if how == "added":
        world.managed.on["second"] = FakeDatabase("second", migrations=dict(world.managed.on["main"].migrations))
    else:
        world.managed.on["main"].expanded_to = "2"
    culprit = "second" if how == "added" else "main"
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    assert codes(world) == [("database_not_expanded", (culprit,))]
    world.upgrades.rollback("inventory", Phase.BASE, actor="test", reason="expand it there, too")
    world.cycle()
    world.upgrades.resume("inventory", actor="test", reason=None)
    world.cycle()
    assert world.board.schema("inventory").release == "3"
    assert all(database.expanded_to == "3" for database in world.managed.on.values())
