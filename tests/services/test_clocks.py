"""Jumps of the state database's clock: nobody is deposed, nothing expires, and no soak time is cut short by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialects import Database
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.domain.ladder import InStepBy, Phase, Profile
from orchestrator.domain.records import SchemaState
from orchestrator.domain.upgrades import Upgrade, begin
from orchestrator.ports import Store, Transaction
from orchestrator.services.clocks import ClockWatch
from orchestrator.services.leadership import Elections
from orchestrator.store import tables
from orchestrator.store.memory import _MemoryRows
from orchestrator.store.sql import SqlStore
from orchestrator.store.transaction import StoreTransaction
from tests.fakes import Clock

T = TypeVar("T")
TTL_SECONDS = 10.0
LEASE_SECONDS = 60.0
HOUR = 3600.0

PROFILE = Profile(InStepBy.CLIENT, has_data_migrations=True, has_contract=True, seals=False)


class Daemon:
    """What one daemon has: its own clock, and what it sees of the database's with it."""

    def __init__(self, name: str, new_store: Callable[[ClockWatch], Store]) -> None:
        self.own = Clock(1.0)
        self.watch = ClockWatch(self.own)
        self.store = new_store(self.watch)
        self.elections = Elections(
            self.store, name, ttl_seconds=TTL_SECONDS, watch=self.watch, grant_seconds=LEASE_SECONDS
        )
        self.epoch: int | None = None

    def campaign(self) -> int | None:
        self.epoch = self.elections.campaign()
        return self.epoch

    def soaked(self) -> float:
        """How long the upgrade is in its phase, as this daemon sees it."""
        return self.store.read(lambda tx: tx.now - upgrade_of(tx).phase_since)

    def is_expired(self) -> bool:
        """Whether the lease of the one instance ran out, as this daemon sees it."""
        return self.store.read(lambda tx: tx.instances("inventory")[0].is_expired(tx.now))


class World:
    """Some daemons on one state, and the time that passes for all of them."""

    def __init__(self, clock: Clock, new_store: Callable[[ClockWatch], Store], daemons: int = 2) -> None:
        self.clock = clock
        self.daemons = [Daemon(str(number), new_store) for number in range(daemons)]
        self.daemons[0].store.run(_begin)
        for daemon in self.daemons:
            daemon.campaign()
        self.passed = 0.0

    def __getitem__(self, number: int) -> Daemon:
        return self.daemons[number]

    def wait(self, seconds: float) -> None:
        """Time passes everywhere."""
        self.passed += seconds
        self.clock.advance(seconds)
        for daemon in self.daemons:
            daemon.own.advance(seconds)

    def jump(self, seconds: float) -> None:
        """The database's clock jumps."""
        self.clock.advance(seconds)

    def renew(self) -> None:
        """The instance renews."""
        self.daemons[0].store.run(_renew)

    def events(self) -> list[str]:
        return [
            each.sentence for each in self.daemons[0].store.read(lambda tx: tx.events(schema=None, after=0, limit=99))
        ]


def begun(now: float) -> Upgrade:
    return begin(schema="inventory", from_release="1", to_release="2", profile=PROFILE, after_revision=0, now=now)


def upgrade_of(tx: Transaction) -> Upgrade:
    (newest,) = tx.upgrades("inventory", limit=1)
    return newest


def _begin(tx: Transaction) -> None:
    tx.add_schema(SchemaState("inventory", "1", None, 0))
    upgrade = tx.add_upgrade(begun(tx.now))
    tx.save_schema(SchemaState("inventory", "1", upgrade.id, 0))
    instance = Instance(
        schema="inventory", fleet="api", id="one", tag="tag", nonce="nonce", release="1", host=None,
        state=InstanceState.ALIVE, acked=1, joined_at=tx.now, renewed_at=tx.now, expires_at=tx.now + LEASE_SECONDS,
    )  # fmt: skip
    tx.add_instance(instance)


def _renew(tx: Transaction) -> None:
    (instance,) = tx.instances("inventory")
    tx.save_instance(replace(instance, renewed_at=tx.now, expires_at=tx.now + LEASE_SECONDS))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> World:
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    database = open_database("state", new_url())
    tables.metadata.create_all(database.engine)
    clock = Clock()
    return World(clock, lambda watch: SqlStore(database, clock, watch))


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_jump_neither_deposes_nor_expires_nor_soaks(world: World, jump: float) -> None:
    leader, other = world[0], world[1]
    world.wait(3)
    assert (leader.campaign(), other.campaign()) == (1, None)
    world.jump(jump)
    assert other.soaked() == pytest.approx(3)
    world.wait(3)
    assert other.campaign() is None, "whoever asks first"
    assert leader.campaign() == 1
    for daemon in (leader, other):
        assert not daemon.is_expired()
        assert daemon.soaked() == pytest.approx(6)
        assert daemon.watch.sentence is not None
        assert ("back" if jump < 0 else "forward") + " by 3600 s; leases" in daemon.watch.sentence
    found = leader.store.read(lambda tx: (tx.now, tx.leadership(), upgrade_of(tx)))
    assert found[0] == world.clock(), "the times in the state follow the clock"
    assert found[1] is not None
    assert found[1].clock_steps == pytest.approx(jump)
    assert found[1].expires_at == world.clock() + TTL_SECONDS
    assert found[2].revision == 2
    for _ in range(3):
        world.wait(3)
        assert (leader.campaign(), other.campaign()) == (1, None)
    assert [each for each in world.events() if "jumped" in each] == [
        f"the clock of the state database jumped {'back' if jump < 0 else 'forward'} by 3600 s; "
        "the times in the state follow it"
    ]
    world.wait(HOUR)
    assert leader.watch.sentence is None


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_what_is_known_of_the_evicted_moves_with_the_clock(world: World, jump: float) -> None:
    """Whom a source lists later than that is taken for alive: nobody may be by the jump alone."""
    world.wait(3)

    def evict(tx: Transaction) -> float:
        (instance,) = tx.instances("inventory")
        tx.save_instance(replace(instance, state=InstanceState.EVICTED, ended_at=tx.now))
        return tx.now

    ended_at = world[0].store.run(evict)
    world.jump(jump)
    world.wait(1)
    assert world[0].campaign() == 1
    (instance,) = world[0].store.read(lambda tx: tx.instances("inventory"))
    assert instance.ended_at == pytest.approx(ended_at + jump)


