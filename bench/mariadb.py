"""The MariaDB server that is measured: durable, with the memory that a real one would be given."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

from orchestrator.demo import mariadb_server

# The demo's server forgoes what a power cut asks for; this one does not.
SETTINGS = {
    "innodb-flush-log-at-trx-commit": "1",
    "innodb-doublewrite": "1",
    "innodb-flush-method": "O_DIRECT",
    "innodb-buffer-pool-size": "3G",
    "innodb-log-file-size": "8G",  # no checkpoint falls into a measurement
}


@contextmanager
def server() -> Iterator[sqlalchemy.URL]:
    """The URL of an empty database on a server that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as parent:
        directory = Path(parent) / "mariadb"
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        url = mariadb_server.start(directory, os.getpid(), options=options)
        try:
            engine = sqlalchemy.create_engine(url)
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("CREATE DATABASE bench"))
            engine.dispose()
            yield url.set(database="bench")
        finally:
            mariadb_server.stop(directory)
