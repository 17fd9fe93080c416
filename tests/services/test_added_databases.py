"""Databases that are added to a schema that is managed already."""

from __future__ import annotations

from tests.api.world import World
from tests.fakes import FakeDatabase


def world_with_a_second() -> World:
    world = World().at_rest()
    world.managed.on["second"] = FakeDatabase("second")
    world.managed.calls.clear()
    return world


def test_one_that_was_added_between_upgrades_is_installed_alone() -> None:
    world = world_with_a_second()
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("second: installed release 1",)
    assert world.managed.calls == [("initialise", "second", "1")]
    line = world.board.events(schema="inventory", after=-1, limit=1)[0]
    assert (line.action, line.actor) == ("schema.initialise", "alice")
    assert line.sentence == "inventory is at release 1: second: installed release 1"
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("inventory is at release 1 already",)


def test_one_that_was_added_during_an_upgrade_waits_for_its_end() -> None:
    world = world_with_a_second()
    world.upgrades.begin("inventory", "2", actor="test")
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("inventory is at release 1 already",)
    assert world.managed.calls == []


def test_one_that_cannot_be_read_is_left_alone() -> None:
    world = world_with_a_second()
    world.managed.on["second"].error = "no answer"
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("inventory is at release 1 already",)
