"""[throttling]: what rows wait for. Nothing, unless somebody says so: no default can stop a site."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_config import cfg

from orchestrator.conf.reading import SectionReader
from orchestrator.conf.settings import DatabaseSettings, ThrottlingSettings
from orchestrator.domain.overlay import Refused

GROUP = cfg.OptGroup(
    "throttling",
    help="What data migrations wait for: no batch begins while anything is above its limit, or cannot be read. "
    "-1 sets no limit. A section [schema:NAME] may say otherwise.",
)

_LIMITS: dict[str, tuple[type[cfg.FloatOpt] | type[cfg.IntOpt], float, str]] = {
    "max_replica_lag_seconds": (
        cfg.FloatOpt,
        5.0,
        "How far replicas may be behind: those named in replicas, else all that are connected to the server. "
        "On MariaDB and MySQL they have to be named. None at all counts as unreadable.",
    ),
    "max_active_sessions": (
        cfg.IntOpt,
        40,
        "How many sessions of others may run a statement on the server (on MariaDB and MySQL: Threads_running).",
    ),
    "max_lock_waits": (
        cfg.IntOpt,
        0,
        "How many sessions may wait for locks that the orchestrator's own hold.",
    ),
    "max_transaction_seconds": (
        cfg.FloatOpt,
        600.0,
        "How long a transaction of others may be open: as long as it is, nothing is cleaned up of what moved rows "
        "leave behind.",
    ),
    "max_wal_backlog_mib": (
        cfg.FloatOpt,
        10240.0,
        "How much of its log PostgreSQL may keep for each replication slot, in MiB.",
    ),
}
"""The kind of each limit, an example, and what it is for."""

OPTIONS: tuple[cfg.Opt, ...] = (
    *(
        kind(name, default=-1, min=-1, sample_default=example, help=text)
        for name, (kind, example, text) in _LIMITS.items()
    ),
    cfg.FloatOpt(
        "interval_seconds",
        default=1.0,
        min=0.1,
        max=60.0,
        help="How often each signal is read in each database, at the most.",
    ),
    cfg.FloatOpt(
        "timeout_seconds",
        default=2.0,
        min=0.1,
        max=60.0,
        help="How long a signal may take to answer. One that takes longer cannot be read, so rows wait.",
    ),
)

FOR_SCHEMAS: tuple[cfg.Opt, ...] = tuple(
    kind(name, min=-1, sample_default=example, help="As in [throttling], for this schema.")
    for name, (kind, example, _) in _LIMITS.items()
)
"""What a section [schema:NAME] may say otherwise."""

LIMITS = tuple(_LIMITS)
"""The names of the limits."""

_POSTGRESQL_ONLY = ("max_wal_backlog_mib",)
_LAG = "max_replica_lag_seconds"


def refusal(option: str, database: DatabaseSettings) -> Refused | None:
    """Why nobody can say whether that database is above this limit, None where somebody can."""
    kind = _kind(database.connection)
    if kind not in (("postgresql",) if option in _POSTGRESQL_ONLY else ("postgresql", "mysql")):
        why = f"database {database.name} is of a kind that has no such thing"
        return Refused("option_without_effect", why, "Remove it, or give -1.")
    if option == _LAG and kind == "mysql" and not database.replicas:
        why = f"a MariaDB or MySQL server does not know how far its replicas are, and none of {database.name} is named"
        remedy = "Name them in the option replicas beside connection, or give -1 in the section of the schema."
        return Refused("replicas_unnamed", why, remedy)
    return None


def read(
    name: str, schema: SectionReader, site: SectionReader, databases: Iterable[DatabaseSettings]
) -> ThrottlingSettings:
    """The limits of the schema of that name, or else of the site. Raises `ConfigurationError` for what nobody can read.

    What the site limits holds where there is such a thing; what the schema limits has to be there.
    """
    databases = tuple(databases)
    limits: dict[str, float] = {}
    for option in _LIMITS:
        own: float | None = schema.value(option)
        limit: float = site.value(option) if own is None else own
        if limit < 0:
            continue
        for refused in filter(None, (refusal(option, each) for each in databases)):
            if own is not None or refused.code == "replicas_unnamed":
                section = site if own is None else schema
                alone = _alone(name, option, limit, databases)
                section.refuse(option, refused.code, refused.why, remedy=f"{refused.remedy}{alone}")
        limits[option] = limit
    return ThrottlingSettings(
        limits=tuple(limits.items()),
        interval_seconds=site.value("interval_seconds"),
        timeout_seconds=site.value("timeout_seconds"),
    )


def _alone(schema: str, option: str, limit: float, databases: Iterable[DatabaseSettings]) -> str:
    """How those databases of the schema have the limit that can have it, as the end of a remedy."""
    able = [each.name for each in databases if refusal(option, each) is None]
    if not able:
        return ""
    set_ = f"orchestrator data-migration set {schema} {option}={limit:g} --database"
    commands = "; ".join(f"{set_} {name}" for name in able)
    return f" To have it in {', '.join(able)} alone, give -1, and to the running daemon: {commands}."


def _kind(url: str) -> str:
    kind = url.partition(":")[0].partition("+")[0]
    return {"postgres": "postgresql", "mariadb": "mysql"}.get(kind, kind)
