"""The throttles of one database, as its settings say. A new signal is one file in `throttles`, and one line here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import make_url

from orchestrator.conf.settable import OWN
from orchestrator.conf.settings import SchemaSettings, ThrottleSettings
from orchestrator.conf.throttling import LIMITS, refusal
from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import ConfigurationError, Invalid
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


def watch_of(schema: SchemaSettings, database: Database) -> Watch:
    """The watch over that database of the schema. Connects to nothing. Raises `ConfigurationError`."""
    settings = schema.throttling
    return Watch(
        tuple(_throttles(schema, database)),
        every_seconds=settings.interval_seconds,
        patience_seconds=settings.timeout_seconds,
        clock=time.monotonic,
    )


def _throttles(schema: SchemaSettings, database: Database) -> Iterator[Throttle]:
    settings = schema.throttling
    found = next(each for each in schema.databases if each.name == database.name)
    limits = dict(settings.limits)
    for option in LIMITS:
        if refusal(option, found) is not None:
            continue
        limit = limits.get(option, -1.0)
        if option == "max_replica_lag_seconds":
            replicas = tuple(_replica(schema, database, url) for url in found.replicas)
            signal: Signal = ReplicaLag(database, replicas, settings.timeout_seconds, time.monotonic)
        else:
            signal = _SIGNALS[option](database, settings.timeout_seconds)
        yield Throttle(signal, limit, option, is_none_below_zero=True)
    for own in settings.own:
        if not own.databases or database.name in own.databases:
            yield Throttle(_own(own, database, settings.timeout_seconds), own.limit, f"{OWN}{own.name}")


def _own(own: ThrottleSettings, database: Database, timeout_seconds: float) -> Signal:
    name = f"throttle {own.name}"
    if own.url is not None:
        return HttpCheck(name, own.url, timeout_seconds)
    assert own.query is not None
    return SqlQuery(name, database, own.query, own.limit is None, timeout_seconds)


def _replica(schema: SchemaSettings, database: Database, url: str) -> Database:
    """The replica of that URL, named by the place where it is, which gives up soon where nobody answers."""
    try:
        opened = open_database("replica", url)
    except Invalid as error:
        raise _unusable(schema, database, error.message, error.remedy) from error
    if opened.dialect.name != database.dialect.name:
        why = f"{opened.place} is no replica of a {database.dialect.name} database"
        raise _unusable(schema, database, why, "Give URLs of the same kind as connection.")
    parts = opened.engine.url
    port = f":{parts.port}" if parts.port else ""
    place = f"{parts.host}{port}" if parts.host else next(iter(_sockets(opened)), opened.place)
    given = make_url(url)
    if "connect_timeout" not in given.query:
        seconds = max(1, math.ceil(schema.throttling.timeout_seconds))
        given = given.update_query_dict({"connect_timeout": str(seconds)})
    return open_database(place, given.render_as_string(hide_password=False))


def _unusable(schema: SchemaSettings, database: Database, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        "replica_unusable",
        f"option replicas of database {database.name} of schema {schema.name}: {why}",
        remedy=remedy,
        schema=schema.name,
        database=database.name,
    )


def _sockets(database: Database) -> Iterator[str]:
    query = database.engine.url.query
    yield from (str(query[name]) for name in ("host", "unix_socket") if name in query)
