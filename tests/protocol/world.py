"""The world of the protocol: what there is besides the rules, and everything that can happen in it next.

Processes of two releases, daemons, one managed database with one row, an operator. `planner.decide`,
`admission.may_join`, `check_way_back` and the transitions of `Upgrade` decide, exactly as in production; this module
only moves the world. What decides in production, or in the client, has a method of its own here, so that a test can
take one safeguard away.

A process learns of a publication late, switches between transactions, acks once drained, crashes, is evicted after its
death, leaves. A daemon reads the upgrade, brings the database's copy up to it, reads the facts, decides under the
compare-and-set; it may sleep or die between any two of these, and run a step that it decided on long ago.
Revisions only grow; all that matters of one is how it compares with the others in use: its age, 0 for the present one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from orchestrator.domain import planner
from orchestrator.domain.admission import Standing, may_join
from orchestrator.domain.errors import Conflict
from orchestrator.domain.fleets import Instance, InstanceState, Report
from orchestrator.domain.ladder import RUNG_OF, Behaviour, InStepBy, Phase, Profile, Side, Step
from orchestrator.domain.proofs import Left, left_of_proof
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.upgrades import Move, Status, Upgrade, check_way_back
from orchestrator.domain.view import (
    Copy,
    DatabaseFacts,
    MigrationFacts,
    MigrationState,
    Policy,
    StepRecord,
    StepState,
    View,
)

REVISION = 10
NO_TRANSACTION = -1
LEASE_SECONDS, LONG_AFTER = 60.0, 1e6


def widened(kind: Any, **more: Any) -> Any:
    """A named tuple with the fields of another one, whatever they are, and more."""
    found = NamedTuple(f"Wider{kind.__name__}", [*((each, Any) for each in kind._fields), *more.items()])  # type: ignore[misc]
    return found


class Violation(Exception):
    """An invariant does not hold after this action."""

    def __init__(self, invariant: str, action: str = "") -> None:
        super().__init__(invariant)
        self.invariant = invariant
        self.action = action


class Up(NamedTuple):
    """The upgrade without its revisions, and whether the books say that the step of its move is done."""

    phase: Phase
    fence: Phase
    goal: Phase
    move: Move
    old_valid: bool
    cancelling: bool
    status: Status
    step_done: bool

    @property
    def is_past_return(self) -> bool:
        return self.phase is Phase.CONTRACTED or (self.move is Move.STEPPING and self.fence is Phase.CONTRACTED)


class Life(IntEnum):
    """What a process can still do."""

    RUNNING = 0
    FINISHING = 1  # begins nothing more; what it began may still commit
    CRASHED = 2
    JOINING = 3  # it was told that it may join, and is not written down yet


class Counted(IntEnum):
    """How the orchestrator knows of a process."""

    NOT = 0
    LEASED = 1
    REPORTED = 2


class Process(NamedTuple):
    """One process. `learned` is the phase that it follows, `current` whether that is the present publication.

    `is_older` says that its open transaction began before it learned that.
    """

    is_new: bool
    life: Life
    counted: Counted
    learned: Phase
    current: bool
    acked: bool
    transaction: int
    is_older: bool


class Witness(IntEnum):
    """The proof that every row was moved."""

    NONE = 0
    PROVEN = 1
    OUTLIVED = 2  # a phase below backfill was published since


class Shape(IntEnum):
    """What one shape of the row holds."""

    NOTHING = 0
    STALE = 1
    CURRENT = 2


class Batch(IntEnum):
    """A batch that has looked at the copy and at the row, and will write later; only where it is not atomic."""

    NONE = 0
    UNDER_WAY = 1
    OVERTAKEN = 2  # the row was written since


class Database(NamedTuple):
    """The managed database: the copy, what its catalog and ledger say, and what both shapes of its one row hold."""

    copy_phase: Phase
    copy_fence: Phase
    copy_age: int
    expanded: bool
    contracted: bool
    witness: Witness
    old: Shape
    new: Shape
    batch: Batch


class Facts(NamedTuple):
    """What a daemon read of the database."""

    copy_current: bool
    expanded: bool
    contracted: bool
    has_witness: bool


class Hand(IntEnum):
    """How far a daemon is in its cycle."""

    EMPTY = 0
    UPGRADE = 1
    FACTS = 2
    STEP = 3  # will run it
    RAN = 4  # ran it, will write that down
    DECIDED = 5  # only where deciding and recording are not one transaction


class Daemon(NamedTuple):
    """What one daemon has in its hands.

    `age` is that of the upgrade as it read it; `seen` are its phase and fence as they were, once that is over.
    """

    hand: Hand
    age: int = 0
    seen: tuple[Phase, Phase] | None = None
    facts: Facts | None = None
    step: Step = Step.NONE
    decided: Up | None = None
    publishes: bool = False


class Change(IntEnum):
    """What an action does to the upgrade's revision."""

    NONE = 0
    REVISION = 1
    PUBLICATION = 2


