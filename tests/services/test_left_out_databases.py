"""A database that is taken out of the configuration while an upgrade is under way."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict, OrchestratorError
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


def without_the_second() -> World:
    """At write_new, where the old shape is stale, in an upgrade of which the second database was taken out."""
    world = World()
    world.managed.on["second"] = FakeDatabase("second")
    world.begun()
    world.cycle()
    world.move_rows()
    world.cycle()
    assert world.phase() is Phase.SEALED
    del world.managed.on["second"]
    world.upgrades.approve("inventory", phase=Phase.CONTRACTED, actor="test", reason="quiet")
    world.cycle()
    return world


def codes(world: World) -> list[str]:
    status = world.board.schema("inventory").upgrade
    assert status is not None
    return [blocker.code for blocker in status.blockers]


def test_one_that_is_gone_for_good_is_counted_out_in_every_phase() -> None:
    world = without_the_second()
    assert codes(world) == ["database_left_out"]
    world.upgrades.evict_database("inventory", "second", attested_gone=True, actor="alice", reason="closed down")
    world.cycle()
    assert world.board.schema("inventory").release == "2"
    (line,) = [
        each for each in world.board.events(schema="inventory", after=0, limit=99) if each.action == "database.evict"
    ]
    assert (line.actor, line.reason, line.subject) == ("alice", "closed down", "second")


@pytest.mark.parametrize(
    ("database", "attested", "reason", "code"),
    [
        ("second", False, "closed down", "attestation_required"),
        ("second", True, " ", "reason_required"),
        ("third", True, "closed down", "database_unknown"),
        ("main", True, "closed down", "database_configured"),
    ],
)
def test_what_is_not_vouched_for_or_is_still_there_is_not_counted_out(
    database: str, attested: bool, reason: str, code: str
) -> None:
    world = without_the_second()
    with pytest.raises(OrchestratorError) as refusal:
        world.upgrades.evict_database("inventory", database, attested_gone=attested, actor="alice", reason=reason)
    assert refusal.value.code == code
    assert codes(world) == ["database_left_out"]


def test_nothing_is_counted_out_where_no_upgrade_is_under_way() -> None:
    with pytest.raises(Conflict) as refusal:
        World().at_rest().upgrades.evict_database("inventory", "x", attested_gone=True, actor="alice", reason="gone")
    assert refusal.value.code == "no_upgrade"
