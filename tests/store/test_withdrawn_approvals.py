"""Approvals that are withdrawn are gone from the state, in every kind of storage."""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.dialects import open_database
from orchestrator.domain.ladder import InStepBy, Phase, Profile
from orchestrator.domain.records import SchemaState
from orchestrator.domain.upgrades import begin
from orchestrator.domain.view import Approval
from orchestrator.ports import Store, Transaction
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore


@pytest.fixture(params=["memory", "sqlite_url", "postgresql_url"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore(lambda: 1.0)
    database = open_database("state", request.getfixturevalue(request.param))
    tables.metadata.create_all(database.engine)
    return SqlStore(database, lambda: 1.0)


def test_only_approvals_of_phases_above_are_withdrawn_and_only_of_one_upgrade(store: Store) -> None:
    profile = Profile(InStepBy.CLIENT, has_data_migrations=True, has_contract=True)
    given = (Phase.READ_NEW, Phase.WRITE_NEW, Phase.CONTRACTED)

    def approve(tx: Transaction) -> tuple[int, int]:
        tx.add_schema(SchemaState("inventory", "1", None, 0))
        ids = []
        for _ in range(2):
            upgrade = begin(
                schema="inventory", from_release="1", to_release="2", profile=profile, after_revision=0, now=1.0
            )
            ids.append(tx.add_upgrade(upgrade).id)
            for phase in given:
                tx.save_approval(Approval(ids[-1], phase, "test", None, ("soaked",), 1.0))
        return ids[0], ids[1]

    first, second = store.run(approve)
    store.run(lambda tx: tx.withdraw_approvals(first, above=Phase.READ_NEW))
    left = {upgrade: store.read(partial(approved, upgrade)) for upgrade in (first, second)}
    assert left == {first: {Phase.READ_NEW}, second: set(given)}


def approved(upgrade: int, tx: Transaction) -> set[Phase]:
    return {approval.phase for approval in tx.approvals(upgrade)}
