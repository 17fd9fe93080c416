"""A database that is taken out of the configuration while an upgrade is under way."""

from __future__ import annotations

from orchestrator.domain.ladder import Phase
from tests.api.world import World
from tests.fakes import FakeDatabase


def test_the_upgrade_stops_until_it_is_back() -> None:
    world = World()
    world.managed.on["second"] = FakeDatabase("second")
    world.upgrades.initialise("inventory", "2", actor="test")
    for fleet in ("inventory-api", "inventory-worker"):
        world.leases.report("inventory", fleet, release="2", instances=0, actor="test", reason=None)
    old = world.join("old-1", release="2")
    begun = world.upgrades.begin("inventory", "3", actor="test")
    world.leases.renew("inventory", "inventory-api", "old-1", epoch=old, ack=begun.publication)
    world.cycle()
    assert world.phase() is Phase.EXPANDED

    taken_out = world.managed.on.pop("second")
    world.leases.leave("inventory", "inventory-api", "old-1", epoch=old)
    world.cycle()
    assert world.phase() is Phase.EXPANDED
    status = world.board.schema("inventory").upgrade
    assert status is not None
    assert [(blocker.code, blocker.culprits) for blocker in status.blockers] == [("database_left_out", ("second",))]

    world.managed.on["second"] = taken_out
    world.cycle()
    assert world.board.schema("inventory").release == "3"
