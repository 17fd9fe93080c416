"""Status: where schemas and upgrades stand, in words for people and values for programs. It only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain import planner
from orchestrator.domain.admission import Admission, Standing, admit, taking_over
from orchestrator.domain.errors import Conflict, Unavailable
from orchestrator.domain.gates import GateAnswer, answer, parse
from orchestrator.domain.guards.approved import unsealed_note
from orchestrator.domain.ladder import POINT_OF_NO_RETURN, Phase, Step
from orchestrator.domain.progress import Progress
from orchestrator.domain.records import DatabaseReading, Event, SchemaState
from orchestrator.domain.roles import first_locked
from orchestrator.domain.throttling import Reason
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import Approval, Blocker, DatabaseFacts, StepRecord, StepState, View
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, readings_of, removed_by_hand, standing_of, view_of
from orchestrator.services.inventories import FleetInventory, inventories
from orchestrator.services.progress import progress_of_upgrade
from orchestrator.services.windows import in_windows

MOST_NAMES = 3
"""So many databases are named in a sentence."""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """One managed database in an upgrade: what was last read of it, and its step if one is under way."""

    facts: DatabaseFacts
    step: StepRecord | None


@dataclass(frozen=True, slots=True)
class UpgradeStatus:
    """One upgrade as people look at it. `next` is the phase that the next move enters, None at the goal.

    `sentence` is the one line that matters most. `progress` is that of all its rows while they move, else None;
    `eta_seconds` is when they are done, in seconds from now, None where nobody can tell. `notes` announce what cannot
    be undone, before it is crossed.
    """

    upgrade: Upgrade
    next: Phase | None
    blockers: tuple[Blocker, ...]
    sentence: str
    databases: tuple[DatabaseStatus, ...]
    approvals: tuple[Approval, ...]
    progress: Progress | None
    eta_seconds: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """One schema: its release, the releases that its manifest lists, and its newest upgrade if there was one.

    `readings` is what was last read of each of its databases. `blockers` is what keeps instances from joining, at rest.
    """

    name: str
    release: str | None
    releases: tuple[str, ...]
    databases: tuple[str, ...]
    readings: tuple[DatabaseFacts, ...]
    upgrade: UpgradeStatus | None
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a schema stands, and its newest upgrade, ended or not, as they were at one moment."""

    standing: Standing
    newest: Upgrade | None

    @property
    def revision(self) -> int:
        """That of the newest upgrade, 0 before the first."""
        return 0 if self.newest is None else self.newest.revision


@dataclass(frozen=True, slots=True)
class Plan:
    """The dry run: what the next move would do, or what blocks it; `statements` is what would run, database first."""

    status: UpgradeStatus
    statements: tuple[str, ...]


