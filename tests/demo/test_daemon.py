"""The daemon that the demo starts: its configuration file is one that the program accepts."""

from pathlib import Path

from orchestrator.conf.loading import load
from orchestrator.demo.daemon import write_configuration
from orchestrator.demo.example import SCHEMA, migrations_directory


def test_configuration_is_accepted(tmp_path: Path) -> None:
    state_url, managed_url = "sqlite:////tmp/state.sqlite", "postgresql+psycopg://postgres:p$w@/inventory?host=/tmp/s"
    settings = load([write_configuration(tmp_path, 8999, state_url=state_url, managed_url=managed_url)])
    (schema,) = settings.schemas
    assert schema.name == SCHEMA
    assert Path(schema.migrations) == migrations_directory()
    assert schema.databases[0].connection == managed_url
    assert settings.state_connection == state_url
