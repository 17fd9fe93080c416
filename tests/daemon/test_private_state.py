"""What lies on the disk: the state database holds the secrets of all leases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.conf import Settings
from orchestrator.daemon.composition import prepare_state


def test_a_state_database_that_is_a_file_is_read_by_nobody_else(tmp_path: Path) -> None:
    usual = os.umask(0o022)
    try:
        file = tmp_path / "state" / "orchestrator.sqlite"
        settings = Settings((), f"sqlite:///{file}", file.parent, ())
        database = prepare_state(settings)
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
