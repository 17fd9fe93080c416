"""Recording: what a decision of the planner changes in the state, with the line of the audit log that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.domain import planner
from orchestrator.domain.ladder import Step
from orchestrator.domain.losses import frozen_seconds
from orchestrator.domain.records import Event, SchemaState
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import StepRecord, StepState
from orchestrator.ports import Transaction
from orchestrator.services.context import LeaseTerms, event

DAEMON = "orchestrator"


@dataclass(frozen=True, slots=True)
class _Change:
    """The upgrade as it is decided, and what the audit log says of that; nothing where `action` is empty."""

    upgrade: Upgrade
    action: str = ""
    sentence: str = ""
    subject: str | None = None


def record(
    tx: Transaction,
    state: SchemaState,
    upgrade: Upgrade,
    decision: planner.Decision,
    *,
    leader_epoch: int,
    databases: tuple[str, ...],
    terms: LeaseTerms,
) -> tuple[Event, ...]:
    """Write what was decided: a compare-and-set on the revision that was decided upon.

    Returns the lines that the audit log got with it.
    """
    change = _change(upgrade, decision, tx, terms)
    if change is None:
        return ()
    if isinstance(decision, planner.BeginStep | planner.UnsealAgain):
        for database in databases:
            tx.save_step(StepRecord(upgrade.id, decision.target, database, StepState.PENDING, leader_epoch))
    changed = change.upgrade
    if isinstance(decision, planner.Freeze) and changed.phase < upgrade.phase:
        tx.withdraw_approvals(upgrade.id, above=changed.phase)  # given before there was a reason to go back
    tx.save_upgrade(changed, expected_revision=upgrade.revision)
    told = _tell(tx, upgrade, change)
    if isinstance(decision, planner.Freeze) and changed.phase is not upgrade.phase:
        told += _tell(tx, upgrade, _moved_by_loss(upgrade, changed, decision.loss.why))
    if changed.status is not Status.RUNNING:
        release = upgrade.to_release if changed.status is Status.COMPLETED else upgrade.from_release
        tx.save_schema(replace(state, release=release, upgrade_id=None, last_revision=changed.revision))
        ended = f"{upgrade.schema} is at release {release}"
        told += _tell(tx, upgrade, _Change(changed, f"upgrade.{changed.status.value}", ended))
    return told


def _tell(tx: Transaction, upgrade: Upgrade, change: _Change) -> tuple[Event, ...]:
    if not change.action:
        return ()
    line = event(
        tx, change.action, change.sentence,
        actor=DAEMON, schema=upgrade.schema, upgrade_id=upgrade.id, subject=change.subject,
    )  # fmt: skip
    return (line,)


def _change(upgrade: Upgrade, decision: planner.Decision, tx: Transaction, terms: LeaseTerms) -> _Change | None:
    match decision:
        case planner.SetFence(target):
            return _Change(upgrade.with_fence(target))
        case planner.LiftFence():
            return _Change(upgrade.without_fence())
        case planner.BeginStep(target, step):
            return _Change(upgrade.with_step_begun(), "step.begin", _announcement(step, upgrade), target.word)
        case planner.Publish(target, wave, stays):
            published = upgrade.published(tx.now, wave=wave, stays=stays)
            return _Change(published, "phase.publish", f"{upgrade.schema} entered {target.word}", target.word)
        case planner.OpenWave(wave, whom):
            told = f"{upgrade.phase.word} is told to {whom}"
            return _Change(upgrade.with_wave(wave, tx.now), "wave.open", told, upgrade.phase.word)
        case planner.Complete():
            return _Change(upgrade.completed(tx.now))
        case planner.EndAtBase():
            return _Change(upgrade.ended_at_base(tx.now))
    return _change_beside_the_ladder(upgrade, decision, tx, terms)


def _change_beside_the_ladder(
    upgrade: Upgrade, decision: planner.Decision, tx: Transaction, terms: LeaseTerms
) -> _Change | None:
    match decision:
        case planner.UnsealAgain(_, names):
            denied = f"{', '.join(names)} denied writes to the old shape in {upgrade.phase.word}"
            return _Change(
                upgrade.with_unsealing_begun(), "step.begin", f"{denied}: they are let through again",
                upgrade.phase.word,
            )  # fmt: skip
        case planner.MoveRowsBack():
            return _Change(upgrade.with_reversing(), "rows.back", "rows are moved back into the old shape")
        case planner.TrustOldShape():
            proven = "every row is proven to carry the old shape again"
            return _Change(upgrade.with_old_restored(), "rows.restored", proven)
        case planner.RecordDoubt(doubt):
            sentence = f"{doubt}: what was proven of the rows counts no more"
            return _Change(upgrade.with_doubt(doubt), "upgrade.doubt", sentence)
        case planner.Freeze(loss):
            until = tx.now + frozen_seconds(terms.ttl_seconds)
            frozen = upgrade.with_lost_commits(
                loss.why, now=tx.now, until=until, revision=loss.revision, phase=loss.phase, removing=loss.removing,
                of_state=loss.of_state, incarnation=tx.incarnation,
            )  # fmt: skip
            sentence = f"{loss.why}: commits may be lost, so nothing moves until everybody was heard of again"
            return _Change(frozen, "upgrade.freeze", sentence)
        case planner.Thaw():
            return _Change(upgrade.thawed(), "upgrade.thaw", "everybody who may be alive was heard of again")
    return None


def _moved_by_loss(upgrade: Upgrade, changed: Upgrade, why: str) -> _Change:
    """What is said of a phase that lost commits led to, on no step of the ladder."""
    phase = changed.phase.word
    if changed.phase < upgrade.phase:
        return _Change(changed, "phase.back", f"{upgrade.schema} went back to {phase}: {why}", phase)
    return _Change(changed, "phase.learned", f"{upgrade.schema} is in {phase}, as others know: {why}", phase)


def _announcement(step: Step, upgrade: Upgrade) -> str:
    if step is Step.SEAL:
        return f"writes to the old shape of {upgrade.schema} are about to be denied"
    if step is Step.CONTRACT:
        return f"the old shape of {upgrade.schema} is about to be removed; there is no way back from here"
    return f"the {step.value} step of {upgrade.to_release} begins"
