"""Waves and paused fleets over HTTP."""

from __future__ import annotations

from orchestrator.api.auth import Role
from orchestrator.domain.view import Policy
from orchestrator.domain.waves import Waves
from tests.api.world import SCHEMA, UPGRADE, World, assert_problem, tokens_for_all_roles

FLEETS = f"{SCHEMA}/fleets"
API, WORKER = f"{FLEETS}/inventory-api", f"{FLEETS}/inventory-worker"


def in_waves() -> World:
    """The upgrade has entered expanded, of which the second wave has not heard: a process of the first holds it up."""
    order = (("inventory-api",), ("inventory-worker",))
    return World(policy=Policy(waves=Waves(order))).expanded()


def test_fleets_show_the_phase_that_each_is_told() -> None:
    world = in_waves()
    world.join("old-2", release="1", fleet="inventory-worker")
    body = world.client().get(FLEETS).json()
    assert [(each["fleet"], each["wave"], each["phase"]) for each in body["fleets"]] == [
        ("inventory-api", 1, "expanded"),
        ("inventory-worker", 2, "base"),
    ]
    assert [(each["instances"], each["told"], each["acked"]) for each in body["fleets"]] == [(1, 1, 0), (1, 0, 1)]
    upgrade = world.client().get(UPGRADE).json()
    assert upgrade["wave"] == 1
    assert "wave_open" in [blocker["code"] for blocker in upgrade["blockers"]]


def test_a_fleet_is_paused_and_resumed() -> None:
    world = in_waves()
    paused = world.client().post(f"{WORKER}/pause", {"reason": "a bad disk"})
    body = paused.json()
    assert (paused.status_code, body["phase"], body["pause"]["reason"], body["pause"]["holds"]) == (
        200, "base", "a bad disk", True,
    )  # fmt: skip
    assert world.nudged == ["inventory"]
    codes = [blocker["code"] for blocker in world.client().get(UPGRADE).json()["blockers"]]
    assert "fleet_paused" in codes
    resumed = world.client().post(f"{WORKER}/resume", {})
    assert (resumed.status_code, resumed.json()["pause"]) == (200, None)
    told = [each["action"] for each in world.client().get("/v1/events").json()["events"]]
    assert told[-2:] == ["fleet.pause", "fleet.resume"]


def test_a_fleet_can_be_paused_at_rest(world: World) -> None:
    body = world.at_rest().client().post(f"{API}/pause", {"reason": "a bad disk"}).json()
    assert (body["phase"], body["wave"], body["pause"]["holds"]) == (None, None, False)
    assert [each["fleet"] for each in world.client().get(FLEETS).json()["fleets"]] == [
        "inventory-api", "inventory-worker",
    ]  # fmt: skip


def test_a_pause_that_makes_no_sense_is_refused(world: World) -> None:
    client = world.at_rest().client()
    assert_problem(client.post(f"{API}/pause", {}), 422, "body_invalid")
    assert_problem(client.post(f"{API}/pause", {"reason": " "}), 422, "reason_required")
    assert_problem(client.post(f"{FLEETS}/nobody/pause", {"reason": "r"}), 404, "fleet_unknown")
    assert_problem(client.post(f"{FLEETS}/nobody/resume", {}), 404, "fleet_unknown")


def test_only_an_operator_pauses_a_fleet(world: World) -> None:
    tokens, texts = tokens_for_all_roles()
    client = world.at_rest().client(tokens, token=texts[Role.DEPLOYER])
    assert_problem(client.post(f"{API}/pause", {"reason": "r"}), 403, "role_insufficient")
