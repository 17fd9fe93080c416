"""The world of lost commits: the state's database, or a managed one, goes back to what its standby had heard of.

Either standby falls behind once, at any moment, and takes over before more than `depth` commits are missing. Processes
go on with what they were told, and those whose registration is lost are forgotten. Nobody knows the time: that every
forgotten lease is over can only come true once no forgotten process runs any more.

Revisions count from the one at which the state's standby fell behind, so that a number can be given twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from orchestrator.domain import losses, planner
from orchestrator.domain.admission import Standing, may_join
from orchestrator.domain.ladder import RUNG_OF, Behaviour, InStepBy, Phase, Side, Step
from orchestrator.domain.losses import Follows
from orchestrator.domain.upgrades import Move, Moving, Status, Upgrade, moving
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts, MigrationState, View
from orchestrator.services.context import LeaseTerms
from orchestrator.services.copying import copy_of, is_behind
from tests.protocol.world import (
    IDLE,
    NO_TRANSACTION,
    S2,
    Counted,
    Daemon,
    Database,
    Facts,
    Hand,
    Life,
    Member,
    Process,
    Shape,
    Up,
    Violation,
    Witness,
    World,
    widened,
)

FIRST = 100
"""The revision at which the state's standby fell behind."""

EARLIER, TERMS = 50, LeaseTerms(60.0, 20.0)
EARLY, GONE = -1, -2  # what somebody was told that is not the last thing; who is not there any more
NEVER = -1
S6_LOST = "S6 nobody is admitted whom the lost commits would have refused"
S10_LOST = "S10 a removal that has begun is not forgotten"


class Lag(IntEnum):
    """How far a standby is behind."""

    NOT_YET = 0
    LAGS = 1  # what is committed from now on it does not hear of
    LOST = 2  # it took over
    OVER = 3  # it has heard of everything, and always will


class Frozen(IntEnum):
    """Whether the upgrade waits for everybody to be heard of."""

    NO = 0
    WAITS = 1  # forgotten leases may still be held
    OVER = 2


class Kept(IntEnum):
    """What the state's standby knows of a process."""

    NOTHING = 0
    HELD = 1
    ACKED = 2  # also that it acked what was published then


class Change(IntEnum):
    """What an action does to everybody else."""

    NONE = 0
    REVISION = 1
    PUBLICATION = 2
    LAG = 3
    LOSS = 4
    IMPORT = 5
    DATABASE_LAG = 6
    DATABASE_LOSS = 7


class LosingUp(
    widened(Up, frozen=Frozen, number=int, publication=int, lag=Lag, before=Any, is_other=bool, truth=Any)  # type: ignore[misc]
):
    """The upgrade in the state that leads now.

    `number` is its revision, `publication` that of its phase, 0 for an earlier one. `before` is what the standby knows
    where that is something else, `truth` the phase and the fence that were lost and not noticed yet. `is_other` says
    that the database is another one than the upgrade was written in.
    """

    is_past_return = Up.is_past_return


class LosingProcess(widened(Process, told=int, kept=Kept)):  # type: ignore[misc]
    """A process and the number of the publication that it was told, -1 for an early one.

    One that left is `GONE`, and kept in mind as long as the standby does not know that.
    """

    @property
    def is_gone(self) -> bool:
        return bool(self.told == GONE)


class LosingMember(widened(Member, told=int, learned=Phase, speaks=bool, forgotten=bool)):  # type: ignore[misc]
    """A process as the store knows it, with what it says; `forgotten` is one of which it knows nothing."""


class Held(NamedTuple):
    """What a copy says."""

    phase: Phase
    fence: Phase
    move: Move
    frozen: bool
    is_other: bool  # never of a copy: of an upgrade whose state failed over, and nobody has noticed yet
    publication: int


