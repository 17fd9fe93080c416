"""A daemon's place: what it holds from before it registers until it ends, and nobody else can hold meanwhile.

Whoever holds the same place later knows that the daemon has ended, whatever became of its lease. A listening socket is
no such thing: a daemon uses our tables before it listens, and after it has stopped to listen.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")

LONGEST = 255
"""A place that is longer is none: it has to fit into a row."""


@contextmanager
def held(address: str) -> Iterator[str | None]:
    """Hold the place of a daemon that listens on that address, and yield its name, which is equal to no other's.

    It is a name among the sockets of one network namespace of one running kernel. The kernel gives it to one process
    at a time and takes it back when that ends, however it ends; the process hands it on to no child.
    None where the system has no such names, or somebody else holds it.
    """
    with socket.socket(socket.AF_UNIX) as holder:
        place = _place(address)
        if place is not None:
            try:
                holder.bind(f"\0orchestrator daemon {address}")
            except OSError:
                place = None
        yield place


def _place(address: str) -> str | None:
    if sys.platform != "linux":
        return None
    try:
        place = f"{_BOOT.read_text().strip()} {_NETWORK.readlink()} {address}"
    except OSError:
        return None
    return place if len(place) <= LONGEST else None
