"""Instances over HTTP: register, renew, ack, leave, list, evict."""

from typing import Any

import pytest

from tests.api.world import INSTANCES, SCHEMA, UPGRADE, World, assert_problem

ONE = {"id": "web-1", "nonce": "a1", "release": "1", "host": "rack7"}
LEASE = f"{INSTANCES}/web-1/lease"


def joined(world: World, body: dict[str, Any] = ONE) -> dict[str, Any]:
    answer = world.client().post(INSTANCES, body)
    assert answer.status_code in (200, 201), answer.text
    lease: dict[str, Any] = answer.json()
    return lease


def test_registering_gives_a_lease_and_what_to_follow(world: World) -> None:
    answer = world.at_rest().client().post(INSTANCES, ONE)
    assert answer.status_code == 201
    body = answer.json()
    assert len(body.pop("epoch")) == 32
    assert body == {
        "id": "web-1", "schema": "inventory", "fleet": "inventory-api", "release": "1",
        "ttl_seconds": 60.0, "renew_seconds": 20.0,
        "standing": {
            "upgrade": None, "publication": 0, "phase": "base", "reads": "new", "writes": "new", "signature": None,
        },
    }  # fmt: skip
    assert world.nudged == ["inventory"]


def test_the_new_release_is_told_to_read_old_and_write_both(world: World) -> None:
    standing = joined(world.expanded(), {"id": "new-1", "nonce": "b", "release": "2"})["standing"]
    assert (standing["phase"], standing["reads"], standing["writes"]) == ("expanded", "old", "both")


def test_a_registration_may_be_repeated_with_its_nonce_only(world: World) -> None:
    first = joined(world.at_rest())
    again = world.client().post(INSTANCES, ONE)
    assert (again.status_code, again.json()["epoch"]) == (200, first["epoch"])
    stranger = world.client().post(INSTANCES, {**ONE, "nonce": "another"})
    assert_problem(stranger, 409, "instance_id_taken")


def test_not_yet_is_503_and_never_is_409(world: World) -> None:
    client = world.begun().client()
    early = client.post(INSTANCES, {**ONE, "release": "2"})
    assert_problem(early, 503, "phase_not_reached")
    assert early.headers["retry-after"] == "2"
    assert_problem(client.post(INSTANCES, {**ONE, "release": "3"}), 409, "release_too_new")
    assert_problem(client.post(INSTANCES, {**ONE, "release": "x"}), 409, "release_unknown")


def test_an_unknown_fleet_is_not_found(world: World) -> None:
    answer = world.at_rest().client().post(f"{SCHEMA}/fleets/nobody/instances", ONE)
    assert_problem(answer, 404, "fleet_unknown")


