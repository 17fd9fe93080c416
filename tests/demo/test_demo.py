"""The whole demo, small: on each database it ends well, says so, and leaves nothing behind."""

import json
from pathlib import Path

import pytest

from orchestrator.demo import DatabaseKind, DemoOptions, run_demo
from orchestrator.demo.errors import DemoFailed

ROWS = 2000


@pytest.mark.parametrize("database", list(DatabaseKind))
def test_demo_upgrades_without_a_failed_request(
    database: DatabaseKind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if database is DatabaseKind.POSTGRESQL:
        request.getfixturevalue("postgresql_server")  # skips, or fails in CI, where there cannot be one
    verdict_file = tmp_path / "verdict.json"
    exit_code = run_demo(DemoOptions(database=database, rows=ROWS, json_file=verdict_file, fleet_size=1))
    verdict = json.loads(verdict_file.read_text())
    assert verdict["failures"] == []
    assert (exit_code, verdict["ok"], verdict["database"]) == (0, True, database.value)
    assert verdict["requests"] > 0
    assert verdict["requests_failed"] == 0
    assert verdict["rows_migrated"] >= ROWS
    assert verdict["rows_verified"] >= ROWS
    assert verdict["columns_dropped"] == ["customers.name", "items.status"]
    assert verdict["refused_for"] == ["inventory-api-1-release-1", "inventory-worker-1-release-1"]
    assert verdict["control"]["requests_failed"] > 0
    phases = [phase["phase"] for phase in verdict["phases"]]
    assert phases[0] == "base"
    assert phases[-1] == "contracted"


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