class StatusBoard:
    """Reads the state of record; managed databases are only asked for a plan."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def names(self) -> tuple[str, ...]:
        """Every configured schema, in the order of the configuration."""
        return tuple(self._context.schemas)

    def schemas(self) -> tuple[SchemaStatus, ...]:
        """Every configured schema, in the order of the configuration."""
        return tuple(self.schema(name) for name in self._context.schemas)

    def schema(self, name: str) -> SchemaStatus:
        """One schema. Raises `NotFound`."""
        managed = self._context.managed(name)

        def work(tx: Transaction) -> SchemaStatus:
            state = _state_of(tx, name)
            newest = tx.upgrades(name, limit=1)
            readings = readings_of(tx, managed)
            blockers = tuple(_at_rest(state))
            return SchemaStatus(
                name,
                state.release,
                tuple(release.name for release in managed.releases.ordered),
                managed.databases,
                tuple(reading.facts for reading in readings),
                self._upgrade_status(tx, managed, newest[0], readings, blockers) if newest else None,
                blockers,
            )

        return self._context.store.read(work)

    def plan(self, schema: str) -> Plan:
        """What would happen next, read-only, by the function that decides it."""
        managed = self._context.managed(schema)
        found = self.schema(schema).upgrade
        if found is None or found.upgrade.status is not Status.RUNNING or found.next is None:
            return Plan(found, ()) if found is not None else _no_plan(schema)
        step = found.upgrade.step_into(found.next)
        if step is Step.NONE:
            return Plan(found, ())
        release = managed.releases[found.upgrade.to_release]
        statements: list[str] = []
        silent = {each.facts.name: each.facts.error for each in found.databases if each.facts.error is not None}
        for database in managed.databases:
            if database in silent:  # whoever asks for a plan would wait for it, maybe for ever
                statements.append(f"{database}: {silent[database]}")
                continue
            try:
                statements += [f"{database}: {line}" for line in managed.plan(database, release, step)]
            except Unavailable as error:
                statements.append(f"{database}: {error.message}")
        return Plan(found, tuple(statements))

    def gate(self, schema: str, gate_name: str) -> tuple[GateAnswer, UpgradeStatus | None]:
        """The answer to a gate, and the newest upgrade. Raises `Invalid` or `NotFound` for a gate that is none."""
        gate, found = parse(gate_name), self.whereabouts(schema)
        return answer(gate, found.standing, found.newest), self.schema(schema).upgrade

    def whereabouts(self, schema: str) -> Whereabouts:
        """Where the schema stands, and its newest upgrade. Cheap, whatever the number of instances."""
        managed = self._context.managed(schema)

        def work(tx: Transaction) -> Whereabouts:
            state = _state_of(tx, schema)
            while True:
                newest = tx.upgrades(schema, limit=1)
                before, state = state, _state_of(tx, schema)
                if before == state:  # no upgrade began or ended between the readings
                    break
            upgrade = newest[0] if newest else None
            under_way = upgrade if upgrade is not None and upgrade.id == state.upgrade_id else None
            standing = Standing(
                managed.name, state.release, under_way, managed.releases, state.last_revision, tx.incarnation,
                state.forgotten, removed_by_hand(tx, managed, under_way),
            )  # fmt: skip
            return Whereabouts(standing, upgrade)

        return self._context.store.read(work)

    def readiness(self, schema: str, release: str) -> tuple[Admission, Standing]:
        """Whether code of that release may start now."""
        standing = self.standing(schema)
        return admit(standing, release), standing

    def standing(self, schema: str) -> Standing:
        """Where the schema stands."""
        managed = self._context.managed(schema)
        return self._context.store.read(lambda tx: standing_of(tx, managed, _state_of(tx, schema)))

    def inventories(self, schema: str) -> tuple[FleetInventory, ...]:
        """What runs in each fleet, and from which source that is known. Raises `NotFound`."""
        managed = self._context.managed(schema)
        return self._context.store.read(lambda tx: tuple(inventories(tx, managed)))

    def events(self, *, schema: str | None, after: int, limit: int) -> tuple[Event, ...]:
        """The audit log, oldest first; the newest `limit` lines when `after` is -1."""
        return self._context.store.read(lambda tx: tx.events(schema=schema, after=after, limit=limit))

    def _upgrade_status(
        self,
        tx: Transaction,
        managed: ManagedSchema,
        upgrade: Upgrade,
        readings: tuple[DatabaseReading, ...],
        at_rest: tuple[Blocker, ...],
    ) -> UpgradeStatus:
        databases = tuple(reading.facts for reading in readings)
        view = view_of(tx, managed, upgrade, self._context.policy(managed.name), databases)
        running = upgrade.status is Status.RUNNING
        blockers = planner.explain(view) if running else at_rest
        steps = {record.database: record for record in view.steps} if running else {}
        throttles = view.waits if running else {}
        progress = progress_of_upgrade(view, readings, throttles)
        share = None if progress is None else progress.share
        return UpgradeStatus(
            upgrade=upgrade,
            next=upgrade.target if running else None,
            blockers=blockers,
            sentence=_sentence(view, blockers, share, throttles),
            databases=tuple(DatabaseStatus(facts, steps.get(facts.name)) for facts in databases),
            approvals=view.approvals,
            progress=progress,
            eta_seconds=in_windows(managed, view, None if progress is None else progress.eta.seconds),
            notes=_notes(view) if running else (),
        )


def _state_of(tx: Transaction, schema: str) -> SchemaState:
    return tx.schema(schema) or SchemaState(schema, None, None, 0)


def _at_rest(state: SchemaState) -> Iterator[Blocker]:
    if state.upgrade_id is None and state.forgotten is not None:
        yield Blocker("copy_ahead", f"nobody may join: {state.forgotten}", taking_over(state.name))


def _no_plan(schema: str) -> Plan:
    raise Conflict(
        "no_upgrade",
        f"no upgrade of {schema} is under way",
        remedy=f"orchestrator upgrade begin {schema} --release RELEASE",
    )


def _sentence(
    view: View, blockers: tuple[Blocker, ...], share: float | None, throttles: Mapping[str, Sequence[Reason]]
) -> str:
    upgrade = view.upgrade
    if upgrade.status is not Status.RUNNING and blockers:
        return blockers[0].sentence
    if upgrade.status is Status.COMPLETED:
        return f"upgraded to {upgrade.to_release}"
    if upgrade.status is Status.CANCELLED:
        return f"the upgrade to {upgrade.to_release} was cancelled; {upgrade.from_release} stays"
    running_rows = [blocker for blocker in blockers if blocker.code.startswith("data_migration_")]
    failed = [blocker for blocker in blockers if blocker.code == "data_migration_failed"]
    if failed or len(running_rows) < len(blockers):
        first = next(blocker for blocker in failed or blockers if failed or blocker not in running_rows)
        more = len(blockers) - 1
        return first.sentence + (f" (and {more} more)" if more else "")
    if running_rows:
        return _of_rows(view, share, throttles, [each for each in running_rows if each.code == "data_migration_paused"])
    if upgrade.move is Move.STEPPING:
        troubled = [record for record in view.steps if record.state is not StepState.DONE and record.error]
        if troubled:
            step = troubled[0]
            did = "failed" if step.state is StepState.FAILED else "waits"
            return f"the {upgrade.step.value} step {did} in {step.database}: {step.error}"
        running = [record.database for record in view.steps if record.state is StepState.RUNNING]
        is_left = 0 < len(running) < len(view.databases)
        return f"running the {upgrade.step.value} step" + (f" in {_listed(running)}" if is_left else "")
    target = upgrade.target
    if target is None:
        goes_on = f"orchestrator upgrade resume {upgrade.schema}"
        return f"rests at {upgrade.phase.word}, where it was sent; to go on: {goes_on}"
    return f"about to enter {target.word}"


def _of_rows(
    view: View, share: float | None, throttles: Mapping[str, Sequence[Reason]], paused: Sequence[Blocker]
) -> str:
    """How far rows are, which of them somebody paused, and where and why the others wait."""
    moving = "moving rows" if share is None else f"moving rows: {share:.0%}"
    if paused:
        more = f" (and {len(paused) - 1} more)" if len(paused) > 1 else ""
        moving = f"{moving}; {paused[0].sentence}{more}"
    if not throttles:
        return moving
    if len(view.databases) == 1:
        why = _reasons(*throttles.values())
    else:
        first = [*throttles.items()][:MOST_NAMES]
        why = "; ".join(f"{database}: {_reasons(reasons)}" for database, reasons in first)
    if len(throttles) < len(view.databases):
        return f"{moving}; some wait: {why}"
    return f"rows wait{'' if share is None else f' at {share:.0%}'}: {why}"


def _reasons(reasons: Sequence[Reason]) -> str:
    return "; ".join(reason.sentence for reason in reasons)


def _listed(databases: Sequence[str]) -> str:
    more = f" and {len(databases) - MOST_NAMES} more" if len(databases) > MOST_NAMES else ""
    return ", ".join(databases[:MOST_NAMES]) + more


def _role_notes(view: View) -> Iterator[str]:
    """Which roles are going to be locked, and what is missing for that."""
    phase = first_locked(view.upgrade)
    for facts in view.databases if phase is not None else ():
        for role in facts.roles:
            if phase is not None and role.release == view.old.name:
                trouble = f"; it cannot be: {role.problem}. {role.remedy}" if role.problem else ""
                yield f"{phase.word}: role {role.name} is locked in {facts.name} before{trouble}"


def _notes(view: View) -> tuple[str, ...]:
    """What people should know before they let the upgrade go on."""
    upgrade = view.upgrade
    phases = upgrade.profile.phases()
    notes = [*_role_notes(view)]
    for facts in view.databases:
        notes += [
            f"{facts.name}: rows of {each.name} were compared, as {each.actor} had asked: {each.sentence}"
            for each in facts.verifications
            if each.is_alarm
        ]
    if Phase.WRITE_NEW in phases and upgrade.phase < Phase.WRITE_NEW:
        notes.append("write_new: from there the old shape goes stale, so there is no going back below read_new")
    if POINT_OF_NO_RETURN in phases and upgrade.phase < POINT_OF_NO_RETURN:
        notes.append(f"{POINT_OF_NO_RETURN.word}: removes the old shape; no way back{unsealed_note(view)}")
    if upgrade.profile.in_step_by == "service":
        notes.append("the service vouches that both releases coexist: order is guaranteed here, values are not")
    return tuple(notes)
