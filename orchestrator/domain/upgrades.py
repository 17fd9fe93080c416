"""Upgrades: the way of a schema from one release to the next, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import RUNG_OF, InStepBy, Phase, Profile, Side, Stage, Step
from orchestrator.domain.waves import Telling


class Move(StrEnum):
    """How far the move into the next phase has come. The order of the moves is the protocol's."""

    RESTING = "resting"  # no move under way; fence == phase
    FENCED = "fenced"  # the fence stands at the phase that is about to be entered; not validated yet
    STEPPING = "stepping"  # validated; the step's intent is on record and it runs in the databases


class Moving(StrEnum):
    """Which rows may be moved now. What moves them asks the copy of their own database."""

    NOTHING = "nothing"
    FORWARD = "forward"  # into the new shape
    PROOF = "proof"  # none, but those that were moved may be proven anew
    BACK = "back"  # into the old shape, by reverse data migrations


def moving(phase: Phase, fence: Phase, *, reversing: bool, frozen: bool) -> Moving:
    """What may be moved at that phase, behind that fence."""
    if fence is not phase or frozen:
        return Moving.NOTHING
    if phase is Phase.READ_NEW:
        return Moving.BACK if reversing else Moving.PROOF
    return Moving.FORWARD if phase is Phase.BACKFILL else Moving.NOTHING


def past_return(phase: Phase, fence: Phase, move: Move) -> bool:
    """Whether it can only go on from there: the intent of removing the old shape is on record."""
    return phase is Phase.CONTRACTED or (move is Move.STEPPING and fence is Phase.CONTRACTED)


