"""Whatever happens, in whatever order, the protocol holds: random walks over the services, on two stores."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.dialects import open_database
from orchestrator.domain.ladder import InStepBy, Phase, Side, Step
from orchestrator.domain.view import Policy
from orchestrator.domain.waves import Canary, Waves
from orchestrator.ports import Store
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.fakes import FLEETS, Clock
from tests.services.any_order import DATABASES, OPERATOR, Process, World
from tests.services.site import SCHEMA

POLICIES = (
    Policy(approve=()),
    Policy(approve=(Phase.CONTRACTED,), soak_seconds=30.0),
    Policy(approve=(), waves=Waves(((FLEETS[0],), (FLEETS[1],)), soak_seconds=20.0)),
    Policy(approve=(), waves=Waves(((FLEETS[0],), (FLEETS[1],)), Canary(instances=1))),
)
POLICY_NAMES = ("at-once", "approved", "in-waves", "with-canary")
RELEASES = ("1", "2", "3")
UNSYNCED = "PRAGMA synchronous = OFF"  # nobody needs the file when the walk has ended
numbers = st.integers(0, 7)


class AnyOrder(RuleBasedStateMachine):
    """One walk. Who is meant by a number is one of those who are there."""

    world: World
    policy: Policy
    in_step_by: InStepBy

    def new_store(self, clock: Clock) -> Store:
        return MemoryStore(clock)

    @initialize(phase=st.sampled_from([None, *Phase][:-1]), processes=st.integers(0, 2))
    def open(self, phase: Phase | None, processes: int) -> None:
        clock = Clock()
        self.world = World(self.new_store(clock), clock, self.policy, self.in_step_by)
        self.world.start_at(phase, processes)

    # -- processes -------------------------------------------------------------------------------------------------

    @rule(fleet=st.sampled_from(FLEETS), release=st.sampled_from([*Side, *RELEASES]), tagged=st.booleans())
    def join(self, fleet: str, release: Side | str, tagged: bool) -> None:
        self.world.join(fleet, self.world.named(release), tagged=tagged)

    def some(self, number: int) -> Process | None:
        living = self.world.living
        return living[number % len(living)] if living else None

    @rule(number=numbers)
    def begin_a_transaction(self, number: int) -> None:
        if (process := self.some(number)) is not None:
            process.open = True

    @rule(number=numbers)
    def drain(self, number: int) -> None:
        if (process := self.some(number)) is not None:
            process.drain()

    @rule(number=numbers)
    def renew(self, number: int) -> None:
        if (process := self.some(number)) is not None:
            self.world.renew(process)

    @rule()
    def everybody_renews(self) -> None:
        self.world.renew_all()

    @rule(fleet=st.sampled_from(FLEETS))
    def roll(self, fleet: str) -> None:
        self.world.roll(fleet)

    @rule(turns=st.integers(1, 4))
    def pass_quietly(self, turns: int) -> None:
        self.world.pass_quietly(turns)

    @rule(number=numbers, how=st.sampled_from(["leaves", "crashes", "is evicted"]))
    def stop(self, number: int, how: str) -> None:
        if (process := self.some(number)) is None:
            return
        if how == "leaves":
            self.world.leave(process)
        elif how == "crashes":
            process.lives = False
        else:
            self.world.evict(process)

    @rule()
    def evict_the_dead(self) -> None:
        for process in self.world.processes:
            if not process.lives:
                self.world.evict(process)

    @rule(seconds=st.sampled_from([1.0, 11.0, 25.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    # -- daemons ---------------------------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1))
    def cycle(self, number: int) -> None:
        daemon = self.world.daemons[number]
        daemon.campaign()
        daemon.cycle()

    @rule(number=st.integers(0, 1), at=st.integers(0, 15))
    def die_in_a_cycle(self, number: int, at: int) -> None:
        daemon = self.world.daemons[number]
        daemon.campaign()
        daemon.cycle(dies_at=at)

    @rule(at=st.integers(0, 15), fleet=st.sampled_from(FLEETS), release=st.sampled_from(Side))
    def somebody_starts_in_the_middle_of_a_cycle(self, at: int, fleet: str, release: Side) -> None:
        daemon = self.world.daemons[0]
        daemon.campaign()
        daemon.cycle(at=at, meanwhile=lambda: self.world.join(fleet, self.world.named(release)))

    @rule(number=st.integers(0, 1))
    def wake_up(self, number: int) -> None:
        """It goes on without having looked whether it still leads."""
        self.world.daemons[number].cycle()

    @rule(number=st.integers(0, 1), batches=st.sampled_from([1, 3, 50]))
    def move_rows(self, number: int, batches: int) -> None:
        self.world.daemons[number].move_rows(batches)

    # -- databases -------------------------------------------------------------------------------------------------

    @rule(
        database=st.sampled_from(DATABASES), step=st.sampled_from([Step.EXPAND, Step.SEAL, Step.UNSEAL, Step.CONTRACT])
    )
    def a_step_is_going_to_fail(self, database: str, step: Step) -> None:
        self.world.fail(database, step)

    @rule(database=st.sampled_from(DATABASES))
    def a_database_goes_away(self, database: str) -> None:
        self.world.site.managed.on[database].error = "connection refused"

    @rule()
    def mend(self) -> None:
        self.world.mend()

    # -- operators -------------------------------------------------------------------------------------------------

    def steer(self, action: str, verb: Callable[[], object]) -> None:
        self.world.check()
        self.world.steer(action, verb)

    @rule(release=st.sampled_from(RELEASES))
    def begin(self, release: str) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.begin", lambda: upgrades.begin(SCHEMA, release, actor=OPERATOR))

    @rule()
    def pause(self) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.pause", lambda: upgrades.pause(SCHEMA, actor=OPERATOR, reason="lunch"))

    @rule()
    def resume(self) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.resume", lambda: upgrades.resume(SCHEMA, actor=OPERATOR, reason=None))

    @rule(to=st.sampled_from(Phase))
    def rollback(self, to: Phase) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.rollback", lambda: upgrades.rollback(SCHEMA, to, actor=OPERATOR, reason="wrong"))

    @rule()
    @precondition(lambda self: len(self.world.processes) % 5 == 4)  # seldom: it ends what is to be looked at
    def cancel(self) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.cancel", lambda: upgrades.cancel(SCHEMA, actor=OPERATOR, reason="wrong"))

    @rule(forced=st.sampled_from([(), ("soaked",), ("waves_open",)]), phase=st.sampled_from(Phase))
    def approve(self, forced: tuple[str, ...], phase: Phase) -> None:
        upgrades = self.world.site.upgrades
        self.steer(
            "upgrade.approve",
            lambda: upgrades.approve(SCHEMA, phase=phase, actor=OPERATOR, reason="go", force=forced),
        )

    @rule(database=st.sampled_from([None, *DATABASES]))
    def retry(self, database: str | None) -> None:
        upgrades = self.world.site.upgrades
        self.steer("upgrade.retry", lambda: upgrades.retry(SCHEMA, database, actor=OPERATOR, reason=None))

    @rule(fleet=st.sampled_from(FLEETS))
    def pause_a_fleet(self, fleet: str) -> None:
        fleets = self.world.fleets
        self.steer("fleet.pause", lambda: fleets.pause(SCHEMA, fleet, actor=OPERATOR, reason="patched"))

    @rule(fleet=st.sampled_from(FLEETS))
    def resume_a_fleet(self, fleet: str) -> None:
        fleets = self.world.fleets
        self.steer("fleet.resume", lambda: fleets.resume(SCHEMA, fleet, actor=OPERATOR, reason=None))

    # -- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.come_to_an_end()


class OnSqlite(AnyOrder):
    """The same with its state in a file."""

    empty: Path

    def new_store(self, clock: Clock) -> Store:
        self.directory = Path(tempfile.mkdtemp(dir=self.empty.parent))
        shutil.copy(self.empty, self.directory / "state.sqlite")
        self.database = open_database("state", f"sqlite:///{self.directory / 'state.sqlite'}")
        sa.event.listen(self.database.engine, "connect", lambda connection, _: connection.execute(UNSYNCED))
        return SqlStore(self.database, clock)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "database"):
            self.database.engine.dispose()
            shutil.rmtree(self.directory)


def walk(
    machine: type[AnyOrder], policy: Policy, in_step_by: InStepBy, *, examples: int, steps: int, random: bool = False
) -> None:
    found = type(machine.__name__, (machine,), {"policy": policy, "in_step_by": in_step_by})
    run_state_machine_as_test(
        found,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not random,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def on_sqlite(tmp_path: Path) -> type[AnyOrder]:
    """The machine, with a state database to begin with."""
    empty = tmp_path / "empty.sqlite"
    database = open_database("state", f"sqlite:///{empty}")
    tables.metadata.create_all(database.engine)
    database.engine.dispose()
    return type("OnSqlite", (OnSqlite,), {"empty": empty})


@pytest.mark.parametrize("in_step_by", InStepBy)
def test_any_order(in_step_by: InStepBy) -> None:
    for policy in POLICIES:
        walk(AnyOrder, policy, in_step_by, examples=3, steps=30)


def test_any_order_on_sqlite(on_sqlite: type[AnyOrder]) -> None:
    walk(on_sqlite, POLICIES[0], InStepBy.CLIENT, examples=2, steps=12)


@pytest.mark.protocol
@pytest.mark.parametrize("policy", POLICIES, ids=POLICY_NAMES)
@pytest.mark.parametrize("in_step_by", InStepBy)
def test_any_order_in_wide_bounds(in_step_by: InStepBy, policy: Policy) -> None:
    walk(AnyOrder, policy, in_step_by, examples=100, steps=60, random=True)


@pytest.mark.protocol
@pytest.mark.parametrize("in_step_by", InStepBy)
def test_any_order_in_wide_bounds_on_sqlite(in_step_by: InStepBy, on_sqlite: type[AnyOrder]) -> None:
    walk(on_sqlite, POLICIES[2], in_step_by, examples=20, steps=60, random=True)
