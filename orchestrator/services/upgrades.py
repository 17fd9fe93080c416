"""Upgrades: begin one, steer it, and the schemas that they belong to.

Every verb is one transaction that writes its audit line. Where a verb is refused nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.domain.admission import taking_over
from orchestrator.domain.errors import Conflict, Invalid, NotFound, StaleRevision
from orchestrator.domain.forgotten import Recalled, ahead
from orchestrator.domain.guards import approved
from orchestrator.domain.ladder import Phase
from orchestrator.domain.losses import frozen_seconds
from orchestrator.domain.records import SchemaState
from orchestrator.domain.releases import Release
from orchestrator.domain.upgrades import Move, Status, Upgrade, begin, check_way_back
from orchestrator.domain.view import Approval, DatabaseFacts, StepState
from orchestrator.domain.ways_back import cancelling
from orchestrator.ports import ManagedSchema, Transaction
from orchestrator.services.context import Context, event, running_upgrade
from orchestrator.services.taking_over import take_over
from orchestrator.services.vouching import check_gone, check_reason

_LINES_LOOKED_AT = 1000

FORCIBLE = ("soaked", "waves_open")
"""Policy guards that an approval may override. Acks, skew and witnesses are never forced."""


class Upgrades:
    """`actor` is who asks; `if_revision` refuses when the upgrade changed since the caller read it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def initialise(self, schema: str, release: str, *, actor: str) -> tuple[str, ...]:
        """Give a schema its first release: install it in empty databases, adopt those that are at it. Repeatable.

        Between upgrades it does the same for databases that were added since.
        """
        managed = self._context.managed(schema)
        wanted = managed.releases[release]
        known = self._context.store.read(lambda tx: tx.schema(schema))
        databases = managed.databases
        after = managed.releases.after
        was_initialised = known is not None and _is_initialised(known, release, after)
        if was_initialised:
            at_rest = known is not None and known.upgrade_id is None
            databases = tuple(facts.name for facts in _added(_seen(managed, wanted))) if at_rest else ()
            if not databases:
                return (f"{schema} is at release {release} already",)
        done = tuple(f"{database}: {managed.initialise(database, wanted)}" for database in databases)

        def work(tx: Transaction) -> None:
            state = tx.lock_schema(schema)
            if not _is_initialised(state, release, after):
                tx.save_schema(replace(state, release=release))
            elif not was_initialised:  # by somebody else, while the databases were at work
                return
            event(
                tx, "schema.initialise", f"{schema} is at release {release}: {'; '.join(done)}",
                actor=actor, schema=schema,
            )  # fmt: skip

        self._context.store.run(work)
        return done

    def begin(self, schema: str, release: str, *, actor: str, reason: str | None = None) -> Upgrade:
        """Begin the upgrade to the next release. Repeating it is harmless; another target is refused.

        As `begin_or_find`, without who began it.
        """
        return self.begin_or_find(schema, release, actor=actor, reason=reason)[0]

    def begin_or_find(
        self, schema: str, release: str, *, actor: str, reason: str | None = None
    ) -> tuple[Upgrade, str | None]:
        """Begin the upgrade to the next release, or find it under way: then with a sentence that says who began it.

        The release's migrations are judged first, and nothing is begun if one breaks a rule of its stage; nor where a
        database was added and has nothing of the present release yet.
        """
        managed = self._context.managed(schema)
        wanted = managed.releases[release]
        known = self._context.store.read(lambda tx: tx.schema(schema))
        if known is not None and known.upgrade_id is None:  # before the migrations of a release whose turn it is not
            _check_next(known, wanted, managed.releases.after)
        seen = self._refuse_empty(managed, known)
        managed.check(wanted)

        def work(tx: Transaction) -> tuple[Upgrade, str | None]:
            state = tx.lock_schema(schema)
            if state.upgrade_id is not None:
                under_way = _same_or_refuse(running_upgrade(tx, state), release)
                return under_way, _who_began(tx, under_way)
            _check_next(state, wanted, managed.releases.after)
            databases = (*seen, *(reading.facts for reading in tx.readings(schema)))
            _check_not_forgotten(state, databases)
            assert state.release is not None
            frozen, frozen_until = _doubted(tx, state, self._context.lease_terms.ttl_seconds)
            upgrade = tx.add_upgrade(
                begin(
                    schema=schema, from_release=state.release, to_release=release, profile=wanted.profile,
                    after_revision=state.last_revision, now=tx.now, manifest=wanted.recorded(),
                    incarnation=tx.incarnation, frozen=frozen, frozen_until=frozen_until,
                ),
                above=max((each.copy.upgrade_id or 0 for each in databases if each.copy is not None), default=0),
            )  # fmt: skip
            tx.save_schema(replace(state, upgrade_id=upgrade.id))
            event(
                tx, "upgrade.begin", f"the upgrade of {schema} from {state.release} to {release} begins",
                actor=actor, schema=schema, upgrade_id=upgrade.id, reason=reason,
            )  # fmt: skip
            return upgrade, None

        return self._context.store.run(work)

    def _refuse_empty(self, managed: ManagedSchema, known: SchemaState | None) -> tuple[DatabaseFacts, ...]:
        """Raise where a database has nothing of the present release. The databases as they are now, at rest."""
        if known is None or known.release is None or known.upgrade_id is not None:
            return ()
        seen = _seen(managed, managed.releases[known.release])
        for facts in _added(seen):
            if not facts.heads:
                raise Conflict(
                    "database_empty",
                    f"database {facts.name} is empty, and {managed.name} is at release {known.release}",
                    remedy=f"Install that release in it: orchestrator schema init {managed.name} --release "
                    f"{known.release}",
                    database=facts.name,
                )
        return seen

    def take_over(self, schema: str, *, actor: str, reason: str) -> Recalled:
        """Let the state recall, from the databases' copies, an upgrade that it has forgotten. Only at rest."""
        return take_over(self._context, schema, actor=actor, reason=reason)

    def approve(
        self,
        schema: str,
        *,
        phase: Phase | None,
        actor: str,
        reason: str,
        force: tuple[str, ...] = (),
        if_revision: int | None = None,
    ) -> Upgrade:
        """Say yes to entering a phase: the one given, or the only one that the policy asks about. Repeatable.

        Where the policy asks about several it has to be named: said twice, a yes to "the next one" is a yes to two.
        It may come early. Raises `Conflict` (code `nothing_to_approve`) where it would never be asked for.
        """
        check_reason(reason)
        forced = tuple(sorted({*force}))
        unknown = {*forced} - {*FORCIBLE}
        if unknown:
            raise Invalid(
                "guard_not_forcible",
                f"{', '.join(sorted(unknown))} cannot be forced",
                remedy=f"Only the site's own policy can be: {', '.join(FORCIBLE)}. Evict what blocks instead.",
            )
        policy = self._context.policy(schema)

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            phases = upgrade.profile.phases()
            asked = [each for each in phases if each in policy.approve]
            if phase is None and len(asked) > 1:
                raise Invalid(
                    "phase_ambiguous",
                    f"approval is asked for several phases: {', '.join(each.word for each in asked)}",
                    remedy=f"orchestrator upgrade approve {schema} --phase PHASE --reason ...",
                )
            wanted = phase or next((each for each in asked if each > upgrade.phase), None)
            if wanted is None or wanted not in phases or wanted <= upgrade.phase:
                raise Conflict(
                    "nothing_to_approve",
                    f"this upgrade has no later phase {wanted.word if wanted else 'that needs approval'}",
                    remedy=f"orchestrator upgrade show {schema}",
                )
            if not approved.counts(policy, wanted, forced):
                nor = f", and {' and '.join(forced)} cannot hold it up" if forced else ""
                words = ", ".join(each.word for each in asked) or "no phase"
                raise Conflict(
                    "nothing_to_approve",
                    f"entering {wanted.word} asks for no approval{nor}",
                    remedy=f"Nothing was approved. In this upgrade approval is asked for: {words}.",
                )
            tx.save_approval(Approval(upgrade.id, wanted, actor, reason, forced, tx.now))
            also = f", forcing {', '.join(forced)}" if forced else ""
            self._note(tx, upgrade, "approve", f"{actor} approved {wanted.word}{also}", actor, reason)
            return upgrade

        return self._steer(schema, if_revision, change)

    def rollback(self, schema: str, to: Phase, *, actor: str, reason: str, if_revision: int | None = None) -> Upgrade:
        """Steer the upgrade back to an earlier phase. It goes there rung by rung, as the guards allow.

        Approvals of the phases above are withdrawn: they were given before there was a reason to go back.
        """
        check_reason(reason)

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            is_later = to > upgrade.phase or (to == upgrade.phase and upgrade.fence <= upgrade.phase)
            if to not in upgrade.profile.phases() or is_later:
                raise Conflict(
                    "not_a_way_back",
                    f"{to.word} is not an earlier phase than {upgrade.phase.word} in this upgrade",
                    remedy=f"Its phases are: {', '.join(each.word for each in upgrade.profile.phases())}.",
                )
            check_way_back(upgrade, to)
            tx.withdraw_approvals(upgrade.id, above=to)
            self._note(tx, upgrade, "rollback", f"{actor} sent the upgrade back to {to.word}", actor, reason)
            return upgrade.with_goal(to)

        return self._steer(schema, if_revision, change, back_to=to)

    def cancel(self, schema: str, *, actor: str, reason: str, if_revision: int | None = None) -> Upgrade:
        """Take the upgrade back to its base and end it there. Every approval is withdrawn."""
        check_reason(reason)

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            check_way_back(upgrade, Phase.BASE)
            tx.withdraw_approvals(upgrade.id, above=Phase.BASE)
            self._note(tx, upgrade, "cancel", f"{actor} cancelled the upgrade", actor, reason)
            return upgrade.with_goal(Phase.BASE, cancelling=True)

        return self._steer(schema, if_revision, change, back_to=Phase.BASE)

    def pause(self, schema: str, *, actor: str, reason: str, if_revision: int | None = None) -> Upgrade:
        """Let no further move begin until it is resumed. Rows stop moving after the batch under way.

        Where it is paused for that reason already, nothing changes.
        """
        check_reason(reason)

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            if upgrade.paused == reason:
                return upgrade
            self._note(tx, upgrade, "pause", f"{actor} paused the upgrade", actor, reason)
            return upgrade.with_pause(reason)

        return self._steer(schema, if_revision, change)

    def resume(self, schema: str, *, actor: str, reason: str | None, if_revision: int | None = None) -> Upgrade:
        """Go on: after a pause in the direction from before, else forward again after a rollback."""

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            keeps_goal = upgrade.cancelling or upgrade.paused is not None
            goal = upgrade.goal if keeps_goal else upgrade.profile.last()
            if upgrade.paused is None and upgrade.goal == goal:
                return upgrade
            towards = f"the upgrade towards {goal.word}"
            self._note(tx, upgrade, "resume", f"{actor} resumed {towards}", actor, reason)
            reversing = upgrade.reversing and goal < upgrade.phase
            return replace(upgrade.with_pause(None), goal=goal, reversing=reversing)

        return self._steer(schema, if_revision, change)

    def retry(
        self, schema: str, database: str | None, *, actor: str, reason: str | None, if_revision: int | None = None
    ) -> Upgrade:
        """Run a failed step again, in one database or in all in which it failed."""

        def change(tx: Transaction, upgrade: Upgrade) -> Upgrade:
            if upgrade.move is not Move.STEPPING:
                raise Conflict("no_step", "no step is under way", remedy=f"orchestrator upgrade show {schema}")
            records = [
                record
                for record in tx.steps(upgrade.id, upgrade.fence)
                if record.state is not StepState.PENDING and database in (None, record.database)
            ]
            if database is None:
                records = [record for record in records if record.state is StepState.FAILED]
            if not records:
                raise NotFound(
                    "nothing_to_retry",
                    f"no step has ended in {database or 'any database'}",
                    remedy=f"orchestrator database list {schema}",
                )
            for record in records:
                tx.save_step(replace(record, state=StepState.PENDING, code=None, error=None, remedy=None))
            names = ", ".join(record.database for record in records)
            self._note(tx, upgrade, "retry", f"{actor} asked to repeat the step in {names}", actor, reason)
            return upgrade

        return self._steer(schema, if_revision, change)

    def evict_database(self, schema: str, database: str, *, attested_gone: bool, actor: str, reason: str) -> None:
        """Count out a database that took part in the upgrade and is not configured any more, on somebody's word.

        Nobody else would ever move its rows, so without that word the upgrade does not go on without it.
        """
        check_gone(database, attested_gone=attested_gone, reason=reason)
        managed = self._context.managed(schema)

        def work(tx: Transaction) -> None:
            upgrade = running_upgrade(tx, tx.lock_schema(schema))
            if database in managed.databases:
                raise Conflict(
                    "database_configured",
                    f"database {database} is in the configuration of {schema}",
                    remedy=f"Take it out of [schema:{schema}] databases first, and restart every daemon.",
                )
            began = [record for record in tx.steps(upgrade.id, Phase.EXPANDED) if record.database == database]
            if not began:
                raise NotFound(
                    "database_unknown",
                    f"no database {database!r} takes part in the upgrade of {schema}",
                    remedy=f"`orchestrator status {schema}` names those that are missed.",
                )
            for record in began:
                tx.forget_step(record)
            sentence = f"{actor} counted out database {database}: it is gone for good"
            event(
                tx, "database.evict", sentence,
                actor=actor, schema=schema, upgrade_id=upgrade.id, subject=database, reason=reason,
            )  # fmt: skip

        self._context.store.run(work)

    def _steer(
        self,
        schema: str,
        if_revision: int | None,
        change: Callable[[Transaction, Upgrade], Upgrade],
        *,
        back_to: Phase | None = None,
    ) -> Upgrade:
        self._context.managed(schema)

        def work(tx: Transaction) -> Upgrade:
            state = tx.lock_schema(schema)
            if back_to is not None:
                _refuse_back_from_the_end(tx, state, back_to)
            upgrade = running_upgrade(tx, state)
            if if_revision is not None and if_revision != upgrade.revision:
                raise StaleRevision(expected=if_revision, found=upgrade.revision)
            changed = change(tx, upgrade)
            if changed is not upgrade:
                tx.save_upgrade(changed, expected_revision=upgrade.revision)
            return changed

        return self._context.store.run(work)

    def _note(
        self, tx: Transaction, upgrade: Upgrade, verb: str, sentence: str, actor: str, reason: str | None
    ) -> None:
        event(
            tx, f"upgrade.{verb}", sentence,
            actor=actor, schema=upgrade.schema, upgrade_id=upgrade.id, reason=reason,
        )  # fmt: skip


