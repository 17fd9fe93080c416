"""SIGKILL while the server of a MariaDB works on a statement: it goes on with it, and nobody waits for its answer."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import operations
from orchestrator.dialects import Database
from orchestrator.domain.ladder import Step
from tests.dying import when_free
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, execute, scalar

PATIENCE_SECONDS = 120.0

FIRST = """
for name in ("t1", "t2", "t3", "t4", "t5"):
    op.create_table(name, sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer))
"""

MANY = """
op.add_column("t1", sa.Column("b", sa.Integer))
op.create_index("ix_a", "t2", ["a"])
op.execute("UPDATE t3 SET a = a + 1")
op.execute(
    "CREATE TRIGGER stamp BEFORE INSERT ON t4 FOR EACH ROW SET NEW.a = 7",
    execution_options={"orchestrator_took_effect":
        "SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()"},
)
op.alter_column("t5", "a", existing_type=sa.Integer, server_default="3")
"""

CHILD = """
import sys
from pathlib import Path
from orchestrator.dialects import open_database
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver

url, directory = sys.argv[1:]
AlembicDriver(Path(directory), schema="shop").run(open_database("test", url), "2", Step.EXPAND, owner_epoch=1)
"""


@pytest.mark.parametrize("table", ["t1", "t2", "t3", "t4", "t5"])
def test_the_statement_that_was_under_way_happens_once(
    tree: TreeWriter, open_database: Callable[[str, str], Database], mysql_url: str, table: str
) -> None:
    database = open_database("test", mysql_url)
    prepare(database)
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", MANY, after="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    driver = tree.driver()
    driver.install(database, "1")
    execute(database, "INSERT INTO t3 (id, a) VALUES (1, 1)")

    with database.engine.connect() as blocker:
        blocker.execute(sa.text(f"SELECT * FROM {table} FOR UPDATE")).all()
        child = subprocess.Popen([sys.executable, "-c", CHILD, mysql_url, str(tree.directory)])
        try:
            until_waiting(database, table)
        finally:
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
        with database.reading() as connection:
            entries = operations.entries(connection, "shop", "e2")
        assert [each.state.value for each in entries][-1] == ("done" if table == "t3" else "intent")
    when_free(lambda: driver.run(database, "2", Step.EXPAND, owner_epoch=2))

    assert columns(database, "t1") == {"id", "a", "b"}
    assert scalar(database, "SELECT a FROM t3") == 2
    execute(database, "INSERT INTO t4 (id) VALUES (1)")
    execute(database, "INSERT INTO t5 (id) VALUES (1)")
    assert (scalar(database, "SELECT a FROM t4"), scalar(database, "SELECT a FROM t5")) == (7, 3)
    assert driver.position(database, "2").differences == ()


def until_waiting(database: Database, table: str) -> None:
    """Return when a statement about that table waits for the lock that somebody holds."""
    query = (
        f"SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '% {table}%'"
        " AND info NOT LIKE 'SELECT%' AND info NOT LIKE 'INSERT INTO orchestrator%'"
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not scalar(database, query):
        assert time.monotonic() < deadline, "no statement of the child waits"
        time.sleep(0.01)
