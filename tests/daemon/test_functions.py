"""A schema with its own tool and a function in data/, as the daemon puts it together from its configuration."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.conf import load
from orchestrator.daemon.composition import _live_schema
from orchestrator.daemon.live_schema import LiveSchema
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused
from orchestrator.domain.ladder import Phase, Step
from orchestrator.domain.view import Copy, MigrationState
from orchestrator.schema_migrations.own_tables import nobody_asked
from tests.schema_migrations.test_command_driver import KNOWN, PRESET

TOOL = Path(__file__).parents[1] / "schema_migrations" / "shop_tool.py"
FUNCTION = f"""
from orchestrator.data_migrations import DataMigration

class Cells(DataMigration):
    function = "shop_objects:migrate"
    interpreter = {sys.executable!r}
"""
SERVICE = """
import os, sqlite3

def migrate(context, max_count):
    connection = sqlite3.connect(os.environ["SHOP_CONNECTION"].removeprefix("sqlite:///"), timeout=20)
    found = connection.execute("SELECT id FROM customers WHERE id < 1000 LIMIT ?", (max_count,)).fetchall()
    connection.executemany("UPDATE customers SET id = id + 1000 WHERE id = ?", found)
    connection.commit()
    return len(found), len(found)
"""
UPGRADE = 7


@pytest.fixture
def live(tmp_path: Path, sqlite_url: str, open_database: Callable[[str, str], Database]) -> LiveSchema:
    """At release 1 of two; what the function moves is in the managed database itself."""
    programs, directory = tmp_path / "bin", tmp_path / "shop"
    (directory / "data").mkdir(parents=True)
    programs.mkdir()
    (programs / "shop-manage").write_text(f"#!{sys.executable} -S\n{TOOL.read_text()}")
    (programs / "shop-manage").chmod(0o755)
    (programs / "shop_objects.py").write_text(SERVICE)
    (directory / "shop.toml").write_text(PRESET + KNOWN)
    (directory / "data" / "cells.py").write_text(FUNCTION)
    second = '[[release]]\nname = "2"\ndata_migrations = ["cells"]\n'
    (directory / "releases.toml").write_text(f'[[release]]\nname = "1"\n\n{second}')
    file = tmp_path / "orchestrator.conf"
    file.write_text(
        f"[orchestrator]\nschemas = shop\nstate_dir = {tmp_path}/state\n"
        f"[schema:shop]\nmigrations = {directory}\nconnection = {sqlite_url}\ndriver = command\n"
        f"preset = {directory}/shop.toml\n"
        f"environment = PATH={programs}:/usr/bin:/bin\nenvironment = PYTHONPATH={programs}\n"
        "environment = SHOP_VERSION={release}.0.0\n"
    )
    settings = load([file])
    (schema,) = settings.schemas
    made = _live_schema(schema, settings, threading.Event(), nobody_asked)
    made.initialise(made.databases[0], made.releases["1"])
    with made.handles[0].writing() as connection:
        connection.exec_driver_sql("INSERT INTO customers VALUES " + ", ".join(f"({n})" for n in range(1, 26)))
    return made


def enter(live: LiveSchema, phase: Phase, revision: int, fence: Phase | None = None) -> None:
    live.write_copy(live.databases[0], Copy(UPGRADE, phase, fence or phase, revision, ""))


def test_function_runs_in_backfill_beside_its_own_database(live: LiveSchema) -> None:
    (database,) = live.databases
    live.check(live.releases["2"])
    live.run_step(database, live.releases["2"], Step.EXPAND, upgrade_id=UPGRADE, owner_epoch=1)
    with pytest.raises(Conflict):
        live.run_batch(database, "cells", UPGRADE, leads=True)
    enter(live, Phase.BACKFILL, 1)
    states = [live.run_batch(database, "cells", UPGRADE, leads=True) for _ in range(4)]
    assert [each.state for each in states][2:] == [MigrationState.VERIFYING, MigrationState.COMPLETE]
    assert states[-1].rows_done == 25
    with live.handles[0].reading() as connection:
        assert connection.exec_driver_sql("SELECT min(id), count(*) FROM customers").one() == (1001, 25)
    enter(live, Phase.BACKFILL, 2, fence=Phase.WRITE_NEW)
    enter(live, Phase.WRITE_NEW, 3)


def test_release_that_claims_values_is_refused_before_it_begins(live: LiveSchema) -> None:
    claiming = replace(live.releases["2"], in_step_by=type(live.releases["2"].in_step_by).CLIENT)
    with pytest.raises(MigrationRefused, match="nobody but the service knows"):
        live.check(claiming)
