"""What a daemon answers, as values: only the fields that this program shows. Others are let be."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from orchestrator.client.errors import BadAnswer

T = TypeVar("T")


class Blocker(msgspec.Struct, frozen=True):
    """One reason why something may not happen now."""

    code: str
    sentence: str
    remedy: str = ""
    culprits: tuple[str, ...] = ()
    policy: bool = False


class Rung(msgspec.Struct, frozen=True):
    """One phase of an upgrade: passed, current, next or ahead."""

    phase: str
    state: str
    stage: str = ""
    why: str = ""


class Step(msgspec.Struct, frozen=True):
    """A step in one database."""

    state: str
    attempts: int = 0
    error: str | None = None
    remedy: str | None = None


class Database(msgspec.Struct, frozen=True):
    """One database of a schema; with `error` nothing else is known."""

    database: str
    error: str | None = None
    remedy: str | None = None
    heads: tuple[str, ...] = ()
    phase: str | None = None
    fence: str | None = None
    copy_revision: int | None = None
    copy_written_at: float | None = None
    step: Step | None = None


class Databases(msgspec.Struct, frozen=True):
    """All databases of a schema."""

    databases: tuple[Database, ...]


class QuarantinedRow(msgspec.Struct, frozen=True):
    """A row that a data migration could not move."""

    key: str
    error: str
    failed_at: float


class Intention(msgspec.Struct, frozen=True):
    """What somebody wants of a data migration."""

    wish: str
    by: str
    reason: str
    since: float


class Eta(msgspec.Struct, frozen=True):
    """How much work is left: `seconds` where the state is estimated."""

    state: str
    seconds: float | None = None


class Verification(msgspec.Struct, frozen=True):
    """A comparison of all rows that somebody asked for."""

    state: str
    sentence: str
    rows: int
    differences: int
    by: str
    started_at: float
    first_differences: str | None = None
    expected: str | None = None
    error: str | None = None
    reason: str | None = None
    finished_at: float | None = None
    to_move_again: str | None = None
    throttled_by: tuple[str, ...] = ()


class DataMigration(msgspec.Struct, frozen=True):
    """One data migration in one database."""

    name: str
    database: str
    state: str
    release: str | None = None
    rows_done: int = 0
    rows_total: int | None = None
    rows_verified: int = 0
    differences: int = 0
    first_differences: str | None = None
    error: str | None = None
    throttled_by: tuple[str, ...] = ()
    remedy: str | None = None
    rows_quarantined: int = 0
    quarantine: tuple[QuarantinedRow, ...] | None = None
    intention: Intention | None = None
    priority: int = 0
    progress: float | None = None
    rows_per_second: float | None = None
    eta: Eta | None = None
    reverse: bool = False
    rows_to_repair: int | None = None
    verification: Verification | None = None


class DataMigrations(msgspec.Struct, frozen=True):
    """Data migrations, each once per database. `retried` are the databases in which one will be tried again."""

    data_migrations: tuple[DataMigration, ...]
    retried: tuple[str, ...] = ()


class PaceSetting(msgspec.Struct, frozen=True):
    """Whose word an option is."""

    by: str
    at: float
    reason: str | None = None
    database: str | None = None


class PaceOption(msgspec.Struct, frozen=True):
    """What may be set in one database while rows are moved."""

    database: str
    option: str
    configured: float | None = None
    in_force: float | None = None
    set: PaceSetting | None = None


class PaceWindow(msgspec.Struct, frozen=True):
    """When rows of one database may be moved: its windows, and what is to be said of them now."""

    database: str
    windows: tuple[str, ...]
    sentence: str


class Pace(msgspec.Struct, frozen=True):
    """All that may be set in a schema, and the databases that have windows."""

    options: tuple[PaceOption, ...]
    windows: tuple[PaceWindow, ...] = ()


class Approval(msgspec.Struct, frozen=True):
    """Somebody's yes to a phase."""

    phase: str
    actor: str
    reason: str | None = None
    forced: tuple[str, ...] = ()
    approved_at: float | None = None


class Upgrade(msgspec.Struct, frozen=True):
    """The newest upgrade of a schema; `status` is none before the first."""

    schema: str
    status: str
    sentence: str
    upgrade: int | None = None
    from_release: str | None = msgspec.field(default=None, name="from")
    to_release: str | None = msgspec.field(default=None, name="to")
    phase: str | None = None
    phase_words: str | None = None
    stage: str | None = None
    fence: str | None = None
    move: str | None = None
    goal: str | None = None
    next: str | None = None
    revision: int = 0
    paused: str | None = None
    wave: int | None = None
    blockers: tuple[Blocker, ...] = ()
    ladder: tuple[Rung, ...] = ()
    databases: tuple[Database, ...] = ()
    data_migrations: tuple[DataMigration, ...] = ()
    progress: float | None = None
    eta_seconds: float | None = None
    eta: Eta | None = None
    rows_per_second: float | None = None
    notes: tuple[str, ...] = ()
    approvals: tuple[Approval, ...] = ()
    begun_at: float | None = None
    phase_since: float | None = None
    ended_at: float | None = None
    statements: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self.status == "running"


