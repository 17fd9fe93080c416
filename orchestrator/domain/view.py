"""The view: everything that a decision about one upgrade looks at, read once, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.domain.admission import Admitted
from orchestrator.domain.fleets import Instance, Registration, Report
from orchestrator.domain.intentions import Intention
from orchestrator.domain.inventories import Inventory
from orchestrator.domain.ladder import Phase
from orchestrator.domain.releases import Link, Release
from orchestrator.domain.removals import Removal
from orchestrator.domain.roles import Role
from orchestrator.domain.throttling import Reason
from orchestrator.domain.upgrades import Move, Moving, Upgrade, moving, past_return
from orchestrator.domain.verifications import Verification
from orchestrator.domain.waves import EVERYBODY_AT_ONCE, FleetPause, Waves


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason why a phase cannot be entered now.

    `code` is stable, `culprits` names who or what, `remedy` is what to do or type. `policy` marks the ones that an
    operator may force; safety is never forced.
    """

    code: str
    sentence: str
    remedy: str
    culprits: tuple[str, ...] = ()
    policy: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """What a managed database holds of the upgrade's state, so that it can fence by itself.

    `admits` is what it tells whoever finds no daemon, for how long and how often to come back. `frozen`: commits of
    the state may be lost, or of this database. `written_at` is when it was written, by that database's clock.
    """

    upgrade_id: int | None
    phase: Phase
    fence: Phase
    revision: int
    incarnation: str
    admits: tuple[Admitted, ...] = ()
    ttl_seconds: float = 60.0
    renew_seconds: float = 20.0
    move: Move = Move.RESTING
    reversing: bool = False
    frozen: bool = False
    written_at: float | None = field(default=None, compare=False)

    @property
    def says(self) -> tuple[Phase, Phase, Move, bool, bool]:
        """What it says of the upgrade: at one revision there is only one such state."""
        return self.phase, self.fence, self.move, self.reversing, self.frozen

    @property
    def is_past_return(self) -> bool:
        """Whether it says that the upgrade can only go on."""
        return past_return(self.phase, self.fence, self.move)

    @property
    def moving(self) -> Moving:
        """Which rows may be moved in this database now."""
        return moving(self.phase, self.fence, reversing=self.reversing, frozen=self.frozen)


class MigrationState(StrEnum):
    """Where a data migration stands in one database."""

    PENDING = "pending"
    RUNNING = "running"
    VERIFYING = "verifying"
    COMPLETE = "complete"
    ASSUMED = "assumed"  # adopted with the database: it ran before we knew it
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MigrationFacts:
    """One data migration in one database, as its ledger tells. `rows_total` is our own count, None until counted.

    It is counted once, when the data migration begins: `rows_done` and `rows_verified` may pass it.
    `rows_quarantined` could not be moved: they were passed, and it does not end before they are moved.
    `rows_to_repair` are those that a retry with the same file moves again where rows differ; None: all of them.
    """

    name: str
    state: MigrationState
    rows_done: int = 0
    rows_total: int | None = None
    rows_verified: int = 0
    differences: int = 0
    first_differences: str | None = None
    witness: str | None = None
    error: str | None = None
    rows_quarantined: int = 0
    rows_to_repair: int | None = None

    @property
    def has_moved_all(self) -> bool:
        """Whether every row was moved once; what comes after that only proves it."""
        is_proven_or_so = self.state in (MigrationState.VERIFYING, MigrationState.COMPLETE, MigrationState.ASSUMED)
        return is_proven_or_so or (self.rows_verified > 0 and not self.rows_quarantined)


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that a data migration could not move: its key, e.g. `id=42`, why, and when that was, by its database."""

    key: str
    error: str
    failed_at: float


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was read of one managed database. With `error` set nothing else is known; `code` is that error's.

    `in_step`: every trigger that keeps the shapes in step stands. `sealed` and `unsealed`: all that deny writes to the
    old shape stand, or none of them. `denials` is how many writes they refused, None where that is not counted.
    `knew` is the highest revision that its copy was ever seen to hold, also while it cannot be read. `strays` are the
    revisions in its version table that the journal does not know, `lacks` what is missing of what expand makes, and
    `removal` what was taken away of the old shape by hand. `verified_at` is when the last look began that was to see
    the effect of a step, by the state's clock. `verifications` are comparisons of rows that somebody asked for.
    """

    name: str
    error: str | None = None
    remedy: str | None = None
    incarnation: str | None = None
    copy: Copy | None = None
    heads: tuple[str, ...] = ()
    expanded: bool = False
    contracted: bool = False
    migrations: tuple[MigrationFacts, ...] = ()
    code: str | None = None
    inventories: tuple[Inventory, ...] = ()
    registrations: tuple[Registration, ...] = ()
    roles: tuple[Role, ...] = ()
    in_step: bool = True
    sealed: bool = False
    unsealed: bool = True
    denials: int | None = None
    knew: int | None = None
    strays: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    removal: Removal | None = None
    verified_at: float | None = None
    verifications: tuple[Verification, ...] = ()

    def has_moved_all(self, data_migrations: Sequence[str]) -> bool:
        """Whether its ledger says of each of these that every row was moved once."""
        ledger = {each.name: each for each in self.migrations}
        return all(name in ledger and ledger[name].has_moved_all for name in data_migrations)

    @property
    def went_back(self) -> bool:
        """Whether it knows less than it did: copies are only ever written forward, so it lost commits."""
        if self.error is not None or self.knew is None:
            return False
        return self.copy is None or self.copy.revision < self.knew

    def after(self, before: DatabaseFacts | None) -> DatabaseFacts:
        """These facts, read after those, with what is remembered of the database."""
        seen = [] if self.error is not None or self.copy is None else [self.copy.revision]
        remembered = [] if before is None or before.knew is None else [before.knew]
        return replace(self, knew=max((*seen, *remembered), default=None))


