"""Upgrades: begin one, look at it, wait for it to change, ask what would happen, steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec import field as named
from msgspec.structs import asdict, replace

from orchestrator.api.data_migrations import DataMigrationView, EtaView, migration_view
from orchestrator.api.databases import DatabaseView, database_view
from orchestrator.api.exchange import Answer, ApiServices, Asked, Name, Nothing, Question, Reason, View, Wait
from orchestrator.api.watch import Document
from orchestrator.domain.ladder import RUNG_OF, Phase
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import Approval, Blocker
from orchestrator.services.status import DatabaseStatus, SchemaStatus, UpgradeStatus

Revision = Annotated[int, Meta(ge=0, description="refuse when the upgrade's revision is another one by now")]


class BlockerView(View, frozen=True, kw_only=True):
    """One reason why the next phase is not entered. `policy` marks the ones that an operator may force."""

    code: str
    sentence: str
    culprits: tuple[str, ...]
    remedy: str
    policy: bool


class RungView(View, frozen=True, kw_only=True):
    """One phase of this upgrade, where it stands from here (passed, current, next, ahead), and why it exists."""

    phase: str
    stage: str
    why: str
    state: str


class ApprovalView(View, frozen=True, kw_only=True):
    """Somebody's yes to entering a phase; `forced` names the policy guards that it overrides."""

    phase: str
    actor: str
    reason: str | None
    forced: tuple[str, ...]
    approved_at: float


class UpgradeView(View, frozen=True, kw_only=True):
    """The newest upgrade of a schema. Status is none, running, completed or cancelled; with none all else is empty.

    `wave` is the newest open one while not everybody was told the phase, 0 for the canary; null once everybody was.
    `sentence` is the one line that matters most. Times are seconds since the epoch by the state database's clock;
    `progress` is 0 to 1 while rows move, at most 0.99 before all are proven, and null while not all are counted: each
    row counts the same, moved or verified. It never falls within one run; a data migration that is retried, or
    cancelled and resumed, begins another one. `eta_seconds` is in how many seconds they are done, null where `eta` does
    not estimate it; both count the time in which no maintenance window is open, and tell none further away than a year.
    `rows_per_second` are moved or verified, all databases together.
    """

    schema: str
    upgrade: int | None = None
    from_release: str | None = named(default=None, name="from")
    to_release: str | None = named(default=None, name="to")
    status: str = "none"
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
    sentence: str = ""
    blockers: tuple[BlockerView, ...] = ()
    ladder: tuple[RungView, ...] = ()
    databases: tuple[DatabaseView, ...] = ()
    data_migrations: tuple[DataMigrationView, ...] = ()
    progress: float | None = None
    eta_seconds: float | None = None
    eta: EtaView | None = None
    rows_per_second: float | None = None
    notes: tuple[str, ...] = ()
    approvals: tuple[ApprovalView, ...] = ()
    begun_at: float | None = None
    phase_since: float | None = None
    ended_at: float | None = None


class PlanView(UpgradeView, frozen=True, kw_only=True):
    """The dry run: an empty list of blockers means that the next move may happen; `statements` is what would run."""

    statements: tuple[str, ...] = ()


class UpgradeQuestion(Question, frozen=True, kw_only=True):
    """With `If-None-Match`, the answer may wait this long for another revision."""

    wait: Wait = 0.0


class BeginRequest(Question, frozen=True, kw_only=True):
    """Upgrade to this release, the one that follows."""

    release: Name
    reason: Reason | None = None


class ApproveRequest(Question, frozen=True, kw_only=True):
    """Say yes to a phase, or without one to the next that the policy asks about."""

    reason: Reason
    phase: Name | None = None
    force: tuple[Name, ...] = ()
    if_revision: Revision | None = None


class RollbackRequest(Question, frozen=True, kw_only=True):
    """Go back to this phase, rung by rung."""

    to: Name
    reason: Reason
    if_revision: Revision | None = None


class SteerRequest(Question, frozen=True, kw_only=True):
    """Pause or cancel, with a reason for the audit log."""

    reason: Reason
    if_revision: Revision | None = None


class ResumeRequest(Question, frozen=True, kw_only=True):
    """Go on, after a pause or after a rollback that has arrived."""

    reason: Reason | None = None
    if_revision: Revision | None = None