class Member(NamedTuple):
    """A process as the store knows it."""

    is_new: bool
    counted: Counted
    acked: bool
    expired: bool


IDLE = Daemon(Hand.EMPTY)
S1 = "S1 no two live instances more than one behaviour apart"
S1_RANGE = "S1 nobody lives outside its support range"
S2 = "S2 nothing possibly alive needs the old shape once its removal has begun"
S3 = "S3 rows move only while every possible writer writes the new shape"
S4 = "S4 read_new is entered only with a witness proven since the last phase below backfill"
S5 = "S5 every live read returns the last committed value"
S5_ROWS = "S5 no batch overwrites what was committed after it read"
S6 = "S6 an admitted instance supports both the phase and the fence"
S8 = "S8 no batch lands after backfill was left"
S10 = "S10 after the intent of contracted the phase never decreases"
S11 = "S11 a phase is published only when the catalog carries its step"


class World:
    """One kind of upgrade and its rules. Subclasses take a safeguard away, or let more happen."""

    joins_are_atomic = True  # the look at the fence and the insert are one transaction that writes the schema's row
    decisions_are_atomic = True  # so are the decision and its record
    batches_are_atomic = True  # so are the look at the copy and the rows
    rows_are_locked = True  # what a batch has read nobody writes before it ends
    databases_fail = False  # a copy cannot be written just now
    leases_expire = False  # as an action; without it every decision is checked not to depend on expiry
    has_silent_process = False  # one of the old release runs of which nothing was ever reported

    def __init__(
        self,
        in_step_by: InStepBy = InStepBy.CLIENT,
        *,
        has_data_migrations: bool = True,
        has_contract: bool = True,
        steers_to: tuple[Phase, ...] = (Phase.BASE, Phase.EXPANDED, Phase.READ_NEW),
    ) -> None:
        names = ("move",) if has_data_migrations else ()
        self.old = Release("1", fleets=("api",), in_step_by=in_step_by)
        self.new = self.brings(
            Release("2", data_migrations=names, fleets=("api",), in_step_by=in_step_by, has_contract=has_contract)
        )
        self.releases = Releases("s", (self.old, self.new))
        self.profile = self.make_profile()
        self.steers_to = tuple(phase for phase in steers_to if phase in self.profile.phases())
        self.claims_behaviour = in_step_by is not InStepBy.SERVICE
        # Without data migrations nothing in the new shape is computed from the old one.
        self.claims_values = self.claims_behaviour and has_data_migrations
        self.decide = cache(self._decide)

    def brings(self, release: Release) -> Release:
        """The new release, with what a subclass adds to it."""
        return release

    def make_profile(self) -> Profile:
        return self.new.profile

    def initial(
        self, processes: int, daemons: int
    ) -> tuple[Up, Database, tuple[Process | None, ...], tuple[Daemon, ...]]:
        """Everything at base, with room for so many processes."""
        up = Up(
            Phase.BASE, Phase.BASE, self.profile.last(), Move.RESTING, old_valid=True, cancelling=False,
            status=Status.RUNNING, step_done=False,
        )  # fmt: skip
        database = Database(
            Phase.BASE, Phase.BASE, 0, expanded=False, contracted=False, witness=Witness.NONE,
            old=Shape.CURRENT, new=Shape.NOTHING, batch=Batch.NONE,
        )  # fmt: skip
        silent = Process(False, Life.RUNNING, Counted.NOT, Phase.BASE, True, True, NO_TRANSACTION, False)
        first = silent if self.has_silent_process else None
        return up, database, (first, *(None,) * (processes - 1)), (IDLE,) * daemons

    # -- asking the real code ----------------------------------------------------------------------------------------

    def upgrade(self, up: Up) -> Upgrade:
        return Upgrade(
            id=1, schema="s", from_release="1", to_release="2", profile=self.profile, phase=up.phase, fence=up.fence,
            goal=up.goal, move=up.move, revision=REVISION, publication=REVISION, old_valid=up.old_valid, paused=None,
            cancelling=up.cancelling, status=up.status, begun_at=0.0, phase_since=0.0,
        )  # fmt: skip

    def admits(self, up: Up, is_new: bool) -> bool:
        """Also at rest, once the upgrade has ended."""
        release = "2" if up.status is Status.COMPLETED else "1"
        upgrade = self.upgrade(up) if up.status is Status.RUNNING else None
        return may_join(Standing("s", release, upgrade, self.releases), "2" if is_new else "1")

    def _decide(self, up: Up, members: tuple[Member, ...], facts: Facts) -> planner.Decision:
        decision = planner.decide(self.view(up, members, facts, 0.0))
        if not self.leases_expire:
            later = planner.decide(self.view(up, members, facts, LONG_AFTER))
            assert type(later) is type(decision), f"a decision depends on expiry: {decision}, {later}"
        return decision

    def view(self, up: Up, members: tuple[Member, ...], facts: Facts, now: float) -> View:
        instances = tuple(
            Instance(
                "s", "api", str(number), "e", "n", self._release(member), None, InstanceState.ALIVE,
                acked=REVISION if member.acked else REVISION - 1, joined_at=0.0, renewed_at=0.0,
                expires_at=-LEASE_SECONDS if member.expired else LEASE_SECONDS,
            )
            for number, member in enumerate(members)
            if member.counted is Counted.LEASED
        )  # fmt: skip
        reports = tuple(
            Report("s", "api", self._release(member), 1, "operator", None, 0.0)
            for member in members
            if member.counted is Counted.REPORTED
        )
        revision = REVISION if facts.copy_current else REVISION - 1
        migrations: tuple[MigrationFacts, ...] = ()
        if self.profile.has_data_migrations:
            state = MigrationState.COMPLETE if facts.has_witness else MigrationState.RUNNING
            migrations = (MigrationFacts("move", state, witness="i" if facts.has_witness else None),)
        upgrade = self.upgrade(up)
        copy = Copy(
            1, up.phase, up.fence, revision, "i", move=up.move, reversing=upgrade.reversing,
            frozen=upgrade.frozen is not None,
        )  # fmt: skip
        database = DatabaseFacts(
            "main", incarnation="i", expanded=facts.expanded, contracted=facts.contracted, copy=copy,
            migrations=migrations,
        )  # fmt: skip
        steps = (StepRecord(1, up.fence, "main", StepState.DONE if up.step_done else StepState.PENDING, 1),)
        is_silent = any(member.counted is Counted.NOT for member in members)
        return View(
            upgrade=upgrade, old=self.old, new=self.new, instances=instances, reports=reports,
            known_fleets=frozenset() if is_silent else frozenset({"api"}), databases=(database,),
            steps=steps if up.move is Move.STEPPING else (), approvals=(), policy=Policy(approve=()), now=now,
        )  # fmt: skip

    @staticmethod
    def _release(member: Member) -> str:
        return "2" if member.is_new else "1"

    def member(self, process: Process) -> Member | None:
        """The process as the store knows it, or None if it does not. Of a silent one it misses the whole fleet."""
        if process.counted is Counted.NOT:
            is_silent = self.has_silent_process and process.life is Life.RUNNING and not process.is_new
            return Member(process.is_new, Counted.NOT, False, False) if is_silent else None
        expired = self.leases_expire and process.life is not Life.RUNNING
        return Member(process.is_new, process.counted, process.acked and process.current, expired)

    # -- what the client decides -------------------------------------------------------------------------------------

    def may_ack(self, process: Process) -> bool:
        """An ack means drained: nothing is open that began before."""
        return not (process.transaction != NO_TRANSACTION and process.is_older)

    def may_leave(self, process: Process) -> bool:
        return process.transaction == NO_TRANSACTION

    # -- what the operator and the daemons decide --------------------------------------------------------------------

    def may_evict(self, process: Process) -> bool:
        """Somebody attests that it is dead."""
        return process.life is Life.CRASHED

    def may_steer(self, up: Up, to: Phase) -> bool:
        try:
            check_way_back(self.upgrade(up), to)
        except Conflict:
            return False
        return True

    def may_record(self, age: int) -> bool:
        """The compare-and-set: what was read at another revision is not acted upon."""
        return age == 0

    # -- what the managed database decides ---------------------------------------------------------------------------

    def may_write_copy(self, age: int, database: Database) -> bool:
        """Forward only."""
        return age <= database.copy_age

    def with_copy(self, database: Database, phase: Phase, fence: Phase) -> Database:
        """Written whole."""
        return database._replace(copy_phase=phase, copy_fence=fence)

    def may_batch(self, database: Database) -> bool:
        """By the copy alone, in the transaction that moves the rows."""
        return database.copy_phase is Phase.BACKFILL and database.copy_fence is Phase.BACKFILL

    def may_finish_batch(self, database: Database) -> bool:
        """The cursor's revision: a copy that leaves backfill has taken the cursor away."""
        return self.may_batch(database)

    def keeps_proof(self, phase: Phase, *, frozen: bool = False, is_reverse: bool = False) -> bool:
        """Whether writing a copy of that phase leaves the witness."""
        return left_of_proof(phase, frozen=frozen, is_reverse=is_reverse) is Left.ALL

    # -- processes ---------------------------------------------------------------------------------------------------

    def newcomers(self, up: Up) -> Iterator[tuple[str, Process]]:
        """Who may start now where there is room."""
        for is_new in (False, True):
            if self.admits(up, is_new):
                process = Process(is_new, Life.RUNNING, Counted.LEASED, up.phase, True, True, NO_TRANSACTION, False)
                if self.joins_are_atomic:
                    self._check_join(up, is_new)
                    yield f"{self.name(process)} joins", process
                else:
                    yield (
                        f"{self.name(process)} is told that it may join",
                        process._replace(life=Life.JOINING, counted=Counted.NOT),
                    )

    def process_moves(
        self, up: Up, database: Database, process: Process
    ) -> Iterator[tuple[str, Process | None, Database]]:
        """What one process can do, or have done to it."""
        name = self.name(process)
        if process.life is Life.JOINING:
            yield f"{name} joins", process._replace(life=Life.RUNNING, counted=Counted.LEASED), database
            return
        if process.counted is Counted.NOT and self.has_silent_process:
            yield f"{name} is reported", process._replace(counted=Counted.REPORTED), database
        if process.counted is Counted.REPORTED and process.transaction == NO_TRANSACTION:
            yield f"{name} is stopped, and reported so", None, database
        if self.may_evict(process) and process.counted is Counted.LEASED:
            gone = None if process.life is Life.CRASHED else process._replace(counted=Counted.NOT)
            yield f"{name} is evicted", gone, database
        if process.life is Life.CRASHED:
            return
        yield from self._lease_moves(up, database, process)
        if process.transaction == NO_TRANSACTION:
            if process.life is Life.RUNNING:
                behaviour = self.behaviour(process)
                yield f"{name} begins ({behaviour.words})", process._replace(transaction=int(behaviour)), database
            return
        after = process._replace(transaction=NO_TRANSACTION, is_older=False)
        is_gone = process.counted is Counted.NOT and process.life is Life.FINISHING
        words = Behaviour(process.transaction).words
        yield f"{name} commits ({words})", None if is_gone else after, self._committed(database, process)

    def _lease_moves(
        self, up: Up, database: Database, process: Process
    ) -> Iterator[tuple[str, Process | None, Database]]:
        if process.counted is not Counted.LEASED:
            return
        name = self.name(process)
        has_transaction = process.transaction != NO_TRANSACTION
        crashed = process._replace(life=Life.CRASHED, transaction=NO_TRANSACTION, is_older=False)
        yield f"{name} crashes", crashed, database
        if process.life is Life.FINISHING:
            yield f"{name} renews again", process._replace(life=Life.RUNNING), database
            return
        if self.leases_expire:
            yield f"the lease of {name} expires", process._replace(life=Life.FINISHING), database
        if not process.current:
            learned = process._replace(learned=up.phase, current=True, is_older=has_transaction)
            yield f"{name} learns {up.phase.word}", learned, database
        if self.may_leave(process):
            gone = process._replace(life=Life.FINISHING, counted=Counted.NOT) if has_transaction else None
            yield f"{name} leaves", gone, database
        if process.current and not process.acked and self.may_ack(process):
            yield f"{name} acks {process.learned.word}", process._replace(acked=True), database

    def _committed(self, database: Database, process: Process) -> Database:
        behaviour = Behaviour(process.transaction)
        action = f"{self.name(process)} commits ({behaviour.words})"
        if self.claims_behaviour and database.contracted and behaviour is not Behaviour.A3:
            raise Violation(S2, action)
        if not self.claims_values:
            return database
        read = database.old if behaviour.reads == "old" else database.new
        if read is not Shape.CURRENT:
            raise Violation(S5, action)
        old = Shape.STALE if behaviour.writes == "new" else Shape.CURRENT
        new = Shape.CURRENT if behaviour.writes != "old" else min(database.new, Shape.STALE)
        is_overtaken = not self.rows_are_locked and database.batch is not Batch.NONE
        return database._replace(old=old, new=new, batch=Batch.OVERTAKEN if is_overtaken else database.batch)

    def republished(self, process: Process) -> Process:
        """What a publication makes of it: it follows an earlier one, until it learns."""
        return process._replace(current=False, acked=False)

    def behaviour(self, process: Process) -> Behaviour:
        """What it begins now."""
        return self.profile.behaviour(Side.NEW if process.is_new else Side.OLD, process.learned)

    def shown(self, process: Process) -> tuple[int, int]:
        """The lowest and the highest behaviour that it may show."""
        open_one = process.transaction
        if process.life is Life.CRASHED or (process.life is Life.FINISHING and open_one != NO_TRANSACTION):
            now = self.behaviour(process) if open_one == NO_TRANSACTION else open_one
            return now, now
        begins = int(self.behaviour(process))
        return (begins, begins) if open_one == NO_TRANSACTION else (min(begins, open_one), max(begins, open_one))

    def counted(self, shown: tuple[int, int], database: Database) -> tuple[int, int]:
        """What these behaviours come to, with what the database does besides."""
        return shown

    @staticmethod
    def name(process: Process) -> str:
        return "a new process" if process.is_new else "an old process"

    # -- daemons -----------------------------------------------------------------------------------------------------

    def aged(self, daemon: Daemon, up: Up) -> Daemon:
        """What a daemon has in its hands once the upgrade is not `up` any more."""
        match daemon.hand:
            case Hand.UPGRADE:
                return daemon._replace(age=daemon.age + 1, seen=daemon.seen or self.seen(up))
            case Hand.FACTS if self.may_record(daemon.age + 1):
                assert daemon.facts is not None
                return daemon._replace(facts=daemon.facts._replace(copy_current=False))
            case Hand.DECIDED if self.may_record(daemon.age + 1):
                return daemon._replace(age=daemon.age + 1)
            case Hand.FACTS | Hand.DECIDED:
                return IDLE
        return daemon

    def useful(self, daemon: Daemon, database: Database) -> Daemon:
        """The daemon, or an idle one if all that it can do is to find out that it is too late."""
        if daemon.hand is not Hand.UPGRADE or self.may_record(daemon.age):
            return daemon
        may_write = daemon.age != database.copy_age and self.may_write_copy(daemon.age, database)
        return daemon if may_write else IDLE

    def seen(self, up: Up) -> tuple[Phase, Phase]:
        """What a daemon that has read the upgrade writes into the copies."""
        return up.phase, up.fence

    def facts(self, database: Database) -> Facts:
        """What a daemon reads of the database."""
        return Facts(
            database.copy_age == 0, database.expanded, database.contracted, database.witness is not Witness.NONE
        )

    def settled(self, database: Database, daemons: tuple[Daemon, ...]) -> Database:
        """The database without what matters to none of these daemons any more, nor to anybody else."""
        return database

    def daemon_moves(
        self, up: Up, database: Database, members: tuple[Member, ...], daemon: Daemon
    ) -> Iterator[tuple[str, Daemon, Up, Database, Change]]:
        """What one daemon can do next, its death included."""
        if up.status is not Status.RUNNING:
            return
        if daemon.hand is Hand.EMPTY:
            yield "a daemon reads the upgrade", Daemon(Hand.UPGRADE), up, database, Change.NONE
            return
        yield "a daemon dies", IDLE, up, database, Change.NONE
        match daemon.hand:
            case Hand.UPGRADE:
                yield from self._observing(up, database, daemon)
            case Hand.FACTS:
                yield self._deciding(up, database, members, daemon)
            case Hand.DECIDED:
                yield self._recording(up, database, daemon)
            case Hand.STEP:
                is_expand = daemon.step is Step.EXPAND
                done = database._replace(expanded=True) if is_expand else database._replace(contracted=True)
                ran = Daemon(Hand.RAN, step=daemon.step)
                yield f"a daemon runs the {daemon.step.value} step", ran, up, done, Change.NONE
            case Hand.RAN:
                is_its_own = up.move is Move.STEPPING and RUNG_OF[up.fence].step is daemon.step
                noted = up._replace(step_done=True) if is_its_own else up
                yield f"a daemon notes that the {daemon.step.value} step is done", IDLE, noted, database, Change.NONE

    def _observing(
        self, up: Up, database: Database, daemon: Daemon
    ) -> Iterator[tuple[str, Daemon, Up, Database, Change]]:
        seen = daemon.seen or self.seen(up)
        phase, fence = seen[:2]
        facts = self.facts(database)
        if database.copy_age == daemon.age:
            yield "a daemon reads the database", Daemon(Hand.FACTS, facts=facts), up, database, Change.NONE
        elif self.may_write_copy(daemon.age, database):
            written = self.with_copy(database, *seen)._replace(copy_age=daemon.age)
            if not self.keeps_proof(phase):
                written = written._replace(witness=Witness.NONE)
            action = f"a daemon writes the copy ({phase.word}, fence {fence.word})"
            yield action, daemon, up, written, Change.NONE
            if self.databases_fail and self.may_record(daemon.age):
                unwritten = Daemon(Hand.FACTS, facts=facts._replace(copy_current=False))
                yield "a daemon cannot write the copy", unwritten, up, database, Change.NONE
        else:
            yield "a daemon finds that the copy is ahead of it", IDLE, up, database, Change.NONE

    def _deciding(
        self, up: Up, database: Database, members: tuple[Member, ...], daemon: Daemon
    ) -> tuple[str, Daemon, Up, Database, Change]:
        assert daemon.facts is not None
        decision = self.decide(up, members, daemon.facts)
        if isinstance(decision, planner.ContinueStep):
            step = Daemon(Hand.STEP, step=decision.step)
            return f"a daemon takes up the {decision.step.value} step", step, up, database, Change.NONE
        upgrade = self.changed(up, decision)
        if upgrade is None:
            return "a daemon finds that it has to wait", IDLE, up, database, Change.NONE
        after = self.up(upgrade)
        publishes = isinstance(decision, planner.Publish)
        decided = Daemon(Hand.DECIDED, decided=after, publishes=publishes)
        if self.decisions_are_atomic:
            return self._recording(up, database, decided)
        return f"a daemon decides: {self._words(up, decided)}", decided, up, database, Change.NONE

    def changed(self, up: Up, decision: planner.Decision) -> Upgrade | None:
        """The upgrade after a decision, as the daemon writes it; None where there is nothing to write."""
        upgrade = self.upgrade(up)
        match decision:
            case planner.SetFence(target):
                return upgrade.with_fence(target)
            case planner.LiftFence():
                return upgrade.without_fence()
            case planner.BeginStep():
                return upgrade.with_step_begun()
            case planner.Publish():
                return upgrade.published(1.0)
            case planner.EndAtBase():
                return upgrade.ended_at_base(1.0)
        return None

    def _recording(self, up: Up, database: Database, decided: Daemon) -> tuple[str, Daemon, Up, Database, Change]:
        after = decided.decided
        assert after is not None
        action = f"a daemon {self._words(up, decided)}"
        if not self.may_record(decided.age):
            return "a daemon finds that the upgrade has changed", IDLE, up, database, Change.NONE
        if decided.publishes:
            self._check_publication(up, database, after, action)
            if after.phase < Phase.BACKFILL and database.witness is Witness.PROVEN:
                database = database._replace(witness=Witness.OUTLIVED)
        self._check_return(up, after, action)
        return action, IDLE, after, database, Change.PUBLICATION if decided.publishes else Change.REVISION

    @staticmethod
    def _words(up: Up, decided: Daemon) -> str:
        after = decided.decided
        assert after is not None
        if decided.publishes:
            return f"publishes {after.phase.word}"
        if after.status is not up.status:
            return "ends the upgrade at base"
        return {
            Move.FENCED: f"sets the fence at {after.fence.word}",
            Move.STEPPING: f"begins the step into {after.fence.word}",
            Move.RESTING: "lifts the fence",
        }[after.move]

    @staticmethod
    def up(upgrade: Upgrade) -> Up:
        return Up(
            upgrade.phase, upgrade.fence, upgrade.goal, upgrade.move, upgrade.old_valid, upgrade.cancelling,
            upgrade.status, step_done=False,
        )  # fmt: skip

    # -- rows and operators ------------------------------------------------------------------------------------------

    def row_moves(self, up: Up, database: Database, lowest: int) -> Iterator[tuple[str, Database]]:
        """What data migrations do. `lowest` is the lowest behaviour that any process may show."""
        if not self.profile.has_data_migrations:
            return
        action = "a batch moves the row"
        if self.may_batch(database) and database.witness is Witness.NONE and database.batch is Batch.NONE:
            self._check_rows(up, lowest, action)
            if not self.batches_are_atomic:
                yield "a batch begins", database._replace(batch=Batch.UNDER_WAY)
            elif (moved := database._replace(new=self.moved(database))) != database:
                yield action, moved
            if database.new is database.old is Shape.CURRENT or not self.claims_values:
                yield "the verification finds no difference", database._replace(witness=Witness.PROVEN)
        elif database.batch is not Batch.NONE:
            if self.may_finish_batch(database):
                self._check_rows(up, lowest, action)
                if database.batch is Batch.OVERTAKEN:
                    self._check_overtaken(action)
                yield action, database._replace(new=self.moved(database), batch=Batch.NONE)
            else:
                yield "a batch finds its cursor gone", database._replace(batch=Batch.NONE)

    def moved(self, database: Database) -> Shape:
        """The new shape after a batch: computed from the old one as it was read, whatever was there."""
        return Shape.STALE if database.batch is Batch.OVERTAKEN else database.old

    def operator_moves(self, up: Up) -> Iterator[tuple[str, Up]]:
        """How an operator may steer: to earlier phases, to base for good, and forward again."""
        if up.cancelling or up.status is not Status.RUNNING:
            return
        upgrade = self.upgrade(up)
        for goal in self.steers_to:
            if goal != up.goal and goal <= up.phase and self.may_steer(up, goal):
                changed = upgrade.with_goal(goal, cancelling=goal is Phase.BASE)
                verb = "cancels" if goal is Phase.BASE else f"steers back to {goal.word}"
                yield f"the operator {verb}", self._steered(up, changed)
        if up.goal is not self.profile.last():
            yield "the operator steers on", self._steered(up, upgrade.with_goal(self.profile.last()))

    def _steered(self, up: Up, changed: Upgrade) -> Up:
        return self.up(changed)._replace(step_done=up.step_done)

    # -- the invariants ----------------------------------------------------------------------------------------------

    def check(self, up: Up, database: Database, processes: tuple[Process, ...]) -> None:
        """Invariants of a single state. Raises `Violation`."""
        present = [process for process in processes if process.life is not Life.JOINING]
        shown = [self.counted(self.shown(each), database) for each in present if each.life is not Life.CRASHED]
        if self.claims_behaviour and shown and max(high for _, high in shown) - min(low for low, _ in shown) > 1:
            raise Violation(S1)
        for process in present:
            if up.phase not in self.profile.support(Side.NEW if process.is_new else Side.OLD):
                raise Violation(S1_RANGE)
            if (up.is_past_return or database.contracted) and self.shown(process)[0] < Behaviour.A3:
                raise Violation(S2)

    def _check_join(self, up: Up, is_new: bool) -> None:
        support = self.profile.support(Side.NEW if is_new else Side.OLD)
        if up.phase not in support or up.fence not in support:
            raise Violation(S6, f"{'a new' if is_new else 'an old'} process joins")

    def _check_rows(self, up: Up, lowest: int, action: str) -> None:
        if lowest < Behaviour.A1:
            raise Violation(S3, action)
        if up.phase is not Phase.BACKFILL:
            raise Violation(S8, action)

    def _check_overtaken(self, action: str) -> None:
        raise Violation(S5_ROWS, action)

    def _check_publication(self, up: Up, database: Database, after: Up, action: str) -> None:
        goes_up = after.phase > up.phase
        if goes_up and self.profile.has_data_migrations:
            after_backfill = self.profile.neighbour(Phase.BACKFILL, Phase.CONTRACTED)
            if after.phase == after_backfill and database.witness is not Witness.PROVEN:
                raise Violation(S4, action)
        if goes_up and after.phase is Phase.EXPANDED and not database.expanded:
            raise Violation(S11, action)
        if goes_up and after.phase is Phase.CONTRACTED and not database.contracted:
            raise Violation(S11, action)

    @staticmethod
    def _check_return(up: Up, after: Up, action: str) -> None:
        if up.is_past_return and not after.is_past_return:
            raise Violation(S10, action)