class StepState(StrEnum):
    """Where a step stands in one database."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The step of one move in one database. `error` is a sentence for people, with `remedy`."""

    upgrade_id: int
    phase: Phase
    database: str
    state: StepState
    owner_epoch: int
    attempts: int = 0
    code: str | None = None
    error: str | None = None
    remedy: str | None = None
    started_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """An operator's yes to entering a phase. `forced` names the policy guards that it overrides."""

    upgrade_id: int
    phase: Phase
    actor: str
    reason: str | None
    forced: tuple[str, ...]
    approved_at: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What the site asks for beyond safety. `approve` lists phases that need an operator's yes."""

    approve: tuple[Phase, ...] = (Phase.CONTRACTED,)
    soak_seconds: float = 0.0
    waves: Waves = EVERYBODY_AT_ONCE


@dataclass(frozen=True, slots=True)
class View:
    """One upgrade with all facts, from one snapshot of the state and the latest reading of each database.

    `instances` are the possibly-alive ones. `known_fleets` are those of which anything was ever reported.
    `earlier_migrations` are the data migrations of all releases up to the old one. `left_out` are databases that took
    part in the upgrade and are not in the configuration any more. `evicted` are the instances that were counted out of
    `sourced_fleets`, which have an inventory source. `pauses` are the fleets that somebody paused, `intentions` what is
    wanted of data migrations. `links` say which of the new release's wait for which; none: for all before them.
    `waits` are why rows are not moved now, in each database in which they wait.
    `incarnation` is that of the state database, None where it does not tell restores.
    """

    upgrade: Upgrade
    old: Release
    new: Release
    instances: tuple[Instance, ...]
    reports: tuple[Report, ...]
    known_fleets: frozenset[str]
    databases: tuple[DatabaseFacts, ...]
    steps: tuple[StepRecord, ...]
    approvals: tuple[Approval, ...]
    policy: Policy
    now: float
    earlier_migrations: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    evicted: tuple[Instance, ...] = ()
    sourced_fleets: frozenset[str] = frozenset()
    pauses: tuple[FleetPause, ...] = ()
    incarnation: str | None = None
    intentions: tuple[Intention, ...] = ()
    links: tuple[Link, ...] = ()
    waits: Mapping[str, tuple[Reason, ...]] = field(default_factory=dict)

    @property
    def listed_fleets(self) -> frozenset[str]:
        """The fleets of which an inventory source lists anybody, be it as down, or cannot be read."""
        found = (each for facts in self.databases for each in facts.inventories)
        return frozenset(inventory.fleet for inventory in found if inventory.sightings or inventory.error is not None)

    def approval(self, phase: Phase) -> Approval | None:
        """The approval of entering `phase` in this upgrade, if there is one."""
        return next((approval for approval in self.approvals if approval.phase == phase), None)
