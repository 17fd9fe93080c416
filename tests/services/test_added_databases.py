"""Databases that are added to a schema that is managed already."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict
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
    world = World().begun()
    world.managed.on["second"] = FakeDatabase("second")
    world.managed.calls.clear()
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("inventory is at release 1 already",)
    assert world.managed.calls == []


def test_one_that_cannot_be_read_is_left_alone() -> None:
    world = world_with_a_second()
    world.managed.on["second"].error = "no answer"
    assert world.upgrades.initialise("inventory", "1", actor="alice") == ("inventory is at release 1 already",)


def test_nothing_begins_while_one_that_was_added_is_empty() -> None:
    world = world_with_a_second()
    with pytest.raises(Conflict) as refusal:
        world.upgrades.begin("inventory", "2", actor="test")
    assert refusal.value.code == "database_empty"
    assert "orchestrator schema init inventory --release 1" in refusal.value.remedy
    world.upgrades.initialise("inventory", "1", actor="test")
    world.upgrades.begin("inventory", "2", actor="test")


def test_one_that_was_changed_by_hand_is_not_taken_for_a_new_one() -> None:
    """What an upgrade has written into it says that it is managed."""
    world = World().begun()
    world.cycle()
    world.upgrades.cancel("inventory", actor="test", reason="another day")
    world.cycle()
    assert world.upgrades.initialise("inventory", "1", actor="test") == ("inventory is at release 1 already",)
    world.upgrades.begin("inventory", "2", actor="test")
