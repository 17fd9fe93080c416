"""The way to a daemon: its address and token from the options or the environment, and its answers as values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

from orchestrator.cli.answers import read
from orchestrator.client.transport import HttpTransport
from orchestrator.domain.errors import Invalid

DEFAULT_URL = "http://127.0.0.1:8776"

T = TypeVar("T")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that asks a daemon. They also stand before the noun."""
    group = parser.add_argument_group("daemon")
    group.add_argument(
        "--url",
        default=argparse.SUPPRESS,
        help=f"address of the daemon, several with commas; else ORCHESTRATOR_URL, else {DEFAULT_URL}",
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="file that holds the token; else the token itself is in ORCHESTRATOR_TOKEN",
    )


class Api:
    """The daemon's HTTP API as this program asks it."""

    def __init__(self, transport: HttpTransport) -> None:
        self.transport = transport

    @classmethod
    def of(cls, options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Api:
        """The daemon that the options name, or else the environment. Raises `Invalid`, `ClientError`."""
        url = getattr(options, "url", None) or environment.get("ORCHESTRATOR_URL") or DEFAULT_URL
        file = getattr(options, "token_file", None)
        token = _token_in(Path(file)) if file else environment.get("ORCHESTRATOR_TOKEN", "").strip() or None
        return cls(HttpTransport(url, token=token))

    def get(self, path: str, kind: type[T], **query: object) -> T:
        """What GET answers."""
        return read(self.transport.request("GET", _with_query(path, query), timeout=_patience(query)).json, kind)

    def post(self, path: str, kind: type[T], **body: object) -> T:
        """What POST answers. Fields of the body that are None are left out."""
        return self.send(path, kind, {name: value for name, value in body.items() if value is not None})

    def send(self, path: str, kind: type[T], body: Mapping[str, object]) -> T:
        """What POST of this very body answers: a field that is null means something."""
        return read(self.transport.request("POST", path, body, timeout=60.0).json, kind)


def path_of(*words: str) -> str:
    """`/v1/...` with each word quoted."""
    return "/v1/" + "/".join(quote(word, safe=":") for word in words)


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _patience(query: Mapping[str, object]) -> float:
    """How long an answer may take: long-polls answer late on purpose."""
    wait = query.get("wait")
    return 30.0 + (float(wait) if isinstance(wait, int | float) else 0.0)


def _token_in(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            "token_file_unreadable",
            f"the token file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}",
            remedy="Name a readable file that holds nothing but the token.",
        ) from error
    if not token or len(token.split()) != 1:
        raise Invalid(
            "token_file_invalid",
            f"the token file {file} does not hold one token",
            remedy="Put the token in it that `orchestrator token new` printed, and nothing else.",
        )
    return token
