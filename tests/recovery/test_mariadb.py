"""MariaDB, where every statement of DDL commits by itself, and servers that are set to read only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from orchestrator.demo import mariadb_server
from orchestrator.demo.example import SCHEMA
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place, execute

EXPAND = "expand/e002_new_shape.py"

TRIGGER = """
    op.execute("CREATE TRIGGER trimmed BEFORE INSERT ON customers FOR EACH ROW SET NEW.name = TRIM(NEW.name)")
"""
ASKS_BACK = """
    op.get_bind().execute(sa.text("INSERT INTO customers (id, name) VALUES (7, 'Ada Lovelace') RETURNING id")).scalar()
"""
LOOKS_FIRST = """
    for name in ("first_name", "last_name"):
        if name not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns("customers")}:
            op.add_column("customers", sa.Column(name, sa.String(200)))
"""
PLAIN = """
    op.add_column("customers", sa.Column("first_name", sa.String(200)))
    op.add_column("customers", sa.Column("last_name", sa.String(200)))
"""


class Killed(BaseException):
    """The daemon dies here."""


@pytest.fixture
def mariadb_place(place: Place, mysql_url: str) -> Place:
    """A place on MariaDB, with migrations of its own, not open yet."""
    place.own_migrations()
    place.site.databases = {"main": mysql_url}
    return place


def killed_after(place: Place, text: str) -> Place:
    """Let the daemon work until that statement has taken effect, and kill it before it can say so."""
    (database,) = place.services.context.schemas[SCHEMA].handles  # type: ignore[attr-defined]  # of the live schema
    sent = [""]

    def die(connection: sa.Connection, cursor: object, statement: str, *others: object) -> None:
        if text in " ".join(sent[-1].split()):
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


@mends("A revision's file was changed after it was broken off", "Nobody can tell whether a statement took effect")
def test_statement_that_was_broken_off(mariadb_place: Place, entries: tuple[Entry, ...]) -> None:
    changed, in_doubt = entries
    place = killed_after(mariadb_place.open().begin().nobody_runs(), "CREATE TABLE statuses")
    place.edit(EXPAND, "sa.String(20), nullable=False, unique", "sa.String(30), nullable=False, unique")
    place.reopen().work()
    changed.assert_shown(place.status())
    place.edit(EXPAND, "sa.String(30), nullable=False, unique", "sa.String(20), nullable=False, unique")
    place.execute("ALTER TABLE statuses DROP COLUMN name")
    place.reopen().type(changed)
    place.work()
    shown = place.status()
    in_doubt.assert_shown(shown)
    place.execute(*in_doubt.statements(), forgetting(shown))
    place.type(in_doubt)
    assert place.goes_on()


@mends(
    "Raw DDL does not say how its effect is seen",
    "A revision asks for rows that it writes",
    "A revision leaves out what it finds",
)
def test_revision_that_cannot_be_completed(mariadb_place: Place, entries: tuple[Entry, ...]) -> None:
    raw, asks_back, leaves_out = entries
    place = mariadb_place
    file = place.site.migrations / EXPAND
    text = file.read_text()
    assert PLAIN in text

    def write(first: str, rest: str = text) -> None:
        upgrade = "def upgrade() -> None:\n"
        file.write_text(rest.replace(upgrade, upgrade + first) + '\n\nacknowledged = "a person has looked at it"\n')

    place.edit("releases.toml", 'old_shape = ["customers.name", "items.status"]', "old_shape = []")  # none to loosen
    write(TRIGGER)
    place.open().begin().nobody_runs().work()
    raw.assert_shown(place.status())
    write(ASKS_BACK)
    place.reopen().type(raw)
    place.work()
    asks_back.assert_shown(place.status())
    write(LOOKS_FIRST, text.replace(PLAIN, ""))
    place.reopen().type(asks_back)
    killed_after(place, "ADD COLUMN last_name")
    place.reopen().work()
    shown = place.status()
    leaves_out.assert_shown(shown)
    place.execute(forgetting(shown))
    place.type(leaves_out)
    assert place.goes_on()


@pytest.fixture
def own_server(mysql_server: sa.URL) -> Iterator[str]:
    """A database on a server of its own, which nobody else minds to find read-only."""
    directory = Path(os.environ["ORCHESTRATOR_TESTS_DIRECTORY"]) / f"own-{os.getpid()}"
    server = mariadb_server.start(directory, os.getpid())
    try:
        execute(server.set(database="mysql").render_as_string(hide_password=False), "CREATE DATABASE inventory")
        yield server.set(database="inventory").render_as_string(hide_password=False)
    finally:
        mariadb_server.stop(directory)


@mends("A database takes no writes, on MariaDB or MySQL")
def test_mariadb_that_takes_no_writes(place: Place, own_server: str, entry: Entry) -> None:
    place.site.databases = {"main": own_server}
    place.open().begin().nobody_runs()
    place.execute("SET GLOBAL read_only = ON")
    place.work()
    entry.assert_shown(place.status())
    place.execute(*entry.statements())
    assert place.goes_on()
    place.close()
