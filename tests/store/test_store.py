"""One suite for every storage: in memory, SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from orchestrator.dialects import open_database
from orchestrator.domain.errors import StaleRevision
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.domain.ladder import InStepBy, Phase, Profile
from orchestrator.domain.progress import Sample, Track
from orchestrator.domain.records import DatabaseReading, Event, Leadership, SchemaState
from orchestrator.domain.upgrades import Upgrade, begin
from orchestrator.domain.view import Copy, DatabaseFacts, MigrationFacts, MigrationState
from orchestrator.ports import Store, Transaction
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore

NOW = 1_763_773_200.123457  # to the microsecond, as databases tell it


@pytest.fixture(params=["memory", "sqlite_url", "postgresql_url", "mysql_url"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore(lambda: NOW)
    database = open_database("state", request.getfixturevalue(request.param))
    tables.metadata.create_all(database.engine)
    return SqlStore(database, lambda: NOW)


@pytest.fixture
def inventory(store: Store) -> Store:
    store.run(lambda tx: tx.add_schema(SchemaState("inventory", "1", None, 7)))
    return store


def an_upgrade() -> Upgrade:
    profile = Profile(InStepBy.CLIENT, has_data_migrations=True, has_contract=True)
    return begin(schema="inventory", from_release="1", to_release="2", profile=profile, after_revision=7, now=NOW)


def an_instance(name: str = "web-1") -> Instance:
    return Instance("inventory", "api", name, "epoch", "nonce", "1", None, InstanceState.ALIVE, 8, NOW, NOW, NOW + 60)


def added(store: Store) -> Upgrade:
    return store.run(lambda tx: tx.add_upgrade(an_upgrade()))


def test_an_upgrade_comes_back_as_it_was_stored(inventory: Store) -> None:
    upgrade = added(inventory)
    assert upgrade.id > 0
    assert inventory.read(lambda tx: tx.upgrade(upgrade.id)) == upgrade
    assert inventory.read(lambda tx: tx.upgrades("inventory", limit=5)) == (upgrade,)


def test_a_change_decided_on_an_older_revision_is_refused(inventory: Store) -> None:
    upgrade = added(inventory)
    fenced = upgrade.with_fence(Phase.EXPANDED)
    inventory.run(lambda tx: tx.save_upgrade(fenced, expected_revision=upgrade.revision))
    with pytest.raises(StaleRevision) as refusal:
        inventory.run(lambda tx: tx.save_upgrade(fenced, expected_revision=upgrade.revision))
    assert refusal.value.fields["found"] == fenced.revision
    assert inventory.read(lambda tx: tx.upgrade(upgrade.id)) == fenced


def test_an_exception_undoes_the_whole_transaction(inventory: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.add_instance(an_instance())
        tx.note_fleet("inventory", "api")
        raise LookupError

    with pytest.raises(LookupError):
        inventory.run(work)
    assert inventory.read(lambda tx: tx.instances("inventory")) == ()
    assert inventory.read(lambda tx: tx.known_fleets("inventory")) == frozenset()


def test_an_ended_instance_is_not_written_again(inventory: Store) -> None:
    instance = an_instance()
    inventory.run(lambda tx: tx.add_instance(instance))
    gone = replace(instance, state=InstanceState.EVICTED, ended_at=NOW, end_reason="the host burnt")
    assert inventory.run(lambda tx: tx.save_instance(gone))
    assert not inventory.run(lambda tx: tx.save_instance(replace(instance, acked=9)))
    assert inventory.read(lambda tx: tx.instance("inventory", "api", "web-1")) == gone


def test_instances_are_found_by_fleet_and_state(inventory: Store) -> None:
    def work(tx: Transaction) -> None:
        tx.add_instance(an_instance("b"))
        tx.add_instance(an_instance("a"))
        tx.add_instance(replace(an_instance("c"), state=InstanceState.LEFT))
        tx.add_instance(replace(an_instance("d"), fleet="worker"))

    inventory.run(work)
    found = inventory.read(lambda tx: tx.instances("inventory", fleet="api", state=InstanceState.ALIVE))
    assert [instance.id for instance in found] == ["a", "b"]


def test_noting_a_fleet_is_repeatable(inventory: Store) -> None:
    for _ in range(2):
        inventory.run(lambda tx: tx.note_fleet("inventory", "api"))
    assert inventory.read(lambda tx: tx.known_fleets("inventory")) == {"api"}


def _save_reading(tx: Transaction, reading: DatabaseReading) -> None:
    tx.save_reading(reading)


def test_a_reading_keeps_every_fact(inventory: Store) -> None:
    facts = DatabaseFacts(
        "main",
        incarnation="i1",
        copy=Copy(1, Phase.BACKFILL, Phase.READ_NEW, 12, "i1"),
        heads=("a", "b"),
        expanded=True,
        migrations=(MigrationFacts("split_name", MigrationState.RUNNING, rows_done=5, rows_total=10),),
    )
    tracks = (
        Track("split_name", 0.25, 10, (Sample(NOW - 5, 3, 0), Sample(NOW, 5, 0))),
        Track("a_function", None, None, ()),
    )
    for current in (facts, replace(facts, error="gone")):
        reading = DatabaseReading("inventory", "main", current, NOW, tracks)
        inventory.run(partial(_save_reading, reading=reading))
        assert inventory.read(lambda tx: tx.readings("inventory")) == (reading,)
    bare = DatabaseReading("inventory", "main", facts, NOW)
    inventory.run(partial(_save_reading, reading=bare))
    assert inventory.read(lambda tx: tx.readings("inventory")) == (bare,)


def test_the_audit_log_pages_in_order(inventory: Store) -> None:
    def work(tx: Transaction) -> None:
        for number in range(5):
            schema = "inventory" if number % 2 == 0 else None
            tx.append_event(Event(0, NOW, f"a{number}", "alice", schema, None, None, "something happened"))

    inventory.run(work)
    everything = inventory.read(lambda tx: tx.events(schema=None, after=0, limit=3))
    assert [event.action for event in everything] == ["a0", "a1", "a2"]
    rest = inventory.read(lambda tx: tx.events(schema=None, after=everything[-1].id, limit=3))
    assert [event.action for event in rest] == ["a3", "a4"]
    newest = inventory.read(lambda tx: tx.events(schema="inventory", after=-1, limit=2))
    assert [event.action for event in newest] == ["a2", "a4"]


def test_leadership_changes_hands_only_as_it_was_seen(inventory: Store) -> None:
    def save(holder: str, epoch: int, expected: Leadership | None) -> bool:
        return inventory.run(lambda tx: tx.save_leadership(Leadership(holder, epoch, NOW + 10), expected=expected))

    def seen() -> Leadership:
        found = inventory.read(lambda tx: tx.leadership())
        assert found is not None
        return found

    assert save("one", 1, None)
    assert not save("two", 1, None)
    first = seen()
    assert save("one", 1, first), "renewed"
    assert not save("two", 2, first)
    assert save("two", 2, seen())
    assert not save("one", 2, first)
    found = seen()
    assert (found.holder, found.epoch, found.expires_at) == ("two", 2, NOW + 10)


def test_the_database_tells_the_time(database_url: str) -> None:
    database = open_database("state", database_url)
    tables.metadata.create_all(database.engine)
    first = SqlStore(database).read(lambda tx: tx.now)
    assert first > 1_700_000_000
    assert SqlStore(database).read(lambda tx: tx.now) >= first


def test_renewals_are_stored_of_many_instances_at_once(inventory: Store) -> None:
    members = tuple(an_instance(f"web-{number}") for number in range(5))

    def work(tx: Transaction) -> None:
        for member in members:
            tx.add_instance(member)
        tx.renew_instances([])
        found = tx.lock_instances("inventory", "api", ["web-0", "web-1", "web-9"])
        tx.renew_instances([replace(each, acked=9, told=9, expires_at=NOW + 99, release="7") for each in found])

    inventory.run(work)
    renewed = tuple(replace(each, acked=9, told=9, expires_at=NOW + 99) for each in members[:2])
    assert inventory.read(lambda tx: tx.instances("inventory")) == (*renewed, *members[2:])
