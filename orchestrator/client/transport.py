"""JSON over HTTP to one or more daemons, on kept connections, with refusals as typed exceptions."""

from __future__ import annotations

import http.client
import json
import os
import select
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from orchestrator.client.errors import BadAnswer, ClientError, Unreachable, refusal

REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that another daemon may be asked after the first one was silent. A POST is left to its caller."""

NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that is not a refusal. Header names are in lower case; `json` is None where there is no body.

    `place` is what was asked, such as `PUT http://127.0.0.1:8776/v1/...`.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None  # as the daemon sent it; whoever asked reads it at the door
    place: str = ""


class Transport(Protocol):
    """How requests reach a daemon. Tests bring their own."""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Ask, and return the answer. Raises `Refused` for 400 and above, `Unreachable`, or `BadAnswer`."""
        ...

    def close(self) -> None:
        """Close what is kept open. The transport stays usable."""
        ...


class HttpTransport:
    """A `Transport` over http and https. Threads may share it; a forked child starts with no connections.

    Several daemons are asked in turn, beginning with the one that answered last. A refusal is an answer and is not
    asked again elsewhere, but after a status of 500 and above the next request begins with the next daemon.
    Redirects are refused, since a token must not follow them, and proxies of the environment are not used.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: str | None = None,
        timeout: float = 10.0,
        connect_timeout: float = 3.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`urls` is one address, several in a sequence, or several in a string with commas between them.

        `timeout` is for a whole request, `connect_timeout` for reaching one daemon; both in seconds. White space around
        a token does not count. Raises `ClientError` for an address or a token that cannot be used.
        """
        listed = urls.split(",") if isinstance(urls, str) else urls
        self._daemons = tuple(_Daemon(url.strip(), ssl_context) for url in listed if url.strip())
        if not self._daemons:
            raise _bad_url("", "there is no daemon address")
        self._token = _usable(token)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._first = 0

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send `body` as JSON to `path` and return the answer. `path` is already quoted.

        Raises a subclass of `Refused` for a status of 400 and above, `Unreachable` if no daemon answers in `timeout`
        seconds, and `BadAnswer` for what is not JSON. A request whose connection broke on the way is repeated
        elsewhere if its method is in `REPEATABLE`; a POST is not, and `Unreachable.maybe_done` is then true.
        """
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        sent_headers = self._headers(headers, payload)
        give_up_at = time.monotonic() + (self._timeout if timeout is None else timeout)
        first, count = self._first, len(self._daemons)
        failures: list[str] = []
        maybe_done = False
        for turn in range(count):
            remaining = give_up_at - time.monotonic()
            if turn and remaining <= 0:
                break
            number = (first + turn) % count
            daemon = self._daemons[number]
            try:
                answer = daemon.ask(method, path, payload, sent_headers, remaining, self._connect_timeout)
            except _NoAnswer as error:
                failures.append(f"{daemon.url}: {error}")
                maybe_done = maybe_done or error.had_left
                self._first = (number + 1) % count
                if error.had_left and method not in REPEATABLE:
                    break
                continue
            self._first = (number + (answer.status >= 500)) % count
            return answer.judged()
        raise _unreachable(failures, maybe_done)

    def close(self) -> None:
        """Close all idle connections. The transport stays usable."""
        for daemon in self._daemons:
            daemon.close()

    def _headers(self, headers: Mapping[str, str] | None, payload: bytes | None) -> dict[str, str]:
        sent = {"Accept": "application/json", "User-Agent": "orchestrator-client"}
        if payload is not None:
            sent["Content-Type"] = "application/json"
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        sent.update(headers or {})
        return sent


class _NoAnswer(Exception):
    """This daemon did not answer. `had_left` says that it may have received the request."""

    def __init__(self, reason: str, *, had_left: bool) -> None:
        super().__init__(reason)
        self.had_left = had_left


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back, before anybody judged it."""

    place: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def judged(self) -> Response:
        """The response, or the refusal that it is, raised."""
        if self.status >= 400:
            problem = self._problem()
            raise refusal(self.status, problem, place=self.place, retry_after=_seconds(self.headers.get("retry-after")))
        if self.status >= 300 and self.status != NOT_MODIFIED:
            raise BadAnswer(
                "redirected",
                f"{self.place} answered with a redirect to {self.headers.get('location', 'nowhere')}",
                remedy="Give the daemon's own address.",
            )
        return Response(self.status, self.headers, self._json() if self.body else None, self.place)

    def _json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise BadAnswer(
                "answer_not_json",
                f"{self.place} answered with something that is not JSON",
                remedy="Check that the address is that of an orchestrator.",
            ) from error

    def _problem(self) -> Mapping[str, Any]:
        try:
            problem = json.loads(self.body)
        except ValueError:  # a proxy's page: the status says enough
            return {}
        return problem if isinstance(problem, dict) else {}


