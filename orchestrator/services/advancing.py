"""Advancing: the five moves that take an upgrade from one phase to the next.

Fence, validate, step, publish, converge. Only the leading daemon does this, and nothing depends on there being only
one: every change of the upgrade is a compare-and-set on its revision, in a transaction that holds the schema's row
and checks the leader's epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.domain import planner
from orchestrator.domain.errors import OrchestratorError, Unavailable
from orchestrator.domain.fleets import Registration
from orchestrator.domain.forgotten import ahead
from orchestrator.domain.inventories import REMEMBERED_SECONDS, Inventory
from orchestrator.domain.losses import is_kept
from orchestrator.domain.progress import followed
from orchestrator.domain.records import DatabaseReading, Event, SchemaState
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import Copy, DatabaseFacts, StepRecord, StepState
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services import importing, looking
from orchestrator.services.context import Context, event, standing_of, view_of
from orchestrator.services.copying import copy_of, is_behind
from orchestrator.services.leadership import check_leader, not_leader, outgrow
from orchestrator.services.recording import DAEMON, record
from orchestrator.services.role_locks import RoleLocks

LOG = logging.getLogger(__name__)

REST_SECONDS = 10.0
"""How often databases are looked at while no upgrade of their schema is under way."""

_MOST_MOVES = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call of `advance` came to: the last decision, and whether anything changed on the way.

    At rest there is no decision, but `databases` as they were just seen, if they were.
    """

    decision: planner.Decision | None
    has_moved: bool
    databases: tuple[DatabaseFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """What is looked at before the databases are.

    `upgrade` is the newest one, also one that has ended: the copies are told of its end. `copy` is what they have to
    hold. `verify` says that the catalogs count now: a move is to be validated, or a step to be published.
    `stepped_at` is when that step ended in the last database.
    """

    upgrade: Upgrade | None
    copy: Copy | None
    verify: bool
    now: float
    stepped_at: float | None = None

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way."""
        return self.upgrade is None or self.upgrade.status is not Status.RUNNING


class Advancing:
    """Performs what the planner decides.

    `parallel` is how many databases of a schema are looked at, or take a step, at the same time. One that does not
    answer a look within `patience_seconds` counts as unreachable until it does.
    """

    def __init__(
        self, context: Context, *, parallel: int = 8, patience_seconds: float = looking.PATIENCE_SECONDS
    ) -> None:
        self._context = context
        self._parallel = parallel
        self._patience_seconds = patience_seconds
        self._role_locks = RoleLocks(context)
        self._looks: dict[str, looking.Looks[DatabaseFacts]] = {}
        self._inventories: dict[tuple[str, str], tuple[tuple[Inventory, ...], float]] = {}
        self._rested: dict[str, tuple[Upgrade | None, Copy | None, float]] = {}

    def advance(self, schema: str, *, leader_epoch: int) -> Outcome:
        """Make every move that can be made now. Repeatable; safe to be killed at any point.

        Raises `Conflict` (code `not_leader`) when another daemon leads.
        """
        managed = self._context.managed(schema)
        has_moved = False
        decision: planner.Decision | None = None
        for _ in range(_MOST_MOVES):
            look = self._look(managed)
            upgrade = look.upgrade
            if look.at_rest and self._has_rested(schema, look):
                break
            databases = self._observe(managed, look, leader_epoch)
            if upgrade is None or upgrade.status is not Status.RUNNING:
                self._note_forgotten(managed, databases, leader_epoch)
                self._rested[schema] = (upgrade, look.copy, look.now)
                return Outcome(decision, has_moved, databases)
            decision = self._decide_and_record(managed, upgrade, databases, leader_epoch)
            if isinstance(decision, planner.ContinueStep):
                if not self._run_step(managed, upgrade, decision, leader_epoch):
                    break  # nobody to go on with just now: the next call tries again
            elif decision is None or isinstance(decision, planner.Idle | planner.Refusal):
                break
            has_moved = True
        return Outcome(decision, has_moved)

    def _look(self, managed: ManagedSchema) -> _Look:
        def work(tx: Transaction) -> _Look:
            state = tx.schema(managed.name)
            upgrade = next(iter(tx.upgrades(managed.name, limit=1)), None)
            copy = None
            if state is not None:
                copy = copy_of(standing_of(tx, managed, state), upgrade, self._context.lease_terms)
            if upgrade is None:
                return _Look(None, copy, False, tx.now)
            steps = tx.steps(upgrade.id, upgrade.fence) if upgrade.move is Move.STEPPING else ()
            is_done = upgrade.move is Move.STEPPING and all(record.state is StepState.DONE for record in steps)
            stepped_at = max((each.finished_at or 0.0 for each in steps), default=None) if is_done else None
            return _Look(upgrade, copy, is_done or upgrade.move is Move.FENCED, tx.now, stepped_at)

        return self._context.store.read(work)

    def _has_rested(self, schema: str, look: _Look) -> bool:
        """Whether the databases were looked at a short while ago, and nothing has begun or ended since."""
        upgrade, copy, at = self._rested.get(schema, (None, None, None))
        is_same = (upgrade, copy) == (look.upgrade, look.copy)
        return at is not None and is_same and 0 <= look.now - at < REST_SECONDS

    def _observe(self, managed: ManagedSchema, look: _Look, leader_epoch: int) -> tuple[DatabaseFacts, ...]:
        """Bring every copy up to the upgrade's state, read the facts of every database and keep them.

        Whoever joined there without a daemon is imported before anything is decided on these facts.
        """
        upgrade, copy = look.upgrade, look.copy
        readings = self._context.store.read(lambda tx: tx.readings(managed.name))
        known = {reading.database: reading.facts for reading in readings}
        tracks = {reading.database: reading.tracks for reading in readings}

        def read(database: str) -> DatabaseFacts:
            release = managed.releases[upgrade.to_release] if upgrade is not None and not look.at_rest else None
            facts = managed.observe(database, release, verify=look.verify).after(known.get(database))
            keeps_it = upgrade is not None and is_kept(upgrade, facts)
            if copy is not None and facts.error is None and is_behind(facts, copy) and not keeps_it:
                try:
                    managed.write_copy(database, replace(copy, incarnation=facts.incarnation or ""))
                except OrchestratorError as error:
                    return replace(facts, error=error.message, remedy=error.remedy)
                facts = managed.observe(database, release).after(known.get(database))
            if upgrade is not None and facts.error is None:
                leads = partial(check_leader, leader_epoch=leader_epoch)
                facts = self._role_locks.settle(managed, facts, upgrade, leads, now=look.now)
            facts = replace(facts, verified_at=_verified_at(known.get(database), look))
            return self._with_inventories(managed, facts, look)

        def late(database: str, seconds: float) -> DatabaseFacts:
            return looking.unanswered(database, seconds, file=managed.file(database))

        fresh = looking.Looks(self._parallel, late, patience_seconds=self._patience_seconds)
        looks = self._looks.setdefault(managed.name, fresh)
        found = looks.at(managed.databases, (upgrade, copy, look.verify), read)
        seen = tuple(facts.after(None if _holds(facts, copy) else known.get(facts.name)) for facts in found)
        databases = self._import(managed, seen, leader_epoch)
        news = [facts for facts in databases if known.get(facts.name) != facts]

        def keep(tx: Transaction) -> None:
            check_leader(tx, leader_epoch)
            for facts in news:
                further = followed(tracks.get(facts.name, ()), facts, tx.now)
                tx.save_reading(DatabaseReading(managed.name, facts.name, facts, tx.now, further))

        if news:
            self._context.store.run(keep)
        return databases

    def _note_forgotten(self, managed: ManagedSchema, databases: Sequence[DatabaseFacts], leader_epoch: int) -> None:
        """At rest: nobody joins while a database knows more than the state. Audited."""

        def news(tx: Transaction) -> SchemaState | None:
            state = tx.schema(managed.name)
            if state is None or state.upgrade_id is not None:
                return None
            found = ahead(state, databases)
            if found is None and any(facts.error is not None for facts in databases):
                return None  # it may be the one that knew more
            return None if state.forgotten == found else replace(state, forgotten=found)

        def work(tx: Transaction) -> None:
            tx.lock_schema(managed.name)
            check_leader(tx, leader_epoch)
            state = news(tx)
            if state is not None:
                tx.save_schema(state)
                said = state.forgotten or f"no database knows more of {managed.name} than the state any more"
                event(tx, "schema.forgotten", said, actor=DAEMON, schema=managed.name)

        if self._context.store.read(news) is not None:
            self._context.store.run(work)

    def _import(
        self, managed: ManagedSchema, databases: tuple[DatabaseFacts, ...], leader_epoch: int
    ) -> tuple[DatabaseFacts, ...]:
        """Take over what instances wrote there without a daemon. Returns the facts with what could not be."""

        def work(tx: Transaction, part: Sequence[Registration]) -> tuple[Registration, ...]:
            check_leader(tx, leader_epoch)
            return importing.take_over(tx, managed, part, ttl_seconds=self._context.lease_terms.ttl_seconds)

        def taken_over(facts: DatabaseFacts) -> DatabaseFacts:
            news, known = facts.registrations, list[Registration]()
            for start in range(0, len(news), importing.AT_ONCE):
                part = news[start : start + importing.AT_ONCE]
                known += self._context.store.run(partial(work, part=part))
            if known:
                with suppress(OrchestratorError):  # it stays news there, and is taken over once more
                    managed.settle(facts.name, known)
            return replace(facts, registrations=tuple(each for each in news if each not in known))

        return tuple(taken_over(facts) if facts.registrations else facts for facts in databases)

    def _with_inventories(self, managed: ManagedSchema, facts: DatabaseFacts, look: _Look) -> DatabaseFacts:
        """The facts with what inventory sources list there: read now, or remembered if that is not long ago."""
        if facts.error is not None or not managed.sourced_fleets:
            return facts
        place = managed.name, facts.name
        known, at = self._inventories.get(place, ((), None))
        if look.verify or at is None or not 0 <= look.now - at < REMEMBERED_SECONDS:
            try:
                known = tuple(replace(each, observed_at=look.now) for each in managed.inventories(facts.name))
            except OrchestratorError as error:
                return replace(facts, error=error.message, remedy=error.remedy)
            self._inventories[place] = known, look.now
        return replace(facts, inventories=known)

    def _decide_and_record(
        self, managed: ManagedSchema, seen: Upgrade, databases: tuple[DatabaseFacts, ...], leader_epoch: int
    ) -> planner.Decision | None:
        """Decide on a fresh snapshot under the schema's lock, and record the decision in the same transaction.

        None when the upgrade changed since the databases were read. What the audit log got is logged here too: no other
        daemon has done it.
        """
        policy = self._context.policy(managed.name)

        def look(tx: Transaction) -> planner.Decision | None:
            upgrade = tx.upgrade(seen.id)
            if upgrade is None or upgrade.revision != seen.revision:
                return None
            return planner.decide(view_of(tx, managed, upgrade, policy, databases))

        def work(tx: Transaction) -> tuple[planner.Decision | None, tuple[Event, ...]]:
            state = tx.lock_schema(managed.name)
            check_leader(tx, leader_epoch)
            decision = look(tx)
            if decision is None:
                return None, ()
            told = record(
                tx, state, seen, decision,
                leader_epoch=leader_epoch, databases=managed.databases, terms=self._context.lease_terms,
            )  # fmt: skip
            return decision, told

        expected = self._context.store.read(look)
        if expected is None or isinstance(expected, planner.Idle | planner.Refusal | planner.ContinueStep):
            return expected
        decision, told = self._context.store.run(work)
        for line in told:
            LOG.info("%(sentence)s", {"action": line.action, "sentence": line.sentence, "schema": line.schema})
        return decision

    def _run_step(
        self, managed: ManagedSchema, upgrade: Upgrade, decision: planner.ContinueStep, leader_epoch: int
    ) -> bool:
        """Run the step where the decision says. Returns whether it ended anywhere, well or not.

        While it goes on in one database, maybe for hours, the others that had to wait try again.
        """
        release = managed.releases[upgrade.to_release]

        def run(database: str) -> StepState:
            record = self._start_step(upgrade, decision, database, leader_epoch)
            state, wrong = StepState.DONE, None
            try:
                managed.run_step(
                    database,
                    release,
                    decision.step,
                    upgrade_id=upgrade.id,
                    owner_epoch=leader_epoch,
                    watch=_Watch(self._context, upgrade, record),
                )
            except OrchestratorError as error:
                waits = isinstance(error, Unavailable) or error.code in ("lock_busy", "owner_epoch_passed")
                state, wrong = (StepState.PENDING if waits else StepState.FAILED), error
            self._end_step(record, state, upgrade, leader_epoch, wrong)
            if wrong is not None and wrong.code == "owner_epoch_passed":
                passed: int = wrong.fields["newest_epoch"]
                self._context.store.run(lambda tx: outgrow(tx, leader_epoch, passed))
            return state

        with ThreadPoolExecutor(self._parallel, thread_name_prefix=f"step-{managed.name}") as pool:
            under_way = {pool.submit(run, database): database for database in decision.databases}
            ended: list[StepState] = []
            while under_way:
                done, late = wait(under_way, timeout=self._patience_seconds)
                ended += [each.result() for each in done]
                under_way = {each: under_way[each] for each in late}
                waiting = self._waiting(upgrade, decision) if late else frozenset()
                under_way |= {pool.submit(run, name): name for name in waiting.difference(under_way.values())}
        return any(state is not StepState.PENDING for state in ended)

    def _waiting(self, upgrade: Upgrade, decision: planner.ContinueStep) -> frozenset[str]:
        """Where the step had to wait and may be tried again; nowhere when somebody has steered meanwhile."""

        def work(tx: Transaction) -> frozenset[str]:
            found = tx.upgrade(upgrade.id)
            if found is None or found.revision != upgrade.revision:
                return frozenset()
            steps = tx.steps(upgrade.id, decision.target)
            waiting = frozenset(record.database for record in steps if record.state is StepState.PENDING)
            return waiting.intersection(decision.databases)

        return self._context.store.read(work)

    def _start_step(
        self, upgrade: Upgrade, decision: planner.ContinueStep, database: str, leader_epoch: int
    ) -> StepRecord:
        def work(tx: Transaction) -> StepRecord:
            check_leader(tx, leader_epoch)
            known = {record.database: record for record in tx.steps(upgrade.id, decision.target)}
            before = known.get(database) or StepRecord(
                upgrade.id, decision.target, database, StepState.PENDING, leader_epoch
            )
            record = replace(
                before,
                state=StepState.RUNNING,
                owner_epoch=leader_epoch,
                attempts=before.attempts + 1,
                started_at=tx.now,
                finished_at=None,
            )  # why it waited stays to be read until this attempt has ended
            tx.save_step(record)
            return record

        return self._context.store.run(work)

    def _end_step(
        self,
        record: StepRecord,
        state: StepState,
        upgrade: Upgrade,
        leader_epoch: int,
        error: OrchestratorError | None,
    ) -> None:
        def work(tx: Transaction) -> None:
            check_leader(tx, leader_epoch)
            ended = replace(
                record,
                state=state,
                code=error.code if error else None,
                error=error.message if error else None,
                remedy=error.remedy if error else None,
                finished_at=tx.now,
            )
            if not tx.end_step(ended):  # between the look at who leads and this, somebody else took the step over
                raise not_leader()
            what = f"{upgrade.step.value} step of {upgrade.to_release} in {record.database}"
            sentence = f"{what} is done" if error is None else f"{what} did not end: {error.message}"
            action = "step.done" if error is None else f"step.{'waiting' if state is StepState.PENDING else 'failed'}"
            if action != "step.waiting":
                event(
                    tx, action, sentence, actor=DAEMON, schema=upgrade.schema, upgrade_id=upgrade.id,
                    subject=record.database,
                )  # fmt: skip

        self._context.store.run(work)


def _verified_at(before: DatabaseFacts | None, look: _Look) -> float | None:
    """When the catalog was looked at for the effect of a step: now, if that ended since it was done last."""
    known = None if before is None else before.verified_at
    is_news = look.stepped_at is not None and (known is None or known < look.stepped_at)
    return look.now if is_news else known


def _holds(facts: DatabaseFacts, copy: Copy | None) -> bool:
    """Whether the database holds just what the state knows: then nothing is hidden, whatever it knew before."""
    return facts.copy is not None and copy is not None and facts.copy.revision == copy.revision


class _Watch:
    """Keeps what a running step says of itself, as long as it belongs to whoever began it."""

    def __init__(self, context: Context, upgrade: Upgrade, record: StepRecord) -> None:
        self._context, self._upgrade, self._record = context, upgrade, record

    def waits(self, why: OrchestratorError) -> None:
        self._keep(replace(self._record, code=why.code, error=why.message, remedy=why.remedy))

    def interferes(self, action: str, sentence: str) -> None:
        self._keep(None, action, sentence)

    def _keep(self, news: StepRecord | None, action: str = "", sentence: str = "") -> None:
        def work(tx: Transaction) -> None:
            check_leader(tx, self._record.owner_epoch)
            if news is not None and not tx.end_step(news):
                raise not_leader()
            if action:
                event(
                    tx, action, sentence, actor=DAEMON, schema=self._upgrade.schema, upgrade_id=self._upgrade.id,
                    subject=self._record.database,
                )  # fmt: skip

        self._context.store.run(work)
