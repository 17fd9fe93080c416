"""Schemas over HTTP."""

from orchestrator.domain.errors import MigrationRefused
from tests.api.world import SCHEMA, World, assert_problem


def test_a_schema_without_a_release_is_shown_as_such(world: World) -> None:
    body = world.client().get(SCHEMA).json()
    assert (body["schema"], body["release"], body["releases"]) == ("inventory", None, ["1", "2", "3"])
    assert body["databases"] == ["main"]
    assert body["upgrade"]["status"] == "none"
    assert body["upgrade"]["sentence"] == "inventory has no release yet; no upgrade of it has begun"


def test_the_list_shows_every_schema_with_its_newest_upgrade(world: World) -> None:
    world.begun()
    (schema,) = world.client().get("/v1/schemas").json()["schemas"]
    assert schema["release"] == "1"
    assert (schema["upgrade"]["from"], schema["upgrade"]["to"], schema["upgrade"]["phase"]) == ("1", "2", "base")


def test_an_unknown_schema_is_not_found_by_any_route(world: World) -> None:
    client = world.client()
    for path in ("", "/upgrade", "/plan", "/databases", "/gates/phase:sealed", "/readiness?release=1",
                 "/instances", "/data-migrations", "/data-migrations/split_name"):  # fmt: skip
        assert_problem(client.get(f"/v1/schemas/nobody{path}"), 404, "schema_unknown")
    assert_problem(client.get("/v1/events?schema=nobody"), 404, "schema_unknown")
    assert_problem(client.post("/v1/schemas/nobody/upgrade", {"release": "2"}), 404, "schema_unknown")


def test_init_installs_the_release_and_says_what_it_did(world: World) -> None:
    answer = world.client().post(f"{SCHEMA}/init", {"release": "1"})
    assert answer.status_code == 200
    assert answer.json() == {"schema": "inventory", "release": "1", "done": ["main: installed release 1"]}
    assert world.nudged == ["inventory"]
    assert world.client().get(SCHEMA).json()["release"] == "1"


def test_init_may_be_repeated_but_not_with_another_release(world: World) -> None:
    world.at_rest()
    assert world.client().post(f"{SCHEMA}/init", {"release": "1"}).status_code == 200
    assert_problem(world.client().post(f"{SCHEMA}/init", {"release": "2"}), 409, "schema_initialised")


def test_init_with_an_unknown_release_names_those_there_are(world: World) -> None:
    problem = assert_problem(world.client().post(f"{SCHEMA}/init", {"release": "9"}), 404, "release_unknown")
    assert "1, 2, 3" in problem["remedy"]


def test_a_refused_migration_names_file_and_line(world: World) -> None:
    world.at_rest()
    world.managed.check_fails = MigrationRefused(
        "drop_in_expand", "expand/e002.py drops a column", remedy="Move it to contract/.", file="expand/e002.py", line=7
    )
    problem = assert_problem(world.client().post(f"{SCHEMA}/upgrade", {"release": "2"}), 422, "drop_in_expand")
    assert (problem["file"], problem["line"], problem["kind"]) == ("expand/e002.py", 7, "invalid")
