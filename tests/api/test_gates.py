"""Gates as each kind of tool asks them."""

import pytest

from tests.api.world import SCHEMA, World, assert_problem

GATES = f"{SCHEMA}/gates"


def test_an_open_gate(world: World) -> None:
    client = world.expanded().client()
    answer = client.get(f"{GATES}/deploy:inventory-api:2")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["open"], body["status"], body["blocked_by"], body["phase"]) == (True, "SUCCEEDED", [], "expanded")
    assert body["eta_seconds"] is None and body["revision"] == client.get(f"{SCHEMA}/upgrade").json()["revision"]
    assert client.post(f"{GATES}/deploy:inventory-api:2/check").status_code == 200


def test_a_closed_gate_is_200_to_look_at_and_409_to_check(world: World) -> None:
    client = world.begun().client()
    answer = client.get(f"{GATES}/deploy:inventory-api:2")
    assert answer.status_code == 200
    assert (answer.json()["open"], answer.json()["status"]) == (False, "RUNNING")
    assert answer.json()["blocked_by"][0]["code"] == "phase_not_reached"
    problem = assert_problem(client.post(f"{GATES}/deploy:inventory-api:2/check"), 409, "phase_not_reached")
    assert (problem["open"], problem["gate_status"], problem["kind"]) == (False, "RUNNING", "not_yet")


def test_a_gate_that_waits_for_a_phase_names_what_the_upgrade_waits_for(world: World) -> None:
    body = world.expanded().client().get(f"{GATES}/phase:contracted").json()
    assert [each["code"] for each in body["blocked_by"]][:2] == ["phase_not_reached", "instance_unsupported"]
    assert body["blocked_by"][1]["culprits"] == ["old-1"]


def test_a_gate_that_is_closed_for_good_is_200_to_look_at_and_410_to_check(world: World) -> None:
    client = world.waiting_for_approval().client()
    answer = client.get(f"{GATES}/rollback:inventory-api:1")
    assert (answer.status_code, answer.json()["status"]) == (200, "TERMINAL")
    for query in ("", "?blocked=503"):
        problem = assert_problem(client.post(f"{GATES}/rollback:inventory-api:1/check{query}"), 410, "release_too_old")
        assert problem["kind"] == "never"


@pytest.mark.parametrize("status", [403, 409, 423, 429, 503])
def test_a_tool_chooses_the_status_of_a_closed_gate(world: World, status: int) -> None:
    answer = world.begun().client().post(f"{GATES}/phase:backfill/check?blocked={status}")
    assert_problem(answer, status, "phase_not_reached")
    assert ("retry-after" in answer.headers) == (status in (429, 503))


@pytest.mark.parametrize("status", ["202", "200", "302", "x", ""])
def test_a_closed_gate_cannot_be_made_to_look_open(world: World, status: str) -> None:
    answer = world.begun().client().post(f"{GATES}/phase:backfill/check?blocked={status}")
    assert assert_problem(answer, 422, "query_invalid")["field"] == "blocked"


def test_a_check_takes_whatever_body_a_tool_posts(world: World) -> None:
    client = world.expanded().client()
    path = f"{GATES}/phase:expanded/check"
    assert client.request("POST", path).status_code == 200
    assert client.request("POST", path, content=b"name=x", headers={"Content-Type": "text/plain"}).status_code == 200
    assert client.request("POST", path, json={"name": "canary", "metadata": {"a": 1}}).status_code == 200


@pytest.mark.parametrize(
    ("gate", "status", "code"),
    [
        ("nonsense", 422, "gate_unknown"),
        ("deploy:inventory-api", 422, "gate_unknown"),
        ("phase:bottom", 422, "phase_unknown"),
        ("deploy:nobody:2", 404, "fleet_unknown"),
    ],
)
def test_a_gate_that_is_none_is_refused(world: World, gate: str, status: int, code: str) -> None:
    client = world.begun().client()
    assert_problem(client.get(f"{GATES}/{gate}"), status, code)
    assert_problem(client.post(f"{GATES}/{gate}/check"), status, code)


def test_before_the_first_upgrade_a_phase_gate_is_closed_and_may_open(world: World) -> None:
    body = world.at_rest().client().get(f"{GATES}/phase:expanded").json()
    assert (body["open"], body["status"], body["phase"], body["revision"]) == (False, "RUNNING", None, 0)
