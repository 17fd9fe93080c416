"""The OpenAPI document, generated from the route table and the types that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

import orchestrator
from orchestrator.api.exchange import JSON, PROBLEM, Answer, Asked, Handler, Nothing, Question, Route
from orchestrator.api.faults import Problem

_PATH_PART = re.compile(r"{(\w+)}")

Document = dict[str, Any]  # JSON Schema is what it says and nothing that types could hold


def handler(routes: Sequence[Route]) -> Handler:
    """Answers with the document. It is made at the first question and kept."""
    made: list[bytes] = []

    def document(asked: Asked[Nothing, Nothing]) -> Answer:
        if not made:
            made.append(msgspec.json.encode(document_of(routes)))
        return Answer(made[0])

    return document


def document_of(routes: Sequence[Route]) -> Document:
    """The whole document, OpenAPI 3.1."""
    types = [*{kind: None for route in routes for kind in (route.answer, route.body) if _is_shown(kind)}, Problem]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, Document] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orchestrator",
            "version": orchestrator.__version__,
            "description": "Upgrades fleets of services that share a database without stopping them.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def parameters_of(kind: type[Question]) -> Iterable[tuple[str, bool, Document]]:
    """The fields of a query or body: name, whether it is required, its JSON schema."""
    (shape,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    found = components[shape["$ref"]]
    for name, schema in found.get("properties", {}).items():
        yield name, name in found.get("required", ()), schema


def _operation(route: Route) -> Document:
    operation: Document = {
        "operationId": f"{route.noun}_{route.handler.__name__.rstrip('_')}",
        "summary": route.summary,
        "tags": [route.noun],
        "parameters": list(_parameters(route)),
        "responses": {**_answers(route), "default": _content("A refusal.", PROBLEM, Problem)},
    }
    description = _description(route.handler)
    if description:
        operation["description"] = description
    if route.role is not None:
        operation["security"] = [{"token": []}, {}]
        operation["x-role"] = route.role.word
    if route.body is not Nothing:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(route.body)}}}
    return operation


def _description(function: Handler) -> str:
    return " ".join((function.__doc__ or "").split())


def _parameters(route: Route) -> Iterable[Document]:
    for name in _PATH_PART.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for name, is_required, schema in parameters_of(route.query):
        yield {"name": name, "in": "query", "required": is_required, "schema": schema}
    for name in route.needs:
        yield {"name": name, "in": "header", "required": name != "If-None-Match", "schema": {"type": "string"}}


def _answers(route: Route) -> Mapping[str, Document]:
    answers: dict[str, Document] = {}
    for status in route.statuses:
        if route.streams:
            events = {"schema": {"type": "string"}}
            answers[str(status)] = {"description": "Events.", "content": {"text/event-stream": events}}
        elif route.answer is None or status == 304:
            answers[str(status)] = {"description": "No body."}
        else:
            answers[str(status)] = _content("Yes." if status < 300 else "No.", JSON, route.answer)
    return answers


def _content(description: str, media_type: str, kind: type[Any]) -> Document:
    return {"description": description, "content": {media_type: {"schema": _reference(kind)}}}


def _reference(kind: type[Any]) -> Document:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _is_shown(kind: type[Any] | None) -> bool:
    return kind is not None and kind is not Nothing
