"""Steps that fail, and databases and files that were changed behind the orchestrator's back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.client import Refused
from orchestrator.daemon.live_schema import LiveSchema
from orchestrator.demo.example import SCHEMA
from orchestrator.domain.view import DatabaseFacts
from tests.by_hand import upgrade_by_hand
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place

LATE = {"id": "late", "nonce": "a1", "release": "1", "host": "rack7"}
EXPAND = "expand/e002_new_shape.py"


@mends("A revision fails")
def test_revision_that_fails(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.execute("CREATE TABLE statuses (id INTEGER)")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    place.type(entry)
    assert place.goes_on()


def two_databases(place: Place) -> Place:
    """At release 1 in main and cell02, with the upgrade begun; nobody runs."""
    place.site.databases.setdefault("cell02", f"sqlite:///{place.site.directory}/cell02.sqlite")
    return place.open().begin().nobody_runs()


@mends("A revision fails in one database after it ran in another")
def test_revision_that_fails_in_the_second_database(place: Place, entry: Entry) -> None:
    two_databases(place).execute("CREATE TABLE statuses (id INTEGER)", database="cell02")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements(), database="cell02")
    place.type(entry)
    assert place.goes_on()


def second_database_wants_another_file(place: Place) -> None:
    """Table audit is there in cell02 already; its name is changed in the file, as if nothing had run from it."""
    file = place.own_migrations() / EXPAND
    made = '    op.create_table("audit", sa.Column("id", sa.Integer, primary_key=True))\n'
    file.write_text(file.read_text() + made)
    two_databases(place).execute("CREATE TABLE audit (x INTEGER)", database="cell02")
    place.work()
    place.edit(EXPAND, '"audit"', '"audit_log"')
    place.reopen()
    place.orchestrator("upgrade", "retry", SCHEMA, "--database", "cell02")
    place.work()


@mends("A revision's file was changed before it ran everywhere")
def test_revision_whose_file_is_to_differ_is_taken_back(
    server_place: Place, entry: Entry, new_postgresql_url: Callable[[], str]
) -> None:
    place = server_place
    place.site.databases["cell02"] = new_postgresql_url()
    second_database_wants_another_file(place)
    entry.assert_shown(place.status())
    assert "Put the file back" in place.orchestrator("upgrade", "plan", SCHEMA, code=1)
    cancel, begin = entry.commands()
    place.type_one(cancel)
    place.work()
    place.execute(*entry.statements(), database="main")
    place.type_one(begin)
    assert place.goes_on()
    assert [place.execute("SELECT id FROM audit_log", database=each) for each in ("main", "cell02")] == [[], []]


def test_file_that_is_put_back_runs_where_it_had_not(place: Place) -> None:
    second_database_wants_another_file(place)
    place.edit(EXPAND, '"audit_log"', '"audit"')
    place.reopen().execute("DROP TABLE audit", database="cell02")
    place.orchestrator("upgrade", "retry", SCHEMA, "--database", "cell02")
    assert place.goes_on()


@mends("Two databases ran a revision from different files")
def test_databases_that_ran_different_files(place: Place, entry: Entry) -> None:
    place.own_migrations()
    two_databases(place).work()
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.edit(EXPAND, "Release 2 beside", "Release two beside")
    now = hashlib.sha256((place.own_migrations() / EXPAND).read_bytes()).hexdigest()
    place.execute(
        f"UPDATE orchestrator_steps SET file_hash = '{now}' WHERE revision = 'e002_new_shape'", database="cell02"
    )
    place.reopen().work()
    entry.assert_shown(place.status())
    assert now in place.status()
    place.execute(*(each.replace("...", now) for each in entry.statements()))
    place.type(entry)
    place.work()
    assert "upgraded to 2" in place.status()


@mends("A revision ran without its effect")
def test_revision_without_its_effect(place: Place, entry: Entry) -> None:
    takes_back = """
    op.get_bind().exec_driver_sql("ALTER TABLE customers DROP COLUMN last_name")


