"""Fleets that somebody paused, and services whose own table tells what runs."""

from __future__ import annotations

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
