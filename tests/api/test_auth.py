"""Tokens, roles, and what each role may ask."""

import re
from pathlib import Path

import pytest

from orchestrator.api.auth import Role, Tokens, new_token
from orchestrator.api.exchange import Route
from orchestrator.api.routes import ROUTES
from orchestrator.domain.errors import ConfigurationError, Invalid
from tests.api.world import INSTANCES, SCHEMA, UPGRADE, World, assert_problem, tokens_for_all_roles


def asked(world: World, route: Route, *, tokens: Tokens, token: str | None) -> int:
    """The status of a request to that route that says nothing useful."""
    path = re.sub(r"{(\w+)}", lambda found: "inventory" if found[1] == "schema" else "x", route.path)
    client = world.client(tokens, token=token)
    client.watch.close()  # a stream of events ends after the first ones
    return client.request(route.method, path, json={}).status_code


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_closed_to_whoever_may_do_less(world: World, route: Route) -> None:
    tokens, secrets = tokens_for_all_roles()
    world.begun()
    without = asked(world, route, tokens=tokens, token=None)
    assert (without == 401) == (route.role is not None)
    assert (asked(world, route, tokens=tokens, token="guess") == 401) == (route.role is not None)
    for role, secret in secrets.items():
        status = asked(world, route, tokens=tokens, token=secret)
        assert (status == 403) == (route.role is not None and role < route.role), (role, status)
        assert status != 401


def test_what_each_role_is_for() -> None:
    def roles(role: Role | None) -> set[str]:
        return {f"{route.method} {route.path.rpartition('/')[2]}" for route in ROUTES if route.role == role}

    changes_nothing = [route for route in ROUTES if route.role in (None, Role.READER)]
    assert {route.path.rpartition("/")[2] for route in changes_nothing if route.method != "GET"} == {"check"}
    assert roles(Role.SERVICE) == {"GET readiness", "POST instances", "PUT lease", "DELETE lease", "POST leases:renew"}
    assert roles(Role.DEPLOYER) == {"POST upgrade", "POST report"}
    assert roles(None) == {"GET healthz", "GET readyz", "GET openapi.json", "GET docs", "GET "}