def test_renewing_acks_and_tells_what_is_published(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    client = world.client()
    begun = client.post(UPGRADE, {"release": "2"}).json()
    world.nudged.clear()
    answer = client.put(LEASE, {"ack": None}, headers={"Lease-Epoch": epoch})
    assert answer.status_code == 200
    assert answer.json()["standing"]["publication"] == begun["revision"]
    assert "epoch" not in answer.json()
    assert world.nudged == []
    acked = client.put(LEASE, {"ack": begun["revision"]}, headers={"Lease-Epoch": epoch})
    assert acked.status_code == 200
    assert world.nudged == ["inventory"]
    (instance,) = client.get(f"{SCHEMA}/instances").json()["instances"]
    assert instance["acked"] == begun["revision"]


def test_an_ack_of_what_was_never_published_is_refused(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    for ack in (5, 10**30):
        answer = world.client().put(LEASE, {"ack": ack}, headers={"Lease-Epoch": epoch})
        assert_problem(answer, 422, "ack_unpublished")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_lease_is_touched_by_its_holder_only(world: World, method: str) -> None:
    joined(world.at_rest())
    client = world.client()
    body = {"json": {"ack": None}} if method == "PUT" else {}
    foreign = client.request(method, LEASE, headers={"Lease-Epoch": "guess"}, **body)
    assert_problem(foreign, 409, "epoch_foreign")
    assert_problem(client.request(method, LEASE, **body), 422, "lease_epoch_missing")
    unknown = client.request(method, f"{INSTANCES}/nobody/lease", headers={"Lease-Epoch": "guess"}, **body)
    assert_problem(unknown, 404, "instance_unknown")


def test_leaving_may_be_repeated_and_ends_the_lease(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    client, headers = world.client(), {"Lease-Epoch": epoch}
    for _ in range(2):
        answer = client.delete(LEASE, headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
    problem = assert_problem(client.put(LEASE, {"ack": None}, headers=headers), 409, "instance_left")
    assert problem["kind"] == "never"


def test_an_evicted_process_hears_so(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    client = world.client()
    answer = client.post(f"{INSTANCES}/web-1/evict", {"reason": "its host burnt", "attest_dead": True})
    assert (answer.status_code, answer.json()["state"], answer.json()["ended_by"]) == (200, "evicted", "local")
    assert_problem(client.put(LEASE, {"ack": None}, headers={"Lease-Epoch": epoch}), 409, "instance_evicted")


def test_nobody_is_evicted_without_somebodys_word_that_it_is_dead(world: World) -> None:
    joined(world.at_rest())
    client = world.client()
    assert client.post(f"{INSTANCES}/web-1/evict", {"reason": "it bothers me"}).status_code == 422
    assert_problem(client.post(f"{INSTANCES}/web-1/evict", {"attest_dead": True}), 422, "body_invalid")
    assert_problem(
        client.post(f"{INSTANCES}/nobody/evict", {"reason": "x", "attest_dead": True}), 404, "instance_unknown"
    )


def test_the_list_holds_no_secret(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    answer = world.client().get(f"{SCHEMA}/instances?all=true")
    (instance,) = answer.json()["instances"]
    assert (instance["id"], instance["host"], instance["state"]) == ("web-1", "rack7", "alive")
    assert epoch not in answer.text and "nonce" not in answer.text and '"a1"' not in answer.text


def test_those_that_left_are_listed_on_request(world: World) -> None:
    epoch = joined(world.at_rest())["epoch"]
    client = world.client()
    client.delete(LEASE, headers={"Lease-Epoch": epoch})
    assert client.get(f"{SCHEMA}/instances").json()["instances"] == []
    assert client.get(f"{SCHEMA}/instances?all=true").json()["instances"][0]["state"] == "left"
    assert client.get(f"{SCHEMA}/instances?all=true&fleet=inventory-worker").json()["instances"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [({"id": 7}, "id"), ({"nonce": None}, "nonce"), ({"release": "\x00"}, "release"), ({"host": ""}, "host"),
     ({"extra": 1}, "extra")],
)  # fmt: skip
def test_a_wrong_registration_names_the_field(world: World, change: dict[str, Any], field: str) -> None:
    answer = world.at_rest().client().post(INSTANCES, {**ONE, **change})
    assert assert_problem(answer, 422, "body_invalid")["field"] == field


@pytest.mark.parametrize("name", ["a b", "a/b", ".", "..", "-a", "--help", "--attest-dead", "a" * 65])
def test_an_id_that_commands_or_paths_would_take_for_something_else_is_refused(world: World, name: str) -> None:
    assert_problem(world.at_rest().client().post(INSTANCES, {**ONE, "id": name}), 422, "name_invalid")


def test_a_path_that_no_database_could_store_names_nothing(world: World) -> None:
    client = world.at_rest().client()
    for name in ("%00", "a%0ab", "x" * 300):
        answer = client.put(f"{INSTANCES}/{name}/lease", {"ack": None}, headers={"Lease-Epoch": "e"})
        assert_problem(answer, 404, "path_unknown")
