"""A site in which anything may happen in any order: processes, operators, daemons that die in the middle, time.

What is asserted after each event is what the protocol promises; the processes do what the client library does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

from orchestrator.domain.admission import Stance
from orchestrator.domain.errors import OrchestratorError, StepFailed
from orchestrator.domain.fleets import Instance, InstanceState, Sessions
from orchestrator.domain.ladder import Behaviour, InStepBy, Phase, Side, Step, Support
from orchestrator.domain.losses import Follows
from orchestrator.domain.planner import Idle, Refusal
from orchestrator.domain.upgrades import Status, Upgrade
from orchestrator.domain.view import MigrationState, Policy
from orchestrator.ports import Store, Transaction
from orchestrator.services.advancing import Advancing
from orchestrator.services.context import Context
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.fleets import Fleets
from orchestrator.services.leadership import Elections
from tests.fakes import FLEETS, Clock, three_releases
from tests.services.site import LEADERSHIP_SECONDS, SCHEMA, Pauses, PausingSchema, PausingStore, Site

DATABASES = ("one", "two")
OPERATOR = "alice"


class Killed(Exception):
    """The daemon died there."""


@dataclass
class Process:
    """One process of a fleet. `open` says whether it has a transaction that began under what it follows now; `old` is
    what it followed in those that began before and have not ended."""

    fleet: str
    name: str
    release: str
    epoch: str
    stance: Stance
    sessions: Sessions | None
    open: bool = False
    old: list[Stance] = field(default_factory=list)
    lives: bool = True

    @property
    def in_use(self) -> tuple[Stance, ...]:
        return (self.stance, *self.old)

    def hear(self, stance: Stance) -> None:
        """As the client does: what is open goes on as it began, and nobody steps back."""
        at_rest = stance.upgrade_id is None and stance.behaviour is self.stance.behaviour
        if stance == self.stance or (stance.publication < self.stance.publication and not at_rest):
            return
        if self.open:
            self.old.append(self.stance)
        self.open, self.stance = False, stance

    def drain(self) -> None:
        self.open = False
        self.old.clear()


class Daemon:
    """One daemon. It may die at any write, and is started again under another name."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name, self._starts = world, name, 0
        self.start()

    def start(self) -> None:
        site = self._world.site
        self._starts += 1
        self.pauses = Pauses()
        context = Context(
            PausingStore(site.store, self.pauses),
            {SCHEMA: PausingSchema(site.managed, self.pauses)},
            {SCHEMA: site.policy},
        )
        self._elections = Elections(
            site.store, f"{self._name}-{self._starts}", ttl_seconds=LEADERSHIP_SECONDS,
            grant_seconds=context.lease_terms.ttl_seconds,
        )  # fmt: skip
        self._advancing = Advancing(context, parallel=1)
        self._evicting = Evicting(context, parallel=1)
        self._data_migrations = DataMigrations(context)
        self._epoch: int | None = None

    def campaign(self) -> bool:
        """Whether it leads."""
        epoch = self._elections.campaign()
        self._epoch = epoch if epoch is not None else self._epoch
        return epoch is not None

    def cycle(self, dies_at: int | None = None, *, at: int = 0, meanwhile: Callable[[], object] | None = None) -> None:
        """A turn, as the leader, or as somebody who woke up and still believes to lead.

        It dies at that write, or something happens at the one of number `at`.
        """
        if self._epoch is None:
            return
        crossed = len(self.pauses.crossed)

        def hook(number: int) -> None:
            self._world.check()
            if meanwhile is not None and number == crossed + at:
                meanwhile()
            if dies_at is not None and number >= crossed + dies_at:
                raise Killed

        self.pauses.hook = hook
        try:
            self._evicting.run(SCHEMA, leader_epoch=self._epoch)
            decision = self._advancing.advance(SCHEMA, leader_epoch=self._epoch).decision
        except Killed:
            self.start()
            return
        except OrchestratorError as error:
            assert error.code == "not_leader", error
            return
        finally:
            self.pauses.hook = lambda number: None
        if meanwhile is None:
            self._world.check_explained(decision)

    def move_rows(self, batches: int) -> None:
        left = iter(range(batches))
        for database in DATABASES:
            try:
                self._data_migrations.run(SCHEMA, database, may_go_on=lambda: next(left, None) is not None)
            except OrchestratorError as error:
                assert error.code == "database_unreachable", error


