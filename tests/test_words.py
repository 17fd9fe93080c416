"""Habits that a machine can check: rooms keep one subject, names say what they are."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "orchestrator").rglob("*.py"))
LINES_AT_MOST = 500
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "stuff"}


def test_there_are_modules_to_look_at() -> None:
    assert MODULES


def test_no_module_outgrows_one_subject() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: size for path, size in sizes.items() if size > LINES_AT_MOST} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.relative_to(ROOT): {*path.relative_to(ROOT).parts[:-1], *path.stem.split("_")} for path in MODULES}
    assert [str(path) for path, words in names.items() if words & EMPTY_WORDS] == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.read_text().strip()], ids=lambda path: path.stem)
def test_module_says_its_subject_first(path: Path) -> None:
    first = next(line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#!"))
    assert first.startswith(('"""', "'''", 'r"""')), f"{path}: the first line names the module's subject"


def test_every_module_of_the_glossary_exists() -> None:
    named = re.findall(r"`(orchestrator(?:\.\w+)+)` \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    paths = {name: ROOT.joinpath(*name.split(".")) for name in named}
    assert named
    gone = [name for name, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").is_file())]
    assert gone == []


def test_every_dependency_is_explained_to_contributors() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    names = {re.split(r"[\[<>=]", item)[0] for stated in (project["dependencies"], *extras) for item in stated}
    explained = (ROOT / "CONTRIBUTING.md").read_text()
    assert sorted(name for name in names if f"| {name} |" not in explained) == []
