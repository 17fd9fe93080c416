"""A check of the operator's: whoever answers 200 lets rows be moved; any other answer, or none, does not."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from orchestrator import __version__
from orchestrator.domain.errors import Unavailable
from orchestrator.throttles import Sample


def refusal(url: str) -> str | None:
    """Why this URL cannot be asked, None where it may be."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"it cannot be read: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it is no address of HTTP: it begins with http:// or https:// and names a host"
    if parts.username is not None or parts.password is not None:
        return "it holds a user or a password, which are not sent"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "it holds characters that have to be in percent form"
    return None


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Implements `orchestrator.throttles.Signal`. Sends GET, follows no redirect, uses no proxy, reads no body."""

    name: str
    url: str
    timeout_seconds: float
    unit: str = ""

    def read(self) -> tuple[Sample, ...]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.timeout_seconds)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": f"orchestrator/{__version__}", "Connection": "close"}
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
        except (OSError, HTTPException) as error:
            place = f"{parts.hostname}{f':{parts.port}' if parts.port else ''}"
            raise Unavailable(
                "signal_unreadable", f"{place} does not answer: {error or type(error).__name__}",
                remedy="Let it answer; or mend its url, and restart the daemon.",
            ) from error  # fmt: skip
        finally:
            connection.close()
        if answer.status == 200:
            return (Sample(),)
        return (Sample(objection=f"answers {answer.status} {answer.reason}".rstrip()),)
