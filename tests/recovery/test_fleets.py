"""Fleets that are silent, wrongly reported, or gone without a word; and upgrades that a person holds up."""

from __future__ import annotations

from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place


@mends("Nothing was ever reported of a fleet")
def test_silent_fleet(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-api").work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A fleet was reported with the wrong release")
def test_wrong_report(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-api")
    place.orchestrator("fleet", "report", SCHEMA, "inventory-worker", "--release", "1", "--instances", "3")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("An instance vanished")
def test_instance_that_vanished(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs("inventory-worker")
    newcomer = {"id": "api-1", "nonce": "n" * 32, "release": "1", "host": "host-1"}
    place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances", newcomer)
    place.in_state("UPDATE instances SET expires_at = expires_at - 300")  # five minutes go by
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("Somebody paused the upgrade")
def test_paused_upgrade(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.orchestrator("upgrade", "pause", SCHEMA, "--reason", "disk full on cell02")
    place.work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()
