"""The jobs of a daemon: what takes long keeps nobody from leading, and what goes on going wrong is said once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import pytest

from orchestrator.daemon.jobs import MOST_ROW_WORKERS, Jobs
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.overlay import NOTHING_SET, Overlay
from orchestrator.domain.releases import Release
from orchestrator.domain.throttling import Reading
from orchestrator.domain.view import DatabaseFacts, MigrationFacts
from orchestrator.services.advancing import REST_SECONDS, Advancing
from orchestrator.services.context import Context
from orchestrator.services.daemons import Daemons
from orchestrator.services.data_migrations import DataMigrations
from orchestrator.services.evicting import Evicting
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.services.sweeping import Sweep
from orchestrator.services.throttling import Throttling
from orchestrator.services.upgrades import Upgrades
from orchestrator.store.memory import MemoryStore
from tests.daemon.daemons import until
from tests.fakes import FLEETS, Clock, FakeSchema
from tests.identities import identity

SCHEMA = "inventory"


class Slow(FakeSchema):
    """A schema whose batches do not end before they are let go."""

    def __init__(self, databases: int) -> None:
        super().__init__(databases=[f"cell{number:02}" for number in range(databases)])
        self.under_way = 0
        self.let_go = threading.Event()

    def run_batch(
        self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
    ) -> MigrationFacts:
        self.under_way += 1
        self.let_go.wait()
        return super().run_batch(database, migration, upgrade_id, leads=leads, over=over)


class Counted(Elections):
    """Elections that count their campaigns."""

    campaigns = 0

    def campaign(self) -> int | None:
        self.campaigns += 1
        return super().campaign()


class Running:
    """The jobs of one daemon on a schema without databases."""

    def __init__(self, schema: FakeSchema, row_workers: Mapping[tuple[str, str], int]) -> None:
        self.clock = Clock()
        store = MemoryStore(self.clock)
        self.context = Context(store, {SCHEMA: schema})
        self.context.register_schemas()
        self.upgrades = Upgrades(self.context)
        self.elections = Counted(store, "test", ttl_seconds=10)
        self.daemons = Daemons(store, identity("test"), ttl_seconds=10)
        self.daemons.join()
        self.ended = threading.Event()
        self.jobs = Jobs(
            self.context,
            self.elections,
            Advancing(self.context),
            DataMigrations(self.context, Throttling(self.context, "test")),
            Evicting(self.context),
            Sweep(self.context),
            self.daemons,
            threading.Event(),
            contract_own_tables=tuple,
            end=self.ended.set,
            cycle_seconds=0.02,
            campaign_seconds=0.02,
            row_workers=row_workers,
        )

    def phase(self) -> Phase | None:
        (newest,) = self.context.store.read(lambda tx: tx.upgrades(SCHEMA, limit=1))
        return newest.phase


class Start(Protocol):
    """Starts jobs, and stops them after the test."""

    def __call__(self, schema: FakeSchema, row_workers: Mapping[tuple[str, str], int] = ...) -> Running: ...


@pytest.fixture
def run() -> Iterator[Start]:
    """Starts jobs, and stops them after the test."""
    started: list[Running] = []

    def start(schema: FakeSchema, row_workers: Mapping[tuple[str, str], int] = {}) -> Running:
        started.append(Running(schema, row_workers))
        started[-1].jobs.start()
        return started[-1]

    yield start
    for each in started:
        each.jobs.stop()


def test_rows_of_a_database_are_moved_by_as_many_workers_as_it_has(run: Start) -> None:
    """None of them keeps another database from its first, however many there are."""
    schema = Slow(MOST_ROW_WORKERS)
    running = run(schema, {(SCHEMA, "cell00"): 3, (SCHEMA, "cell01"): 2})
    try:
        running.upgrades.initialise(SCHEMA, "1", actor="test")
        for fleet in FLEETS:
            Leases(running.context).report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
        running.upgrades.begin(SCHEMA, "2", actor="test")
        until(lambda: schema.under_way == MOST_ROW_WORKERS + 3, "all workers are at work")
    finally:
        schema.let_go.set()
    until(lambda: running.phase() is Phase.SEALED, "all rows are moved, in the end")


def test_rows_that_move_in_many_databases_keep_nobody_from_leading(run: Start) -> None:
    schema = Slow(2 * MOST_ROW_WORKERS)
    running = run(schema)
    try:
        running.upgrades.initialise(SCHEMA, "1", actor="test")
        for fleet in FLEETS:
            Leases(running.context).report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
        running.upgrades.begin(SCHEMA, "2", actor="test")
        until(lambda: schema.under_way == MOST_ROW_WORKERS, "as many batches run as may")
        before = running.elections.campaigns
        until(lambda: running.elections.campaigns > before + 2, "the daemon goes on leading")
        assert schema.under_way == MOST_ROW_WORKERS
    finally:
        schema.let_go.set()
    until(lambda: running.phase() is Phase.SEALED, "all rows are moved, in the end")


class Failing(FakeSchema):
    """A schema that cannot be read for a while, for a reason that nobody foresaw or that somebody did."""

    wrong: Exception | None = None
    failed = succeeded = 0

    def observe(self, database: str, release: Release | None, *, verify: bool = False) -> DatabaseFacts:
        if (wrong := self.wrong) is not None:
            self.failed += 1
            raise wrong
        self.succeeded += 1
        return super().observe(database, release, verify=verify)


def test_what_goes_on_going_wrong_is_said_once(
    run: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    schema = Failing()
    schema.wrong = Conflict("somehow_wrong", "it is wrong somehow", remedy="Mend it.")

    def times_said() -> int:
        return sum("it is wrong somehow (somehow_wrong). Mend it." in record.getMessage() for record in caplog.records)

    def until_it_failed_again() -> None:
        before = schema.failed
        until(lambda: schema.failed > before + 3, "it is tried again")

    running = run(schema)
    until_it_failed_again()
    assert times_said() == 1
    schema.wrong = None
    until(lambda: schema.succeeded, "it is well")
    schema.wrong = Conflict("somehow_wrong", "it is wrong somehow", remedy="Mend it.")
    running.clock.advance(REST_SECONDS)
    until_it_failed_again()
    assert times_said() == 2


def test_what_rows_wait_for_is_said_once_and_that_they_go_on(
    run: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked = 0

    class Throttled(FakeSchema):
        def signals(self, database: str, over: Overlay = NOTHING_SET) -> tuple[Reading, ...]:
            nonlocal asked
            asked += 1
            return tuple(replace(each, value=(each.value or 0) + asked) for each in super().signals(database))

        def run_batch(
            self, database: str, migration: str, upgrade_id: int, *, leads: bool, over: Overlay = NOTHING_SET
        ) -> MigrationFacts:
            said_at_batches.append(said())
            return super().run_batch(database, migration, upgrade_id, leads=leads, over=over)

    said_at_batches: list[list[str]] = []

    def said() -> list[str]:
        return [each.getMessage() for each in caplog.records if "main:throttles" in each.getMessage()]

    schema = Throttled()
    schema.on["main"].signals = (Reading("replica lag", 6.0, 5.0, "s"),)
    running = run(schema)
    running.upgrades.initialise(SCHEMA, "1", actor="test")
    for fleet in FLEETS:
        Leases(running.context).report(SCHEMA, fleet, release="1", instances=0, actor="test", reason=None)
    running.upgrades.begin(SCHEMA, "2", actor="test")
    until(lambda: asked > 4, "it is asked again and again")
    assert said() == [f"{SCHEMA}:main:throttles: rows wait: replica lag is 7 s, more than 5 s"]
    schema.on["main"].signals = ()
    until(lambda: running.phase() is Phase.SEALED, "all rows are moved")
    assert said()[1:] == [f"{SCHEMA}:main:throttles: rows do not wait any more"]
    assert said_at_batches[1] == said()  # not only when all rows are moved


def test_daemon_that_was_evicted_ends_and_leads_no_more(run: Start) -> None:
    running = run(FakeSchema())
    assert not running.ended.is_set()
    running.daemons.evict("test", actor="ada", reason="it is wedged", attested_dead=True)
    until(running.ended.is_set, "the daemon hears of it")
    other = Elections(running.context.store, "other", ttl_seconds=10)
    assert other.campaign() == 2, "at once"
    until(lambda: not running.jobs._epoch, "it does not lead")