def _refuse_back_from_the_end(tx: Transaction, state: SchemaState, to: Phase) -> None:
    """Say of an upgrade that is complete that no way leads back, and not that there is none. Raises `Conflict`."""
    newest = next(iter(tx.upgrades(state.name, limit=1)), None)
    if newest is not None and newest.status is Status.COMPLETED:
        check_way_back(newest, to)


def _seen(managed: ManagedSchema, release: Release) -> tuple[DatabaseFacts, ...]:
    """The databases of the schema as they are now."""
    return tuple(managed.observe(database, release, verify=True) for database in managed.databases)


def _added(found: tuple[DatabaseFacts, ...]) -> tuple[DatabaseFacts, ...]:
    """The databases that are not at that release, as far as they can be read: never taken over, or empty.

    One without heads counts as empty only beside others that have some: there are tools that keep none.
    """
    keeps_heads = any(facts.heads for facts in found)
    return tuple(
        facts for facts in found if facts.error is None and facts.copy is None and not facts.expanded and keeps_heads
    )


def _is_initialised(state: SchemaState, release: str, after: Callable[[str], Release | None]) -> bool:
    """Whether it has a release: this one. Raises `Conflict` where it has another."""
    if state.release is None or state.release == release:
        return state.release is not None
    following = after(state.release)
    is_next = following is not None and following.name == release
    raise Conflict(
        "schema_initialised",
        f"{state.name} is at release {state.release}",
        remedy=f"orchestrator upgrade begin {state.name} --release {release}" if is_next
        else "Nothing was changed: from there it goes to the next release, by an upgrade.",
    )  # fmt: skip