class RetryRequest(Question, frozen=True, kw_only=True):
    """Run the failed step again in this database, or without one in all in which it failed."""

    database: Name | None = None
    reason: Reason | None = None
    if_revision: Revision | None = None


# -- reading ---------------------------------------------------------------------------------------------------------


async def show(asked: Asked[UpgradeQuestion, Nothing]) -> Answer:
    """The upgrade; 304 while its revision is the one that the caller knows.

    The revision counts the upgrade's own steps: blockers and progress may differ under the same one.
    """
    known = _revisions(asked.headers.get("if-none-match", ""))
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + asked.query.wait
    seen = await asked.watch.look(asked.schema)
    while True:
        if str(seen.revision) not in known:
            found = await asked.watch.newest(asked.schema, revision=seen.revision)
            return Answer(found.body, 200, _etag(found.revision))
        changed = await asked.watch.after(seen, give_up_at - loop.time(), gone=asked.gone)
        if changed is None:
            return Answer(None, 304, _etag(seen.revision))
        seen = changed


def plan(asked: Asked[Nothing, Nothing]) -> Answer:
    """What the next move would do, or what blocks it, decided by the function that makes the move."""
    found = asked.services.board.plan(asked.schema)
    view = read(asked.services, asked.schema, found.status)
    return Answer(PlanView(**asdict(view), statements=found.statements), 200, _etag(view.revision))


# -- steering --------------------------------------------------------------------------------------------------------


def begin(asked: Asked[Nothing, BeginRequest]) -> Answer:
    """Begin; 200 instead of 201 when it was under way already."""
    _, begun_before = asked.services.upgrades.begin_or_find(
        asked.schema, asked.body.release, actor=asked.who, reason=asked.body.reason
    )
    asked.services.nudge(asked.schema)
    view = read(asked.services, asked.schema)
    if begun_before is None:
        return answer(view, status=201)
    return answer(replace(view, notes=(begun_before, *view.notes)), status=200)


def approve(asked: Asked[Nothing, ApproveRequest]) -> Answer:
    body = asked.body
    phase = Phase.from_word(body.phase) if body.phase is not None else None
    asked.services.upgrades.approve(
        asked.schema, phase=phase, actor=asked.who, reason=body.reason, force=body.force, if_revision=body.if_revision
    )
    return _steered(asked.services, asked.schema)


def rollback(asked: Asked[Nothing, RollbackRequest]) -> Answer:
    body = asked.body
    asked.services.upgrades.rollback(
        asked.schema, Phase.from_word(body.to), actor=asked.who, reason=body.reason, if_revision=body.if_revision
    )
    return _steered(asked.services, asked.schema)


def pause(asked: Asked[Nothing, SteerRequest]) -> Answer:
    asked.services.upgrades.pause(
        asked.schema, actor=asked.who, reason=asked.body.reason, if_revision=asked.body.if_revision
    )
    return _steered(asked.services, asked.schema)


def resume(asked: Asked[Nothing, ResumeRequest]) -> Answer:
    asked.services.upgrades.resume(
        asked.schema, actor=asked.who, reason=asked.body.reason, if_revision=asked.body.if_revision
    )
    return _steered(asked.services, asked.schema)


def retry(asked: Asked[Nothing, RetryRequest]) -> Answer:
    body = asked.body
    asked.services.upgrades.retry(
        asked.schema, body.database, actor=asked.who, reason=body.reason, if_revision=body.if_revision
    )
    return _steered(asked.services, asked.schema)


def cancel(asked: Asked[Nothing, SteerRequest]) -> Answer:
    asked.services.upgrades.cancel(
        asked.schema, actor=asked.who, reason=asked.body.reason, if_revision=asked.body.if_revision
    )
    return _steered(asked.services, asked.schema)


def _steered(services: ApiServices, schema: str, *, status: int = 200) -> Answer:
    services.nudge(schema)
    return answer(read(services, schema), status=status)


# -- views -----------------------------------------------------------------------------------------------------------


def read(services: ApiServices, schema: str, status: UpgradeStatus | None = None) -> UpgradeView:
    """The newest upgrade of a schema as it is shown. Raises `NotFound` for an unknown schema."""
    if status is not None:
        return _view(services, status)
    return view_of(services, services.board.schema(schema))