class LosingDatabase(
    widened(  # type: ignore[misc]
        Database, copy_move=Move, copy_frozen=bool, copy_publication=int, copy_incarnation=int, incarnation=int,
        witness_incarnation=int, lag=Lag, commits=int, kept=Any,
    )
):  # fmt: skip
    """The managed database with its incarnation, and what its standby holds while that is behind."""

    @property
    def held(self) -> Held:
        return Held(self.copy_phase, self.copy_fence, self.copy_move, self.copy_frozen, False, self.copy_publication)

    @property
    def has_unnoticed_loss(self) -> bool:
        return bool(self.copy_incarnation != self.incarnation)


class LosingFacts(NamedTuple):
    """What a daemon read of the database."""

    held: Held
    copy_age: int
    copy_incarnation: int
    incarnation: int
    expanded: bool
    contracted: bool
    witness: int


class LosingWorld(World):
    """The state fails over once, with the identity of another database; `loses_database`: so does a managed one."""

    loses_state = True
    loses_database = False
    changes_identity = True
    depth = 1  # how many commits of the state may be lost
    database_depth = 1
    writes_are_atomic = True  # the look at a copy and its write are one transaction

    def __init__(
        self, in_step_by: InStepBy = InStepBy.CLIENT, *, starts_at: Phase = Phase.BASE, **options: Any
    ) -> None:
        super().__init__(in_step_by, **options)
        self.starts_at = starts_at
        self.beyond = self.depth + 1
        self.copy_at = cache(self._copy_at)
        self.read_facts = cache(self._read_facts)

    def initial(self, processes: int, daemons: int) -> Any:
        up, database, crowd, hands = super().initial(processes, daemons)
        assert not any(crowd), "everybody registers here"
        up = up._replace(phase=self.starts_at, fence=self.starts_at, old_valid=self.starts_at < Phase.WRITE_NEW)
        database = database._replace(
            copy_phase=self.starts_at, copy_fence=self.starts_at, expanded=self.starts_at > Phase.BASE
        )
        if self.starts_at >= Phase.BACKFILL and self.profile.has_data_migrations:
            database = database._replace(new=Shape.CURRENT, witness=Witness.PROVEN)
        wider = LosingUp(
            *up, frozen=Frozen.NO, number=0, publication=0, lag=Lag.NOT_YET, before=None, is_other=False, truth=None
        )
        managed = LosingDatabase(
            *database, copy_move=Move.RESTING, copy_frozen=False, copy_publication=0,
            copy_incarnation=0, incarnation=0, lag=Lag.NOT_YET, commits=0, kept=None,
            witness_incarnation=0 if database.witness is Witness.PROVEN else NEVER,
        )  # fmt: skip
        return wider, managed, crowd, hands

    # -- asking the real code ----------------------------------------------------------------------------------------

    def upgrade(self, up: Any) -> Upgrade:
        return replace(
            super().upgrade(up), revision=FIRST + up.number, publication=published_at(up.publication),
            frozen="lost" if up.frozen else None, frozen_until={Frozen.WAITS: 1.0, Frozen.OVER: -1.0}.get(up.frozen),
            incarnation="before" if up.is_other else "now",
        )  # fmt: skip

    def after(self, up: Any, upgrade: Upgrade, *, step_done: bool = False, freezes: bool = False) -> Any:
        """What is there once that is committed."""
        raw = super().up(upgrade)
        frozen = Frozen.NO if upgrade.frozen is None else Frozen.WAITS
        if upgrade.frozen is not None and (upgrade.frozen_until or 0.0) < 0.0:
            frozen = Frozen.OVER
        number, publication = up.number, up.publication
        is_published = upgrade.publication != published_at(up.publication)
        lag, before = up.lag, up.before
        if lag is Lag.LAGS and number == self.depth:
            lag, before, number, publication = Lag.OVER, None, 0, 0
        elif lag in (Lag.LAGS, Lag.LOST):
            before = (before or self._stripped(up)) if lag is Lag.LAGS else None
            number = min(upgrade.revision - FIRST, self.beyond)
            publication = min(upgrade.publication - FIRST, self.beyond) if is_published else publication
        return LosingUp(
            *raw._replace(step_done=step_done), frozen=frozen, number=number, publication=publication, lag=lag,
            before=before, is_other=upgrade.incarnation == "before", truth=None if freezes else up.truth,
        )  # fmt: skip

    @staticmethod
    def _stripped(up: Any) -> Any:
        return up._replace(lag=Lag.NOT_YET, before=None, number=0, publication=0)

    def admits(self, up: Any, is_new: bool) -> bool:
        release = "2" if up.status is Status.COMPLETED else "1"
        upgrade = self.upgrade(up) if up.status is Status.RUNNING else None
        return may_join(self.standing(release, upgrade), "2" if is_new else "1")

    def standing(self, release: str, upgrade: Upgrade | None) -> Standing:
        return Standing("s", release, upgrade, self.releases, incarnation="now")

    def _decide(self, up: Any, members: Any, facts: Any) -> planner.Decision:
        return planner.decide(self.view(up, members, facts, 0.0))

    def view(self, up: Any, members: Any, facts: Any, now: float) -> View:
        known = tuple(Member(*member[: len(Member._fields)]) for member in members)
        plain = Facts(True, facts.expanded, facts.contracted, facts.witness != NEVER)
        found = super().view(up, known, plain, now)
        upgrade = self.upgrade(up)
        instances = tuple(
            replace(instance, acked=upgrade.publication if member.acked else 1)
            for instance, member in zip(found.instances, known, strict=True)
        )
        read = self.placed(self.database_facts(upgrade.revision, facts), facts.held, up.publication)
        return replace(found, instances=instances, databases=(read,), incarnation="now")

    @staticmethod
    def placed(read: DatabaseFacts, held: Held, publication: int) -> DatabaseFacts:
        """What was read, beside an upgrade of that publication: a copy of an earlier one is older than it.

        Ages alone do not tell that: publications from before the state's standby fell behind have no numbers.
        """
        copy = read.copy
        if copy is None or held.publication >= publication:
            return read
        return replace(read, copy=replace(copy, revision=min(copy.revision, published_at(publication) - 1)))

    def database_facts(self, revision: int, facts: LosingFacts) -> DatabaseFacts:
        """As the real code reads them, when the state is at that revision."""
        witness = f"i{facts.witness}" if facts.witness != NEVER else None
        copy = self.copy_at(facts.held, revision - facts.copy_age)
        assert copy is not None
        return DatabaseFacts(
            "main", incarnation=f"i{facts.incarnation}", expanded=facts.expanded, contracted=facts.contracted,
            copy=replace(copy, incarnation=f"i{facts.copy_incarnation}"),
            migrations=tuple(self._migrations(witness)),
        )  # fmt: skip

    def _migrations(self, witness: str | None) -> Iterator[MigrationFacts]:
        if self.profile.has_data_migrations:
            state = MigrationState.RUNNING if witness is None else MigrationState.COMPLETE
            yield MigrationFacts("move", state, witness=witness)

    def _copy_at(self, held: Held, revision: int) -> Copy | None:
        """The copy of an upgrade that looks like that, if it is to be written."""
        upgrade = replace(
            super().upgrade(self._blank(held)), revision=revision, publication=published_at(held.publication),
            frozen="lost" if held.frozen else None, incarnation="before" if held.is_other else "now",
        )  # fmt: skip
        return copy_of(self.standing("1", upgrade), upgrade, TERMS)

    def _blank(self, held: Held) -> Up:
        return Up(
            held.phase, held.fence, self.profile.last(), held.move, old_valid=True, cancelling=False,
            status=Status.RUNNING, step_done=False,
        )  # fmt: skip

    # -- numbers -----------------------------------------------------------------------------------------------------

    def aged_number(self, told: int, before: Any, after: Any, change: Change) -> int:
        """The number of a publication as it still matters after that."""
        if change is not Change.PUBLICATION:
            has_caught_up = before.lag is Lag.LAGS and after.lag is Lag.OVER
            return told if not has_caught_up else 0 if told == before.publication else EARLY
        if after.lag is Lag.LAGS:
            return told
        if after.lag is Lag.LOST:
            return told if told >= after.publication and told <= self.depth else EARLY
        return EARLY

    def followed(self, process: Any, before: Any, after: Any, change: Change) -> Any:
        """What a change of the upgrade, or a loss, makes of a process. None: it is not there any more."""
        if change is Change.LAG:
            kept = Kept.NOTHING
            if process.counted is Counted.LEASED:
                kept = Kept.ACKED if process.acked else Kept.HELD
            return process._replace(kept=kept)
        if change is Change.LOSS:
            return self._restored(process)
        if change is Change.PUBLICATION:
            told = GONE if process.is_gone else self.aged_number(process.told, before, after, change)
            is_same = told == after.publication and told > 0 and process.learned is after.phase
            process = process._replace(current=is_same, acked=False, told=told)
        if before.lag is Lag.LAGS and after.lag is Lag.OVER:
            if process.is_gone:
                return None
            process = process._replace(kept=Kept.NOTHING, told=0 if process.current else EARLY)
        return process

    def _restored(self, process: Any) -> Any:
        """What the standby knows of it counts now."""
        kept, process = process.kept, process._replace(kept=Kept.NOTHING)
        if kept is Kept.NOTHING:
            return None if process.life is Life.CRASHED else self._forgotten(process)
        return process._replace(counted=Counted.LEASED, current=process.told == 0, acked=kept is Kept.ACKED)

    def _forgotten(self, process: Any) -> Any:
        return process._replace(counted=Counted.NOT, current=False, acked=False, told=0)

    def revised(
        self, before: Any, after: Any, change: Change, database: Any, daemons: tuple[Daemon, ...]
    ) -> tuple[Any, tuple[Daemon, ...]]:
        """What was read or written at another revision, once the present one is another."""
        shift = self._shift(before, after, change)

        def aged_copy(held: Any) -> Any:
            told = self.aged_number(held.copy_publication, before, after, change)
            return held._replace(copy_age=held.copy_age + shift, copy_publication=told)

        database = aged_copy(database)
        if database.kept is not None:
            database = database._replace(kept=aged_copy(database.kept))
        return database, tuple(self._aged(daemon, before, after, change, shift) for daemon in daemons)

    @staticmethod
    def _shift(before: Any, after: Any, change: Change) -> int:
        if change is Change.LOSS:
            return -int(before.number)
        if after.lag is Lag.LOST and after.number > before.number:
            return int(after.number - before.number)
        return 1

    def _aged(self, daemon: Daemon, before: Any, after: Any, change: Change, shift: int) -> Daemon:
        match daemon.hand:
            case Hand.UPGRADE:
                seen: Any = daemon.seen or self.content(before)
                seen = seen._replace(publication=self.aged_number(seen.publication, before, after, change))
                return daemon._replace(age=daemon.age + shift, seen=seen)
            case Hand.FACTS:
                age = daemon.age + shift
                can_return = after.lag is Lag.LAGS
                return daemon._replace(age=age) if age == 0 or can_return else IDLE
        return daemon

    @staticmethod
    def content(up: Any) -> Held:
        return Held(up.phase, up.fence, up.move, bool(up.frozen), up.is_other, up.publication)

    # -- processes ---------------------------------------------------------------------------------------------------

    def newcomers(self, up: Any) -> Iterator[tuple[str, Any]]:
        for action, process in super().newcomers(up):
            yield action, LosingProcess(*process, told=up.publication, kept=Kept.NOTHING)

    def newcomers_by_copy(self, up: Any, database: Any) -> Iterator[tuple[str, Any]]:
        """Who may start although no daemon answers."""
        return iter(())

    def process_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        if process.is_gone and process.counted is Counted.NOT:
            return
        found = self._forgotten_moves if process.counted is Counted.NOT else self._counted_moves
        for action, after, changed in found(up, database, process):
            yield action, after, self.committed(database, changed)

    def _counted_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        found: Iterator[tuple[str, Any, Any]] = super().process_moves(up, database, process)
        for action, after, changed in found:
            if after is None:
                yield action, self._remembered(process), changed
            elif after.current == process.current:
                yield action, after, changed
            elif not self.ignores(up, process):
                yield action, after._replace(told=up.publication), changed

    @staticmethod
    def _remembered(process: Any) -> Any:
        """What is left of one that is not there any more: what the state's standby knows."""
        if process.kept is Kept.NOTHING:
            return None
        return process._replace(
            life=Life.CRASHED, counted=Counted.NOT, transaction=NO_TRANSACTION, is_older=False, acked=False,
            current=False, told=GONE, learned=Phase.BASE,
        )  # fmt: skip

    def ignores(self, up: Any, process: Any) -> bool:
        """What a daemon says that is behind what it published is not followed."""
        return bool(process.told > up.publication)

    def _forgotten_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        """It goes on until it cannot renew any more. Then it rolls back."""
        name = f"{self.name(process)} (forgotten)"
        yield f"{name} loses its lease", self._without_lease(process), database
        if process.transaction == NO_TRANSACTION:
            behaviour = self.behaviour(process)
            yield f"{name} begins ({behaviour.words})", process._replace(transaction=int(behaviour)), database
        else:
            words = Behaviour(process.transaction).words
            after = process._replace(transaction=NO_TRANSACTION, is_older=False)
            yield f"{name} commits ({words})", after, self._committed(database, process)

    def _without_lease(self, process: Any) -> Any:
        return None

    def member(self, process: Any) -> Any:
        if process.counted is Counted.NOT:
            if process.is_gone:
                return None
            return LosingMember(False, Counted.NOT, False, False, 0, Phase.BASE, False, forgotten=True)
        speaks = process.life is Life.RUNNING
        told, learned = (process.told, process.learned) if speaks else (0, Phase.BASE)
        return LosingMember(
            process.is_new, process.counted, process.acked, False, told, learned, speaks, forgotten=False
        )

    def shown(self, process: Any) -> tuple[int, int]:
        return (Behaviour.A3, Behaviour.A3) if process.is_gone else super().shown(process)

    # -- the managed database ----------------------------------------------------------------------------------------

    def committed(self, before: Any, after: Any) -> Any:
        """The database after a transaction that its standby may not hear of."""
        if before.lag is not Lag.LAGS or after == before:
            return after
        if before.commits == self.database_depth:
            return after._replace(lag=Lag.OVER, commits=0, kept=None)
        return after._replace(commits=before.commits + 1)

    def may_batch(self, database: Any) -> bool:
        return self._moving(database) is Moving.FORWARD

    @staticmethod
    def _moving(database: Any) -> Moving:
        if database.has_unnoticed_loss:
            return Moving.NOTHING
        return moving(database.copy_phase, database.copy_fence, reversing=False, frozen=database.copy_frozen)

    def row_moves(self, up: Any, database: Any, lowest: int) -> Iterator[tuple[str, Any]]:
        for action, moved in super().row_moves(up, database, lowest):
            after: Any = moved
            if after.witness is not database.witness:
                after = after._replace(witness_incarnation=database.incarnation)
            yield action, self.committed(database, after)
        if not self.profile.has_data_migrations or self._moving(database) is not Moving.PROOF:
            return
        if database.witness is Witness.NONE and database.new is database.old is Shape.CURRENT:
            proven = database._replace(witness=Witness.PROVEN, witness_incarnation=database.incarnation)
            yield "the verification finds no difference", self.committed(database, proven)

    def with_held(self, database: Any, held: Held, age: int) -> Any:
        """The copy written whole, with what it leaves of the proof that every row was moved."""
        written = database._replace(
            copy_phase=held.phase, copy_fence=held.fence, copy_move=held.move, copy_frozen=held.frozen,
            copy_publication=held.publication, copy_age=age,
            copy_incarnation=database.incarnation,
        )  # fmt: skip
        if not self.keeps_proof(held.phase, frozen=held.frozen):
            written = written._replace(witness=Witness.NONE, witness_incarnation=NEVER)
        return written

    # -- daemons -----------------------------------------------------------------------------------------------------

    def daemon_moves(self, up: Any, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        if up.status is not Status.RUNNING:
            return
        yield from self._losses(up, database, daemon)
        yield from self._heard(up, database, members, daemon)
        if daemon.hand is Hand.EMPTY:
            yield "a daemon reads the upgrade", Daemon(Hand.UPGRADE), up, database, Change.NONE
            return
        yield "a daemon dies", IDLE, up, database, Change.NONE
        match daemon.hand:
            case Hand.UPGRADE:
                yield from self._looks(up, database, members, daemon)
            case Hand.FACTS if daemon.age == 0:
                yield self._decides(up, database, members, daemon)
            case Hand.STEP:
                is_expand = daemon.step is Step.EXPAND
                done = database._replace(expanded=True) if is_expand else database._replace(contracted=True)
                ran = Daemon(Hand.RAN, step=daemon.step)
                action = f"a daemon runs the {daemon.step.value} step"
                yield action, ran, up, self.committed(database, done), Change.NONE
            case Hand.RAN:
                is_its_own = up.move is Move.STEPPING and RUNG_OF[up.fence].step is daemon.step
                noted = up._replace(step_done=True) if is_its_own else up
                yield f"a daemon notes that the {daemon.step.value} step is done", IDLE, noted, database, Change.NONE

    def _losses(self, up: Any, database: Any, daemon: Daemon) -> Iterator[Any]:
        if self.loses_state and up.lag is Lag.NOT_YET:
            yield "the state's standby falls behind", daemon, up._replace(lag=Lag.LAGS), database, Change.LAG
        if up.lag is Lag.LAGS and self.may_fail_over(daemon):
            yield "the state fails over to its standby", daemon, self.lost(up), database, Change.LOSS
        if self.loses_database and database.lag is Lag.NOT_YET:
            kept = database._replace(lag=Lag.LOST, incarnation=1)
            lagging = database._replace(lag=Lag.LAGS, commits=0, kept=kept)
            yield "the database's standby falls behind", daemon, up, lagging, Change.DATABASE_LAG
        if database.lag is Lag.LAGS:
            yield "the database fails over to its standby", daemon, up, database.kept, Change.DATABASE_LOSS

    def may_fail_over(self, daemon: Daemon) -> bool:
        return True

    def lost(self, up: Any) -> Any:
        """The upgrade as the standby knows it."""
        known = up.before or self._stripped(up)
        return known._replace(
            lag=Lag.LOST, is_other=self.changes_identity, truth=(up.phase, up.fence), frozen=known.frozen
        )

    def _heard(self, up: Any, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        """A renewal that shows what was lost, and the time that passes."""
        if up.lag is Lag.LOST:
            for member in dict.fromkeys(each for each in members if each.speaks):
                upgrade = self.upgrade(up)
                follows = Follows(1, published_at(member.told), member.learned)
                loss = losses.loss_heard(upgrade, follows, "somebody")
                if loss is not None:
                    after = self.after(up, self.frozen(upgrade, loss), freezes=True)
                    action = f"a renewal tells of {member.learned.word}, and the upgrade freezes"
                    yield action, daemon, after, database, Change.PUBLICATION
        if up.frozen is Frozen.WAITS and not any(member.forgotten for member in members):
            over = up._replace(frozen=Frozen.OVER)
            yield "every forgotten lease is over", daemon, over, database, Change.NONE

    @staticmethod
    def frozen(upgrade: Upgrade, loss: losses.Loss) -> Upgrade:
        """As the services write it."""
        return upgrade.with_lost_commits(
            loss.why, now=0.0, until=1.0, revision=loss.revision, phase=loss.phase, removing=loss.removing,
            of_state=loss.of_state, incarnation="now",
        )  # fmt: skip

    def _looks(self, up: Any, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        seen: Any = daemon.seen or self.content(up)
        action = f"a daemon writes the copy ({seen.phase.word}, fence {seen.fence.word}{', frozen' * seen.frozen})"
        if daemon.facts is not None:
            if self.may_arrive(daemon.facts, database) and self.may_write_copy(daemon.age, database):
                written = self.committed(database, self.with_held(database, seen, daemon.age))
                yield action, daemon._replace(facts=None), up, written, Change.NONE
            return
        revision = FIRST + up.number
        upgrade = replace(self.upgrade(self._seen_up(seen)), revision=revision - daemon.age)
        facts = self.read_facts(database)
        read = self.database_facts(revision, facts)
        wanted = self.copy_at(seen, revision - daemon.age)
        placed = self.placed(read, facts.held, seen.publication)
        if wanted is None or not is_behind(read, wanted) or self.keeps_old(upgrade, placed):
            if daemon.age == 0:
                yield self._reads(up, database, members, facts)
        elif self.may_write_copy(daemon.age, database):
            if self.writes_are_atomic:
                written = self.committed(database, self.with_held(database, seen, daemon.age))
                yield action, daemon, up, written, Change.NONE
            else:
                yield "a daemon finds that the copy is behind", daemon._replace(facts=facts), up, database, Change.NONE  # type: ignore[arg-type]

    def may_arrive(self, read: Any, database: Any) -> bool:
        """A copy is written only into the database that was looked at."""
        return bool(read.incarnation == database.incarnation)

    def _reads(self, up: Any, database: Any, members: Any, facts: Any) -> Any:
        return "a daemon reads the database", Daemon(Hand.FACTS, facts=facts), up, database, Change.NONE

    def _seen_up(self, seen: Held) -> Any:
        return LosingUp(
            *self._blank(seen), frozen=Frozen.WAITS if seen.frozen else Frozen.NO, number=0,
            publication=seen.publication, lag=Lag.NOT_YET, before=None, is_other=False, truth=None,
        )  # fmt: skip

    def keeps_old(self, upgrade: Upgrade, read: DatabaseFacts) -> bool:
        """Whether the copy stays as it is, because it shows that something is lost."""
        return losses.is_kept(upgrade, read)

    def _read_facts(self, database: Any) -> LosingFacts:
        witness = NEVER if database.witness is Witness.NONE else database.witness_incarnation
        return LosingFacts(
            database.held, min(database.copy_age, 1), database.copy_incarnation, database.incarnation,
            database.expanded, database.contracted, witness,
        )  # fmt: skip

    def _decides(self, up: Any, database: Any, members: Any, daemon: Daemon) -> Any:
        assert daemon.facts is not None
        plain = up._replace(lag=Lag.NOT_YET, before=None, truth=None)
        decision = self.decide(plain, tuple(each for each in members if each.counted is not Counted.NOT), daemon.facts)
        if isinstance(decision, planner.ContinueStep):
            step = Daemon(Hand.STEP, step=decision.step)
            return f"a daemon takes up the {decision.step.value} step", step, up, database, Change.NONE
        upgrade = self.changed(up, decision)
        if upgrade is None:
            return "a daemon finds that it has to wait", IDLE, up, database, Change.NONE
        after = self.after(up, upgrade, freezes=isinstance(decision, planner.Freeze))
        publishes = upgrade.publication != self.upgrade(up).publication
        action = f"a daemon {self._told(up, decision, after)}"
        if isinstance(decision, planner.Publish):
            if not self.is_unnoticed(up, database):
                self._check_publication(up, database, after, action)
            if after.phase < Phase.BACKFILL and database.witness is Witness.PROVEN:
                database = database._replace(witness=Witness.OUTLIVED)
        self._check_return(up, after, action)
        return action, IDLE, after, database, Change.PUBLICATION if publishes else Change.REVISION

    def changed(self, up: Any, decision: planner.Decision) -> Upgrade | None:
        match decision:
            case planner.Freeze(loss):
                return self.frozen(self.upgrade(up), loss)
            case planner.Thaw():
                return self.upgrade(up).thawed()
        return super().changed(up, decision)

    def _told(self, up: Any, decision: planner.Decision, after: Any) -> str:
        match decision:
            case planner.Freeze():
                return f"freezes the upgrade at {after.phase.word}"
            case planner.Thaw():
                return "lets the upgrade go on"
        return self._words(up, Daemon(Hand.DECIDED, decided=after, publishes=isinstance(decision, planner.Publish)))

    def _steered(self, up: Any, changed: Upgrade) -> Any:
        return self.after(up, changed, step_done=up.step_done)

    # -- the invariants ----------------------------------------------------------------------------------------------

    def is_unnoticed(self, up: Any, database: Any) -> bool:
        """Whether something is lost that nobody knows yet."""
        return bool(up.is_other or database.has_unnoticed_loss)

    def check(self, up: Any, database: Any, processes: Any) -> None:
        there = tuple(process for process in processes if not process.is_gone)
        claims_neighbours = not (up.frozen or self.is_unnoticed(up, database))
        for process in there:
            if (up.is_past_return or database.contracted) and self.shown(process)[0] < Behaviour.A3:
                raise Violation(S2)
        if claims_neighbours:
            super().check(up, database, there)
            if database.contracted and not up.is_past_return:
                raise Violation(S10_LOST)

    def _check_join(self, up: Any, is_new: bool) -> None:
        super()._check_join(up, is_new)
        support = self.profile.support(self._side(is_new))
        if up.truth is not None and not all(phase in support for phase in up.truth):
            raise Violation(S6_LOST, f"{'a new' if is_new else 'an old'} process joins")

    @staticmethod
    def _side(is_new: bool) -> Side:
        return Side.NEW if is_new else Side.OLD

    def _check_rows(self, up: Any, lowest: int, action: str) -> None:
        """What a lost publication let begin goes on until a daemon looks.

        Nor is it claimed while frozen: what lands before the database hears of that is moved and proven anew.
        """
        if not up.frozen:
            phase = up.phase if up.truth is None else up.truth[0]
            super()._check_rows(up._replace(phase=phase), lowest, action)


class RestoredWorld(LosingWorld):
    """The state is restored where it was, so that no identity shows it: only copies and renewals do.

    That takes longer than a lease lasts, with the one daemon stopped. Before the daemon has looked nobody starts, and
    the operator types one command; and it looks after every living process has renewed. Who came, wrote and went since
    the standby fell behind is known to nobody: values are not claimed where there is data.
    """

    changes_identity = False

    def may_fail_over(self, daemon: Daemon) -> bool:
        return daemon == IDLE

    def _forgotten(self, process: Any) -> Any:
        return None

    def _restored(self, process: Any) -> Any:
        """Nor does anybody know what a process did that is dead by now."""
        found = super()._restored(process)
        return found if found is None or found.life is not Life.CRASHED else found._replace(told=GONE)

    def _counted_moves(self, up: Any, database: Any, process: Any) -> Iterator[tuple[str, Any, Any]]:
        for action, after, changed in super()._counted_moves(up, database, process):
            dies_unheard = after is not None and after.life is Life.CRASHED and process.told > up.publication
            yield action, after._replace(told=GONE) if dies_unheard else after, changed

    def admits(self, up: Any, is_new: bool) -> bool:
        return up.truth is None and super().admits(up, is_new)

    def operator_moves(self, up: Any) -> Iterator[tuple[str, Any]]:
        return iter(()) if up.truth is not None and up.number else super().operator_moves(up)

    def daemon_moves(self, up: Any, database: Any, members: Any, daemon: Daemon) -> Iterator[Any]:
        told = tuple(self._heard(up, database, members, daemon)) if up.truth is not None else ()
        return iter(told) if told else super().daemon_moves(up, database, members, daemon)

    def is_unnoticed(self, up: Any, database: Any) -> bool:
        return up.truth is not None or super().is_unnoticed(up, database)

    def after(self, up: Any, upgrade: Upgrade, *, step_done: bool = False, freezes: bool = False) -> Any:
        """Whatever the daemon decides, it has looked."""
        found = super().after(up, upgrade, step_done=step_done, freezes=freezes)
        is_typed = (upgrade.goal, upgrade.cancelling) != (up.goal, up.cancelling)
        return found if is_typed else found._replace(truth=None)


def published_at(number: int) -> int:
    """The revision of a publication."""
    return FIRST + number if number > 0 else EARLIER + number
