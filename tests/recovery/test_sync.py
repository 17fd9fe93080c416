"""Triggers: those that keep the shapes in step, those that seal, and databases that do not let us make any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import END_OTHERS, Place, execute

LAST = 'items.alter_column("status", existing_type=sa.String(20), nullable=True)\n'
SYNC = '\n    op.create_sync_trigger("customers", old={"name": "{last_name}"}, new={"last_name": "{name}"})\n'

REFUSE = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'triggers are made by the platform team'; END $$
"""
REFUSING = """
CREATE EVENT TRIGGER no_new_triggers ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION refuse()
"""


@mends(
    "A release says that triggers keep it in step, and that does not hold",
    "A trigger that keeps the shapes in step is gone",
)
def test_release_that_triggers_keep_in_step(place: Place, entries: tuple[Entry, ...]) -> None:
    missing, not_in_step = entries
    place.own_migrations()
    for old, new in (
        ('in_step_by = "client"', 'in_step_by = "triggers"'),
        ('old_shape = ["customers.name", "items.status"]', 'old_shape = ["customers.name"]'),
        ('reverse_data_migrations = ["join_name", "name_status"]', "reverse_data_migrations = []"),
    ):
        place.edit("releases.toml", old, new)
    place.open().orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.nobody_runs()
    begin = ("upgrade", "begin", SCHEMA, "--release", "2", "--reason", "test")
    missing.assert_shown(place.orchestrator(*begin, code=1))
    place.edit("expand/e002_new_shape.py", LAST, LAST + SYNC)
    place.reopen()
    place.type(missing)
    place.work_until("backfill")
    (name, *_), *_ = place.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    place.execute(f"DROP TRIGGER {name}")
    place.reopen().work()  # it would be looked for in a minute
    not_in_step.assert_shown(place.status())
    rollback, resume = not_in_step.commands()
    place.type_one(rollback)
    place.work()
    assert place.phase() == "base"
    place.type_one(resume)
    assert place.goes_on()


@mends("A database does not let us make triggers", "Sealing fails")
def test_database_that_refuses_triggers(server_place: Place, role: str, entries: tuple[Entry, ...]) -> None:
    right_missing, seal_failed = entries
    place = server_place.open()
    place.orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.close()
    superuser = place.site.databases["main"]
    execute(superuser, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}", f"GRANT ALL ON SCHEMA public TO {role}")
    place.site.databases["main"] = sa.make_url(superuser).set(username=role).render_as_string(hide_password=False)
    place.open()
    begin = ("upgrade", "begin", SCHEMA, "--release", "2", "--reason", "test")
    right_missing.assert_shown(place.orchestrator(*begin, code=1))
    execute(superuser, *right_missing.statements())
    place.type(right_missing)
    place.nobody_runs()
    execute(superuser, REFUSE, REFUSING)
    place.work()
    seal_failed.assert_shown(place.status())
    execute(superuser, *seal_failed.statements())
    place.type(seal_failed)
    assert place.goes_on()


@pytest.fixture
def role(server_place: Place) -> Iterator[str]:
    """A role that owns none of the tables."""
    name, url = "inventory_upgrader", server_place.site.databases["main"]
    execute(url, f"CREATE ROLE {name} LOGIN")
    yield name
    server_place.close()
    execute(url, END_OTHERS)
    execute(url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")
