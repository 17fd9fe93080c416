"""Losses: signs that the last commits are gone, of the state or of a managed database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.admission import Standing
from orchestrator.domain.fleets import EXPIRY_MARGIN_SECONDS
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Move, Status, Upgrade
from orchestrator.domain.view import Copy, DatabaseFacts


@dataclass(frozen=True, slots=True)
class Loss:
    """What shows it, and what was committed as far as anybody still knows.

    `revision` is the highest that is known, `phase` what was published by then, None where that is not known;
    `removing` says that the intent of contracted was on record. `of_state` is false where the state lost no move: then
    `phase` is the one to go on from.
    """

    why: str
    revision: int
    phase: Phase | None = None
    removing: bool = False
    of_state: bool = True


def loss_in(
    upgrade: Upgrade,
    databases: Iterable[DatabaseFacts],
    state_incarnation: str | None = None,
    data_migrations: Sequence[str] = (),
) -> Loss | None:
    """The loss that the databases show: one knows more of the upgrade than the state, or less than it did, or is
    another one than before.

    A restore changes no identity, so all are looked for. What is written down once is not found again.
    `data_migrations` are those of the new release.
    """
    read = [facts for facts in databases if facts.error is None]
    held = [(facts.copy, facts) for facts in read if facts.copy is not None and facts.copy.upgrade_id == upgrade.id]
    removing = any(copy.move is Move.STEPPING and copy.fence is Phase.CONTRACTED for copy, _ in held)
    signs = [
        each
        for each in held
        if each[0].revision > upgrade.revision or _says_otherwise(each[0], upgrade) or _removes(each[0], upgrade)
    ]
    if signs:
        copy, facts = max(signs, key=lambda each: (_removes(each[0], upgrade), each[0].revision))
        if copy.revision > upgrade.revision:
            known = f"only {upgrade.revision}"
        elif _removes(copy, upgrade):
            known = "does not know that the old shape was about to be removed"
        else:
            known = "something else under that number"
        return Loss(
            f"database {facts.name} knows revision {copy.revision} of the upgrade, and the state {known}",
            max(each[0].revision for each in signs),
            copy.phase,
            removing=removing,
        )
    if upgrade.is_of_another(state_incarnation):
        why = "the state database is not the one that it was: it was restored, or failed over"
        return Loss(why, 0, removing=removing, of_state=not any(_denies_stale(upgrade, facts) for facts in read))
    lost = [facts for facts in read if is_to_be_told(upgrade, facts)]
    if not lost and upgrade.frozen is not None and upgrade.may_move_rows_again:  # it was lost while frozen
        lost = [facts for facts in read if not facts.has_moved_all(data_migrations)]
    if not lost:
        return None
    unmoved = any(not facts.has_moved_all(data_migrations) for facts in lost)
    phase = Phase.BACKFILL if unmoved and upgrade.may_move_rows_again else None
    return Loss(_what_happened_to(lost[0]), 0, phase, of_state=False)


def _what_happened_to(facts: DatabaseFacts) -> str:
    if facts.went_back:
        return f"database {facts.name} knows less of the upgrade than it did: it was restored, or failed over"
    return f"database {facts.name} is not the one that it was: it was restored, or failed over"


def _denies_stale(upgrade: Upgrade, facts: DatabaseFacts) -> bool:
    """Whether its copy proves that no phase was entered in which the old shape goes stale: all hold the fence first."""
    copy = facts.copy
    if copy is None or copy.upgrade_id != upgrade.id or copy.incarnation != facts.incarnation or facts.went_back:
        return False
    return copy.fence < upgrade.stale_from


def _removes(copy: Copy, upgrade: Upgrade) -> bool:
    """Whether the removal of the old shape had begun, or was over, and the upgrade does not know it.

    Nothing takes that back, whatever was decided since, and under however high a number.
    """
    return copy.upgrade_id == upgrade.id and copy.is_past_return and not upgrade.is_past_return


def _says_otherwise(copy: Copy, upgrade: Upgrade) -> bool:
    """Whether the number of a revision that was lost has been given again, to another one.

    Of those since the last publication it is known that they were all of one phase.
    """
    if copy.upgrade_id == upgrade.id and upgrade.publication <= copy.revision < upgrade.revision:
        return copy.phase is not upgrade.phase
    known = (upgrade.phase, upgrade.fence, upgrade.move, upgrade.reversing, upgrade.frozen is not None)
    return copy.revision == upgrade.revision and copy.says != known


@dataclass(frozen=True, slots=True)
class Follows:
    """What an instance says that it follows when it renews: what it was told last.

    `is_vouched` is false for what came from outside, with the `signature` that it was told with, if any: where it says
    more than the state knows it has to be proven before anything here is asked about it.
    """

    upgrade_id: int
    publication: int
    phase: Phase
    is_vouched: bool = True
    signature: str | None = field(default=None, repr=False)


def says_more(standing: Standing, follows: Follows) -> bool:
    """Whether an instance says that it was told what the state does not know: only then it matters if that is true."""
    if standing.upgrade is None:
        return follows.publication > standing.last_revision
    return loss_heard(standing.upgrade, follows, "") is not None


def bears_out(databases: Iterable[DatabaseFacts], standing: Standing, follows: Follows) -> bool:
    """Whether a copy tells just that, so that whoever found no daemon was told it there; or shows itself that the state
    lost commits, and that this phase was the last one then: so it would be taken over anyway."""
    known = standing.last_revision if standing.upgrade is None else standing.upgrade.revision
    copies = [facts.copy for facts in databases if facts.error is None and facts.copy is not None]
    return any(_tells(copy, follows) or _is_ahead_with(copy, follows, known) for copy in copies)


def _tells(copy: Copy, follows: Follows) -> bool:
    told = ((each.stance.upgrade_id, each.stance.publication, each.stance.phase) for each in copy.admits)
    return (follows.upgrade_id, follows.publication, follows.phase) in told


def _is_ahead_with(copy: Copy, follows: Follows, known: int) -> bool:
    is_the_same = copy.upgrade_id == follows.upgrade_id and copy.phase is follows.phase
    return is_the_same and copy.revision > known and copy.revision >= follows.publication


def loss_heard(upgrade: Upgrade, follows: Follows, who: str) -> Loss | None:
    """The loss that a renewal shows: its instance was told something that the state has forgotten.

    The number of a publication that was lost may have been given again, to another phase.
    """
    is_of_this = follows.upgrade_id == upgrade.id and follows.phase in upgrade.profile.phases()
    is_another = follows.publication == upgrade.publication and follows.phase is not upgrade.phase
    if not is_of_this or (follows.publication <= upgrade.publication and not is_another):
        return None
    return Loss(
        f"{who} was told publication {follows.publication}, and the state knows only {upgrade.publication}",
        follows.publication,
        follows.phase,
    )


def is_forgotten(standing: Standing, follows: Follows | None) -> bool:
    """Whether an instance that acks more than the state knows, at rest, may have been told it all the same."""
    if standing.upgrade is not None:
        return False
    is_later = follows is not None and follows.publication > standing.last_revision
    return is_later or standing.forgotten is not None


def is_to_be_told(upgrade: Upgrade, facts: DatabaseFacts) -> bool:
    """Whether the database has another history than when its copy was written, and the upgrade does not know it yet.

    Until it does, the copy stays as it is: a new one would hide that.
    """
    is_another = facts.copy is not None and facts.copy.incarnation != facts.incarnation
    return (is_another or facts.went_back) and upgrade.frozen is None and upgrade.status is Status.RUNNING


def is_kept(upgrade: Upgrade, facts: DatabaseFacts) -> bool:
    """Whether the copy shows a loss that the upgrade does not know of, although its number says nothing."""
    copy = facts.copy
    says_more = copy is not None and (_removes(copy, upgrade) or _says_otherwise(copy, upgrade))
    return (says_more and upgrade.status is Status.RUNNING) or is_to_be_told(upgrade, facts)


def frozen_seconds(ttl_seconds: float) -> float:
    """How long to wait at least: by then every lease that may have been forgotten is over."""
    return ttl_seconds + EXPIRY_MARGIN_SECONDS
