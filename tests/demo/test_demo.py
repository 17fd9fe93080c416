"""The whole demo, small: on each database it ends well, says so, and leaves nothing behind."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.demo import DatabaseKind, DemoOptions, run_demo
from orchestrator.demo.errors import DemoFailed

ROWS = 2000


@pytest.fixture
def temporary_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo makes its own directory; a PostgreSQL server that changed its user can reach it."""
    with tempfile.TemporaryDirectory(prefix="demo-", dir=os.environ["ORCHESTRATOR_TESTS_DIRECTORY"]) as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", name)
        yield Path(name)


def commands_that_mention(directory: Path) -> list[str]:
    """The command lines of all running processes that name the directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in found if str(directory) in command]


@pytest.mark.parametrize(  # the whole way on SQLite: tests/packaging
    ("database", "turn_back"),
    [(DatabaseKind.POSTGRESQL, True), pytest.param(DatabaseKind.MARIADB, False, marks=pytest.mark.kill)],
)
def test_demo_upgrades_without_a_failed_request(
    database: DatabaseKind, turn_back: bool, temporary_directory: Path, request: pytest.FixtureRequest
) -> None:
    # Skips, or fails in CI, where there cannot be one.
    request.getfixturevalue({DatabaseKind.POSTGRESQL: "postgresql_server"}.get(database, "mysql_server"))
    verdict_file = temporary_directory / "verdict.json"
    exit_code = run_demo(
        DemoOptions(database, ROWS, turn_back=turn_back, json_file=verdict_file, fleet_size=1, pause_seconds=0.1)
    )
    verdict = json.loads(verdict_file.read_text())
    assert verdict["failures"] == []
    assert (exit_code, verdict["ok"], verdict["database"]) == (0, True, database.value)
    assert verdict["requests"] > 0
    assert verdict["requests_failed"] == 0
    assert verdict["rows_migrated"] >= ROWS
    assert verdict["rows_verified"] >= ROWS
    assert verdict["columns_dropped"] == ([] if turn_back else ["customers.name", "items.status"])
    assert verdict["refused_for"] == ["inventory-api-1-release-1", "inventory-worker-1-release-1"]
    assert verdict["control"]["requests_failed"] > 0
    phases = [phase["phase"] for phase in verdict["phases"]]
    assert phases[0] == "base"
    assert "write_new" in phases
    assert phases[-1] == ("base" if turn_back else "contracted")
    assert commands_that_mention(temporary_directory) == []
    assert list(temporary_directory.glob("orchestrator-demo-*")) == []


def test_demo_that_cannot_go_on_says_why_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DemoFailed("there is no server today")

    monkeypatch.setattr("orchestrator.demo.program.running_server", refuse)
    verdict_file = tmp_path / "verdict.json"
    assert run_demo(DemoOptions(json_file=verdict_file)) == 1
    assert json.loads(verdict_file.read_text())["failures"] == ["there is no server today"]
    assert "there is no server today" in capsys.readouterr().out