acknowledged = "it does not know better"
"""
    file = place.own_migrations() / EXPAND
    text = file.read_text()
    file.write_text(text + takes_back)
    place.begun().nobody_runs().work()
    entry.assert_shown(place.status())
    file.write_text(text)
    place.reopen().type(entry)
    assert place.goes_on()


@mends("A revision's file was changed after it ran")
def test_revision_that_was_changed(place: Place, entry: Entry) -> None:
    place.own_migrations()
    place.begun().nobody_runs().work()
    place.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "test")
    place.edit(EXPAND, "Release 2 beside", "Release two beside")
    place.reopen().work()
    entry.assert_shown(place.status())
    place.edit(EXPAND, "Release two beside", "Release 2 beside")
    place.reopen().type(entry)
    place.work()
    assert "upgraded to 2" in place.status()


@mends("The version table was stamped by hand")
def test_version_table_that_was_stamped(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.execute("UPDATE alembic_version SET version_num = 'e002_new_shape'")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements(1))
    place.type(entry)
    assert place.goes_on()


def adoption_in(said: str) -> str:
    """The statement that the remedy says to type."""
    found = re.search(r"INSERT INTO orchestrator_steps .*?;", said.replace("\n", " "))
    assert found is not None, said
    return found[0]


def test_revision_that_was_run_by_hand_is_adopted_where_all_of_it_is_there(place: Place) -> None:
    place.begun().nobody_runs()
    upgrade_by_hand(place.site.databases["main"], place.site.migrations, "expand@head")
    place.work()
    place.execute(adoption_in(place.status()))
    place.execute("ALTER TABLE customers DROP COLUMN last_name")
    place.orchestrator("upgrade", "retry", SCHEMA, "--database", "main")
    place.work()
    assert "column customers.last_name is missing" in place.status()
    place.execute("ALTER TABLE customers ADD COLUMN last_name VARCHAR(200)")
    place.orchestrator("upgrade", "retry", SCHEMA, "--database", "main")
    assert place.goes_on()


def test_an_upgrade_does_not_begin_where_its_revisions_were_run_by_hand(place: Place) -> None:
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    upgrade_by_hand(place.site.databases["main"], place.site.migrations, "expand@head")
    said = place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1)
    assert "(not_in_journal)" in said
    place.execute(adoption_in(said))
    place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2")
    place.nobody_runs()
    assert place.goes_on()


def test_an_old_shape_that_one_database_lacks_is_to_be_added_there(place: Place) -> None:
    """The manifest is only doubted where no database has it."""
    place.site.databases["cell02"] = f"sqlite:///{place.site.directory}/cell02.sqlite"
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.execute("ALTER TABLE customers DROP COLUMN name", database="cell02")
    said = place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1)
    assert "The name is right: database main has it. Add it in cell02 as it is there" in said
    assert "restart" not in said
    place.execute("ALTER TABLE customers DROP COLUMN name")
    said = place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1)
    assert "only if no database has it, correct old_shape" in said


@mends("The version table names an unknown revision")
def test_version_table_with_an_unknown_revision(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.execute("UPDATE alembic_version SET version_num = 'e005_much_later'")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements(1))
    assert place.goes_on()


@mends("The new shape is gone")
def test_new_shape_that_is_gone(place: Place, entry: Entry) -> None:
    """Rows had been moved into it already."""
    place.begun().nobody_runs().work_until("backfill").turn()
    place.execute("ALTER TABLE customers DROP COLUMN last_name")
    place.reopen().turn(batches=lambda: False)
    place.turn(batches=lambda: False)
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    rollback, resume = entry.commands()
    place.reopen().type_one(rollback)
    place.work()
    assert place.phase() == "expanded"
    place.type_one(resume)
    assert place.goes_on()
    assert not entry.is_shown(place.status())


@mends("The manifest was changed")
def test_manifest_that_was_changed(place: Place, entry: Entry) -> None:
    place.own_migrations()
    place.begun().nobody_runs().work_until("backfill")
    place.edit("releases.toml", '["split_name", "link_status"]', '["split_name"]')
    place.reopen().work()
    entry.assert_shown(place.status())
    place.type(entry)
    place.work()
    assert not entry.is_shown(place.status())


@mends("The version table lost a row")
def test_version_table_that_lost_a_row(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.execute("DELETE FROM alembic_version")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements(1))
    place.type(entry)
    assert place.goes_on()


@mends("What a step had done is gone before it counts")
def test_step_whose_effect_is_gone(place: Place, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    run_step = LiveSchema.run_step

    def run_in_bad_company(self: LiveSchema, *arguments: Any, **named: Any) -> tuple[str, ...]:
        ran = run_step(self, *arguments, **named)
        place.execute("ALTER TABLE customers DROP COLUMN last_name")
        return ran

    monkeypatch.setattr(LiveSchema, "run_step", run_in_bad_company)
    place.begun().nobody_runs().work()
    entry.assert_shown(place.status())
    monkeypatch.undo()
    place.execute(*entry.statements())
    place.type(entry)
    assert place.goes_on()


def test_a_step_that_has_just_ended_is_not_said_to_lack_its_effect(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked before the next look at the catalog, by which it was last known without the effect."""
    observe, said = LiveSchema.observe, []

    def look(self: LiveSchema, *arguments: Any, **named: Any) -> DatabaseFacts:
        said.append(place.status())
        return observe(self, *arguments, **named)

    monkeypatch.setattr(LiveSchema, "observe", look)
    place.begun().nobody_runs().work_until("backfill")
    assert any("running the expand step" in each for each in said)
    assert not any("lacks the effect" in each for each in said)
    monkeypatch.undo()
    place.work()


