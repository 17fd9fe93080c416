"""Connections: what one of them may cost the daemon, whoever is at its other end."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace
from ipaddress import ip_address
from typing import ClassVar, cast

from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from orchestrator.api.endpoint import as_response
from orchestrator.api.faults import Refused, answer_to
from orchestrator.domain.errors import NotYet, OrchestratorError

MOST_OPEN_FILES = 16_384
"""How many files and connections the daemon asks the system for. It keeps them below what it may have anyway."""

KEPT_FILES = 256
"""How many of them are kept for databases, logs and commands: strangers cannot use these up."""

KEPT_FOR_HEALTH = 32
"""So many connections more are taken, and only asked whether the daemon is well."""

HEALTH_PATHS = ("/healthz", "/readyz")


def most_connections() -> int:
    """How many connections may be open at once, after asking the system for as many as it grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = MOST_OPEN_FILES if soft == resource.RLIM_INFINITY else min(soft, MOST_OPEN_FILES)
    return max(files - KEPT_FILES, files // 2)


def is_here(address: str) -> bool:
    """Whether that is an address of this machine alone."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


class Connection(HttpToolsProtocol):
    """One connection. The server's own protocol waits without end for slow ones, and keeps whatever they send."""

    most_head_bytes: ClassVar[int] = 32 * 1024
    """Of anything that is no body: request line and headers, or what stands around the pieces of a body."""

    most_queued: ClassVar[int] = 8
    """Requests that were sent before the one ahead of them was answered."""

    patience_seconds: ClassVar[float] = 30.0
    """How long a request may take to arrive as a whole, and how long nothing of an answer may be taken."""

    _is_extra = False
    _head_bytes = 0
    _arrival: asyncio.TimerHandle | None = None
    _departure: asyncio.TimerHandle | None = None
    _answered: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base has it
        super().connection_made(transport)
        self.limit_concurrency = None  # the server's own answer, which comes to those who ask for its health too
        self._is_extra = self._is_one_too_many()
        most = self.config.limit_concurrency
        if self._is_extra and most is not None and len(self.connections) > most + KEPT_FOR_HEALTH:
            self._refuse(_too_many())
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_is_here()
        self._answer_is_taken()
        self._answer_nobody()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._arrival is None:
            self._await_request()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self.most_head_bytes and not self.transport.is_closing():
            sentence = f"what is no body is larger than {self.most_head_bytes} bytes"
            self._refuse(Refused(431, "head_too_large", sentence, remedy="Send less."))

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        if len(self.pipeline) >= self.most_queued:
            raise _TooManyQueued
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._request_is_here()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle  # `self.cycle` is the newest one, which may have to wait for its turn
        if self._is_extra:
            cycle.keep_alive = False
            if cycle.scope["path"] not in HEALTH_PATHS:
                app = cast(ASGI3Application, _refuse_one_too_many)
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        self._answer_is_taken()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        sentence = "this is no HTTP request that can be understood"
        self._refuse(Refused(400, "request_malformed", sentence, remedy="Speak HTTP/1.1."))

    # -- waiting for the other end -----------------------------------------------------------------------------------

    def _await_request(self) -> None:
        self._arrival = self.loop.call_later(self.patience_seconds, self._give_up_request)

    def _request_is_here(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _give_up_request(self) -> None:
        is_waiting_for_us = self._is_answering and not self.cycle.more_body
        if is_waiting_for_us or self.flow.read_paused:
            self._await_request()
        else:
            self._hang_up()

    def _await_taking(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._departure = self.loop.call_later(self.patience_seconds, self._give_up_answer, left)

    def _answer_is_taken(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None

    def _give_up_answer(self, left: int) -> None:
        if self.transport.get_write_buffer_size() < left:  # slowly, but it is taken
            self._await_taking()
        else:
            self._hang_up()

    # -- refusing ----------------------------------------------------------------------------------------------------

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_one_too_many(self) -> bool:
        """Whether the daemon, or whoever is at the other end, has enough connections. Half are for the others.

        What comes from this machine may come through a proxy for everybody, so only what is elsewhere is told apart.
        """
        most, open_now = self.config.limit_concurrency, len(self.connections)
        if most is None or open_now <= most // 2:
            return False
        if open_now >= most or self.client is None:
            return open_now >= most
        address = self.client[0]
        clients = [each.client for each in self.connections if isinstance(each, Connection)]
        same = sum(client is not None and client[0] == address for client in clients)
        return same > most // 2 and not is_here(address)

    def _refuse(self, error: OrchestratorError) -> None:
        """Say no and close. In the middle of an answer there is nothing to say it with."""
        if self._is_answering:
            self._hang_up()
            return
        refusal = answer_to(error)
        response = as_response(replace(refusal, headers={**refusal.headers, "Connection": "close"}))
        head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _hang_up(self) -> None:
        self._answer_nobody()
        self.transport.abort()

    def _answer_nobody(self) -> None:
        """Whatever is being answered, let nothing more be written: it would fail, as an error of ours."""
        if self._answered is not None:
            self._answered.disconnected = True


def _too_many() -> NotYet:
    return NotYet("too_many_connections", "too many connections are open already", remedy="Try again later.")


async def _refuse_one_too_many(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that refuses whatever it is asked."""
    await as_response(answer_to(_too_many()))(scope, receive, send)


class _TooManyQueued(Exception):
    """Raised in the parser, which makes a malformed request of it."""
