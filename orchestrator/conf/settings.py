"""The settings of a daemon as values: what the options came to, checked, with nothing left to parse."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import USUAL_SIZES, BatchSizes
from orchestrator.domain.waves import EVERYBODY_AT_ONCE, Waves


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """One managed database. `connection` holds a password and is never shown.

    `members` are the URLs of the same database on the nodes of a cluster, where they were named; `replicas` those of
    its replicas. `place` says where the connection is written.
    """

    name: str
    connection: str = field(repr=False)
    members: tuple[str, ...] = field(default=(), repr=False)
    replicas: tuple[str, ...] = field(default=(), repr=False)
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class InventorySettings:
    """A query that lists the instances of one fleet. `releases` are pairs of a value and what it means; none: names.

    No `databases` means all of the schema.
    """

    fleet: str
    query: str
    releases: tuple[tuple[str, str], ...]
    databases: tuple[str, ...]
    max_age_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class ThrottleSettings:
    """A query or an HTTP check of the operator's. No `limit`: the query says yes or no. No `databases`: in all."""

    name: str
    query: str | None = None
    limit: float | None = None
    url: str | None = field(default=None, repr=False)
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThrottlingSettings:
    """What the rows of one schema wait for: limits by the names of their options, and the operator's own throttles."""

    limits: tuple[tuple[str, float], ...] = ()
    interval_seconds: float = 1.0
    timeout_seconds: float = 2.0
    own: tuple[ThrottleSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """When rows may be moved: from each time of the cron line on, in that time zone. No `databases`: in all."""

    name: str
    cron: str
    duration_seconds: float
    timezone: str = "UTC"
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchemaSettings:
    """One managed schema. Databases are in the order of the configuration: the first is the canary.

    `preset`, `command_prefix`, `config_file` and `environment` belong to the driver `command`, which always has a
    preset; a preset that is a path is absolute. `roles` are pairs of a role of its databases and the release that works
    under it.
    """

    name: str
    migrations: Path
    databases: tuple[DatabaseSettings, ...]
    driver: Literal["alembic", "command"] = "alembic"
    version_table: str = "alembic_version"
    preset: str | None = None
    command_prefix: tuple[str, ...] = ()
    config_file: Path | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    approve: tuple[Phase, ...] = (Phase.CONTRACTED,)
    soak_seconds: float = 0.0
    waves: Waves = EVERYBODY_AT_ONCE
    end_idle_blockers_after_seconds: float | None = None
    roles: tuple[tuple[str, str], ...] = ()
    inventories: tuple[InventorySettings, ...] = ()
    batches: BatchSizes = USUAL_SIZES
    workers: int = 1
    nice_ratio: float = 0.0
    throttling: ThrottlingSettings = ThrottlingSettings()
    windows: tuple[WindowSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a daemon is told. `config_files` are the files that were read, in that order.

    `tokens_file` None means that nobody is asked who they are; `bind` is then a loopback address.
    """

    config_files: tuple[Path, ...]
    state_connection: str = field(repr=False)
    state_dir: Path
    schemas: tuple[SchemaSettings, ...]
    bind: str
    port: int
    tokens_file: Path | None
    lease_ttl_seconds: float
    lease_renew_seconds: float
    cycle_seconds: float
    parallel: int
    leadership_ttl_seconds: float
    batch_pause_seconds: float
