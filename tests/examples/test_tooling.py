"""The examples for deployment tools: what each file says is sent, and the answer is read as that tool reads it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from orchestrator.api.auth import Role
from orchestrator.cli.exits import Exit
from orchestrator.cli.program import Program
from tests.api.world import World, tokens_for_all_roles

DIRECTORY = Path(__file__).parents[2] / "examples" / "tooling"


@dataclass(frozen=True)
class Request:
    """One request, as a tool sends it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None


def read(name: str) -> Any:
    text = (DIRECTORY / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


Ask = Callable[[World, Request], httpx.Response]


@pytest.fixture
def ask() -> Ask:
    """Sends a request to the orchestrator of that world, which asks for tokens; none is sent that is not in it."""
    tokens, secrets = tokens_for_all_roles()

    def ask(world: World, request: Request) -> httpx.Response:
        role = Role.SERVICE if "/readiness" in request.url else Role.READER
        headers = {name: value.replace("TOKEN", secrets[role]) for name, value in request.headers.items()}
        url = request.url.replace("TOKEN", secrets[role])
        return world.client(tokens).request(request.method, url, headers=headers, content=request.body)

    return ask


# -- Flagger ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_flagger_is_held_back_until_the_gate_opens(ask: Ask, number: int) -> None:
    hook = read("flagger.yaml")["spec"]["analysis"]["webhooks"][number]
    assert hook["type"] == ("confirm-rollout", "confirm-promotion")[number]
    payload = {"name": "inventory-api", "namespace": "test", "phase": "Progressing", "checksum": "1", "metadata": None}
    request = Request(
        "POST",
        hook["url"].replace("http://", "http://flagger:TOKEN@"),
        {"Content-Type": "application/json"},
        json.dumps(payload).encode(),
    )

    def lets_go_on(world: World) -> bool:
        return ask(world, request).status_code <= 202

    assert not lets_go_on(World().begun())
    assert lets_go_on(World().expanded())
    assert lets_go_on(World().waiting_for_approval())


# -- Argo Rollouts ---------------------------------------------------------------------------------------------------


def test_argo_rollouts_measures_success_failure_or_neither(ask: Ask) -> None:
    (metric,) = read("argo-rollouts.yaml")["spec"]["metrics"]
    web = metric["provider"]["web"]
    assert (web["jsonPath"], web.get("method", "GET")) == ("{$}", "GET")
    (header,) = web["headers"]
    token = header["value"].replace("{{ args.orchestrator-token }}", "TOKEN")
    assert metric["successCondition"] == "result.open == true"
    assert metric["failureCondition"] == 'result.status == "TERMINAL"'

    def measured(world: World, url: str = web["url"]) -> str:
        answer = ask(world, Request("GET", url, {header["key"]: token}))
        assert 200 <= answer.status_code < 300, "anything else is an error of the question"
        result = answer.json()
        if result["status"] == "TERMINAL":
            return "failed"
        return "successful" if result["open"] is True else "inconclusive"

    assert measured(World().begun()) == "inconclusive"
    assert measured(World().expanded()) == "successful"
    old = web["url"].replace("deploy:inventory-api:2", "rollback:inventory-api:1")
    assert measured(World().waiting_for_approval(), old) == "failed"


# -- Spinnaker -------------------------------------------------------------------------------------------------------


def test_spinnaker_polls_until_the_status_is_one_that_it_was_told(ask: Ask) -> None:
    stage = read("spinnaker.json")
    assert (stage["method"], stage["statusUrlResolution"], stage["waitForCompletion"]) == ("GET", "getMethod", True)
    assert (stage["statusJsonPath"], stage["progressJsonPath"]) == ("$.status", "$.sentence")

    def status(world: World, url: str = stage["url"]) -> str:
        answer = ask(world, Request("GET", url, stage["customHeaders"]))
        assert answer.status_code == 200
        assert isinstance(answer.json()["sentence"], str)
        found = answer.json()["status"]
        for end in ("success", "terminal"):
            if found in stage[f"{end}Statuses"].split(","):
                return end
        return "running"

    assert status(World().begun()) == "running"
    assert status(World().expanded()) == "success"
    old = stage["url"].replace("deploy:inventory-api:2", "rollback:inventory-api:1")
    assert status(World().waiting_for_approval(), old) == "terminal"


# -- Kubernetes ------------------------------------------------------------------------------------------------------


def test_kubelet_sees_a_success_only_when_the_release_may_start(ask: Ask) -> None:
    (container,) = read("kubernetes.yaml")["spec"]["template"]["spec"]["containers"]
    get = container["startupProbe"]["httpGet"]
    request = Request(
        "GET",
        f"http://{get['host']}:{get['port']}{get['path']}",
        {each["name"]: each["value"] for each in get["httpHeaders"]},
    )
    assert ask(World().begun(), request).status_code == 503
    assert 200 <= ask(World().expanded(), request).status_code < 400
    foreign = Request("GET", request.url.replace("release=2", "release=1"), request.headers)
    assert ask(World().waiting_for_approval(), foreign).status_code == 409


def test_init_container_runs_a_command_that_exists() -> None:
    (container,) = read("kubernetes.yaml")["spec"]["template"]["spec"]["initContainers"]
    program, *words = container["command"]
    assert program == "orchestrator"
    nowhere = ["--url", "http://127.0.0.1:1"]
    assert Program().run([*nowhere, *words[:-1], "0"]) == Exit.ERROR, "it is understood, and asks"
    assert Program().run([*nowhere, *words, "--no-such"]) == Exit.USAGE
    assert {each["name"] for each in container["env"]} == {"ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN"}


# -- Consul ----------------------------------------------------------------------------------------------------------


def test_consul_passes_warns_or_is_critical(ask: Ask) -> None:
    check = read("consul.json")["check"]
    headers = {name: value for name, (value,) in check["header"].items()}

    def state(world: World, url: str = check["http"]) -> str:
        status = ask(world, Request(check["method"], url, headers)).status_code
        return "passing" if 200 <= status < 300 else "warning" if status == 429 else "critical"

    assert state(World().begun()) == "warning"
    assert state(World().expanded()) == "passing"
    old = check["http"].replace("deploy:inventory-api:2", "rollback:inventory-api:1")
    assert state(World().waiting_for_approval(), old) == "critical"


# -- Ansible ---------------------------------------------------------------------------------------------------------


def test_ansible_repeats_until_it_is_yes_or_never(ask: Ask) -> None:
    ((task,),) = (play["tasks"] for play in read("ansible.yml"))
    uri = task["ansible.builtin.uri"]
    headers = {name: value.replace("{{ orchestrator_token }}", "TOKEN") for name, value in uri["headers"].items()}
    assert task["until"] == "gate.status in [200, 410]"
    assert task["failed_when"] == "gate.status != 200"

    def outcome(world: World, url: str = uri["url"]) -> str:
        status = ask(world, Request(uri["method"], url, headers)).status_code
        assert status in uri["status_code"]
        return "again" if status not in (200, 410) else "ok" if status == 200 else "failed"

    assert outcome(World().begun()) == "again"
    assert outcome(World().expanded()) == "ok"
    old = uri["url"].replace("deploy:inventory-api:2", "rollback:inventory-api:1")
    assert outcome(World().waiting_for_approval(), old) == "failed"
