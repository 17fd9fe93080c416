"""The orchestrator itself, as the demo runs it: a configuration file and a real daemon process."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator.demo.api import OrchestratorApi
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.demo.ports import free_port
from orchestrator.demo.processes import Processes

START_SECONDS = 60.0
POLL_SECONDS = 0.1

DAEMON_NAME = "orchestrator"
DAEMON_LOG = f"{DAEMON_NAME}.log"

CONFIGURATION = """\
[database]
connection = {state_url}

[api]
bind = 127.0.0.1
port = {port}

[orchestrator]
schemas = {schema}
state_dir = {directory}

[schema:{schema}]
migrations = {migrations}
connection = {managed_url}

[policy]
approve = contracted

[leases]
# Short, so that an upgrade under eyes takes seconds; a real site keeps the default.
ttl_seconds = 15
renew_seconds = 2

[cycle]
interval_seconds = 0.5

[data_migrations]
batch_rows = 5000
"""


def write_configuration(directory: Path, port: int, *, state_url: str, managed_url: str) -> Path:
    """Write the daemon's configuration file into the directory and say where it is."""
    path = directory / "orchestrator.conf"
    path.write_text(
        CONFIGURATION.format(
            state_url=_escaped(state_url),
            managed_url=_escaped(managed_url),
            port=port,
            schema=SCHEMA,
            migrations=migrations_directory(),
            directory=directory,
        )
    )
    return path


def start_daemon(processes: Processes, directory: Path, *, state_url: str, managed_url: str) -> OrchestratorApi:
    """Write the configuration, start `orchestrator serve`, and return when it answers."""
    port = free_port()
    configuration = write_configuration(directory, port, state_url=state_url, managed_url=managed_url)
    arguments = ["serve", "--config-file", str(configuration)]
    daemon = processes.start_module("orchestrator", arguments, name=DAEMON_NAME)
    api = OrchestratorApi(f"http://127.0.0.1:{port}", SCHEMA)
    deadline = time.monotonic() + START_SECONDS
    while not api.is_up():
        if daemon.exit_code is not None:
            raise DemoFailed(f"the orchestrator ended with {daemon.exit_code}:\n{daemon.last_words()}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"the orchestrator does not answer:\n{daemon.last_words()}")
        time.sleep(POLL_SECONDS)
    return api


def _escaped(url: str) -> str:
    """oslo.config substitutes `$name`, so a dollar sign is doubled."""
    return url.replace("$", "$$")
