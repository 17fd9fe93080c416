"""The key for what instances are told, and what a state database says of a value that it cannot hold."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Invalid
from orchestrator.domain.fleets import Instance, InstanceState
from orchestrator.domain.records import SchemaState
from orchestrator.store import tables
from orchestrator.store.sql import SqlStore


@pytest.fixture
def store(database: Database) -> SqlStore:
    tables.metadata.create_all(database.engine)
    return SqlStore(database, lambda: 1.0)


def test_it_is_made_once(store: SqlStore, database: Database) -> None:
    """Whoever asks at the same time for the first time gets the same one."""
    found: list[str] = []
    ready = threading.Barrier(4)

    def ask() -> None:
        ready.wait()
        found.append(store.run(lambda tx: tx.signing_key.secret))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 4 and len(set(found)) == 1
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(tables.signing_keys)).all() == [(1, found[0])]


def test_it_is_made_where_it_is_asked_for_only(store: SqlStore, database: Database) -> None:
    store.run(lambda tx: tx.add_schema(SchemaState("inventory", "1", None, 0)))
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(tables.signing_keys)).all() == []


@pytest.mark.parametrize("acked", [2**63, 2**80])
def test_a_number_that_no_column_holds_is_refused_and_not_taken_for_a_database_that_is_away(
    store: SqlStore, acked: int
) -> None:
    store.run(lambda tx: tx.add_schema(SchemaState("inventory", "1", None, 0)))
    instance = Instance("inventory", "api", "a1", "tag", "nonce", "1", None, InstanceState.ALIVE, acked, 1.0, 1.0, 2.0)
    with pytest.raises(Invalid) as refused:
        store.run(lambda tx: tx.add_instance(instance))
    assert refused.value.code == "value_refused"
    assert store.read(lambda tx: tx.instances("inventory")) == ()


def test_a_daemon_of_an_earlier_version_registers_instances_that_are_believed(
    store: SqlStore, database: Database
) -> None:
    """It does not know the column."""
    store.run(lambda tx: tx.add_schema(SchemaState("inventory", "1", None, 0)))
    with database.writing() as connection:
        connection.execute(
            sa.insert(tables.instances).values(
                schema="inventory", fleet="api", id="a1", tag="t", nonce="n", salt="s", release="1",
                state=InstanceState.ALIVE,
                acked=0, told=0, joined_at=1.0, renewed_at=1.0, expires_at=2.0, is_refused=True,
            )
        )  # fmt: skip
    (found,) = store.read(lambda tx: tx.instances("inventory"))
    assert found.is_disbelieved is False
