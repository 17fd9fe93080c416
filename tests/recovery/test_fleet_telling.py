"""Fleets that somebody paused, and services whose own table tells what runs."""

from __future__ import annotations

import pytest

from orchestrator.client import Conflict
from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place


@mends("Somebody paused a fleet")
def test_paused_fleet(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.orchestrator("fleet", "pause", SCHEMA, "inventory-api", "--reason", "its hosts are being patched")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A wave of fleets is open")
def test_open_wave(place: Place, entry: Entry) -> None:
    place.site.more["policy"] = {"waves": "inventory-api; inventory-worker", "wave_soak_seconds": 3600}
    place.begun().nobody_runs("inventory-worker")
    instances = f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances"
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1"}
    lease = {"Lease-Epoch": place.ask("POST", instances, newcomer)["epoch"]}
    place.work()
    told = place.ask("PUT", f"{instances}/api-1/lease", {"ack": None}, headers=lease)["standing"]
    place.ask("PUT", f"{instances}/api-1/lease", {"ack": told["publication"]}, headers=lease)
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    place.ask("DELETE", f"{instances}/api-1/lease", headers=lease)
    assert place.goes_on()


@mends("An instance says what nobody told it")
def test_instance_that_says_what_nobody_told_it(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-worker")
    instances = f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances"
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1"}
    lease = {"Lease-Epoch": place.ask("POST", instances, newcomer)["epoch"]}
    invented = {"upgrade": 1, "publication": 9, "phase": "contracted"}
    with pytest.raises(Conflict) as refused:
        place.ask("PUT", f"{instances}/api-1/lease", {"ack": 9, "follows": invented}, headers=lease)
    place.hear(str(refused.value))
    assert refused.value.code in entry.codes
    entry.assert_shown(place.orchestrator("events", SCHEMA, "-f", "value", "-c", "Says"))
    place.work()
    place.type(entry)
    assert place.goes_on()


@mends("Two processes have one id")
def test_two_processes_with_one_id(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-worker")
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1"}
    place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances", newcomer)
    columns = 'schema_name, fleet, instance_id, tag, nonce, "release", host, state, news, acked, joined_at, renewed_at'
    written = "'inventory', 'inventory-api', 'api-1', 'another', 'another', '1', 'host-2', 'alive', 1, 0, 1, 1"
    place.execute(f"INSERT INTO orchestrator_instances ({columns}, expires_at) VALUES ({written}, 1)")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A service's own table was not read for a while")
def test_what_a_services_own_table_listed_long_ago(place: Place, entry: Entry) -> None:
    place.site.more[f"inventory:{SCHEMA}:inventory-worker"] = {"query": "SELECT instance, release FROM workers"}
    place.begun().nobody_runs("inventory-api")
    place.execute("CREATE TABLE workers (instance TEXT, release TEXT)", "INSERT INTO workers VALUES ('worker-1', '1')")
    place.turn(batches=lambda: False)
    old = "json_set(facts, '$.inventories[0].observed_at', 1.0)"  # long ago
    place.in_state(f"UPDATE readings SET facts = {old}")
    entry.assert_shown(place.status())
    place.execute("DELETE FROM workers")
    place.nobody_runs("inventory-worker")
    assert place.reopen().goes_on()


@mends(
    "A service's own table cannot be read",
    "A process that was evicted is seen again",
    "A listed process of the old release still runs",
    "A listed process gives no sign of life",
)
def test_what_a_services_own_table_lists(place: Place, entries: tuple[Entry, ...]) -> None:
    unreadable, again, still_runs, silent = entries
    place.site.more[f"inventory:{SCHEMA}:inventory-worker"] = {
        "query": "SELECT instance, release, age AS age_seconds, down FROM workers"
    }
    place.begun().nobody_runs("inventory-api")
    newcomer = {"id": "worker-1", "nonce": "n" * 32, "release": "1"}
    place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-worker/instances", newcomer)
    evict = ("instance", "evict", SCHEMA, "inventory-worker", "worker-1", "--attest-dead", "--reason", "host is gone")
    place.orchestrator(*evict)
    place.in_state("UPDATE instances SET ended_at = ended_at - 60")  # a minute goes by
    place.work()
    unreadable.assert_shown(place.status())
    table = "CREATE TABLE workers (instance TEXT, release TEXT, age INTEGER, down INTEGER)"
    for change, entry in (
        (f"{table}; INSERT INTO workers VALUES ('worker-1', '1', 0, 0)", again),
        ("UPDATE workers SET down = 1; INSERT INTO workers VALUES ('worker-2', '1', 3, 0)", still_runs),
        ("UPDATE workers SET age = 2520", silent),
    ):
        place.execute(*change.split("; "))
        place.reopen().work()  # it would be read again in ten seconds
        entry.assert_shown(place.status())
    place.execute(*silent.statements(1, 2))
    assert place.reopen().goes_on()
