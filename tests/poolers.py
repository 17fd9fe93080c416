"""PgBouncer, the distribution's, in front of the run's PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

PATIENCE_SECONDS = 30.0
_ports = itertools.count(6432)


@contextmanager
def pooling(url: str, mode: str, **settings: object) -> Iterator[str]:
    """Put a pooler in that mode before the database of this URL; gives the URL to use instead.

    Skips the test, loudly, where PgBouncer is not installed; fails it when CI=true.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        why = "pgbouncer is not installed; on Debian and Ubuntu: apt-get install pgbouncer"
        (Path(os.environ["ORCHESTRATOR_TESTS_DIRECTORY"]) / "pgbouncer-missing").write_text(why)
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"PgBouncer is required in CI; {why}", pytrace=False)
        pytest.skip(f"no PgBouncer: {why}")
    server = sa.make_url(url)
    socket = str(server.query["host"])
    owner = Path(socket).stat().st_uid  # whose directory it is, where nobody else can reach the server
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    os.chown(directory, owner, -1)
    options = {
        "listen_port": next(_ports),
        "unix_socket_dir": directory,
        "pool_mode": mode,
        "auth_type": "any",
        "logfile": directory / "log",
        "pidfile": directory / "pid",
        **({"user": pwd.getpwuid(owner).pw_name} if os.geteuid() == 0 else {}),
        **settings,
    }
    lines = ["[databases]", f"* = host={socket} user={server.username}", "[pgbouncer]"]
    (directory / "ini").write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in options.items())]))
    process = subprocess.Popen([program, "-q", str(directory / "ini")], stderr=subprocess.DEVNULL)
    pooled = server.set(query={"host": str(directory), "port": str(options["listen_port"])})
    try:
        _wait_for(pooled, process)
        yield pooled.render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def _wait_for(pooled: sa.URL, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    plain = pooled.set(drivername="postgresql").render_as_string(hide_password=False)
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(psycopg.OperationalError):
            psycopg.connect(plain, autocommit=True).close()
            return
        time.sleep(0.02)
    raise AssertionError("pgbouncer did not start")
