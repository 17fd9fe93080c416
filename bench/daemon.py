"""A daemon that is measured: a process of its own, with its state where it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.client import ClientError, HttpTransport
from orchestrator.demo.example import migrations_directory

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


class Daemon:
    """One `orchestrator serve` with the example's schema."""

    def __init__(self, url: str, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        configuration = directory / f"orchestrator-{self.port}.conf"
        configuration.write_text(
            CONFIGURATION.format(url=url, directory=directory, port=self.port, migrations=migrations_directory())
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "serve", "--config-file", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ORCHESTRATOR_TOKEN": ""},
        )
        self._api = HttpTransport(f"http://127.0.0.1:{self.port}", timeout=10)

    @property
    def resident_bytes(self) -> int:
        """How much memory it has."""
        return 1024 * self._status("VmRSS")

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return self._status("Threads")

    def until_it_answers(self) -> None:
        """Return when it serves."""
        self._until(lambda daemons: True)

    def until_it_leads(self) -> None:
        """Return when the daemons say that this one leads."""
        self._until(
            lambda daemons: any(each["leads"] and each["address"].endswith(f":{self.port}") for each in daemons)
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

    def _status(self, name: str) -> int:
        """A number of what the system says of the process."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0])