@mends("A revision breaks a rule")
def test_revision_that_breaks_a_rule(place: Place, entry: Entry) -> None:
    file = place.own_migrations() / EXPAND
    text = file.read_text()
    file.write_text(f'{text}    op.drop_column("items", "status")\n')
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    entry.assert_shown(place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1))
    file.write_text(text)
    place.reopen().type(entry)
    assert "1 > 2" in place.status()


@mends("A data migration does not fit its table")
def test_data_migration_that_does_not_fit(place: Place, entry: Entry) -> None:
    place.edit("data/split_name.py", '"last_name")', '"surname")')
    place.begun().nobody_runs().work()
    entry.assert_shown(place.status())
    place.edit("data/split_name.py", '"surname")', '"last_name")')
    place.type(entry)
    assert place.goes_on()


@mends("What a revision had made is gone")
def test_revision_whose_effect_is_gone(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs().work_until("backfill")
    place.execute("ALTER TABLE customers DROP COLUMN last_name")
    place.orchestrator("upgrade", "rollback", SCHEMA, "--to", "base", "--reason", "test")
    place.reopen().work()
    place.orchestrator("upgrade", "resume", SCHEMA)
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    place.type(entry)
    assert place.goes_on()


@mends("Somebody contracted a database by hand")
def test_database_that_was_contracted_by_hand(place: Place, entry: Entry) -> None:
    """While both releases run, in the second database: the first one keeps everything."""
    place.site.databases["cell02"] = f"sqlite:///{place.site.directory}/cell02.sqlite"
    place.open().begin().nobody_runs("inventory-worker")
    place.orchestrator("fleet", "report", SCHEMA, "inventory-api", "--release", "1", "--instances", "1")
    place.work()
    assert place.phase() == "expanded"
    deploy, rollback = (f"/v1/schemas/{SCHEMA}/gates/{verb}:inventory-api:1" for verb in ("deploy", "rollback"))
    assert place.ask("GET", deploy)["open"] and place.ask("GET", rollback)["open"]

    upgrade_by_hand(place.site.databases["cell02"], place.site.migrations)
    place.work()
    entry.assert_shown(place.status())
    assert not place.ask("GET", deploy)["open"] and not place.ask("GET", rollback)["open"]
    with pytest.raises(Refused, match="contracted it by hand"):
        place.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/inventory-api/instances", LATE)
    place.work()
    for database in place.site.databases:  # where they would join without a daemon
        ((admits,),) = place.execute("SELECT admits FROM orchestrator_copies", database=database)
        assert {name: each["joins"] for name, each in json.loads(admits).items()} == {"1": False, "2": True}
    place.orchestrator("upgrade", "rollback", SCHEMA, "--to", "base", "--reason", "test")
    place.work()
    assert place.phase() == "expanded"

    place.execute(*entry.statements(), database="cell02")
    place.work()
    assert place.phase() == "base"
    assert place.ask("GET", deploy)["open"]


@mends("The old shape was dropped by hand")
def test_old_shape_that_was_dropped_by_hand(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs().work_until("backfill")
    place.execute("ALTER TABLE customers DROP COLUMN name")
    place.reopen().turn(batches=lambda: False)
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    assert place.goes_on()