def view_of(services: ApiServices, schema: SchemaStatus) -> UpgradeView:
    """The newest upgrade of a schema whose status was read already."""
    if schema.upgrade is not None:
        return _view(services, schema.upgrade)
    found = schema.blockers
    where = f"is at release {schema.release}" if schema.release is not None else "has no release yet"
    return UpgradeView(
        schema=schema.name,
        sentence=found[0].sentence if found else f"{schema.name} {where}; no upgrade of it has begun",
        blockers=tuple(blocker_view(blocker) for blocker in found),
        databases=tuple(database_view(DatabaseStatus(facts, None)) for facts in schema.readings),
    )


def document(services: ApiServices, schema: str) -> Document:
    """The newest upgrade of a schema, made once for everybody who asks. Raises `NotFound`, `Unavailable`."""
    status = services.board.schema(schema)
    view = view_of(services, status)
    mark = (
        status.release,
        view.upgrade,
        view.revision,
        tuple((blocker.code, blocker.culprits) for blocker in view.blockers),
        tuple((each.database, each.error, each.step) for each in view.databases),
        None if view.progress is None else int(100 * view.progress),
        tuple((each.name, each.database, each.state, each.intention) for each in view.data_migrations),
    )
    return Document(mark, view.revision, status, msgspec.json.encode(view))


def answer(view: UpgradeView, *, status: int = 200) -> Answer:
    """An upgrade with its revision as the entity tag."""
    return Answer(view, status, _etag(view.revision))


def blocker_view(blocker: Blocker) -> BlockerView:
    """A blocker as it is shown."""
    return BlockerView(
        code=blocker.code,
        sentence=blocker.sentence,
        culprits=blocker.culprits,
        remedy=blocker.remedy,
        policy=blocker.policy,
    )


def _view(services: ApiServices, status: UpgradeStatus) -> UpgradeView:
    upgrade, progress = status.upgrade, status.progress
    migrations = services.data_migrations.list(upgrade.schema)
    return UpgradeView(
        schema=upgrade.schema,
        upgrade=upgrade.id,
        from_release=upgrade.from_release,
        to_release=upgrade.to_release,
        status=upgrade.status.value,
        phase=upgrade.phase.word,
        phase_words=RUNG_OF[upgrade.phase].why,
        stage=upgrade.stage.value,
        fence=upgrade.fence.word,
        move=upgrade.move.value,
        goal=upgrade.goal.word,
        next=status.next.word if status.next is not None else None,
        revision=upgrade.revision,
        paused=upgrade.paused,
        wave=upgrade.telling.wave if upgrade.telling is not None else None,
        sentence=status.sentence,
        blockers=tuple(blocker_view(blocker) for blocker in status.blockers),
        ladder=_ladder(upgrade, status.next),
        databases=tuple(database_view(database) for database in status.databases),
        data_migrations=tuple(migration_view(each) for each in migrations if each.release == upgrade.to_release),
        progress=None if progress is None else progress.share,
        eta_seconds=status.eta_seconds,
        eta=None if progress is None else EtaView(state=progress.eta.state.value, seconds=status.eta_seconds),
        rows_per_second=None if progress is None else progress.rows_per_second,
        notes=status.notes,
        approvals=tuple(_approval_view(approval) for approval in status.approvals),
        begun_at=upgrade.begun_at,
        phase_since=upgrade.phase_since,
        ended_at=upgrade.ended_at,
    )


def _ladder(upgrade: Upgrade, following: Phase | None) -> tuple[RungView, ...]:
    def state(phase: Phase) -> str:
        if phase is upgrade.phase:
            return "current"
        if phase is following and upgrade.status is Status.RUNNING:
            return "next"
        return "passed" if phase < upgrade.phase else "ahead"

    return tuple(
        RungView(phase=phase.word, stage=RUNG_OF[phase].stage.value, why=RUNG_OF[phase].why, state=state(phase))
        for phase in upgrade.profile.phases()
    )


def _approval_view(approval: Approval) -> ApprovalView:
    return ApprovalView(
        phase=approval.phase.word,
        actor=approval.actor,
        reason=approval.reason,
        forced=approval.forced,
        approved_at=approval.approved_at,
    )


def _etag(revision: int) -> Mapping[str, str]:
    return {"ETag": f'"{revision}"'}


def _revisions(header: str) -> frozenset[str]:
    """The revisions that an If-None-Match names; weak and strong tags mean the same here."""
    return frozenset(tag.strip().removeprefix("W/").strip('"') for tag in header.split(",") if tag.strip())
