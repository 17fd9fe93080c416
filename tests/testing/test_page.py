"""The page for authors: its example runs as it stands there, and names every check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator import resources
from orchestrator.testing import DataMigrationTrial

PAGE = Path(__file__).resolve().parents[2] / "docs" / "authors.md"


def test_example_of_the_page_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    monkeypatch.chdir(resources.examples_directory() / "inventory")
    names["test_split_name"](tmp_path)


def test_page_names_every_check() -> None:
    checks = {name for name in vars(DataMigrationTrial) if name.startswith("check_")}
    assert set(re.findall(r"`(check_\w+)`", PAGE.read_text())) == checks
