"""A stand-in for the daemon: speaks the lease protocol, over HTTP or called directly, and does what tests tell it."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from orchestrator.client import Response, Unreachable
from orchestrator.client.errors import refusal

INSTANCES = re.compile(r"/v1/schemas/inventory/fleets/inventory-api/instances(?:/([^/]+)/lease)?")
READINESS = re.compile(r"/v1/schemas/inventory/readiness\?(.*)")


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]
    timeout: float | None = None


@dataclass
class Answer:
    """What the stand-in says."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def problem(status: int, code: str, **more: Any) -> Answer:
    """A refusal as the daemon words it. `retry_after` becomes a header."""
    headers = {"Retry-After": str(more.pop("retry_after"))} if "retry_after" in more else {}
    body = {"type": "about:blank", "title": code, "status": status, "detail": f"because {code}", "code": code, **more}
    return Answer(status, {"remedy": "Do the other thing.", **body}, headers)


class StandIn:
    """Instances and what is published. `next_answers` are given first, one for each request, whatever it is."""

    def __init__(self) -> None:
        self.upgrade: int | None = 3
        self.publication = 17
        self.words = ("old", "both")
        self.ttl_seconds = 60.0
        self.renew_seconds = 20.0
        self.instances: dict[str, dict[str, Any]] = {}
        self.asked: list[Asked] = []
        self.next_answers: list[Answer | Exception] = []
        self.acks: list[int | None] = []
        self.evicted: set[str] = set()
        self.heard = threading.Condition()

    def publish(self, reads: str, writes: str, *, publication: int | None = None) -> None:
        """From now on, answers carry this."""
        self.publication = self.publication + 1 if publication is None else publication
        self.words = (reads, writes)

    def answer(self, asked: Asked) -> Answer:
        """The answer, with its effect."""
        with self.heard:
            self.asked.append(asked)
            if self.next_answers:
                scripted = self.next_answers.pop(0)
                if isinstance(scripted, Exception):
                    raise scripted
                return scripted
            answer = self._decide(asked)
            self.heard.notify_all()
            return answer

    def _decide(self, asked: Asked) -> Answer:
        if READINESS.fullmatch(asked.path):
            return Answer(200, {"ready": True})
        found = INSTANCES.fullmatch(asked.path)
        if found is None:
            return problem(404, "schema_unknown")
        if asked.method == "POST":
            known = self.instances.get(asked.body["id"])
            if known is not None and known["nonce"] != asked.body["nonce"]:
                return problem(409, "instance_id_taken")
            epoch = f"epoch-of-{asked.body['id']}"
            self.instances[asked.body["id"]] = {**asked.body, "epoch": epoch}
            return Answer(200 if known else 201, {**self._grant(asked.body["id"]), "epoch": epoch})
        name = found[1]
        if name not in self.instances:
            return problem(404, "instance_unknown")
        if name in self.evicted:
            return problem(409, "instance_evicted")
        headers = {key.lower(): value for key, value in asked.headers.items()}
        if headers.get("lease-epoch") != self.instances[name]["epoch"]:
            return problem(409, "epoch_foreign")
        if asked.method == "DELETE":
            del self.instances[name]
            return Answer(204)
        self.acks.append(asked.body["ack"])
        return Answer(200, self._grant(name))

    def _grant(self, name: str) -> dict[str, Any]:
        reads, writes = self.words
        return {
            "id": name,
            "schema": "inventory",
            "fleet": "inventory-api",
            "release": "2",
            "ttl_seconds": self.ttl_seconds,
            "renew_seconds": self.renew_seconds,
            "standing": {
                "upgrade": self.upgrade,
                "publication": self.publication,
                "phase": "backfill",
                "reads": reads,
                "writes": writes,
            },
        }


class DirectTransport:
    """A transport without a network: asks the stand-in in the caller's own thread."""

    def __init__(self, stand_in: StandIn, *, on_request: Callable[[Asked], object] = lambda asked: None) -> None:
        self._stand_in = stand_in
        self.on_request = on_request

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        asked = Asked(method, path, json.loads(json.dumps(body)), headers or {}, timeout)
        self.on_request(asked)
        answer = self._stand_in.answer(asked)
        if answer.status >= 400:
            wish = answer.headers.get("Retry-After")
            raise refusal(
                answer.status, answer.body or {}, place="here", retry_after=None if wish is None else float(wish)
            )
        return Response(answer.status, {}, answer.body)

    def close(self) -> None:
        """Nothing is open."""


def unreachable(*, maybe_done: bool = False) -> Unreachable:
    """What a transport raises when no daemon answers."""
    return Unreachable("daemon_unreachable", "nobody is there", remedy="", maybe_done=maybe_done)


class Timeline:
    """A clock that only tests move, and a pause that moves it instead of waiting."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.during_pauses: list[Callable[[], object]] = []

    def clock(self) -> float:
        return self.now

    def pause(self, condition: threading.Condition, seconds: float) -> None:
        """Move the clock, after doing what the test wants to happen meanwhile."""
        self.pauses.append(seconds)
        if self.during_pauses:
            self.during_pauses.pop(0)()
        self.now += seconds


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[str]:
    """A real server on a free port, kept connections included. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = answer(Asked(self.command, self.path, json.loads(body or b"null"), dict(self.headers)))
            if found.status == 0:  # break the connection without a word
                self.close_connection = True
                return
            payload = found.body if isinstance(found.body, bytes) else json.dumps(found.body).encode()
            payload = b"" if found.status in (204, 304) else payload
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.status not in (204, 304):
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
