"""Driver errors: what lies under the wrappings of oslo.db and SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

from oslo_db import exception as oslo_exception
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from orchestrator.domain.visible import visible


def layers(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was raised from, outermost first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        layer = waiting.pop(0)
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        waiting += [getattr(layer, "inner_exception", None), getattr(layer, "orig", None), layer.__cause__]


def says_disconnected(error: BaseException) -> bool:
    """Whether oslo.db or SQLAlchemy recognised a lost or impossible connection."""
    return any(
        isinstance(layer, oslo_exception.DBConnectionError)
        or (isinstance(layer, DBAPIError) and layer.connection_invalidated)
        for layer in layers(error)
    )


def reason(error: BaseException, url: URL) -> str:
    """What the driver itself said: the first line of the innermost message, without the password of `url`."""
    innermost = list(layers(error))[-1]
    words = innermost.args[1] if type(innermost).__module__ == "pymysql.err" and innermost.args[1:] else innermost
    line = next((line.strip() for line in str(words).splitlines() if line.strip()), type(innermost).__name__)
    password = str(url.password) if url.password else ""
    return visible(line.replace(password, "***") if password else line)
