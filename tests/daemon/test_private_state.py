"""What lies on the disk: the state database holds the secrets of all leases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.conf import load
from orchestrator.daemon.composition import prepare_state
from orchestrator.resources import state_migrations_directory


def test_a_state_database_that_is_a_file_is_read_by_nobody_else(tmp_path: Path) -> None:
    usual = os.umask(0o022)
    try:
        file = tmp_path / "state" / "orchestrator.sqlite"
        configuration = tmp_path / "orchestrator.conf"
        configuration.write_text(
            f"[orchestrator]\nschemas = shop\nstate_dir = {file.parent}\n"
            f"[database]\nconnection = sqlite:///{file}\n"
            f"[schema:shop]\nmigrations = {state_migrations_directory()}\nconnection = sqlite:///{tmp_path}/shop.sqlite\n"
        )
        database = prepare_state(load([configuration])).database
        with database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE more (id INTEGER)")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
        database.engine.dispose()
        later = os.umask(0o022)
    finally:
        os.umask(usual)
    assert modes == dict.fromkeys(modes, 0o600)
    assert file.name in modes
    assert later == 0o022
