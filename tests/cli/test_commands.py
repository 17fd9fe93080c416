"""The commands against the real application: what they show, what they change, how they exit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.api.auth import Role
from orchestrator.domain.errors import Conflict, StepFailed, Unavailable
from orchestrator.domain.fleets import Sessions
from orchestrator.domain.inventories import Inventory, Sighting
from orchestrator.domain.ladder import Step
from orchestrator.domain.overlay import Option
from orchestrator.domain.throttling import Reading
from orchestrator.domain.verifications import VerificationState
from orchestrator.domain.view import MigrationFacts, MigrationState, QuarantinedRow
from orchestrator.domain.windows import Windows
from orchestrator.services.advancing import REST_SECONDS
from tests.api.world import World, tokens_for_all_roles
from tests.cli.conftest import Run, serving
from tests.fakes import FakeSchema
from tests.windows import Every

pytestmark = pytest.mark.usefixtures("daemon")


def shown(run: Run, *words: str, code: int = 0) -> Any:
    said = run(*words, "-f", "json")
    assert said.code == code, said.err
    return json.loads(said.out)


# -- status ----------------------------------------------------------------------------------------------------------


def test_status_at_rest_is_one_line_per_schema(run: Run) -> None:
    said = run("status")
    assert (said.code, said.err) == (0, "")
    assert len(said.out.splitlines()) == 1
    assert said.out.startswith("inventory  1  1/1")


def test_status_shows_each_blocker_with_the_command_that_clears_it(run: Run, world: World) -> None:
    world.begun()
    world.cycle()
    world.move_rows()
    world.cycle()
    said = run("status")
    first, *rest = said.out.splitlines()
    assert first.startswith("inventory  1 > 2  sealed > contracted  1/1")
    assert any(
        line.startswith("    > ") and "orchestrator upgrade approve inventory --phase contracted" in line
        for line in rest
    )


def test_status_names_the_processes_that_block(run: Run, world: World) -> None:
    world.expanded()
    said = run("status", "inventory")
    assert "expanded > backfill" in said.out
    assert "old-1" in said.out
    assert "Roll them to 2" in said.out


def test_status_names_a_failed_database_and_how_to_retry_it(run: Run, world: World) -> None:
    world.begun()
    world.managed.on["main"].fails[Step.EXPAND] = StepFailed("boom", "the lock was not had", remedy="End session 812.")
    world.cycle()
    said = run("status")
    assert "0/1" in said.out.splitlines()[0]
    assert "the lock was not had" in said.out
    assert "End session 812." in said.out
    assert "orchestrator upgrade retry inventory --database main" in said.out
    assert said.out.count("the lock was not had") == 1, "the schema's line does not repeat its first blocker"


def test_status_as_json_has_the_blockers_as_data(run: Run, world: World) -> None:
    world.expanded()
    (row,) = shown(run, "status")
    assert (row["Schema"], row["Phase"], row["Next"]) == ("inventory", "expanded", "backfill")
    assert row["Blockers"][0]["culprits"] == ["old-1"]


def test_status_of_an_unknown_schema_is_an_error_that_names_the_known_ones(run: Run) -> None:
    said = run("status", "inventroy")
    assert (said.code, said.out) == (1, "")
    assert "inventroy" in said.err
    assert "Configured: inventory." in said.err


# -- formats ---------------------------------------------------------------------------------------------------------


def test_every_list_comes_as_table_json_yaml_and_values(run: Run) -> None:
    assert "| inventory |" in run("schema", "list").out
    assert json.loads(run("schema", "list", "-f", "json").out)[0]["Schema"] == "inventory"
    assert yaml.safe_load(run("schema", "list", "-f", "yaml").out)[0]["Schema"] == "inventory"
    assert run("schema", "list", "-f", "value", "-c", "Schema").out == "inventory\n"


def test_a_column_that_does_not_exist_is_a_usage_error(run: Run) -> None:
    said = run("schema", "list", "-c", "Colour")
    assert said.code == 2
    assert "Colour" in said.err


# -- schema ----------------------------------------------------------------------------------------------------------


def test_schema_show(run: Run) -> None:
    found = shown(run, "schema", "show", "inventory")
    assert (found["Release"], found["Releases"], found["Databases"]) == ("1", ["1", "2", "3"], ["main"])


def test_schema_init_says_what_was_done_and_may_be_repeated(run: Run) -> None:
    world = World()
    with serving(world.application()) as url:
        said = run("--url", url, "schema", "init", "inventory", "--release", "1")
        assert (said.code, said.out) == (0, "main: installed release 1\n")
        assert run("--url", url, "schema", "init", "inventory", "--release", "1").code == 0
        assert run("--url", url, "schema", "init", "inventory", "--release", "2").code == 1


# -- upgrade ---------------------------------------------------------------------------------------------------------


def test_a_whole_upgrade_by_command(run: Run, world: World) -> None:
    assert shown(run, "upgrade", "begin", "inventory", "--release", "2")["Status"] == "running"
    assert shown(run, "upgrade", "begin", "inventory", "--release", "2")["Status"] == "running"
    world.cycle()
    world.move_rows()
    world.cycle()
    assert "Blockers" in shown(run, "upgrade", "plan", "inventory", code=3)
    approved = shown(run, "upgrade", "approve", "inventory", "--reason", "quiet")
    assert approved["Approvals"][0]["phase"] == "contracted"
    plan = shown(run, "upgrade", "plan", "inventory")
    assert plan["Blockers"] == []
    assert plan["Statements"] == ["main: contract c002"]
    world.cycle()
    ended = shown(run, "upgrade", "show", "inventory")
    assert (ended["Status"], ended["Phase"]) == ("completed", "contracted")
    said = run("upgrade", "begin", "inventory", "--release", "2")
    assert said.code == 0, "it is where it was asked to be"
    assert "at release 2" in said.err


def test_upgrade_show_reads_well(run: Run, world: World) -> None:
    world.expanded()
    said = run("upgrade", "show", "inventory")
    assert "> expanded   The new shape exists beside the old one" in said.out
    assert ". backfill   " in said.out
    assert "waiting for 1 instance" in said.out


def test_only_the_next_release_can_be_begun(run: Run) -> None:
    said = run("upgrade", "begin", "inventory", "--release", "3")
    assert said.code == 3
    assert "Upgrade to 2 first." in said.err


def test_another_target_is_blocked_by_the_upgrade_under_way(run: Run, world: World) -> None:
    world.begun()
    said = run("upgrade", "begin", "inventory", "--release", "3")
    assert said.code == 3
    assert "upgrade_running" in said.err


def test_pause_shows_in_the_status_and_resume_ends_it(run: Run, world: World) -> None:
    world.begun()
    assert shown(run, "upgrade", "pause", "inventory", "--reason", "freeze")["Paused"] == "freeze"
    assert "orchestrator upgrade resume inventory" in run("status").out
    assert shown(run, "upgrade", "resume", "inventory")["Paused"] is None


def test_rollback_and_cancel_steer_back(run: Run, world: World) -> None:
    world.expanded()
    run("upgrade", "rollback", "inventory", "--to", "base", "--reason", "leaks")
    run("instance", "evict", "inventory", "inventory-api", "old-1", "--attest-dead", "--reason", "stopped")
    world.cycle()
    assert shown(run, "upgrade", "show", "inventory")["Phase"] == "base"
    run("upgrade", "cancel", "inventory", "--reason", "leaks")
    world.cycle()
    assert shown(run, "upgrade", "show", "inventory")["Status"] == "cancelled"


def test_no_way_back_is_never(run: Run, world: World) -> None:
    world.waiting_for_approval()
    said = run("upgrade", "rollback", "inventory", "--to", "base", "--reason", "too late")
    assert said.code == 4
    assert "old_shape_stale" in said.err


def test_a_stale_revision_is_an_error(run: Run, world: World) -> None:
    world.begun()
    said = run("upgrade", "pause", "inventory", "--reason", "r", "--if-revision", "99")
    assert said.code == 1
    assert "stale_revision" in said.err


def test_steering_without_an_upgrade_is_refused_in_this_state(run: Run) -> None:
    said = run("upgrade", "pause", "inventory", "--reason", "r")
    assert said.code == 3
    assert "orchestrator upgrade begin inventory" in said.err


def test_retry_repeats_the_failed_step(run: Run, world: World) -> None:
    world.begun()
    database = world.managed.on["main"]
    database.fails[Step.EXPAND] = StepFailed("boom", "it broke", remedy="Mend it.")
    world.cycle()
    database.fails.clear()
    assert run("upgrade", "retry", "inventory", "--database", "main").code == 0
    world.cycle()
    assert shown(run, "upgrade", "show", "inventory")["Phase"] != "base"


# -- fleets and instances --------------------------------------------------------------------------------------------


def test_instances_are_listed_and_evicted(run: Run, world: World) -> None:
    world.expanded()
    (row,) = shown(run, "instance", "list", "inventory")
    assert (row["Instance"], row["Release"], row["State"]) == ("old-1", "1", "alive")
    said = run("instance", "evict", "inventory", "inventory-api", "old-1", "--attest-dead", "--reason", "host is gone")
    assert (said.code, said.out) == (0, "inventory-api old-1: evicted\n")
    assert shown(run, "instance", "list", "inventory") == []
    (row,) = shown(run, "instance", "list", "inventory", "--all")
    assert row["State"] == "evicted"


def test_an_instance_whose_sessions_can_be_told_is_evicting_until_they_are_ended(run: Run, world: World) -> None:
    world.expanded()
    said = run("instance", "evict", "inventory", "inventory-api", "old-1", "--reason", "silent")
    assert said.code == 1
    assert "attestation_required" in said.err
    assert "--attest-dead" in said.err
    world.leases.join(
        "inventory", "inventory-api", instance_id="new-1", nonce="n", release="2", sessions=Sessions.TAGGED
    )
    said = run("instance", "evict", "inventory", "inventory-api", "new-1", "--reason", "silent")
    assert (said.code, said.out) == (0, "inventory-api new-1: evicting\n")
    assert "orchestrator status" in said.err
    (row,) = (each for each in shown(run, "instance", "list", "inventory") if each["Instance"] == "new-1")
    assert (row["State"], row["Sessions"]) == ("evicting", "tagged")
    world.managed.on["main"].error = "it is off"
    world.evict()
    said = run("instance", "list", "inventory")
    assert "inventory-api new-1 is being evicted: main: it is off\n  > Start it again." in said.err


def test_an_unknown_instance_is_an_error(run: Run) -> None:
    said = run("instance", "evict", "inventory", "inventory-api", "nobody", "--attest-dead", "--reason", "r")
    assert said.code == 1
    assert "instance_unknown" in said.err


def test_fleets_are_listed_and_shown_with_what_is_waited_for(run: Run, world: World) -> None:
    world.expanded()
    world.join("new-1", release="2")
    listed = shown(run, "fleet", "list", "inventory")
    assert [(row["Fleet"], row["Source"]["kind"], row["Release"], row["Instances"]) for row in listed] == [
        ("inventory-api", "leases", "1", 1),
        ("inventory-api", "leases", "2", 1),
        ("inventory-api", "report", "1", 0),
        ("inventory-worker", "report", "1", 0),
    ]
    found = shown(run, "fleet", "show", "inventory", "inventory-api")
    assert [(line["source"], line["release"], line["instances"]) for line in found["Sources"]] == [
        ("leases", "1", 1),
        ("leases", "2", 1),
        ("report", "1", 0),
    ]
    assert [member["id"] for member in found["Instances"]] == ["new-1", "old-1"]
    assert found["Blockers"][0]["culprits"] == ["old-1"]
    assert "report by test: 0 of 1" in run("fleet", "show", "inventory", "inventory-worker").out
    assert run("fleet", "show", "inventory", "nobody").code == 1


def test_fleet_is_shown_as_its_inventory_source_lists_it(run: Run, world: World) -> None:
    section = "[inventory:inventory:inventory-worker]"
    sightings = (Sighting("w1", "1", 5), Sighting("w2", "1", 90), Sighting("w3", "1", 7, is_down=True))
    listed = Inventory("inventory-worker", section, sightings, error="w4: it has no version", max_age_seconds=60)
    world.managed.on["main"].inventories = (listed,)
    world.clock.advance(REST_SECONDS)
    world.cycle()
    said = run("fleet", "show", "inventory", "inventory-worker").out
    for line in (
        f"{section}: 2 of 1, 1 silent, 1 down",
        f"{section}: in main: w4: it has no version",
        "w1 in main: 1, alive, 5 s ago",
        "w2 in main: 1, silent, 1 min 30 s ago",
        "w3 in main: 1, down",
    ):
        assert line in said
    assert f"{section}: in main: w4: it has no version" in run("fleet", "list", "inventory").out


def test_a_fleet_of_which_nothing_was_reported_is_listed_as_that(run: Run) -> None:
    world = World()
    world.upgrades.initialise("inventory", "1", actor="test")
    world.upgrades.begin("inventory", "2", actor="test")
    with serving(world.application()) as url:
        said = run("--url", url, "fleet", "list", "inventory", "-f", "json")
    rows = json.loads(said.out)
    assert [row["Fleet"] for row in rows] == ["inventory-api", "inventory-worker"]
    assert [(row["Source"], row["Release"]) for row in rows] == [(None, None), (None, None)]


def test_an_empty_list_says_so_to_people_and_is_a_list_to_scripts(run: Run) -> None:
    said = run("instance", "list", "inventory")
    assert (said.code, said.out) == (0, "")
    assert "nothing to list" in said.err
    assert shown(run, "instance", "list", "inventory") == []


def test_a_table_leaves_out_what_is_empty_and_json_does_not(run: Run) -> None:
    assert "Phase" not in run("upgrade", "show", "inventory").out
    assert shown(run, "upgrade", "show", "inventory")["Phase"] is None


def test_a_fleet_is_reported(run: Run, world: World) -> None:
    said = run("fleet", "report", "inventory", "inventory-api", "--release", "1", "--instances", "3")
    assert said.code == 0
    assert "3 instances" in said.out


def test_a_report_of_what_may_not_run_says_so(run: Run) -> None:
    said = run("fleet", "report", "inventory", "inventory-api", "--release", "3", "--instances", "1")
    assert said.code == 3
    assert "It may not run now" in said.err


# -- databases and data migrations -----------------------------------------------------------------------------------


def test_databases_are_listed_and_shown(run: Run, world: World) -> None:
    world.expanded()
    (row,) = shown(run, "database", "list", "inventory")
    assert (row["Database"], row["Phase"]) == ("main", "expanded")
    database = shown(run, "database", "show", "inventory", "main")
    assert (database["Heads"], database["Copy written"]) == (["2", "1"], None)
    said = run("database", "show", "inventory", "other")
    assert said.code == 1
    assert "Its databases are: main." in said.err


def test_data_migrations_are_listed_and_shown(run: Run, world: World) -> None:
    world.waiting_for_approval()
    (row,) = shown(run, "data-migration", "list", "inventory")
    assert (row["Name"], row["State"], row["Moved"], row["Verified"]) == ("split_name", "complete", 100, 100)
    assert "100/100" in run("data-migration", "show", "inventory", "split_name").out
    assert run("data-migration", "show", "inventory", "nothing").code == 1


def test_rows_that_move_have_a_speed_and_a_time_left(run: Run, world: World) -> None:
    database = world.managed.on["main"]
    database.rows, database.batch_rows = 1000, 100
    world.begun().cycle()
    assert "moving rows: 0%, measuring how long it takes" in run("status").out
    begun = world.board.schema("inventory").upgrade
    assert begun is not None
    for _ in range(7):
        world.clock.advance(1)
        world.managed.run_batch("main", "split_name", begun.upgrade.id, leads=True)
        world.cycle()
    (row,) = shown(run, "data-migration", "list", "inventory")
    assert (row["Progress"], row["Rows/s"], row["ETA"]) == (0.35, pytest.approx(100), pytest.approx(13))
    assert "| 35 %     | 100    | 13 s |" in run("data-migration", "list", "inventory").out
    assert "moving rows: 35%, about 13 s left" in run("status").out
    (line,) = shown(run, "status")
    assert (line["Progress"], line["ETA"]) == (0.35, pytest.approx(13))
    world.upgrades.pause("inventory", actor="alice", reason="later")
    (row,) = shown(run, "data-migration", "list", "inventory")
    assert (row["Progress"], row["ETA"]) == (0.35, None)
    assert "held" in run("data-migration", "list", "inventory").out


def test_rows_that_wait_say_why(run: Run, world: World) -> None:
    world.managed.on["main"].signals = (Reading("replica lag", 12.4, 5.0, "s", "replica db2"),)
    world.begun()
    world.cycle()
    world.move_rows()
    sentence = "replica lag is 12.4 s, more than 5 s on replica db2"
    (row,) = shown(run, "data-migration", "show", "inventory", "split_name")
    assert (row["State"], row["Says"]) == ("pending", f"waits: {sentence}")
    assert f"rows wait at 0%: {sentence}" in run("status").out


def test_no_more_rows_are_moved_than_there_are(run: Run, world: World) -> None:
    """They are counted once, and services insert more while they are moved."""
    world.begun().cycle()
    world.managed.on["main"].migrations["split_name"] = MigrationFacts(
        "split_name", MigrationState.RUNNING, rows_done=104, rows_total=100
    )
    world.cycle()
    for command in (("upgrade", "show", "inventory"), ("data-migration", "list", "inventory")):
        said = run(*command).out
        assert "104/104" in said and "104/100" not in said
    assert shown(run, "upgrade", "show", "inventory")["Data migrations"][0]["rows_total"] == 100
    assert world.client().get("/v1/schemas/inventory/upgrade").json()["progress"] <= 0.99


def test_rows_that_could_not_be_moved_are_shown_with_their_errors(run: Run, world: World) -> None:
    world.begun()
    world.cycle()
    main = world.managed.on["main"]
    main.quarantine = (QuarantinedRow("id=15", "division by zero", 60.0), QuarantinedRow("id=16", "too long", 61.0))
    facts = main.migrations["split_name"]
    main.migrations["split_name"] = replace(facts, state=MigrationState.FAILED, error="2 rows", rows_quarantined=2)
    world.cycle()
    said = run("data-migration", "show", "inventory", "split_name").out
    assert "Not moved in main:\n  1970-01-01 00:01:00  id=15  division by zero\n" in said
    assert "  1970-01-01 00:01:01  id=16  too long\n" in said
    assert "Quarantine" not in said
    (row,) = shown(run, "data-migration", "show", "inventory", "split_name")
    assert row["Quarantine"][1] == {"key": "id=16", "error": "too long", "failed_at": 61.0}
    assert "id=15" in run("data-migration", "show", "inventory", "split_name", "-c", "Quarantine").out
    assert "id=15" not in run("data-migration", "list", "inventory").out
    main.error = "connection refused"
    (row,) = shown(run, "data-migration", "show", "inventory", "split_name")
    assert (row["State"], row["Quarantine"]) == ("failed", None)
    assert "Not moved in main:\n  2 in all" in run("data-migration", "show", "inventory", "split_name").out


def test_a_data_migration_is_held_and_let_go(run: Run, world: World) -> None:
    migration = ("inventory", "split_name")
    for verb, wish in (("pause", "paused"), ("cancel", "cancelled")):
        (row,) = shown(run, "data-migration", verb, *migration, "--reason", "month-end")
        assert (row["Wanted"]["wish"], row["Wanted"]["by"], row["Wanted"]["reason"]) == (wish, "local", "month-end")
        assert f"{wish} by local: month-end" in run("data-migration", "list", "inventory").out
        (row,) = shown(run, "data-migration", "resume", *migration, "--database", "main")
        assert row["Wanted"] is None
    assert run("data-migration", "pause", *migration).code == 2


def test_rows_are_compared_when_somebody_asks(run: Run, world: World) -> None:
    migration = ("inventory", "split_name")
    assert run("data-migration", "verify", *migration, "--stop").code == 1
    (row,) = shown(run, "data-migration", "verify", *migration, "--reason", "after the failover")
    assert (row["Verification"]["state"], row["Verification"]["by"]) == ("running", "local")
    (row,) = shown(run, "data-migration", "verify", *migration, "--database", "main", "--stop")
    assert row["Verification"]["state"] == "stopped"
    main = world.managed.on["main"]
    found = replace(main.verifications["split_name"], state=VerificationState.DONE, rows=25, differences=1)
    main.verifications["split_name"] = replace(found, first_differences="id=3")
    said = run("data-migration", "show", *migration).out
    assert "Compared in main:\n  done, asked for by local (after the failover) at 1970-01-01 00:00:00: " in said
    assert "25 rows were compared, 1 differs; the first: id=3\n" in said
    assert "Verification" not in said
    main.verify_fails = Conflict("verification_refused", "its columns are not there", remedy="Wait for them.")
    refused = run("data-migration", "verify", *migration)
    assert (refused.code, "its columns are not there" in refused.err) == (3, True)


def test_a_retry_that_moves_few_rows_says_so(run: Run, world: World) -> None:
    world.begun().cycle()
    main = world.managed.on["main"]
    facts = replace(main.migrations["split_name"], state=MigrationState.FAILED, error="1 differs", differences=1)
    main.migrations["split_name"] = replace(facts, rows_to_repair=100)
    world.cycle()
    assert shown(run, "data-migration", "list", "inventory")[0]["Says"].endswith(
        "A retry moves 100 rows again, and compares all."
    )


def test_a_priority_is_set_and_cleared(run: Run) -> None:
    words = ("data-migration", "set", "inventory", "split_name")
    assert [row["Priority"] for row in shown(run, *words, "priority=5")] == [5]
    assert [row["Priority"] for row in shown(run, *words, "--default", "priority", "--reason", "enough")] == [0]


def test_pace_is_set_shown_and_cleared(run: Run, world: World) -> None:
    world.managed.on["main"].options = (
        Option("nice_ratio", 0.5, 0.0, 100.0, is_whole=False, help="How nice."),
    )  # fmt: skip
    words = ("data-migration", "set", "inventory")
    (row,) = shown(run, *words, "nice_ratio=2", "--reason", "busy")
    assert (row["Database"], row["Option"], row["Configured"], row["In force"]) == ("main", "nice_ratio", 0.5, 2)
    assert (row["Set"]["by"], row["Set"]["database"]) == ("local", None)
    assert "by local: busy" in run("data-migration", "pace", "inventory").out
    refused = run(*words, "nice_ratio=101")
    assert (refused.code, "less than or equal to 100" in refused.err) == (1, True)
    (row,) = shown(run, *words, "--default", "nice_ratio")
    assert (row["In force"], row["Set"]) == (0.5, None)


def test_a_limit_is_switched_off_with_a_word(run: Run, world: World) -> None:
    help = "How many."
    world.managed.on["main"].options = (
        Option("max_lock_waits", 3.0, -1.0, None, is_whole=True, help=help, free=-1.0),
        Option("nice_ratio", 0.5, 0.0, 100.0, is_whole=False, help=help),
    )  # fmt: skip
    words = ("data-migration", "set", "inventory")
    row, _ = shown(run, *words, "max_lock_waits=off")
    assert (row["Configured"], row["In force"]) == (3, -1)
    assert " off " in run("data-migration", "pace", "inventory").out
    assert "greater than or equal to 0" in run(*words, "nice_ratio=off").err
    assert "with a number for the value" in run(*words, "split_name", "priority=off").err


def test_pace_says_when_windows_open(run: Run, world: World) -> None:
    window = Every(1000, 100, first=world.clock.now + 50)
    world.managed.on["main"].windows = Windows((window,))
    found = run("data-migration", "pace", "inventory")
    said = f"main: closed; opens second {window.first:g}, until second {window.first + 100:g} (night)"
    assert (found.code, said in found.err) == (0, True)
    assert shown(run, "data-migration", "pace", "inventory") == []


@pytest.mark.parametrize(
    "words",
    [
        (), ("split_name",), ("nice_ratio=few",), ("nice_ratio=nan",), ("=2",), ("split_name", "nice_ratio=2"),
        ("split_name", "priority=1.5"), ("split_name", "priority=1", "--database", "main"),
        ("split_name", "priority=1", "--default", "priority"),
    ],
)  # fmt: skip
def test_what_is_to_be_set_makes_sense(run: Run, words: tuple[str, ...]) -> None:
    assert run("data-migration", "set", "inventory", *words).code == 2


def test_a_data_migration_that_is_tried_again_is_not_shown_as_failed(run: Run, world: World) -> None:
    world.begun().cycle()
    main = world.managed.on["main"]
    failed = replace(main.migrations["split_name"], state=MigrationState.FAILED, error="2 rows")
    main.migrations["split_name"] = failed
    world.cycle()
    assert shown(run, "data-migration", "show", "inventory", "split_name")[0]["State"] == "failed"
    said = run("data-migration", "retry", "inventory", "split_name")
    assert said.err == "split_name will be tried again in main\n"
    assert "failed" not in said.out and "2 rows" not in said.out


def test_whoever_begins_what_was_begun_is_told_by_whom(run: Run, world: World) -> None:
    world.begun()
    assert "had already been begun" in run("upgrade", "begin", "inventory", "--release", "2", "--reason", "mine").out


def test_a_data_migration_that_did_not_fail_cannot_be_retried(run: Run, world: World) -> None:
    world.begun()
    said = run("data-migration", "retry", "inventory", "split_name")
    assert said.code == 1
    assert "has not failed" in said.err


# -- gates and waiting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("deploy:inventory-api:1", 0),
        ("deploy:inventory-api:2", 3),
        ("deploy:inventory-api:3", 4),
        ("phase:expanded", 3),
        ("deploy:nobody:1", 1),
        ("nonsense", 1),
    ],
)
def test_a_gate_answers_with_the_exit_code_too(run: Run, gate: str, code: int) -> None:
    assert run("gate", "check", "inventory", gate).code == code


def test_waiting_ends_at_once_when_the_answer_is_yes(run: Run, world: World) -> None:
    said = run("wait", "readiness", "inventory", "--fleet", "inventory-api", "--release", "1")
    assert (said.code, said.err) == (0, "")
    assert run("wait", "gate", "inventory", "deploy:inventory-api:1").code == 0
    world.begun()
    world.cycle()
    assert run("wait", "phase", "inventory", "expanded").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("readiness", "inventory", "--release", "2"),
        ("gate", "inventory", "deploy:inventory-api:2"),
        ("phase", "inventory", "contracted"),
    ],
)
def test_waiting_that_takes_too_long_is_not_yet_and_says_why(run: Run, words: tuple[str, ...]) -> None:
    said = run("wait", *words, "--timeout", "0")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("waiting: ")


@pytest.mark.parametrize(
    "words",
    [
        ("readiness", "inventory", "--release", "3"),
        ("gate", "inventory", "deploy:inventory-api:3"),
    ],
)
def test_waiting_for_what_can_never_be_ends_at_once(run: Run, words: tuple[str, ...]) -> None:
    assert run("wait", *words).code == 4


def test_waiting_for_what_does_not_exist_ends_at_once(run: Run) -> None:
    assert run("wait", "readiness", "nothing", "--release", "1").code == 1
    assert run("wait", "phase", "inventory", "contract").code == 1


def test_waiting_for_a_daemon_that_never_comes_is_an_error(run: Run) -> None:
    said = run("--url", "http://127.0.0.1:9", "wait", "phase", "inventory", "expanded", "--timeout", "0")
    assert said.code == 1
    assert "daemon_unreachable" in said.err


# -- events ----------------------------------------------------------------------------------------------------------


def test_events_say_who_did_what(run: Run, world: World) -> None:
    run("upgrade", "begin", "inventory", "--release", "2", "--reason", "spring")
    rows = shown(run, "events", "inventory")
    assert shown(run, "events", "--schema", "inventory") == rows
    assert (rows[-1]["Action"], rows[-1]["Actor"], rows[-1]["Reason"]) == ("upgrade.begin", "local", "spring")
    assert len(shown(run, "events", "--limit", "1")) == 1
    assert shown(run, "events", "--after", str(rows[-1]["Id"])) == []
    assert run("events", "nothing").code == run("events", "--schema", "nothing").code == 1
    assert run("events", "inventory", "--schema", "inventory").code == 2


def test_following_events_misses_none_and_repeats_none(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter(("begin", "pause", "end"))

    def meanwhile(_: float) -> None:
        match next(turns):
            case "begin":
                world.upgrades.begin("inventory", "2", actor="test")
            case "pause":
                world.upgrades.pause("inventory", actor="test", reason="freeze")
            case _:
                raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.events.List.sleep", staticmethod(meanwhile))
    said = run("events", "--follow", "--limit", "2", "-f", "json")
    assert said.code == 130
    actions = [json.loads(line)["action"] for line in said.out.splitlines()]
    assert actions == ["fleet.report", "fleet.report", "upgrade.begin", "upgrade.pause"]


# -- who asks --------------------------------------------------------------------------------------------------------


def test_a_token_comes_from_the_environment_or_a_file(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, secrets = tokens_for_all_roles()
    with serving(world.application(tokens)) as url:
        monkeypatch.setenv("ORCHESTRATOR_URL", url)
        said = run("status")
        assert said.code == 1
        assert "--token-file" in said.err
        file = tmp_path / "token"
        file.write_text(secrets[Role.OPERATOR] + "\n")
        assert run("status", "--token-file", str(file)).code == 0
        monkeypatch.setenv("ORCHESTRATOR_TOKEN", secrets[Role.READER])
        assert run("status").code == 0
        said = run("upgrade", "begin", "inventory", "--release", "2")
        assert said.code == 1
        assert "needs a deployer" in said.err


def test_a_new_token_is_known_by_its_line(run: Run, tmp_path: Path) -> None:
    from orchestrator.api.auth import Tokens

    made = json.loads(run("token", "new", "ci", "--role", "deployer", "-f", "json").out)
    actor = Tokens.parse(made["Line"], place="here").find(made["Token"])
    assert actor is not None
    assert (actor.name, actor.role) == ("ci", Role.DEPLOYER)
    lines = run("token", "new", "ci", "--role", "deployer").out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Token", "Line"]


# -- trouble ---------------------------------------------------------------------------------------------------------


def test_a_state_database_that_does_not_answer_is_an_error_and_no_not_yet(run: Run, world: World) -> None:
    world.store.is_broken = True
    said = run("status")
    assert said.code == 1
    assert "state_database_unavailable" in said.err


def test_a_managed_database_that_does_not_answer_is_an_error_and_no_not_yet(run: Run) -> None:
    class Away(FakeSchema):
        def initialise(self, database: str, release: object) -> str:
            raise Unavailable("database_unreachable", "main is away", remedy="Start it.")

    with serving(World(managed=Away()).application()) as url:
        said = run("--url", url, "schema", "init", "inventory", "--release", "1")
    assert said.code == 1
    assert "main is away" in said.err
