"""What may be set while rows are moved: options of the configuration, as values, with what they come to there."""

from __future__ import annotations

from collections.abc import Iterator

from oslo_config import cfg

from orchestrator.conf import data_migrations, throttling
from orchestrator.conf.settings import DatabaseSettings, SchemaSettings
from orchestrator.domain.overlay import OFF, ON, Option, Refused

OWN = "throttle:"
"""What the option of a throttle of the operator's begins with: `max` in [throttle:SCHEMA:NAME], or whether it is on."""


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
            limit = OFF if refused is not None else float(configured.get(opt.name, OFF))
            yield _option(opt, limit, free=OFF, refused=refused)


def _own(schema: SchemaSettings, database: DatabaseSettings) -> Iterator[Option]:
    for each in schema.throttling.own:
        if each.databases and database.name not in each.databases:
            continue
        name, section = f"{OWN}{each.name}", f"[{OWN}{schema.name}:{each.name}]"
        off = "-1 (off): rows do not wait for it."
        if each.limit is None:
            yield Option(name, ON, ON, ON, is_whole=True, help=f"{section}, {off} 1: they do.", free=OFF)
        else:
            help = f"The most that the query of {section} may return, 0 or more; {off}"
            yield Option(name, each.limit, 0.0, None, is_whole=False, help=help, free=OFF)


def _option(opt: cfg.Opt, configured: float, *, free: float | None = None, refused: Refused | None = None) -> Option:
    least, most = (getattr(opt.type, name) for name in ("min", "max"))  # every one of them is a number
    is_whole, help = isinstance(opt, cfg.IntOpt), opt.help or ""
    return Option(opt.name, configured, least, most, is_whole=is_whole, help=help, free=free, refused=refused)
