"""What runs in each fleet, and which source says so."""

from __future__ import annotations

from orchestrator.domain.inventories import Inventory, Sighting
from tests.api.world import SCHEMA, World, assert_problem

INVENTORIES = f"{SCHEMA}/inventories"
SOURCE = "[inventory:inventory:inventory-worker]"


def listing(world: World, *sightings: Sighting, error: str | None = None) -> World:
    """A query lists these."""
    found = Inventory(
        "inventory-worker", SOURCE, sightings, error=error, remedy=error and "Mend it.", max_age_seconds=60
    )
    world.managed.on["main"].inventories = (found,)
    return world


def test_leases_reports_and_queries_are_told_apart(world: World) -> None:
    sightings = (Sighting("w1", "1", 5), Sighting("w2", "1", 90), Sighting("w3", "1", 7, is_down=True))
    listing(world, *sightings).at_rest()
    world.join("api-1", release="1")
    world.clock.advance(4)
    body = world.client().get(INVENTORIES).json()
    found = {each["fleet"]: each["lines"] for each in body["fleets"]}
    names = ("source", "name", "release", "instances", "silent", "down", "oldest_seconds", "error")
    assert [tuple(line[name] for name in names) for line in found["inventory-api"]] == [
        ("leases", None, "1", 1, 0, 0, 4, None),
        ("report", "test", "1", 0, 0, 0, 4, None),
    ]
    assert [tuple(line[name] for name in names) for line in found["inventory-worker"]] == [
        ("report", "test", "1", 0, 0, 0, 4, None),
        ("query", SOURCE, "1", 2, 1, 1, 94, None),
    ]
    assert [each["members"] for each in body["fleets"]] == [[], []]


def test_one_fleet_comes_with_its_instances(world: World) -> None:
    listing(world, Sighting("w1", "1", 5), Sighting("w2", "2", None, is_down=True)).at_rest()
    world.join("worker-1", release="1", fleet="inventory-worker")
    (fleet,) = world.client().get(f"{INVENTORIES}?fleet=inventory-worker").json()["fleets"]
    names = ("id", "source", "database", "release", "sign", "age_seconds")
    assert [tuple(member[name] for name in names) for member in fleet["members"]] == [
        ("worker-1", "leases", None, "1", "alive", 0),
        ("w1", "query", "main", "1", "alive", 5),
        ("w2", "query", "main", "2", "down", None),
    ]


def test_a_lease_that_ran_out_makes_an_instance_silent(world: World) -> None:
    world.at_rest()
    world.join("api-1", release="1")
    world.clock.advance(71)
    fleet = world.client().get(f"{INVENTORIES}?fleet=inventory-api").json()["fleets"][0]
    assert (fleet["lines"][0]["silent"], fleet["members"][0]["sign"]) == (1, "silent")


def test_source_that_cannot_be_read_says_why(world: World) -> None:
    listing(world, Sighting("w1", "1"), error="w2: it has no version").at_rest()
    (fleet,) = world.client().get(f"{INVENTORIES}?fleet=inventory-worker").json()["fleets"]
    line = fleet["lines"][-1]
    assert (line["release"], line["error"], line["remedy"]) == (None, "in main: w2: it has no version", "Mend it.")
    assert [member["id"] for member in fleet["members"]] == ["w1"]


def test_fleet_of_which_nothing_is_known_has_no_lines(world: World) -> None:
    world.upgrades.initialise("inventory", "1", actor="test")
    body = world.client().get(INVENTORIES).json()
    assert [(each["fleet"], each["lines"]) for each in body["fleets"]] == [
        ("inventory-api", []),
        ("inventory-worker", []),
    ]


def test_fleet_that_nobody_lists_is_not_found(world: World) -> None:
    assert_problem(world.at_rest().client().get(f"{INVENTORIES}?fleet=nobody"), 404, "fleet_unknown")
