"""The edge: what holds for every request, whatever its path. Strangers, security headers, unexpected errors."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.endpoint import as_response
from orchestrator.api.exchange import Answer
from orchestrator.api.faults import answer_to, answer_to_unexpected
from orchestrator.domain.errors import Forbidden, OrchestratorError

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Edge:
    """The outermost middleware. With `is_open` nobody is asked for a token, and only this machine is answered."""

    def __init__(self, app: ASGIApp, *, is_open: bool) -> None:
        self._app = app
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = _Sending(send, without_body=scope["method"] == "HEAD")
        try:
            if self._is_open:
                refuse_strangers(Headers(scope=scope), scope["method"])
            await self._app(scope, receive, sending)
            return
        except ClientDisconnect:
            return
        except OrchestratorError as error:
            answer: Answer = answer_to(error)
        except Exception as error:  # the edge: nobody above could do more than say so
            answer = answer_to_unexpected(error)
        if not sending.has_begun:
            await as_response(answer)(scope, receive, sending)


class _Sending:
    """Sends on, with the security headers; without a body where only the head was asked for."""

    def __init__(self, send: Send, *, without_body: bool) -> None:
        self._send = send
        self._without_body = without_body
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body" and self._without_body:
            message = {**message, "body": b""}
        await self._send(message)


def refuse_strangers(headers: Headers, method: str) -> None:
    """Refuse what a browser could have been talked into: another host's name for this address, another site's page.

    A page elsewhere can point its own name here (DNS rebinding) or send requests across sites; it cannot change the
    names that the browser then states. Raises `Forbidden`.
    """
    host = headers.get("host", "")
    if not _is_loopback(host):
        raise Forbidden(
            "host_refused",
            "without tokens only requests to localhost or a loopback address are answered",
            remedy="Ask http://127.0.0.1:PORT, or configure [api] tokens_file.",
        )
    origin = headers.get("origin")
    if origin is not None and method not in ("GET", "HEAD") and not _is_at(origin, host):
        raise Forbidden(
            "cross_site",
            "a page of another site sent this request",
            remedy="Use the command line, or a page of this daemon.",
        )


def _is_at(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
