"""The reference: all routes on one page, from the route table. It needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from orchestrator.api.exchange import Answer, Asked, Handler, Nothing, Question, Route
from orchestrator.api.markup import Markup, joined, page, tag
from orchestrator.api.openapi import parameters_of


def handler(routes: Sequence[Route]) -> Handler:
    """Answers with the page. Its content is made at the first question and kept: everybody may ask."""
    made: list[Markup] = []

    def reference(asked: Asked[Nothing, Nothing]) -> Answer:
        if not made:
            made.append(joined(*_content(routes)))
        return page("orchestrator: API", made[0])

    return reference


def _content(routes: Sequence[Route]) -> Iterable[Markup]:
    yield tag("h1", "API")
    yield tag(
        "p",
        "JSON over HTTP. The same as a document for programs: ",
        tag("a", "/openapi.json", href="/openapi.json"),
        ". Refusals are ",
        tag("code", "application/problem+json"),
        " with a stable code and a remedy. Times are seconds since the epoch.",
    )
    yield tag(
        "p",
        "Where tokens are configured, send ",
        tag("code", "Authorization: Bearer TOKEN"),
        ". Each role may do what the ones before it may: reader, service, deployer, operator.",
    )
    for noun, lines in groupby(routes, key=lambda route: route.noun):
        yield tag("h2", noun.replace("_", " "))
        for route in lines:
            yield from _route(route)


def _route(route: Route) -> Iterable[Markup]:
    yield tag("h3", tag("code", f"{route.method} {route.path}"))
    may = "open to all" if route.role is None else f"role {route.role.word}"
    statuses = ", ".join(str(status) for status in route.statuses)
    yield tag("p", f"{route.summary}. ", tag("span", f"{may}; answers {statuses}", class_="dim"))
    fields = [*_fields("query", route.query), *_fields("body", route.body)]
    fields += [_row(name, "header", "", "", name != "If-None-Match") for name in route.needs]
    if fields:
        head = tag("tr", *(tag("th", name) for name in ("field", "in", "type", "")))
        yield tag("table", tag("thead", head), tag("tbody", *fields))


def _fields(where: str, kind: type[Question]) -> Iterable[Markup]:
    for name, is_required, schema in parameters_of(kind):
        yield _row(name, where, _type(schema), str(schema.get("description", "")), is_required)


def _row(name: str, where: str, kind: str, words: str, is_required: bool) -> Markup:
    note = joined("required" if is_required else "", f" {words}" if words else "")
    return tag("tr", tag("td", tag("code", name)), tag("td", where), tag("td", kind), tag("td", note))


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(str(each) for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "")), *limits])
