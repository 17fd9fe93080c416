"""The throttles of one database, as its settings say. A new signal is one file in `throttles`, and one line here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import make_url

from orchestrator.conf.settings import SchemaSettings, ThrottleSettings
from orchestrator.dialects import Database, open_database
from orchestrator.throttles import Signal, Throttle
from orchestrator.throttles.active_sessions import ActiveSessions
from orchestrator.throttles.http_check import HttpCheck
from orchestrator.throttles.lock_waits import LockWaits
from orchestrator.throttles.oldest_transaction import OldestTransaction
from orchestrator.throttles.replica_lag import ReplicaLag
from orchestrator.throttles.sql_query import SqlQuery
from orchestrator.throttles.wal_backlog import WalBacklog
from orchestrator.throttles.watch import Watch

Make = Callable[[Database, float], Signal]

_SIGNALS: Mapping[str, Make] = {
    "max_active_sessions": ActiveSessions,
    "max_lock_waits": LockWaits,
    "max_transaction_seconds": OldestTransaction,
    "max_wal_backlog_mib": WalBacklog,
}
"""The signal of each limit, made for a database and a time limit."""

_HAVE_NONE = {"max_wal_backlog_mib": ("sqlite", "mysql")}
"""Kinds of databases that have nothing to be limited; of the others it is only SQLite."""


def watch_of(schema: SchemaSettings, database: Database) -> Watch:
    """The watch over that database of the schema. Connects to nothing. Raises `Invalid` for the URL of a replica."""
    settings = schema.throttling
    return Watch(
        tuple(_throttles(schema, database)),
        every_seconds=settings.interval_seconds,
        patience_seconds=settings.timeout_seconds,
        clock=time.monotonic,
    )


def _throttles(schema: SchemaSettings, database: Database) -> Iterator[Throttle]:
    settings = schema.throttling
    for option, limit in settings.limits:
        if database.dialect.name in _HAVE_NONE.get(option, ("sqlite",)):
            continue
        if option == "max_replica_lag_seconds":
            urls = next(each.replicas for each in schema.databases if each.name == database.name)
            replicas = tuple(_replica(url, settings.timeout_seconds) for url in urls)
            yield Throttle(ReplicaLag(database, replicas, settings.timeout_seconds, time.monotonic), limit)
        else:
            yield Throttle(_SIGNALS[option](database, settings.timeout_seconds), limit)
    for own in settings.own:
        if not own.databases or database.name in own.databases:
            yield Throttle(_own(own, database, settings.timeout_seconds), own.limit)


def _own(own: ThrottleSettings, database: Database, timeout_seconds: float) -> Signal:
    name = f"throttle {own.name}"
    if own.url is not None:
        return HttpCheck(name, own.url, timeout_seconds)
    assert own.query is not None
    return SqlQuery(name, database, own.query, own.limit is None, timeout_seconds)


def _replica(url: str, timeout_seconds: float) -> Database:
    """The replica of that URL, named by the place where it is, which gives up soon where nobody answers."""
    opened = open_database("replica", url)
    parts = opened.engine.url
    port = f":{parts.port}" if parts.port else ""
    place = f"{parts.host}{port}" if parts.host else next(iter(_sockets(opened)), opened.place)
    given = make_url(url)
    if "connect_timeout" not in given.query:
        given = given.update_query_dict({"connect_timeout": str(max(1, math.ceil(timeout_seconds)))})
    return open_database(place, given.render_as_string(hide_password=False))


def _sockets(database: Database) -> Iterator[str]:
    query = database.engine.url.query
    yield from (str(query[name]) for name in ("host", "unix_socket") if name in query)
