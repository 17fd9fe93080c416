"""An endpoint: one path with its methods. Authorises, reads and checks the request, calls the handler, answers."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.api.auth import identify, require, require_scope
from orchestrator.api.desks import LeaseDesks
from orchestrator.api.exchange import JSON, Answer, ApiServices, Asked, Nothing, Question, Route
from orchestrator.api.faults import Refused, not_found
from orchestrator.api.settings import ApiSettings
from orchestrator.api.turns import Turns
from orchestrator.api.watch import Watch
from orchestrator.domain.errors import Invalid
from orchestrator.domain.visible import is_name

T = TypeVar("T", bound=Question)

_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_PATTERN = re.compile(r"^Expected `[^`]*` matching regex .*")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `([^`]*)`")


class Endpoint:
    """All routes of one path, as an ASGI application."""

    def __init__(
        self,
        routes: Sequence[Route],
        services: ApiServices,
        settings: ApiSettings,
        watch: Watch,
        turns: Turns,
        desks: LeaseDesks,
    ) -> None:
        self._routes = {route.method: route for route in routes}
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self._services = services
        self._settings = settings
        self._watch = watch
        self._turns = turns
        self._desks = desks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._answer(request)
        await as_response(answer)(scope, receive, send)

    async def _answer(self, request: Request) -> Answer:
        route = self._routes.get(request.method)
        if route is None:
            raise self._wrong_method(request.method)
        actor = identify(self._settings.tokens, request.headers)
        if route.role is not None:
            asking = require(actor, route.role)
            if route.changes and not route.many_places:
                require_scope(asking, request.path_params.get("schema"), request.path_params.get("fleet"))
        asked: Asked[Any, Any] = Asked(
            path=_path_parts(request),
            query=_read_query(request, route.query),
            body=await _read_body(request, route),
            headers=request.headers,
            actor=actor,
            services=self._services,
            watch=self._watch,
            desks=self._desks,
            gone=lambda: _hangup(request),
        )
        if inspect.iscoroutinefunction(route.handler):
            answer: Answer = await route.handler(asked)
        else:
            turn = self._turns.take(asked.schema, steers=route.steers) if route.asks_databases else nullcontext()
            async with turn:
                try:
                    answer = await run_in_threadpool(route.handler, asked)  # type: ignore[arg-type]  # no coroutine
                finally:
                    if route.steers:
                        self._watch.forget(asked.schema)
        if request.method == "HEAD" and isinstance(answer.body, AsyncIterator):
            return replace(answer, body=b"")
        return answer

    def _wrong_method(self, method: str) -> Refused:
        allowed = ", ".join(sorted(self._routes))
        return Refused(
            405,
            "method_not_allowed",
            f"this path does not answer to {method}",
            remedy=f"It answers to {allowed}.",
            headers={"Allow": allowed},
        )


def as_response(answer: Answer) -> Response:
    """The answer as it goes over the wire."""
    if answer.body is None:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    if isinstance(answer.body, AsyncIterator):
        return StreamingResponse(answer.body, answer.status, dict(answer.headers), answer.media_type)
    content = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body, enc_hook=str)
    return Response(content, answer.status, dict(answer.headers), answer.media_type)


def _path_parts(request: Request) -> Mapping[str, str]:
    """The names in the path. One that cannot be a name, because no database could store it, names nothing."""
    for value in request.path_params.values():
        if not is_name(value):
            raise not_found()
    return request.path_params


def _read_query(request: Request, kind: type[T]) -> T:
    given = request.query_params
    twice = next((name for name, times in Counter(name for name, _ in given.multi_items()).items() if times > 1), None)
    if twice is not None:
        raise Invalid(
            "query_invalid",
            f"the query gives {twice} more than once",
            remedy="Give each field once.",
            field=twice,
        )
    try:
        return msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _unusable("query", error, kind) from error


async def _read_body(request: Request, route: Route) -> Question:
    """The body as the route's type. Only JSON is read: a browser sends that to nobody but its own site unasked."""
    if route.body is Nothing:
        return Nothing()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise Refused(
            415,
            "media_type_unsupported",
            f"this needs a JSON body, and the request says it is {media_type or 'nothing'}",
            remedy=f"Send the header `Content-Type: {JSON}`.",
        )
    content = await _content(request, route.most_body_bytes)
    try:
        return msgspec.json.decode(content or b"{}", type=route.body)
    except msgspec.ValidationError as error:
        raise _unusable("body", error, route.body) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(
            400,
            "body_malformed",
            f"the body is not JSON: {_first_line(error)}",
            remedy="Send one JSON object in UTF-8.",
        ) from error


async def _content(request: Request, most_bytes: int) -> bytes:
    content = bytearray()
    stated = request.headers.get("content-length", "")
    is_too_large = stated.isdecimal() and int(stated[:20]) > most_bytes
    if not is_too_large:
        async for part in request.stream():
            content += part
            is_too_large = len(content) > most_bytes
            if is_too_large:
                break
    if is_too_large:
        raise Refused(
            413,
            "body_too_large",
            f"the body is larger than {most_bytes} bytes",
            remedy="Send less.",
            headers={"Connection": "close"},
        )
    return bytes(content)


def _unusable(what: str, error: msgspec.ValidationError, kind: type[Question]) -> Invalid:
    """The refusal of a query or body, naming the field. msgspec's sentence names types and limits well."""
    text = str(error)
    place = _PLACE.search(text)
    path = place[1] if place else ""
    reason = _PATTERN.sub("it holds a line break, or another character that is not shown", _PLACE.sub("", text))
    field = _FIELD.fullmatch(reason)
    if field is not None:
        path = ".".join(filter(None, (path, field[2])))
        is_missing = field[1].startswith("missing")
        sentence = f"the {what} lacks the field {path}" if is_missing else f"the {what} has an unknown field {path}"
    elif path:
        sentence = f"field {path} of the {what} is not usable: {reason[:1].lower()}{reason[1:]}"
    else:
        sentence = f"the {what} is not usable: {reason[:1].lower()}{reason[1:]}"
    fields = [f"{each.encode_name}{' (required)' if each.required else ''}" for each in msgspec.structs.fields(kind)]
    remedy = f"Its fields are: {', '.join(fields)}." if fields else f"This takes no {what}."
    return Invalid(f"{what}_invalid", sentence, remedy=remedy, field=path or None)


def unusable_body(error: msgspec.ValidationError, kind: type[Question]) -> Invalid:
    """The refusal of a body, or of a part of one that is answered by itself, naming the field."""
    return _unusable("body", error, kind)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


async def _hangup(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
