"""Telling systemd how the daemon is: the sd_notify protocol, one datagram to the socket that it names.

Our own because it is one `sendto`: the libraries for it are older than the Pythons that we run on. See sd_notify(3).
"""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=...`. Does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto("\n".join(lines).encode(), address)
    except OSError:
        return  # systemd will find out by its own means; the daemon's work goes on