class Schema(msgspec.Struct, frozen=True):
    """One managed schema with its newest upgrade."""

    schema: str
    upgrade: Upgrade
    release: str | None = None
    releases: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


class Schemas(msgspec.Struct, frozen=True):
    """All managed schemas, in the order of the configuration."""

    schemas: tuple[Schema, ...]


class Initialised(msgspec.Struct, frozen=True):
    """What was done to give a schema its first release, one sentence for each database."""

    schema: str
    release: str
    done: tuple[str, ...]


class Instance(msgspec.Struct, frozen=True):
    """One process: alive (possibly), evicting (possibly alive still), left or evicted."""

    id: str
    fleet: str
    release: str
    state: str
    host: str | None = None
    acked: int = 0
    joined_at: float | None = None
    renewed_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    ended_by: str | None = None
    end_reason: str | None = None
    sessions: str | None = None
    proof: str | None = None
    unproven: str | None = None
    remedy: str | None = None


class SourceLine(msgspec.Struct, frozen=True):
    """What one source says of one release in a fleet, or why it says nothing."""

    source: str
    name: str | None = None
    release: str | None = None
    instances: int = 0
    silent: int = 0
    down: int = 0
    oldest_seconds: float | None = None
    error: str | None = None
    remedy: str | None = None


class Member(msgspec.Struct, frozen=True):
    """One instance as one source knows it: alive, silent or down."""

    id: str
    source: str
    release: str
    sign: str
    host: str | None = None
    database: str | None = None
    age_seconds: float | None = None


class FleetInventory(msgspec.Struct, frozen=True):
    """What runs in one fleet. Its instances only come along where one fleet is asked for."""

    fleet: str
    lines: tuple[SourceLine, ...] = ()
    members: tuple[Member, ...] = ()


class Inventories(msgspec.Struct, frozen=True):
    """What runs in the fleets of a schema."""

    fleets: tuple[FleetInventory, ...]


class Instances(msgspec.Struct, frozen=True):
    """Processes of a schema."""

    instances: tuple[Instance, ...]


class Daemon(msgspec.Struct, frozen=True):
    """One daemon: alive (possibly), left or evicted."""

    id: str
    host: str
    address: str
    version: str
    state: str
    started_at: float
    renewed_at: float
    expired: bool = False
    leads: bool = False
    leads_since: float | None = None
    silent_seconds: float | None = None
    end_reason: str | None = None


class Wait(msgspec.Struct, frozen=True):
    """A daemon that keeps the orchestrator's own tables from being contracted, and what clears it."""

    daemon: str
    sentence: str
    remedy: str = ""


class Daemons(msgspec.Struct, frozen=True):
    """The daemons of one state database, which of them keep its tables from being contracted; what its clock did."""

    daemons: tuple[Daemon, ...]
    waits: tuple[Wait, ...] = ()
    clock: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What somebody said of a fleet; `violation` says why that release may not run now."""

    fleet: str
    release: str
    instances: int
    actor: str
    reported_at: float
    reason: str | None = None
    violation: str | None = None


class FleetPause(msgspec.Struct, frozen=True):
    """Who paused a fleet and why; `holds` says that it is kept from the present phase."""

    actor: str
    reason: str
    paused_at: float
    holds: bool = False


class Fleet(msgspec.Struct, frozen=True):
    """One fleet: its wave, the phase that all of it is told, and who paused it."""

    fleet: str
    wave: int | None = None
    phase: str | None = None
    instances: int = 0
    told: int = 0
    acked: int = 0
    pause: FleetPause | None = None


class Fleets(msgspec.Struct, frozen=True):
    """The fleets of a schema."""

    fleets: tuple[Fleet, ...]


class Gate(msgspec.Struct, frozen=True):
    """The answer to a gate: status is RUNNING (closed, may open), SUCCEEDED (open) or TERMINAL (closed for good)."""

    gate: str
    open: bool
    status: str
    blocked_by: tuple[Blocker, ...] = ()
    phase: str | None = None
    eta_seconds: float | None = None
    revision: int = 0
    sentence: str = ""
    remedy: str = ""


class Event(msgspec.Struct, frozen=True):
    """One line of the audit log."""

    id: int
    at: float
    action: str
    actor: str
    sentence: str
    schema: str | None = None
    upgrade: int | None = None
    subject: str | None = None
    reason: str | None = None


class Events(msgspec.Struct, frozen=True):
    """Lines of the audit log, oldest first; asking again after `last` goes on from here."""

    events: tuple[Event, ...]
    last: int


class Ready(msgspec.Struct, frozen=True):
    """A yes to a release that asked whether it may start."""

    ready: bool
    sentence: str = ""


def read(document: object, kind: type[T]) -> T:
    """The JSON document as that type. Raises `BadAnswer` where a field is missing or of another type."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise BadAnswer(
            "answer_unexpected",
            f"the daemon answered something else than this program expects: {error}",
            remedy="Check that the address is that of an orchestrator, of the same version as this program.",
        ) from error


def plain(value: object) -> object:
    """The value as plain lists and mappings, as the daemon sent it, for `-f json`."""
    return msgspec.to_builtins(value)