class Status(StrEnum):
    """Whether the upgrade is still under way."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


MOST_REVISION = 2**63 - 1
"""Where revisions end, as the state holds them: no publication beyond was ever told to anybody."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One upgrade of one schema. Every change of it goes through a compare-and-set on `revision`.

    `publication` is the revision at which the present phase was published; an ack names it, so that an ack from an
    earlier visit of the same phase counts for nothing. `old_valid` says that the old shape still holds every
    committed value. `paused` is the reason given, or None while it is not paused. `doubt` says why nothing that was
    proven of the rows counts, until a phase below backfill is published. `manifest` is what the manifest said of the
    new release when the upgrade began. `reversing`: everybody writes both shapes, and rows are moved back into the old
    one. `frozen` says why commits may be lost, until everybody was heard of again, at `frozen_until` at the earliest.
    `incarnation` is that of the state database in which it was begun, or frozen last; None where that cannot be told.
    Times are database time.

    `telling` is how far a higher phase was told to the instances, None where everybody is told the present one.
    """

    id: int
    schema: str
    from_release: str
    to_release: str
    profile: Profile
    phase: Phase
    fence: Phase
    goal: Phase
    move: Move
    revision: int
    publication: int
    old_valid: bool
    paused: str | None
    cancelling: bool
    status: Status
    begun_at: float
    phase_since: float
    ended_at: float | None = None
    doubt: str | None = None
    manifest: str | None = None
    telling: Telling | None = None
    reversing: bool = False
    frozen: str | None = None
    frozen_until: float | None = None
    incarnation: str | None = None

    @property
    def target(self) -> Phase | None:
        """The phase that the next move enters, or None at the goal."""
        return self.profile.neighbour(self.phase, self.goal)

    @property
    def told_since(self) -> float:
        """Since when everybody may have heard of the present phase."""
        return self.phase_since if self.telling is None else self.telling.since

    @property
    def stage(self) -> Stage:
        """The operator's word for where the upgrade stands."""
        return RUNG_OF[self.phase].stage

    def needs_rows_moved_back(self, target: Phase) -> bool:
        """Whether the way back to `target` first makes the old shape valid again: at read_new, where all write it."""
        is_back_from_read_new = self.phase is Phase.READ_NEW and target < self.phase
        return is_back_from_read_new and self.profile.reverses and not self.old_valid

    @property
    def is_past_return(self) -> bool:
        """Whether the upgrade can only go on."""
        return past_return(self.phase, self.fence, self.move)

    @property
    def step(self) -> Step:
        """What the move under way has to do in the databases: nothing while resting.

        Without a move, what had been done is done again where a database lost it: they are unsealed.
        """
        if self.fence is self.phase:
            return Step.UNSEAL if self.move is Move.STEPPING else Step.NONE
        return self.step_into(self.fence)

    def step_into(self, target: Phase) -> Step:
        """What a move to that neighbouring phase has to do in the databases."""
        rung = RUNG_OF[target]
        step = rung.step if target > self.phase else rung.step_down
        return step if self.profile.seals or step not in (Step.SEAL, Step.UNSEAL) else Step.NONE

    @property
    def moving(self) -> Moving:
        """Which rows may be moved now, as far as no database is asked."""
        return moving(self.phase, self.fence, reversing=self.reversing, frozen=self.frozen is not None)

    def is_of_another(self, incarnation: str | None) -> bool:
        """Whether the state database of that incarnation is another one than this was written in: it lost commits."""
        return self.incarnation is not None and incarnation not in (None, self.incarnation)

    def side_of(self, release: str) -> Side | None:
        """Which side of the upgrade a release is, or None if it is neither."""
        return {self.from_release: Side.OLD, self.to_release: Side.NEW}.get(release)

    def _next(self, **changes: object) -> Upgrade:
        return replace(self, revision=self.revision + 1, **changes)  # type: ignore[arg-type]

    def with_fence(self, target: Phase) -> Upgrade:
        """The fence set at `target`: from now on nobody is admitted who cannot live there."""
        return self._next(fence=target, move=Move.FENCED, reversing=False)

    def without_fence(self) -> Upgrade:
        """The fence lifted again, or what was done again without a move is done; the upgrade rests where it was."""
        return self._next(fence=self.phase, move=Move.RESTING)

    def with_step_begun(self) -> Upgrade:
        """The move validated and the intent of its step on record. By then everybody was told the present phase.

        Sealing drops what kept the old shape valid, if triggers did.
        """
        in_step_by_triggers = self.profile.in_step_by is InStepBy.TRIGGERS
        loses_old = self.step is Step.SEAL and in_step_by_triggers
        return self._next(move=Move.STEPPING, old_valid=self.old_valid and not loses_old, telling=None)

    def with_unsealing_begun(self) -> Upgrade:
        """A database lost what had unsealed it: the intent to do that again, without a move."""
        return self._next(move=Move.STEPPING)

    def published(self, now: float, *, wave: int | None = None, stays: bool = False) -> Upgrade:
        """The fenced phase entered. The last rung completes the upgrade.

        Entering `write_new` lets the old shape go stale, where no triggers write it too.
        """
        arrived = self.fence
        keeps_old = arrived < Phase.WRITE_NEW or self.profile.in_step_by is InStepBy.TRIGGERS
        status, ended_at = self.status, self.ended_at
        if arrived == self.profile.last() and not self.cancelling and not stays:
            status, ended_at = Status.COMPLETED, now
        elif arrived is Phase.BASE and self.cancelling:
            status, ended_at = Status.CANCELLED, now
        goes_up = arrived > self.phase and status is Status.RUNNING
        return self._next(
            phase=arrived,
            move=Move.RESTING,
            publication=self.revision + 1,
            old_valid=self.old_valid and keeps_old,
            doubt=self.doubt if arrived >= Phase.BACKFILL else None,
            phase_since=now,
            status=status,
            ended_at=ended_at,
            telling=Telling(self.phase, self.publication, wave, now) if goes_up else None,
        )

    def with_wave(self, wave: int | None, now: float) -> Upgrade:
        """The next wave opened; None opens the last one, so that everybody is told."""
        assert self.telling is not None, "everybody is told already"
        return self._next(telling=replace(self.telling, wave=wave, since=now))

    def completed(self, now: float) -> Upgrade:
        """Everybody was told the last rung."""
        return self._next(status=Status.COMPLETED, ended_at=now, telling=None)

    def ended_at_base(self, now: float) -> Upgrade:
        """Cancelled where nothing has to be undone."""
        return self._next(status=Status.CANCELLED, ended_at=now)

    def with_goal(self, goal: Phase, *, cancelling: bool = False) -> Upgrade:
        """Steered towards another phase."""
        return self._next(goal=goal, cancelling=cancelling, reversing=False)

    def with_reversing(self) -> Upgrade:
        """Everybody writes both shapes: rows may be moved back into the old one."""
        return self._next(reversing=True)

    def with_old_restored(self) -> Upgrade:
        """Every row is proven to carry the old shape again, and everybody writes it."""
        return self._next(reversing=False, old_valid=True)

    def with_lost_commits(
        self,
        why: str,
        *,
        now: float,
        until: float,
        revision: int,
        phase: Phase | None = None,
        removing: bool = False,
        of_state: bool = True,
        incarnation: str | None = None,
    ) -> Upgrade:
        """The last commits of the state, or of a database, may be gone: nothing moves until everybody is heard again.

        `revision` is the highest that anybody knows, `phase` the one that was published by then, if that is known;
        `removing` says that the intent of contracted was. What was acked and proven counts no more, nor what was
        doubted where all of it is proven anew. Without `of_state` the state lost no move. In a phase that it did not
        know everybody is from `now` on.
        """
        present = self.phase if phase is None else phase
        if self.is_past_return and present is not Phase.CONTRACTED:
            present = self.phase  # whoever says otherwise slept through an earlier loss
        goes_on = (removing or self.is_past_return) and present is not Phase.CONTRACTED
        following = max(revision, self.revision) + 1
        return replace(
            self,
            phase=present,
            fence=Phase.CONTRACTED if goes_on else present,
            move=Move.STEPPING if goes_on else Move.RESTING,
            goal=self.profile.last() if goes_on else self.goal,
            revision=following,
            publication=following,
            old_valid=self.old_valid and self._never_went_stale(present, of_state=of_state),
            reversing=False,
            doubt=self.doubt if present > Phase.READ_NEW else None,
            phase_since=self.phase_since if present is self.phase else now,
            telling=None,
            frozen=why,
            frozen_until=until,
            incarnation=incarnation,
        )

    def _never_went_stale(self, present: Phase, *, of_state: bool) -> bool:
        """Whether an old shape that counts as valid is so in every earlier state of any database, too.

        Only rows that were moved back make it valid again. What the state may have lost is one move, and what began
        with it.
        """
        if self.profile.reverses:
            return False
        following = self.profile.neighbour(present, self.profile.last())
        return not of_state or (following is not None and following < self.stale_from)

    @property
    def stale_from(self) -> Phase:
        """The lowest phase in which the old shape may be stale: on the way into it, triggers are dropped."""
        return Phase.SEALED if self.profile.in_step_by is InStepBy.TRIGGERS else Phase.WRITE_NEW

    @property
    def may_move_rows_again(self) -> bool:
        """Whether the upgrade can step back from read_new at once: everybody there lives in backfill, and the old shape
        has every value."""
        lives = Phase.BACKFILL in self.profile.support(Side.NEW)
        return self.phase is Phase.READ_NEW and lives and self.old_valid and not self.profile.reverses

    def thawed(self) -> Upgrade:
        """Everybody who may be alive was heard of again."""
        return self._next(frozen=None, frozen_until=None)

    def is_harmed_by(self, release: str) -> bool:
        """Whether code of this release, found to run in the present phase, may have left rows out of step.

        Once the old shape is stale it may have, too, but then there is no way back on which they are moved again.
        """
        side = self.side_of(release)
        is_supported = side is not None and self.phase in self.profile.support(side)
        can_be_moved_again = self.phase is Phase.BACKFILL or (self.phase is Phase.READ_NEW and self.old_valid)
        return can_be_moved_again and side is not Side.NEW and not is_supported

    def with_doubt(self, doubt: str) -> Upgrade:
        """What was proven of the rows counts no more, and says why."""
        return self._next(doubt=doubt)

    def with_times_moved(self, seconds: float) -> Upgrade:
        """All that is measured by the database's clock, after that jumped by so much."""
        return self._next(
            begun_at=self.begun_at + seconds,
            phase_since=self.phase_since + seconds,
            frozen_until=None if self.frozen_until is None else self.frozen_until + seconds,
            telling=None if self.telling is None else replace(self.telling, since=self.telling.since + seconds),
        )

    def with_pause(self, reason: str | None) -> Upgrade:
        """Paused with a reason, or resumed with None."""
        return self._next(paused=reason)