def _same_or_refuse(upgrade: Upgrade, release: str) -> Upgrade:
    if upgrade.to_release == release and not upgrade.cancelling:
        return upgrade
    doing = "being cancelled" if upgrade.cancelling else "under way"
    cancel = "" if upgrade.cancelling else cancelling(upgrade)
    raise Conflict(
        "upgrade_running",
        f"the upgrade of {upgrade.schema} to {upgrade.to_release} is {doing}",
        remedy=f"Let it end, or: {cancel}" if cancel else "Let it end.",
    )


def _who_began(tx: Transaction, upgrade: Upgrade) -> str:
    """Who began it and why, as far as the newest lines of the audit log tell."""
    said = f"the upgrade of {upgrade.schema} to {upgrade.to_release} had already been begun"
    for line in reversed(tx.events(schema=upgrade.schema, after=-1, limit=_LINES_LOOKED_AT)):
        if line.action == "upgrade.begin" and line.upgrade_id == upgrade.id:
            return f"{said} by {line.actor}" + (f" (reason: {line.reason})" if line.reason else "")
    return said


def _check_next(state: SchemaState, wanted: Release, after: Callable[[str], Release | None]) -> None:
    if state.release is None:
        raise Conflict(
            "schema_uninitialised",
            f"{state.name} has no release yet",
            remedy=f"orchestrator schema init {state.name} --release RELEASE",
        )
    if wanted.name == state.release:
        raise Conflict("already_there", f"{state.name} is at release {wanted.name}", remedy="Nothing to do.")
    following = after(state.release)
    if following is None or following.name != wanted.name:
        raise Conflict(
            "release_not_next",
            f"{state.name} is at release {state.release}; {wanted.name} is not the release that follows",
            remedy=f"Upgrade to {following.name} first." if following else f"{state.release} is the newest release.",
        )


def _check_not_forgotten(state: SchemaState, databases: Sequence[DatabaseFacts]) -> None:
    """Refuse where a database knows more than the state: an upgrade that is begun now would repeat its revisions."""
    why = ahead(state, databases) or state.forgotten
    if why is not None:
        raise Conflict("copy_ahead", why, remedy=taking_over(state.name), schema=state.name)


def _doubted(tx: Transaction, state: SchemaState, ttl_seconds: float) -> tuple[str | None, float | None]:
    """Why an upgrade that begins now waits first, and until when: somebody who joined may have been forgotten."""
    leadership = tx.leadership()
    known = leadership.incarnation if leadership is not None else None
    is_another = None not in (known, tx.incarnation) and known != tx.incarnation
    until = tx.now + frozen_seconds(ttl_seconds) if is_another else state.lost_until
    if until is None or until <= tx.now:
        return None, None
    return "the state database lost commits a short while ago, or failed over", until
