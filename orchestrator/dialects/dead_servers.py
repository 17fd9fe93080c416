"""Dead servers: how soon a connection notices that nobody is at its other end any more.

A host that loses power or its network says no good-bye, and by itself a connection waits for hours. Long statements
are no sign of death: the system asks the other host, not the server, so there is no timeout for an answer here.
"""

from __future__ import annotations

import socket
from typing import Any

SILENT_SECONDS = 30
"""The other host is asked whether it is there when nothing came from it for so long."""

ASK_AGAIN_SECONDS = 10
ASKED_TIMES = 3

UNACKNOWLEDGED_SECONDS = 30
"""What was sent has to arrive at the other host within this time."""

LIBPQ_OPTIONS = {
    "keepalives_idle": str(SILENT_SECONDS),
    "keepalives_interval": str(ASK_AGAIN_SECONDS),
    "keepalives_count": str(ASKED_TIMES),
    "tcp_user_timeout": str(UNACKNOWLEDGED_SECONDS * 1000),
}

_SOCKET_OPTIONS = {
    "TCP_KEEPIDLE": SILENT_SECONDS,
    "TCP_KEEPINTVL": ASK_AGAIN_SECONDS,
    "TCP_KEEPCNT": ASKED_TIMES,
    "TCP_USER_TIMEOUT": UNACKNOWLEDGED_SECONDS * 1000,
}


def watch(channel: socket.socket) -> None:
    """Let this connection notice the death of its other end. Does nothing to one that stays on this host."""
    if channel.family not in (socket.AF_INET, socket.AF_INET6):
        return
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET_OPTIONS.items():
        if hasattr(socket, name):  # not every system has all of them
            channel.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def limit_pymysql_greeting(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
    """Before PyMySQL connects: it limits how long the connection takes to be made, but not how long the greeting does,
    so that a frozen server is waited for without end."""
    options.setdefault("read_timeout", options.get("connect_timeout"))


def watch_pymysql(connection: Any, own_read_timeout: float | None) -> None:
    """After PyMySQL has connected: statements may take their time again, but for a limit of the URL's own."""
    connection._read_timeout = own_read_timeout  # there is no public way; it is looked at before each statement
    if connection._sock is not None:
        watch(connection._sock)
