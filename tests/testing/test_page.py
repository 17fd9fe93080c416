"""The page for authors: its example runs as it stands there, and names every check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator import resources
from orchestrator.data_migrations.loading import load
from orchestrator.testing import DataMigrationTrial, MigrationFault

PAGE = Path(__file__).resolve().parents[2] / "docs" / "authors.md"


def test_example_of_the_page_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    monkeypatch.chdir(resources.examples_directory() / "inventory")
    names["test_split_name"](tmp_path)


def test_wrapped_function_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    file = tmp_path / "data" / "populate_instance_keypair.py"
    file.parent.mkdir()
    file.write_text(code)
    assert load(file, file.stem).function is not None


def test_trial_says_that_it_cannot_run_a_wrapped_function(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / "cells.py"
    file.parent.mkdir()
    head = "from orchestrator.data_migrations import DataMigration\n"
    file.write_text(f'{head}class Cells(DataMigration):\n    function = "shop:cells"\n')
    with pytest.raises(MigrationFault, match="in the service's own tests"):
        DataMigrationTrial(sqlite_url, file)


def test_page_names_every_check() -> None:
    checks = {name for name in vars(DataMigrationTrial) if name.startswith("check_")}
    assert set(re.findall(r"`(check_\w+)`", PAGE.read_text())) == checks