def begin(
    *,
    schema: str,
    from_release: str,
    to_release: str,
    profile: Profile,
    after_revision: int,
    now: float,
    manifest: str | None = None,
    incarnation: str | None = None,
    frozen: str | None = None,
    frozen_until: float | None = None,
) -> Upgrade:
    """A new upgrade at its base. Its revisions go on from those of the upgrade before: they never repeat."""
    revision = after_revision + 1
    return Upgrade(
        id=0, schema=schema, from_release=from_release, to_release=to_release, profile=profile,
        phase=Phase.BASE, fence=Phase.BASE, goal=profile.last(), move=Move.RESTING,
        revision=revision, publication=revision, old_valid=True, paused=None, cancelling=False,
        status=Status.RUNNING, begun_at=now, phase_since=now, manifest=manifest, incarnation=incarnation,
        frozen=frozen, frozen_until=frozen_until,
    )  # fmt: skip


def check_way_back(upgrade: Upgrade, to: Phase) -> None:
    """Refuse to steer back where no way leads. Raises `Conflict` (codes `no_way_back`, `old_shape_stale`)."""
    if upgrade.status is Status.COMPLETED:
        raise Conflict(
            "no_way_back",
            f"the upgrade of {upgrade.schema} to {upgrade.to_release} is complete: no way leads back from there",
            remedy=f"It goes on with the next release: orchestrator upgrade begin {upgrade.schema} --release RELEASE",
        )
    if upgrade.is_past_return:
        raise Conflict(
            "no_way_back",
            f"{upgrade.schema} is on its way into {upgrade.fence.word}: the old shape is being removed",
            remedy="It can only go on. `orchestrator status` says what it waits for.",
        )
    crossed = [phase for phase in upgrade.profile.phases() if to <= phase < upgrade.phase]
    asks_for_old = any(
        "old_shape_valid" in (RUNG_OF[phase].down or ()) and upgrade.profile.reads_old(phase) for phase in crossed
    )
    if asks_for_old and not upgrade.old_valid and not upgrade.profile.reverses:
        since = "sealed" if upgrade.profile.in_step_by is InStepBy.TRIGGERS else "write_new"
        lowest = next(phase for phase in upgrade.profile.phases() if not upgrade.profile.reads_old(phase))
        raise Conflict(
            "old_shape_stale",
            f"the old shape is stale since {since}, so code that reads it may not run again",
            remedy=f"Go on, or back to {lowest.word} at the most.",
        )
