"""The longest and largest values that requests may hold, on real databases: SQLite takes what others refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.api.auth import Role, Tokens, new_token
from orchestrator.dialects import Database
from orchestrator.domain.errors import StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.domain.view import MigrationFacts, MigrationState
from orchestrator.ports import Store
from orchestrator.store import tables
from orchestrator.store.sql import SqlStore
from tests.api.world import INSTANCES, SCHEMA, UPGRADE, Client, World, assert_problem

WIDE = "\N{GRINNING FACE}"  # one character, four bytes
ID = "i" * 64
NAME = "n" * 255
REASON = WIDE * 1000
LARGEST = 2**31 - 1


@dataclass
class RealWorld(World):
    """A world whose state is in a real database."""

    database: Database = field(kw_only=True)

    def state(self) -> Store:
        tables.metadata.create_all(self.database.engine)
        return SqlStore(self.database, self.clock)


@pytest.fixture
def world(database: Database) -> World:
    return RealWorld(database=database)


@pytest.fixture
def client(world: World) -> Client:
    """Asks as an operator with the longest name."""
    operator = new_token("o" * 64, Role.OPERATOR)
    return world.client(Tokens.parse(operator.line, place="tokens"), token=operator.secret)


def test_a_process_with_the_longest_names_joins_and_is_evicted(world: World, client: Client) -> None:
    world.at_rest()
    joined = client.post(INSTANCES, {"id": ID, "nonce": ID, "release": "1", "host": WIDE * 255})
    assert joined.status_code == 201, joined.text
    renewed = client.put(f"{INSTANCES}/{ID}/lease", {"ack": 0}, headers={"Lease-Epoch": joined.json()["epoch"]})
    assert renewed.status_code == 200, renewed.text
    evicted = client.post(f"{INSTANCES}/{ID}/evict", {"reason": REASON, "attest_dead": True})
    assert (evicted.status_code, evicted.json()["end_reason"]) == (200, REASON)


def test_a_report_holds_the_largest_number_and_the_longest_reason(world: World, client: Client) -> None:
    world.at_rest()
    report = {"release": "1", "instances": 10_000_000, "reason": REASON}
    answer = client.post(f"{SCHEMA}/fleets/inventory-api/report", report)
    assert (answer.status_code, answer.json()["instances"]) == (200, 10_000_000)


def test_an_upgrade_is_steered_with_the_longest_reasons(world: World, client: Client) -> None:
    world.at_rest()
    assert client.post(UPGRADE, {"release": "2", "reason": REASON}).status_code == 201
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("pause", {"reason": REASON}),
        ("resume", {"reason": REASON}),
        ("approve", {"reason": REASON, "phase": "contracted", "force": ["soaked"] * 1000}),
        ("cancel", {"reason": REASON}),
    )
    for verb, body in steps:
        answer = client.post(f"{UPGRADE}/{verb}", dict(body))
        assert answer.status_code == 200, (verb, answer.text)
        if verb == "approve":
            assert [each["forced"] for each in answer.json()["approvals"]] == [["soaked"]]


def test_failed_steps_and_data_migrations_are_retried_with_the_longest_reasons(world: World, client: Client) -> None:
    world.managed.on["main"].fails[Step.EXPAND] = StepFailed("lock_timeout", "no lock", remedy="Wait.")
    world.begun()
    world.cycle()
    assert client.post(f"{UPGRADE}/retry", {"reason": REASON}).status_code == 200
    world.managed.on["main"].fails.clear()
    world.cycle()
    world.managed.on["main"].migrations["split_name"] = MigrationFacts("split_name", MigrationState.FAILED)
    world.cycle()
    answer = client.post(f"{SCHEMA}/data-migrations/split_name/retry", {"reason": REASON})
    assert answer.status_code == 200, answer.text


def test_names_that_nothing_has_are_not_found_however_long(world: World, client: Client) -> None:
    world.at_rest()
    assert client.get(f"{SCHEMA}/instances?fleet={NAME}").json()["instances"] == []
    assert_problem(client.get(f"/v1/events?schema={NAME}"), 404, "schema_unknown")
    assert_problem(client.get(f"/v1/schemas/{NAME}"), 404, "schema_unknown")
    assert_problem(client.get(f"{SCHEMA}/data-migrations/{NAME}"), 404, "data_migration_unknown")
    renewal = client.put(f"{INSTANCES}/{NAME}/lease", {"ack": 2**64}, headers={"Lease-Epoch": "e" * 1000})
    assert_problem(renewal, 404, "instance_unknown")


def test_the_audit_log_is_asked_for_any_number_that_it_could_have(client: Client) -> None:
    assert client.get(f"/v1/events?after={LARGEST}&limit=1000").json() == {"events": [], "last": LARGEST}
    assert_problem(client.get(f"/v1/events?after={LARGEST + 1}"), 422, "query_invalid")
