"""Takeover: how long nobody leads after the leading daemon was killed, with the times of a new installation."""

import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import postgresql
from bench.daemon import Daemon
from bench.report import Measurement

GOAL_SECONDS = 15.0
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 120.0


def measure(rounds: int) -> Iterator[Measurement]:
    """Yield the median of some takeovers."""
    with postgresql.server() as url, tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        connection = url.render_as_string(hide_password=False)
        seconds = [_takeover(connection, Path(directory)) for _ in range(rounds)]
    yield Measurement(
        "takeover_after_kill", "postgresql", statistics.median(seconds), "s", goal=GOAL_SECONDS, is_limit=True
    )


def _takeover(url: str, directory: Path) -> float:
    first = Daemon(url, directory)
    second = None
    try:
        first.until_it_leads()
        second = Daemon(url, directory)
        second.until_it_answers()
        began = time.monotonic()
        first.end(signal.SIGKILL)
        second.until_it_leads()
        return time.monotonic() - began
    finally:
        for daemon in (first, second):
            if daemon is not None:
                daemon.end(signal.SIGTERM)
