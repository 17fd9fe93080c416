"""Views to decide upon: an upgrade from release 1 to 2 that is about to enter a phase, with nothing in its way."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.fleets import Instance, InstanceState, Report
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import (
    Approval,
    Copy,
    DatabaseFacts,
    MigrationFacts,
    MigrationState,
    Policy,
    StepRecord,
    StepState,
    View,
)

NOW = 1_000_000.0
REVISION = 40
PUBLICATION = 37

OLD = Release("1", "e1", fleets=("api", "worker"))
NEW = Release(
    "2", "e2", "c2", ("split_name", "fill_kind"), InStepBy.CLIENT, ("customers.name",), ("api", "worker"),
    has_contract=True,
)  # fmt: skip
NEXT = Release("3", "e3", "c2", fleets=("api", "worker"))
RELEASES = Releases("inventory", (OLD, NEW, NEXT))


def an_upgrade(
    phase: Phase = Phase.BASE,
    *,
    fence: Phase | None = None,
    goal: Phase = Phase.CONTRACTED,
    move: Move | None = None,
    old_valid: bool | None = None,
    paused: str | None = None,
    cancelling: bool = False,
    status: Status = Status.RUNNING,
    release: Release = NEW,
) -> Upgrade:
    """The upgrade to release 2: at rest, or fenced where a fence is given. Nothing is sealed, unless a test says so."""
    at_rest = fence is None or fence is phase
    return Upgrade(
        id=3, schema="inventory", from_release="1", to_release="2",
        profile=replace(release.profile, seals=False), phase=phase,
        fence=phase if fence is None else fence, goal=goal,
        move=move if move is not None else (Move.RESTING if at_rest else Move.FENCED), revision=REVISION,
        publication=PUBLICATION, old_valid=phase < Phase.WRITE_NEW if old_valid is None else old_valid, paused=paused,
        cancelling=cancelling, status=status, begun_at=NOW - 1000, phase_since=NOW - 100,
    )  # fmt: skip


def an_instance(
    name: str = "a1",
    release: str = "2",
    *,
    fleet: str = "api",
    acked: int = PUBLICATION,
    expires_at: float = NOW + 60,
    host: str | None = None,
) -> Instance:
    """A live instance that acked what is published."""
    return Instance(
        "inventory", fleet, name, "epoch", "nonce", release, host, InstanceState.ALIVE, acked, NOW - 500, NOW - 10,
        expires_at,
    )  # fmt: skip


def a_report(release: str = "2", instances: int = 2, fleet: str = "worker") -> Report:
    """A fleet known by report."""
    return Report("inventory", fleet, release, instances, "alice", None, NOW - 50)


def complete(name: str, witness: str | None = "i1") -> MigrationFacts:
    """A data migration with its proof."""
    return MigrationFacts(name, MigrationState.COMPLETE, 9, 9, 9, witness=witness)


def a_copy(upgrade: Upgrade) -> Copy:
    """The copy that a database holds of that upgrade."""
    return Copy(
        upgrade.id, upgrade.phase, upgrade.fence, upgrade.revision, "i1", move=upgrade.move,
        reversing=upgrade.reversing, frozen=upgrade.frozen is not None,
    )  # fmt: skip


def a_database(name: str = "main", *, upgrade: Upgrade | None = None) -> DatabaseFacts:
    """A database whose copy is the upgrade's, with everything done in it."""
    found = upgrade or an_upgrade()
    return DatabaseFacts(
        name,
        incarnation="i1",
        copy=a_copy(found),
        heads=("e2",),
        expanded=True,
        contracted=True,
        migrations=tuple(complete(each) for each in NEW.data_migrations),
    )


def a_step(upgrade: Upgrade, state: StepState, database: str = "main", *, error: str | None = None) -> StepRecord:
    """The step of the move under way in one database."""
    return StepRecord(upgrade.id, upgrade.fence, database, state, owner_epoch=1, error=error)


def an_approval(phase: Phase, *, forced: tuple[str, ...] = ()) -> Approval:
    """Alice's yes."""
    return Approval(3, phase, "alice", "because", forced, NOW - 5)


def a_view(
    upgrade: Upgrade | None = None,
    *,
    instances: tuple[Instance, ...] = (),
    reports: tuple[Report, ...] = (),
    known_fleets: frozenset[str] = frozenset({"api", "worker"}),
    databases: tuple[DatabaseFacts, ...] | None = None,
    steps: tuple[StepRecord, ...] = (),
    approvals: tuple[Approval, ...] = (),
    policy: Policy = Policy(approve=()),  # noqa: B008  # frozen
    new: Release = NEW,
    earlier_migrations: tuple[str, ...] = (),
) -> View:
    """A view with nothing in the way of the next move."""
    found = upgrade or an_upgrade()
    return View(
        upgrade=found, old=OLD, new=new, instances=instances, reports=reports, known_fleets=known_fleets,
        databases=(a_database(upgrade=found),) if databases is None else databases, steps=steps, approvals=approvals,
        policy=policy, now=NOW, earlier_migrations=earlier_migrations,
    )  # fmt: skip


def with_database(view: View, **changes: object) -> View:
    """The same view with one thing different in its database."""
    return replace(view, databases=(replace(view.databases[0], **changes),))  # type: ignore[arg-type]
