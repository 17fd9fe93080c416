"""Data migrations that stop."""

from __future__ import annotations

import shutil

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import until
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place

ROWS = "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace'), (2, '')"


def at_backfill(place: Place) -> Place:
    """Two rows are to be moved, and none has been."""
    place.begun().nobody_runs()
    place.execute(ROWS)
    return place.work_until("backfill")


@mends("A row cannot be moved")
def test_row_that_cannot_be_moved(place: Place, entry: Entry) -> None:
    place.edit("data/split_name.py", 'row["name"].partition', '(1 / len(row["name"]) and row["name"]).partition')
    at_backfill(place).work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements(2))
    place.type(entry)
    assert place.goes_on()
    assert place.execute("SELECT first_name FROM customers WHERE id = 2") == [("Grace",)]


def test_mended_transform_counts_without_a_restart(place: Place) -> None:
    """As the page says."""
    place.edit("data/split_name.py", 'row["name"].partition', '(1 / len(row["name"]) and row["name"]).partition')
    at_backfill(place).work()
    assert "raised ZeroDivisionError" in place.status()
    place.edit("data/split_name.py", '(1 / len(row["name"]) and row["name"]).partition', 'row["name"].partition')
    place.orchestrator("data-migration", "retry", SCHEMA, "split_name")
    assert place.goes_on()


@mends("Rows differ after they were moved")
def test_rows_that_differ(place: Place, entry: Entry) -> None:
    at_backfill(place)
    place.turn(batches=lambda: place.execute("SELECT first_name FROM customers WHERE id = 1") == [(None,)])
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [("Ada",)]
    place.execute("UPDATE customers SET name = 'Ada King' WHERE id = 1")
    until(lambda: entry.is_shown(place.work().status()), "the rows are compared")  # whoever began it has a head start
    place.type(entry)
    place.work()
    assert place.execute("SELECT last_name FROM customers WHERE id = 1") == [("King",)]
    assert place.phase() == "sealed"


@mends("Somebody paused a data migration")
def test_paused_data_migration(place: Place, entry: Entry) -> None:
    at_backfill(place)
    place.orchestrator("data-migration", "pause", SCHEMA, "split_name", "--reason", "month-end closing")
    place.work()
    entry.assert_shown(place.status())
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [(None,)]
    place.type(entry)
    place.execute("DELETE FROM customers WHERE id = 2")
    assert place.goes_on()
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [("Ada",)]


def throttled(place: Place, **throttles: dict[str, object]) -> Place:
    """At backfill, with these throttles."""
    for name, options in throttles.items():
        place.site.more[f"throttle:{SCHEMA}:{name}"] = options
    return at_backfill(place)


@mends("Rows wait for a throttle")
def test_rows_that_wait_for_a_throttle(place: Place, entry: Entry) -> None:
    throttled(place, jobs={"query": "SELECT 101", "max": 100}).work()
    entry.assert_shown(place.status())
    place.type(entry)
    place.execute("DELETE FROM customers WHERE id = 2")
    assert place.goes_on()
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [("Ada",)]


@mends("A throttle cannot be read")
def test_throttle_that_cannot_be_read(place: Place, entry: Entry) -> None:
    throttled(place, gate={"url": "http://127.0.0.1:1/"}, jobs={"query": "SELECT may_move FROM jobs"}).work()
    entry.assert_shown(place.status())
    assert "To go on in main:\n  Let it answer" in place.orchestrator("data-migration", "show", SCHEMA, "split_name")
    place.type(entry)
    assert place.orchestrator("data-migration", "pace", SCHEMA).count("off") == 2
    place.execute("DELETE FROM customers WHERE id = 2")
    assert place.goes_on()
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [("Ada",)]


def test_throttle_that_is_on_again_is_waited_for(place: Place) -> None:
    """As the page says."""
    throttled(place, gate={"url": "http://127.0.0.1:1/"})
    place.orchestrator("data-migration", "set", SCHEMA, "throttle:gate=-1")
    place.orchestrator("data-migration", "set", SCHEMA, "--default", "throttle:gate")
    place.work()
    assert "throttle gate cannot be read" in place.status()