class World:
    """Everything at once, and what holds of it."""

    def __init__(self, store: Store, clock: Clock, policy: Policy, in_step_by: InStepBy) -> None:
        self.clock = clock
        self.site = Site(
            store, clock, databases=DATABASES, policy=policy, releases=three_releases(in_step_by=in_step_by)
        )
        for database in self.site.managed.on.values():
            database.rows, database.batch_rows = 4, 2
        self.site.nobody_runs()
        self.fleets = Fleets(self.site.context)
        self.processes: list[Process] = []
        self.daemons = [Daemon(self, "first"), Daemon(self, "second")]
        self._seen: Upgrade | None = None
        self._copies = dict.fromkeys(DATABASES, 0)
        self._past_return: int | None = None
        self._epochs: set[str] = set()
        self._joined = 0

    def start_at(self, phase: Phase | None, processes: int) -> None:
        """The upgrade stands there, or has not begun, with some processes of each release that may live there."""
        if phase is not None:
            self.site.begin()
        if phase is not None and phase is not Phase.BASE and phase in self.site.upgrade.profile.phases():
            self.site.rest_at(phase).go_on()
        for release, fleet in product(("1", "2"), FLEETS):
            for number in range(processes):
                self.join(fleet, release, tagged=number % 2 == 0)

    # -- processes -------------------------------------------------------------------------------------------------

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes if process.lives]

    def named(self, release: Side | str) -> str:
        """The release of that side of the upgrade under way; at rest the one that everybody runs, or the next."""
        if not isinstance(release, Side):
            return release
        upgrade = self._running()
        if upgrade is not None:
            return upgrade.from_release if release is Side.OLD else upgrade.to_release
        known = self.site.managed.releases
        present = known[str(self.site.release)]
        return present.name if release is Side.OLD else (known.after(present.name) or present).name

    def join(self, fleet: str, release: str, *, tagged: bool = False) -> Process | None:
        """A process starts. None where it is not admitted, which is asked again by whoever starts it."""
        self._joined += 1
        name = f"p{self._joined}"
        sessions = Sessions.TAGGED if tagged else None
        try:
            lease = self.site.leases.join(
                SCHEMA, fleet, instance_id=name, nonce=name, release=release, sessions=sessions
            )
        except OrchestratorError as error:
            assert self.site.board.readiness(SCHEMA, release)[0].verdict != "ready", error
            return None
        upgrade = self._running()
        if upgrade is not None:  # S6
            support = self._support(upgrade, release)
            assert upgrade.phase in support and upgrade.fence in support, "it was admitted where it cannot live"
        assert lease.epoch not in self._epochs, "epochs never repeat"
        self._epochs.add(lease.epoch)
        process = Process(fleet, name, release, lease.epoch, lease.stance, sessions)
        self.processes.append(process)
        return process

    def renew(self, process: Process) -> None:
        told = process.stance
        ack = None if process.old else told.publication
        follows = None if told.upgrade_id is None else Follows(told.upgrade_id, told.publication, told.phase)
        try:
            lease = self.site.leases.renew(
                SCHEMA, process.fleet, process.name, epoch=process.epoch, ack=ack, follows=follows
            )
        except OrchestratorError as error:
            assert error.code in ("instance_evicted", "instance_evicting"), error
            process.lives = False  # it rolls back, and stops
            return
        process.hear(lease.stance)

    def leave(self, process: Process) -> None:
        """It drains, closes its pools, and says so."""
        process.drain()
        process.lives = False
        try:
            self.site.leases.leave(SCHEMA, process.fleet, process.name, epoch=process.epoch)
        except OrchestratorError as error:
            assert error.code in ("instance_evicted", "instance_evicting"), error

    def evict(self, process: Process) -> None:
        """On somebody's word where it is dead, with proof where its sessions can be told."""
        attested = not process.lives
        if attested or process.sessions is not None:
            before = self._events("instance.evict")
            known = self._state_of(process)
            self.site.leases.evict(
                SCHEMA, process.fleet, process.name, actor=OPERATOR, reason="gone", attested_dead=attested
            )
            changed = self._state_of(process) is not known
            assert self._events("instance.evict") == before + changed, "an override and its line of the log are one"

    def roll(self, fleet: str) -> None:
        """Every process of the fleet that runs the old release is stopped, and one of the new one started for it."""
        upgrade = self._running()
        for process in self.living:
            if upgrade is not None and process.fleet == fleet and process.release == upgrade.from_release:
                self.leave(process)
                self.join(fleet, upgrade.to_release, tagged=process.sessions is not None)

    def renew_all(self) -> None:
        """Everybody hears what is published, drains, and acks it."""
        for _ in range(2):
            for process in self.living:
                self.renew(process)
                process.drain()

    def pass_quietly(self, turns: int) -> None:
        """One daemon leads, everybody answers, and nobody interferes."""
        self.clock.advance(LEADERSHIP_SECONDS + 1)
        daemon = self.daemons[0]
        if not daemon.campaign():
            return
        for _ in range(turns):
            self.renew_all()
            daemon.cycle()
            daemon.move_rows(100)

    # -- operators -------------------------------------------------------------------------------------------------

    def steer(self, action: str, verb: Callable[[], object]) -> bool:
        """An override and its line of the audit log are one; a refusal changes nothing. Returns whether it was done."""
        before, revision = self._events(action), self._seen.revision if self._seen is not None else 0
        try:
            verb()
        except OrchestratorError:
            assert self._events(action) == before
            assert self._newest() is None or self.site.upgrade.revision == revision, "a refusal changed something"
            return False
        assert self._events(action) <= before + 1
        if self._newest() is not None and self.site.upgrade.revision != revision:
            assert self._events(action) == before + 1, "nothing is overridden without a line in the log"
        return True

    def fail(self, database: str, step: Step) -> None:
        self.site.managed.on[database].fails[step] = StepFailed("boom", "it broke", remedy="Mend it.")

    def mend(self) -> None:
        for database in self.site.managed.on.values():
            database.fails.clear()
            database.error = None

    # -- what holds ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every event, and at every write of a daemon."""
        upgrade, release, instances = self.site.store.read(_read)
        self._check_history(upgrade)
        for process in self.processes:
            instance = instances[process.name]
            if process.lives and instance.state is InstanceState.EVICTED:
                refused = all(instance.tag in database.refused for database in self.site.managed.on.values())
                assert refused, "it was counted out, and may still write"
                process.lives = False
        if upgrade is None or upgrade.status is not Status.RUNNING:
            wrong = [process.name for process in self.living if process.release != release]
            assert not wrong, "somebody lives at rest with another release"
            return
        self._check_together(upgrade)
        if upgrade.phase is Phase.READ_NEW and upgrade.profile.has_data_migrations and not upgrade.reversing:
            for database in self.site.managed.on.values():  # S4
                facts = database.migrations["split_name"]
                assert facts.state is MigrationState.COMPLETE and facts.witness == database.incarnation

    def _check_history(self, upgrade: Upgrade | None) -> None:
        seen = self._seen
        if upgrade is not None and seen is not None and upgrade != seen:  # S7
            assert upgrade.revision > seen.revision, "revisions never repeat"
            assert upgrade.id >= seen.id and upgrade.publication >= seen.publication
            if self._past_return == upgrade.id:  # S10
                assert upgrade.is_past_return and upgrade.phase >= seen.phase
        if upgrade is not None and upgrade.is_past_return:
            self._past_return = upgrade.id
        self._seen = upgrade
        for name, database in self.site.managed.on.items():
            if database.copy is not None:
                assert database.copy.revision >= self._copies[name], "a copy went back"
                assert upgrade is None or database.copy.revision <= upgrade.revision, "a copy is ahead"
                self._copies[name] = database.copy.revision

    def _check_together(self, upgrade: Upgrade) -> None:
        """S1 and S2. A service that vouches for itself switches nothing."""
        behaviours = []
        for process in self.living:
            support = self._support(upgrade, process.release)
            assert upgrade.phase in support, f"{process.name} lives outside its support"
            behaviours += self._behaviours(upgrade, process)
        if upgrade.profile.in_step_by is not InStepBy.SERVICE:
            assert all(abs(one - other) <= 1 for one, other in product(behaviours, repeat=2)), "too far apart"
        if upgrade.phase >= Phase.SEALED and upgrade.profile.in_step_by is InStepBy.CLIENT:
            assert all(each is Behaviour.A3 for each in behaviours), "somebody may write what is sealed"

    def _behaviours(self, upgrade: Upgrade, process: Process) -> list[Behaviour]:
        old = upgrade.side_of(process.release) is Side.OLD
        if upgrade.profile.in_step_by is InStepBy.TRIGGERS and upgrade.phase < Phase.SEALED:
            return [Behaviour.A1 if old else Behaviour.A2]
        if old:
            return [Behaviour.A0]
        return [each.behaviour for each in process.in_use]

    def check_explained(self, decision: object) -> None:
        """S12: whoever asks is told the blockers that the leader was refused by; where it rests there are none."""
        upgrade = self._running()
        if upgrade is None or not isinstance(decision, Idle | Refusal):
            return
        found = self.site.codes
        assert bool(found) == isinstance(decision, Refusal)
        if isinstance(decision, Refusal):
            assert decision.blockers
            assert sorted(found) == sorted(each.code for each in decision.blockers)

    # -- the end ---------------------------------------------------------------------------------------------------

    def come_to_an_end(self) -> None:
        """From wherever it stands: with everything mended and everybody rolled, the upgrade ends."""
        self.mend()
        for fleet in FLEETS:
            self.fleets.resume(SCHEMA, fleet, actor=OPERATOR, reason=None)
        for _ in range(40):
            upgrade = self._running()
            if upgrade is None:
                return
            self._help(upgrade)
            self.pass_quietly(1)
            self.check()
        raise AssertionError(f"it never ends: {self.site.upgrade} {self.site.codes} {self.site.culprits}")

    def _help(self, upgrade: Upgrade) -> None:
        """What operators do: evict the dead, roll the living, retry, resume, approve."""
        for process in self.processes:
            if not process.lives:
                self.evict(process)
        if upgrade.paused is not None or not upgrade.cancelling:
            self.site.upgrades.resume(SCHEMA, actor=OPERATOR, reason=None)
        wanted = Side.OLD if upgrade.cancelling else Side.NEW
        for process in self.living:
            if upgrade.side_of(process.release) is not wanted:
                self.leave(process)
        upgrades = self.site.upgrades
        verbs: tuple[Callable[[], object], ...] = (
            lambda: upgrades.retry(SCHEMA, None, actor=OPERATOR, reason=None),
            lambda: upgrades.approve(SCHEMA, phase=Phase.CONTRACTED, actor=OPERATOR, reason="go"),
        )
        for verb in verbs:
            try:
                verb()
            except OrchestratorError as error:
                assert error.code in ("no_step", "nothing_to_retry", "nothing_to_approve"), error

    # -- reading ---------------------------------------------------------------------------------------------------

    def _newest(self) -> Upgrade | None:
        return next(iter(self.site.store.read(lambda tx: tx.upgrades(SCHEMA, limit=1))), None)

    def _running(self) -> Upgrade | None:
        newest = self._newest()
        return newest if newest is not None and newest.status is Status.RUNNING else None

    def _support(self, upgrade: Upgrade, release: str) -> Support:
        side = upgrade.side_of(release)
        assert side is not None, f"{release} has no part in this upgrade"
        return upgrade.profile.support(side)

    def _instance(self, process: Process) -> Instance:
        found = self.site.store.read(lambda tx: tx.instance(SCHEMA, process.fleet, process.name))
        assert found is not None
        return found

    def _state_of(self, process: Process) -> InstanceState:
        return self._instance(process).state

    def _events(self, action: str) -> int:
        events = self.site.store.read(lambda tx: tx.events(schema=SCHEMA, after=0, limit=100_000))
        return sum(event.action == action for event in events)


def _read(tx: Transaction) -> tuple[Upgrade | None, str | None, dict[str, Instance]]:
    """The newest upgrade, the release that the schema is at, and every process that ever joined."""
    state = tx.schema(SCHEMA)
    newest = next(iter(tx.upgrades(SCHEMA, limit=1)), None)
    return newest, state.release if state is not None else None, {each.id: each for each in tx.instances(SCHEMA)}
