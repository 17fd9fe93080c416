"""Steps that fail, and databases and files that were changed behind the orchestrator's back."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.daemon.live_schema import LiveSchema
from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place

EXPAND = "expand/e002_new_shape.py"


class Killed(BaseException):
    """The daemon dies here."""


@mends("A revision fails")
def test_revision_that_fails(place: Place, entry: Entry) -> None:
    place.begun().nobody_runs()
    place.execute("CREATE TABLE statuses (id INTEGER)")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    place.type(entry)
    assert place.goes_on()


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


@pytest.fixture
def killed_place(place: Place, mysql_url: str) -> Place:
    """A place on MariaDB whose daemon was killed when `CREATE TABLE statuses` had taken effect, and is not back yet."""
    place.own_migrations()
    place.site.databases = {"main": mysql_url}
    place.open().begin().nobody_runs()
    (database,) = place.services.context.schemas[SCHEMA].handles  # type: ignore[attr-defined]  # of the live schema
    sent = [""]

    def die(connection: sa.Connection, cursor: object, statement: str, *others: object) -> None:
        if "CREATE TABLE statuses" in " ".join(sent[-1].split()):  # it took effect, and is not marked yet
            connection.connection.dbapi_connection._force_close()  # type: ignore[union-attr]
            raise Killed
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", die)
    with pytest.raises(Killed):
        place.work()
    return place


def forgetting(status: str) -> str:
    """The statement that forgets an operation, as it is shown."""
    return "DELETE FROM" + status.partition("DELETE FROM")[2].partition(";")[0]


@mends("Nobody can tell whether a statement took effect")
def test_statement_in_doubt(killed_place: Place, entry: Entry) -> None:
    place = killed_place.reopen()
    place.execute("ALTER TABLE statuses DROP COLUMN name")
    place.work()
    shown = place.status()
    entry.assert_shown(shown)
    place.execute(*entry.statements(), forgetting(shown))
    place.type(entry)
    assert place.goes_on()


@mends("A revision's file was changed after it was broken off")
def test_revision_that_was_changed_after_it_was_broken_off(killed_place: Place, entry: Entry) -> None:
    place = killed_place
    place.edit(EXPAND, "sa.String(20), nullable=False, unique", "sa.String(30), nullable=False, unique")
    place.reopen().work()
    shown = place.status()
    entry.assert_shown(shown)
    place.execute("DROP TABLE statuses", forgetting(shown))
    place.type(entry)
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
    place.begun().nobody_runs().work_until("backfill")
    place.execute("ALTER TABLE customers DROP COLUMN last_name")
    place.reopen().turn(batches=lambda: False)
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    assert place.reopen().goes_on()


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
    place.reopen().type(entry)
    assert place.goes_on()