@mends("Rows wait for their maintenance window")
def test_rows_that_wait_for_their_window(place: Place, entry: Entry) -> None:
    section = f"window:{SCHEMA}:leap"
    place.site.more[section] = {"cron": "0 0 29 2 *", "duration": "1h", "timezone": "UTC"}
    at_backfill(place).work()
    entry.assert_shown(place.status())
    del place.site.more[section]
    place.reopen()
    place.execute("DELETE FROM customers WHERE id = 2")
    assert place.goes_on()


@mends("A data migration's file was changed after it began")
def test_changed_file_of_a_data_migration(place: Place, entry: Entry) -> None:
    at_backfill(place)
    place.turn(batches=lambda: place.execute("SELECT first_name FROM customers WHERE id = 1") == [(None,)])
    place.edit("data/split_name.py", "the first word", "what stands before the first space")
    place.reopen()
    until(lambda: entry.is_shown(place.work().status()), "another one takes it over")
    place.type(entry)
    assert place.goes_on()


@mends("The old release ran while rows were moved")
def test_old_release_that_ran_while_rows_were_moved(place: Place, entry: Entry) -> None:
    at_backfill(place)
    place.orchestrator("fleet", "report", SCHEMA, "inventory-worker", "--release", "1", "--instances", "2", code=3)
    place.turn(batches=lambda: False)
    entry.assert_shown(place.status())
    report, rollback, resume = entry.commands()
    for command in (report, rollback):
        place.type_one(command)
    place.work()
    assert place.phase() == "expanded"
    place.type_one(resume)
    place.work_until("backfill")
    assert not entry.is_shown(place.status())


@mends("A data migration of an earlier release never ran")
def test_data_migration_that_was_skipped(place: Place, entry: Entry) -> None:
    place.edit(
        "releases.toml", 'expand = "e001_first_tables"', 'expand = "e001_first_tables"\ndata_migrations = ["tidy"]'
    )
    shutil.copy(place.site.migrations / "data" / "link_status.py", place.site.migrations / "data" / "tidy.py")
    place.begun().nobody_runs().work()
    entry.assert_shown(place.status())
    place.type(entry)
    assert place.goes_on()


@mends("A data migration is not in the ledger")
def test_data_migration_that_the_ledger_lost(place: Place, entry: Entry) -> None:
    at_backfill(place)
    place.execute("DELETE FROM orchestrator_data_migrations WHERE name = 'split_name'")
    place.turn(batches=lambda: False)
    entry.assert_shown(place.status())
    rollback, resume = entry.commands()
    place.type_one(rollback)
    place.work()
    place.type_one(resume)
    place.work()
    assert place.phase() == "sealed"


def test_a_comparison_that_waits_says_what_for(place: Place) -> None:
    place.site.more[f"window:{SCHEMA}:leap"] = {"cron": "0 0 29 2 *", "duration": "1h"}
    at_backfill(place)
    place.orchestrator("data-migration", "verify", SCHEMA, "split_name")
    place.work()
    said = " ".join(place.orchestrator("data-migration", "show", SCHEMA, "split_name").split())
    assert (
        "0 rows were compared so far, none differs; it waits: outside its maintenance windows; the next opens" in said
    )


def test_rows_are_compared_at_any_time_and_nothing_changes_by_it(place: Place) -> None:
    """By the program as it runs, from the request to what is shown."""
    at_backfill(place).work()
    phase = place.phase()
    place.execute("UPDATE customers SET first_name = 'Eve' WHERE id = 1")
    place.orchestrator("data-migration", "verify", SCHEMA, "split_name", "--reason", "somebody wrote by hand")
    place.work()
    said = " ".join(place.orchestrator("data-migration", "show", SCHEMA, "split_name").split())
    assert "2 rows were compared, 1 differs; the first: id=1. That is to be expected" in said
    assert place.execute("SELECT first_name FROM customers WHERE id = 1") == [("Eve",)]
    assert "data_migration.verified" in place.orchestrator("events")
    assert place.phase() == phase
