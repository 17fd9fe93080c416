"""Driver errors: what lies under the wrappings of oslo.db and SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator

from oslo_db import exception as oslo_exception
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

NOT_IN_CLUSTER = 1047
"""The number of what a node of Galera answers that does not belong to the part of its cluster that may work."""

_DONE_ALREADY = frozenset({1050, 1051, 1060, 1061, 1068, 1091, 1826})

OUT_OF_CLUSTER_REMEDY = (
    "Let its URL lead to a node that is in it, or bring the other nodes back; it is tried again. Only if those are "
    "lost for good, on one node: SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES';"
)


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


def says_out_of_cluster(error: BaseException) -> bool:
    """Whether a node of Galera answered that does not belong to the part of its cluster that may work."""
    answers = (layer.args for layer in layers(error) if type(layer).__module__ == "pymysql.err")
    return any(answer[:1] == (NOT_IN_CLUSTER,) for answer in answers)


def says_given_up(error: BaseException) -> bool:
    """Whether a transaction was given up in favour of another one: a deadlock, or a failed certification or
    serialization. Nobody holds anything for long: it may be repeated at once."""
    for layer in layers(error):
        if type(layer).__module__ == "pymysql.err" and layer.args[:1] == (1213,):
            return True
        if getattr(layer, "sqlstate", None) in {"40001", "40P01"}:
            return True
    return False


def says_done_already(error: BaseException) -> bool:
    """Whether MariaDB or MySQL refused DDL because what it makes is there, or what it drops is not."""
    answers = (layer.args for layer in layers(error) if type(layer).__module__ == "pymysql.err")
    return any(answer[:1] and answer[0] in _DONE_ALREADY for answer in answers)


def reason(error: BaseException, url: URL) -> str:
    """What the driver itself said: the first line of the innermost message, without the password of `url`."""
    innermost = list(layers(error))[-1]
    words = innermost.args[1] if type(innermost).__module__ == "pymysql.err" and innermost.args[1:] else innermost
    line = next((line.strip() for line in str(words).splitlines() if line.strip()), type(innermost).__name__)
    password = str(url.password) if url.password else ""
    return line.replace(password, "***") if password else line
