"""The route table, the OpenAPI document and the reference: three views of one thing."""

import re
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from orchestrator.api import reference
from orchestrator.api.exchange import Answer, Question, Route
from orchestrator.api.routes import OPERATIONS, ROUTES
from tests.api.world import UPGRADE, World


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    answer = world.client().get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pytest.mark.parametrize("route", OPERATIONS, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_takes_what_the_table_says(route: Route) -> None:
    query, body = get_args(get_type_hints(route.handler)["asked"])
    assert (query, body) == (route.query, route.body)


def test_every_route_is_in_the_table_once() -> None:
    lines = [(route.method, route.path) for route in ROUTES]
    assert len(lines) == len(set(lines))


def test_the_document_holds_every_operation(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(route.method, route.path) for route in OPERATIONS}


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert found <= known


def test_operation_ids_are_unique_and_path_parameters_are_declared(document: dict[str, Any]) -> None:
    operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids))
    for path, operation in operations:
        declared = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert all(each["required"] for each in operation["parameters"] if each["in"] == "path")


def test_an_answer_has_the_fields_that_the_document_promises(world: World, document: dict[str, Any]) -> None:
    body = world.expanded().client().get(UPGRADE).json()
    assert set(body) == set(document["components"]["schemas"]["UpgradeView"]["properties"])
    assert {"from", "to"} <= set(body)


def test_the_reference_shows_every_operation_and_needs_nothing_from_elsewhere(world: World) -> None:
    answer = world.client().get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for route in OPERATIONS:
        assert f"<code>{route.method} {route.path}</code>" in answer.text
    assert not re.findall(r"(?:src|href)=\"(?!/)[^\"]*\"", answer.text)
    assert "http://" not in answer.text and "https://" not in answer.text and "<script" not in answer.text


def test_the_reference_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def count(kind: type[Question]) -> Iterator[tuple[str, bool, dict[str, Any]]]:
        nonlocal made
        made += 1
        yield "a_field", True, {"type": "string"}

    monkeypatch.setattr(reference, "parameters_of", count)
    answer = reference.handler(OPERATIONS)
    asked: Any = None
    first, second = answer(asked), answer(asked)
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert made == 2 * len(OPERATIONS)
    assert first.headers["Content-Security-Policy"] != second.headers["Content-Security-Policy"]
