"""Ports of this machine for servers that are about to start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOW, HIGH = 10_000, 32_000
"""Below the ports that systems give out by themselves: nobody is given it before the server listens there."""


def free_port() -> int:
    """A port that nobody listens on just now."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(LOW, HIGH)))
            port: int = probe.getsockname()[1]
            return port