def test_who_died_is_expired_one_ttl_later_and_who_lives_is_not(world: World) -> None:
    world.wait(3)
    world[0].campaign()
    world.jump(-HOUR)
    world[0].campaign()
    for _ in range(11):
        world.wait(10)
        world[0].campaign()
    assert not world[0].is_expired(), "it had 57 s left, a margin of 10, and was granted 60 more"
    for _ in range(3):
        world.wait(10)
        world[0].campaign()
    assert world[0].is_expired()
    world.renew()
    assert not world[0].is_expired()


def test_jump_that_the_leader_did_not_live_to_see_is_recorded_by_the_next_one(world: World) -> None:
    world.wait(3)
    world[1].campaign()
    world.jump(HOUR)
    for _ in range(5):
        world.wait(3)
        world[1].campaign()
    assert world[1].epoch == 2
    assert world[1].soaked() == pytest.approx(18)
    assert len([each for each in world.events() if "jumped" in each]) == 1


def test_jump_that_the_leader_recorded_before_it_died_is_not_recorded_again(world: World) -> None:
    world.wait(3)
    world[0].campaign()
    world[1].campaign()
    world.jump(-HOUR)
    world[0].campaign()
    for _ in range(5):
        world.wait(3)
        world[1].campaign()
    assert world[1].epoch == 2
    assert world[1].soaked() == pytest.approx(18)
    assert len([each for each in world.events() if "jumped" in each]) == 1


def test_daemon_whose_own_clock_stood_still_believes_the_one_that_leads(world: World) -> None:
    world.wait(3)
    world[0].campaign()
    world[1].campaign()
    stood_still = world[1].own.now
    for _ in range(20):
        world.wait(3)
        world[0].campaign()
    world[1].own.now = stood_still
    assert world[1].campaign() is None
    for _ in range(2):
        world.wait(3)
        assert world[0].campaign() == 1
        assert world[1].campaign() is None
    for daemon in world.daemons:
        assert daemon.soaked() == pytest.approx(world.passed)
    assert not world.events()


def test_clock_that_went_back_while_no_daemon_ran_keeps_nobody_from_leading_for_long(world: World) -> None:
    world.jump(-HOUR)
    fresh = Daemon("fresh", lambda watch: SqlStore(world[0].store._database, world.clock, watch))  # type: ignore[attr-defined]
    world.daemons.append(fresh)
    world.wait(1)
    assert fresh.campaign() is None
    for _ in range(8):
        world.wait(3)
        fresh.campaign()
    assert fresh.epoch == 2


class _Live:
    """One state in memory for several daemons, each of which watches the clock for itself."""

    def __init__(self, contents: dict[type, dict[tuple[object, ...], Any]], clock: Clock, watch: ClockWatch) -> None:
        self._contents, self._clock, self._watch = contents, clock, watch

    def run(self, work: Callable[[Transaction], T]) -> T:
        return work(StoreTransaction(_MemoryRows(self._contents, self._clock), self._watch))

    read = run


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 4)),
    st.tuples(st.just("jump"), st.sampled_from([-1e6, -HOUR, -20.0, 20.0, HOUR, 1e6])),
    st.tuples(st.sampled_from(["campaign", "read", "die"]), st.integers(0, 2)),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_the_clock_does_all_daemons_measure_the_same_and_one_of_them_leads(
    events: list[tuple[str, float]],
) -> None:
    contents: dict[type, dict[tuple[object, ...], Any]] = {}
    clock = Clock()
    world = World(clock, lambda watch: cast(Store, _Live(contents, clock, watch)), daemons=3)
    alive = list(world.daemons)
    for what, amount in events:
        if what == "wait":
            world.wait(amount)
        elif what == "jump":
            for daemon in alive:  # they look every few seconds
                daemon.soaked()
            world.jump(amount)
        elif what == "die":
            alive = [daemon for daemon in alive if daemon is not world[int(amount)]] or alive
        elif (daemon := world[int(amount)]) in alive:
            daemon.campaign() if what == "campaign" else daemon.soaked()
        for daemon in alive:
            assert daemon.soaked() == pytest.approx(world.passed, abs=1)
    for _ in range(8):
        world.wait(3)
        for daemon in alive:
            daemon.campaign()
    assert len([daemon for daemon in alive if daemon.epoch is not None]) == 1
    for daemon in alive:
        assert daemon.soaked() == pytest.approx(world.passed, abs=1)


def test_upgrade_moves_all_its_times_with_the_clock() -> None:
    frozen = replace(begun(100.0), phase=Phase.BACKFILL, frozen="a restore", frozen_until=180.0)
    moved = frozen.with_times_moved(HOUR)
    assert (moved.begun_at, moved.phase_since, moved.frozen_until) == (100 + HOUR, 100 + HOUR, 180 + HOUR)
    assert moved.revision == frozen.revision + 1
