"""Takeover: how long nobody leads after the leading daemon was killed, with the times of a new installation."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import postgresql
from bench.report import Measurement
from orchestrator.client import ClientError, HttpTransport
from orchestrator.demo.example import migrations_directory

GOAL_SECONDS = 15.0
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 120.0

CONFIGURATION = """
[database]
connection = {url}
[orchestrator]
schemas = inventory
state_dir = {directory}
[api]
port = {port}
[schema:inventory]
migrations = {migrations}
connection = sqlite:///{directory}/inventory.sqlite
"""


def measure(rounds: int) -> Iterator[Measurement]:
    """Yield the median of some takeovers."""
    with postgresql.server() as url, tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        connection = url.render_as_string(hide_password=False)
        seconds = [_takeover(connection, Path(directory)) for _ in range(rounds)]
    yield Measurement(
        "takeover_after_kill", "postgresql", statistics.median(seconds), "s", goal=GOAL_SECONDS, is_limit=True
    )


def _takeover(url: str, directory: Path) -> float:
    first = _Daemon(url, directory)
    second = None
    try:
        first.until_it_leads()
        second = _Daemon(url, directory)
        second.until_it_answers()
        began = time.monotonic()
        first.end(signal.SIGKILL)
        second.until_it_leads()
        return time.monotonic() - began
    finally:
        for daemon in (first, second):
            if daemon is not None:
                daemon.end(signal.SIGTERM)


class _Daemon:
    def __init__(self, url: str, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        configuration = directory / f"orchestrator-{self._port}.conf"
        configuration.write_text(
            CONFIGURATION.format(url=url, directory=directory, port=self._port, migrations=migrations_directory())
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "serve", "--config-file", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ORCHESTRATOR_TOKEN": ""},
        )
        self._api = HttpTransport(f"http://127.0.0.1:{self._port}", timeout=10)

    def until_it_answers(self) -> None:
        """Return when it serves."""
        self._until(lambda daemons: True)

    def until_it_leads(self) -> None:
        """Return when the daemons say that this one leads."""
        self._until(
            lambda daemons: any(each["leads"] and each["address"].endswith(f":{self._port}") for each in daemons)
        )

    def end(self, number: signal.Signals) -> None:
        """Send that signal, and wait for its end."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._process.wait()

    def _until(self, holds: Callable[[list[Any]], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(ClientError):
                document: Any = self._api.request("GET", "/v1/daemons", None, None).json
                if holds(document["daemons"]):
                    return
            time.sleep(POLL_SECONDS)
        raise RuntimeError("no daemon leads")