class _Daemon:
    """One daemon's address, and the idle connections to it. The deque is safe in threads without a lock."""

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None) -> None:
        parts = _parsed(url)
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._host = str(parts.hostname)
        self._port = parts.port
        self._ssl = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: deque[tuple[int, http.client.HTTPConnection]] = deque(maxlen=16)

    def ask(
        self,
        method: str,
        path: str,
        payload: bytes | None,
        headers: Mapping[str, str],
        timeout: float,
        connect_timeout: float,
    ) -> _Answer:
        """One request on a kept connection if there is one. Raises `_NoAnswer`."""
        give_up_at = time.monotonic() + timeout
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, method, path, payload, headers, give_up_at)
            except _NoAnswer as error:  # the daemon closed it while it was idle, or is gone: a new connection tells
                if error.had_left and method not in REPEATABLE:
                    raise
        fresh = self._connection(min(connect_timeout, max(give_up_at - time.monotonic(), 0.01)))
        try:
            fresh.connect()
        except OSError as error:
            fresh.close()
            raise _NoAnswer(_reason(error), had_left=False) from error
        return self._exchange(fresh, method, path, payload, headers, give_up_at)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            try:
                _, connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                return
            connection.close()

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._ssl is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._ssl)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _take(self) -> http.client.HTTPConnection | None:
        """The connection that was used last, if it still looks open."""
        while self._idle:
            try:
                owner, connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                return None
            if owner == os.getpid() and _looks_open(connection):
                return connection
            connection.close()  # in a forked child this leaves the parent's connection as it is
        return None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        payload: bytes | None,
        headers: Mapping[str, str],
        give_up_at: float,
    ) -> _Answer:
        is_done = False
        try:
            connection.sock.settimeout(max(give_up_at - time.monotonic(), 0.01))
            connection.request(method, self._prefix + path, body=payload, headers=dict(headers))
            answer = connection.getresponse()
            body = answer.read()
            is_done = True
        except (OSError, http.client.HTTPException) as error:
            raise _NoAnswer(_reason(error), had_left=True) from error
        finally:
            if not is_done:
                connection.close()
        if connection.sock is not None:  # None: the daemon said that it closes
            if len(self._idle) == self._idle.maxlen:
                connection.close()
            else:
                self._idle.append((os.getpid(), connection))
        found = {name.lower(): value for name, value in answer.getheaders()}
        return _Answer(f"{method} {self.url}{path}", answer.status, found, body)


def _looks_open(connection: http.client.HTTPConnection) -> bool:
    """False if the other side closed it: an idle connection has nothing to read until then."""
    if connection.sock is None:
        return False
    if not hasattr(select, "poll"):  # Windows: find out by using it
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url(url, "its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _bad_url(url, "it is not http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise _bad_url(f"{parts.scheme}://{parts.hostname}", "it carries a user, a query or a fragment")
    return parts


def _usable(token: str | None) -> str | None:
    """The token as a header can carry it, or None. Refused here: what refuses it later shows it."""
    bare = (token or "").strip()
    if not all("!" <= sign <= "~" for sign in bare):
        raise ClientError(
            "token_invalid",
            "the token holds white space, or a character that no token has",
            remedy="Give the token that `orchestrator token new` printed, and nothing else.",
        )
    return bare or None


def _bad_url(url: str, reason: str) -> ClientError:
    """The refusal of an address. It may hold a password before its last @, and another after a question mark."""
    shown = url.rpartition("@")[2].partition("?")[0]
    return ClientError(
        "daemon_url_invalid",
        f"the daemon address {shown!r} cannot be used: {reason}",
        remedy="Give an address such as http://127.0.0.1:8776.",
    )


def _unreachable(failures: Sequence[str], maybe_done: bool) -> Unreachable:
    asked = "; ".join(failures) or "no time was left to ask"
    if maybe_done:
        return Unreachable(
            "answer_lost",
            f"the request left, and no answer came back: {asked}",
            remedy="It may have taken effect: look, or repeat it.",
            maybe_done=True,
        )
    return Unreachable(
        "daemon_unreachable",
        f"no daemon can be reached: {asked}",
        remedy="Check the address, and that `orchestrator serve` runs there.",
        maybe_done=False,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _seconds(header: str | None) -> float | None:
    """The seconds of a Retry-After header; None for no header, and for a date, which no daemon of ours sends."""
    try:
        return None if header is None else max(float(header), 0.0)
    except ValueError:
        return None
