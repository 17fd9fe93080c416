"""What may be set while rows are moved: options of the configuration, as values, with what they come to there."""

from __future__ import annotations

import math
from collections.abc import Iterator

from oslo_config import cfg

from orchestrator.conf import data_migrations, throttling
from orchestrator.conf.settings import DatabaseSettings, SchemaSettings
from orchestrator.domain.overlay import Option, Refused

OWN = "throttle:"
"""What the option of a throttle of the operator's begins with: its limit, `max` in [throttle:SCHEMA:NAME]."""


def options_of(schema: SchemaSettings, pause_seconds: float, database: DatabaseSettings) -> tuple[Option, ...]:
    """The options of one database of the schema."""
    return (*_of_pace(schema, pause_seconds), *_limits(schema, database), *_own(schema, database))


def _of_pace(schema: SchemaSettings, pause_seconds: float) -> Iterator[Option]:
    configured = {
        "batch_seconds": schema.batches.seconds,
        "batch_rows": float(schema.batches.most),
        "batch_bytes": float(schema.batches.most_bytes or 0),
        "pause_seconds": pause_seconds,
        "nice_ratio": schema.nice_ratio,
    }
    for opt in data_migrations.OPTIONS:
        if opt.name in configured:
            yield _option(opt, configured[opt.name])


def _limits(schema: SchemaSettings, database: DatabaseSettings) -> Iterator[Option]:
    configured = dict(schema.throttling.limits)
    for opt in throttling.OPTIONS:
        if opt.name in throttling.LIMITS:
            refused = throttling.refusal(opt.name, database)
            limit = -1.0 if refused is not None else float(configured.get(opt.name, -1))
            yield _option(opt, limit, free=-1.0, refused=refused)


def _own(schema: SchemaSettings, database: DatabaseSettings) -> Iterator[Option]:
    for each in schema.throttling.own:
        if each.limit is not None and (not each.databases or database.name in each.databases):
            help = f"The most that the query of [throttle:{schema.name}:{each.name}] may return."
            yield Option(f"{OWN}{each.name}", each.limit, -math.inf, None, is_whole=False, help=help)


def _option(opt: cfg.Opt, configured: float, *, free: float | None = None, refused: Refused | None = None) -> Option:
    least, most = (getattr(opt.type, name) for name in ("min", "max"))  # every one of them is a number
    is_whole, help = isinstance(opt, cfg.IntOpt), opt.help or ""
    return Option(opt.name, configured, least, most, is_whole=is_whole, help=help, free=free, refused=refused)