def test_no_token_says_how_to_send_one(world: World) -> None:
    tokens, _ = tokens_for_all_roles()
    answer = world.client(tokens).get(SCHEMA)
    assert_problem(answer, 401, "token_required")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_refused_role_is_named(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    answer = world.client(tokens, token=secrets[Role.READER]).post(UPGRADE, {"release": "2"})
    problem = assert_problem(answer, 403, "role_insufficient")
    assert "a-reader is a reader; this needs a deployer" in problem["detail"]
    assert secrets[Role.READER] not in answer.text


def test_the_audit_log_names_the_token(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    world.at_rest()
    client = world.client(tokens, token=secrets[Role.DEPLOYER])
    assert client.post(UPGRADE, {"release": "2"}).status_code == 201
    assert client.get("/v1/events?limit=1").json()["events"][0]["actor"] == "a-deployer"


def test_with_tokens_every_host_name_is_answered(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    client = world.client(tokens, token=secrets[Role.READER])
    assert client.get("/v1/schemas", headers={"Host": "upgrades.example.org"}).status_code == 200


def test_a_new_token_is_found_again_by_its_secret_alone() -> None:
    token = new_token("ci", Role.DEPLOYER)
    tokens = Tokens.parse(f"# tokens\n\n{token.line}  # the pipeline\n", place="tokens")
    found = tokens.find(token.secret)
    assert found is not None and (found.name, found.role) == ("ci", Role.DEPLOYER)
    assert tokens.find(token.secret + "x") is None
    assert tokens.find(token.line.split()[2]) is None
    assert token.secret not in token.line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ci deployer", 1),
        ("# fine\nci deployer my-secret-token", 2),
        (f"ci emperor {'0' * 64}", 1),
        (f"c/i reader {'0' * 64}", 1),
        (f"ci reader {'0' * 64}\nci reader {'1' * 64}", 2),
    ],
)
def test_a_wrong_line_is_named_and_not_repeated(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Tokens.parse(text, place="/etc/orchestrator/tokens")
    assert (refusal.value.code, refusal.value.fields["line"]) == ("tokens_file_invalid", line)
    assert refusal.value.message.startswith(f"line {line} of /etc/orchestrator/tokens ")
    assert "my-secret-token" not in str(refusal.value)


def test_a_file_without_tokens_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, code in (("empty", "tokens_file_empty"), ("missing", "tokens_file_unreadable"),
                       ("binary", "tokens_file_unreadable")):  # fmt: skip
        with pytest.raises(ConfigurationError) as refusal:
            Tokens.read(tmp_path / name)
        assert refusal.value.code == code
        assert refusal.value.fields["file"] == str(tmp_path / name)


def test_a_token_name_is_written_to_files_and_logs_so_it_is_plain() -> None:
    with pytest.raises(Invalid):
        new_token("a b", Role.READER)


def test_a_token_may_be_the_password_of_a_url(world: World) -> None:
    tokens, secrets = tokens_for_all_roles()
    client = world.at_rest().client(tokens)
    for password, status in ((secrets[Role.READER], 200), ("guess", 401)):
        assert client.get(SCHEMA, auth=("anybody", password)).status_code == status
    for sent in ("Basic", "Basic !", "Basic /w==", "Basic OnNlY3JldA", "Digest x", "Bearer"):
        assert_problem(client.get(SCHEMA, headers={"Authorization": sent}), 401, "token_required")


# -- scopes ------------------------------------------------------------------------------------------------------------


def scoped(role: Role, scope: str) -> tuple[Tokens, str]:
    token = new_token("scoped", role, scope)
    return Tokens.parse(token.line, place="tokens"), token.secret


@pytest.mark.parametrize("scope", ["inventory", "inventory/inventory-api"])
def test_a_scoped_token_changes_what_lies_within(world: World, scope: str) -> None:
    tokens, secret = scoped(Role.OPERATOR, scope)
    world.begun()
    client = world.client(tokens, token=secret)
    joined = client.post(INSTANCES, {"id": "old-1", "nonce": "n", "release": "1"})
    assert joined.status_code == 201
    held = {"fleet": "inventory-api", "id": "old-1", "epoch": joined.json()["epoch"]}
    renewed = client.post("/v1/leases:renew", {"leases": [{"schema": "inventory", **held}, {"schema": "x", **held}]})
    assert [each["refusal"] and each["refusal"]["code"] for each in renewed.json()["leases"]] == [
        None,
        "scope_exceeded",
    ]


@pytest.mark.parametrize("scope", ["stock", "inventory/inventory-worker", "stock/inventory-api"])
def test_a_scoped_token_only_looks_at_the_rest(world: World, scope: str) -> None:
    tokens, secret = scoped(Role.OPERATOR, scope)
    client = world.begun().client(tokens, token=secret)
    problem = assert_problem(client.post(INSTANCES, {"id": "a", "nonce": "n", "release": "1"}), 403, "scope_exceeded")
    assert f"the token of scoped is for {scope} only" in problem["detail"]
    assert_problem(client.post(f"{UPGRADE}/pause", {"reason": "lunch"}), 403, "scope_exceeded")
    assert client.get(UPGRADE).status_code == 200
    assert client.get(f"{SCHEMA}/readiness", params={"fleet": "inventory-api", "release": "1"}).status_code != 403


def test_a_fleet_is_no_schema(world: World) -> None:
    tokens, secret = scoped(Role.OPERATOR, "inventory/inventory-api")
    client = world.begun().client(tokens, token=secret)
    assert_problem(client.post(f"{UPGRADE}/pause", {"reason": "lunch"}), 403, "scope_exceeded")


@pytest.mark.parametrize("scope", ["a b", "/", "a/", "/b", "a/b/c"])
def test_a_scope_that_cannot_be_one_is_refused(scope: str) -> None:
    with pytest.raises(Invalid, match="is not usable"):
        new_token("scoped", Role.SERVICE, scope)
    line = new_token("scoped", Role.SERVICE).line
    with pytest.raises(ConfigurationError, match="line 1 of tokens is not NAME ROLE SHA256HEX"):
        Tokens.parse(f"{line} {scope}", place="tokens")
