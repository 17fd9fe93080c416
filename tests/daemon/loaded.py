"""Loads all that a daemon loads, once, in the process that the others are forked from."""

from __future__ import annotations

import gc
import tempfile
from importlib import import_module
from pathlib import Path

from orchestrator.daemon.own_tables import OwnTables
from orchestrator.dialects import open_database

_LOADED_LATE = (
    "anyio._backends._asyncio",
    "apscheduler.triggers.interval",
    "encodings.idna",
    "orchestrator.cli.program",
    "orchestrator.cli.serve",
    "orchestrator.daemon.serve",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.dialects.sqlite.pysqlcipher",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
)
"""What is loaded only when somebody serves, or connects."""

for _name in _LOADED_LATE:
    import_module(_name)


def _read_own_trees() -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = open_database("state", f"sqlite:///{Path(directory, 'state.sqlite')}")
        own_tables = OwnTables(database)
        own_tables.open_door()
        own_tables.bring_forward(lambda tree, release: True)
        database.engine.dispose()


_read_own_trees()
gc.freeze()  # what is loaded stays; nobody who is forked needs to look through it
