"""The state of record on two nodes: what one node was told the other one knows, and no join slips past a fence."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from orchestrator.dialects import Database
from orchestrator.domain.errors import NotYet
from orchestrator.domain.ladder import InStepBy, Phase, Profile
from orchestrator.domain.records import SchemaState
from orchestrator.domain.upgrades import Upgrade, begin
from orchestrator.domain.view import Policy
from orchestrator.ports import Transaction
from orchestrator.services.context import Context
from orchestrator.services.leadership import Elections
from orchestrator.services.leases import Leases
from orchestrator.store.rows import Kind
from orchestrator.store.sql import SqlStore
from tests.fakes import FLEETS, FakeSchema
from tests.galera.cluster import Cluster, Node

SCHEMA = "inventory"
FLEET = FLEETS[0]
RACES = 300

Stores = tuple[SqlStore, SqlStore]


def new_epoch() -> str:
    return secrets.token_hex(16)


def leases_on(store: SqlStore, new_epoch: Callable[[], str] = new_epoch) -> Leases:
    return Leases(Context(store, {SCHEMA: FakeSchema(SCHEMA)}, {SCHEMA: Policy()}), new_epoch)


def names(store: SqlStore) -> set[str]:
    """Whom a validation counts."""
    return {instance.id for instance in store.read(lambda tx: tx.instances(SCHEMA))}


@pytest.fixture
def upgrade(stores: Stores) -> Upgrade:
    """An upgrade at expanded, which nobody of the old release keeps from backfill."""
    profile = Profile(InStepBy.CLIENT, has_data_migrations=True, has_contract=True)

    def work(tx: Transaction) -> Upgrade:
        tx.add_schema(SchemaState(SCHEMA, "1", None, 0))
        begun = begin(schema=SCHEMA, from_release="1", to_release="2", profile=profile, after_revision=0, now=tx.now)
        upgrade = tx.add_upgrade(begun)
        tx.save_schema(SchemaState(SCHEMA, "1", upgrade.id, upgrade.revision))
        expanded = upgrade.with_fence(Phase.EXPANDED).with_step_begun().published(tx.now)
        tx.save_upgrade(expanded, expected_revision=upgrade.revision)
        return expanded

    return stores[0].run(work)


def set_fence(store: SqlStore, upgrade_id: int) -> None:
    """The first move of an advance, as the leader makes it."""

    def work(tx: Transaction) -> None:
        tx.lock_schema(SCHEMA)
        upgrade = tx.upgrade(upgrade_id)
        assert upgrade is not None
        tx.save_upgrade(upgrade.with_fence(Phase.BACKFILL), expected_revision=upgrade.revision)

    store.run(work)


def lift_fence(store: SqlStore, upgrade_id: int) -> None:
    def work(tx: Transaction) -> None:
        tx.lock_schema(SCHEMA)
        upgrade = tx.upgrade(upgrade_id)
        assert upgrade is not None
        tx.save_upgrade(upgrade.without_fence(), expected_revision=upgrade.revision)

    store.run(work)


# -- joins and fences ------------------------------------------------------------------------------------------------


def test_no_join_on_one_node_slips_past_a_fence_on_the_other(stores: Stores, upgrade: Upgrade) -> None:
    one, two = stores
    leases = leases_on(two)
    chance = random.Random(7)
    admitted = refused = 0

    def join(number: int, after: threading.Barrier, pause: float) -> bool:
        after.wait()
        time.sleep(pause)
        try:
            leases.join(SCHEMA, FLEET, instance_id=f"old-{number}", nonce="n", release="1")
        except NotYet:
            return False
        return True

    with ThreadPoolExecutor(1) as pool:
        for number in range(RACES):
            start = threading.Barrier(2)
            joining = pool.submit(join, number, start, chance.random() * 0.004)
            start.wait()
            time.sleep(chance.random() * 0.004)
            set_fence(one, upgrade.id)
            is_seen = f"old-{number}" in names(one)
            is_in = joining.result()
            assert is_in == is_seen, f"race {number}: joined {is_in}, seen by the validation {is_seen}"
            admitted, refused = admitted + is_in, refused + (not is_in)
            lift_fence(one, upgrade.id)
    print(f"{RACES} races: {admitted} joined before the fence, {refused} were refused by it")
    assert admitted and refused


class Interrupted:
    """A join on the second node that pauses after it has looked at the fence, and before it commits."""

    def __init__(self, store: SqlStore) -> None:
        self._reached, self._go = threading.Event(), threading.Event()
        self._leases = leases_on(store, self._pause)
        self._pool = ThreadPoolExecutor(1)
        self._joining = self._pool.submit(self._join)
        assert self._reached.wait(60)

    def _pause(self) -> str:
        self._reached.set()
        assert self._go.wait(60)
        return new_epoch()

    def _join(self) -> bool:
        try:
            self._leases.join(SCHEMA, FLEET, instance_id="old", nonce="n", release="1")
        except NotYet:
            return False
        return True

    def go_on(self) -> bool:
        """Let it end. Returns whether it was admitted."""
        self._go.set()
        with self._pool:
            return self._joining.result()


def test_join_that_looked_before_the_fence_of_the_other_node_is_repeated_and_refused(
    stores: Stores, upgrade: Upgrade
) -> None:
    one, two = stores
    join = Interrupted(two)
    set_fence(one, upgrade.id)
    assert names(one) == set()
    assert not join.go_on()
    assert names(one) == names(two) == set()


def test_a_lock_of_the_row_instead_of_writing_it_would_let_the_join_slip_past(
    stores: Stores, upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_lock(self: Any, kind: Kind[Any], *key: object) -> None:
        columns = kind.table.c
        matches = (columns[name] == value for name, value in zip(kind.key, key, strict=True))
        self._connection.execute(select(kind.table).where(*matches).with_for_update())

    monkeypatch.setattr("orchestrator.store.sql._SqlRows.lock", only_lock)
    one, two = stores
    join = Interrupted(two)
    set_fence(one, upgrade.id)
    assert names(one) == set()
    assert join.go_on()
    assert names(one) == {"old"}


# -- writing ---------------------------------------------------------------------------------------------------------


def test_transaction_that_fails_its_certification_is_repeated(stores: Stores, upgrade: Upgrade) -> None:
    one, two = stores
    found: list[int] = []

    def work(tx: Transaction) -> None:
        tx.lock_schema(SCHEMA)
        upgrade_now = tx.upgrade(upgrade.id)
        assert upgrade_now is not None
        found.append(upgrade_now.revision)
        if len(found) == 1:
            set_fence(two, upgrade.id)
        tx.save_upgrade(upgrade_now.with_pause("to be seen"), expected_revision=upgrade_now.revision)

    one.run(work)
    assert found == [upgrade.revision, upgrade.revision + 1]
    for store in stores:
        after = store.read(lambda tx: tx.upgrade(upgrade.id))
        assert after is not None
        assert (after.fence, after.paused, after.revision) == (Phase.BACKFILL, "to be seen", upgrade.revision + 2)


def test_no_write_is_lost_when_both_nodes_write_the_same_row(stores: Stores, upgrade: Upgrade) -> None:
    workers, each = 3, 15

    def write(store: SqlStore) -> None:
        for _ in range(each):
            store.run(lambda tx: tx.lock_schema(SCHEMA))

    def count(store: SqlStore) -> int:
        with store._database.reading() as connection:
            return int(connection.execute(text("SELECT writes FROM `schemas`")).scalar_one())

    before = count(stores[0])
    with ThreadPoolExecutor(2 * workers) as pool:
        for done in [pool.submit(write, store) for store in stores for _ in range(workers)]:
            done.result()
    assert [count(store) - before for store in stores] == [2 * workers * each] * 2


def test_numbers_of_upgrades_never_meet(stores: Stores, upgrade: Upgrade) -> None:
    def begin_one(number: int) -> int:
        record = replace(upgrade, id=0, revision=number)
        return stores[number % 2].run(lambda tx: tx.add_upgrade(record)).id

    ids = [begin_one(number // 3) for number in range(20)]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    newest = stores[0].read(lambda tx: tx.upgrades(SCHEMA, limit=100))
    assert [each.id for each in newest] == sorted([*ids, upgrade.id], reverse=True)


def test_one_of_two_daemons_on_different_nodes_is_elected(stores: Stores) -> None:
    """Each time both find that nobody leads."""
    start = threading.Barrier(2)
    elected: list[int] = []

    def campaign(place: int, turn: int) -> int | None:
        elections = Elections(stores[place], f"daemon-{place}-{turn}", ttl_seconds=60)
        start.wait()
        epoch = elections.campaign()
        start.wait()
        elections.resign()
        return epoch

    with ThreadPoolExecutor(2) as pool:
        for turn in range(30):
            (epoch,) = (each for each in pool.map(campaign, (0, 1), (turn, turn)) if each is not None)
            elected.append(epoch)
    assert elected == list(range(1, 31))


# -- reading ---------------------------------------------------------------------------------------------------------


def save(upgrade: Upgrade, expected_revision: int, tx: Transaction) -> None:
    tx.save_upgrade(upgrade, expected_revision=expected_revision)


def test_what_one_node_has_committed_is_read_on_the_other(stores: Stores, upgrade: Upgrade) -> None:
    one, two = stores
    revision = upgrade.revision
    for number in range(100):
        writing, reading = (one, two) if number % 2 else (two, one)

        paused = replace(upgrade, revision=revision).with_pause(f"pause {number}")
        writing.run(partial(save, paused, revision))
        revision += 1
        seen = reading.read(lambda tx: tx.upgrade(upgrade.id))
        assert seen is not None
        assert seen.revision == revision


def test_a_read_waits_for_a_commit_that_the_other_node_has_yet_to_apply(
    cluster: Cluster, new_name: Callable[[], str], on: Callable[[Node, str], Database]
) -> None:
    """The second node is busy with many rows when it is asked."""
    name = new_name()
    one, two = on(cluster.one, name), on(cluster.two, name)
    cluster.one.run(f"CREATE TABLE {name}.numbers (id BIGINT PRIMARY KEY, word VARCHAR(200))")
    with one.writing() as connection:
        connection.execute(text("INSERT INTO numbers SELECT seq, REPEAT('x', 200) FROM seq_1_to_50000"))
    with two.reading() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM numbers")).scalar_one() == 50000
