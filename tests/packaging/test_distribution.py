"""What is installed is complete: it needs neither the checkout nor git."""

import json
import tarfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.packaging.conftest import NOT_OURS, ROOT, install, run

# One worker builds and installs; the others would only do the same again.
pytestmark = [pytest.mark.packaging, pytest.mark.xdist_group("packaging")]

TREES = {
    "migrations": "orchestrator/_migrations",
    "examples": "orchestrator/_examples",
    "etc": "orchestrator/_etc",
    "orchestrator": "orchestrator",
}
SMALL_DEMO = """
import sys
from pathlib import Path
from orchestrator.demo import DemoOptions, run_demo
sys.exit(run_demo(DemoOptions(rows=2000, json_file=Path(sys.argv[1]), fleet_size=1, pause_seconds=0.1)))
"""

LEFT_BEHIND = (*NOT_OURS, ".gitkeep", "*.sqlite*")


def files_of(tree: str) -> Iterator[str]:
    directory = ROOT / tree
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.is_file() and not any(fnmatch(part, pattern) for part in parts for pattern in LEFT_BEHIND):
            yield "/".join(parts)


def test_wheel_carries_every_tree(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"{installed}/{name}" for tree, installed in TREES.items() for name in files_of(tree)}
    assert wanted - carried == set()


def test_wheel_carries_nothing_else(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"orchestrator"}


def test_source_distribution_carries_what_make_needs(distributions: Path) -> None:
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        carried = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"setup.py", "pyproject.toml", "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "README.md"}
    wanted |= {".ci/run", ".ci/environment", "tests/conftest.py", "bench/__main__.py"}
    wanted |= {f"{tree}/{name}" for tree in TREES for name in files_of(tree)}
    assert wanted - carried == set()


def test_installed_program_finds_its_trees(installed: Path, tmp_path: Path) -> None:
    code = """
import json, orchestrator, orchestrator.resources as r
print(json.dumps([orchestrator.__file__, *map(str, (
    r.state_migrations_directory() / "releases.toml",
    r.bookkeeping_migrations_directory() / "releases.toml",
    r.examples_directory() / "inventory",
    r.sample_configuration(),
))]))
"""
    paths = [Path(path) for path in json.loads(run(installed / "python", "-c", code, cwd=tmp_path))]
    assert [path for path in paths if not path.exists()] == []
    assert [path for path in paths if not path.is_relative_to(installed.parent)] == []


@pytest.mark.parametrize("program", [("orchestrator",), ("python", "-m", "orchestrator")], ids=" ".join)
def test_installed_program_explains_itself(installed: Path, program: tuple[str, ...], tmp_path: Path) -> None:
    said = run(installed / program[0], *program[1:], "--help", cwd=tmp_path)
    assert "serve" in said
    assert "demo" in said


def test_installed_program_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    verdict_file = tmp_path / "verdict.json"
    run(installed / "python", "-c", SMALL_DEMO, verdict_file, cwd=tmp_path)
    verdict = json.loads(verdict_file.read_text())
    assert (verdict["failures"], verdict["ok"], verdict["database"]) == ([], True, "sqlite")
    assert verdict["requests"] > 0
    assert verdict["requests_failed"] == 0
    assert verdict["rows_migrated"] >= 2000
    assert verdict["rows_verified"] >= 2000
    assert verdict["columns_dropped"] == ["customers.name", "items.status"]
    assert verdict["control"]["requests_failed"] > 0
    assert [phase["phase"] for phase in verdict["phases"]][-1] == "contracted"


def test_client_works_where_nothing_else_is_installed(wheel: Path, tmp_path: Path) -> None:
    binaries = install(tmp_path / "venv", "--no-deps", str(wheel))
    installed = {path.name for path in (binaries.parent / "lib").glob("python3.*/site-packages/*")}
    assert {name for name in installed if not name.startswith("upgrade_orchestrator")} == {"orchestrator"}
    script = Path(__file__).with_name("client_alone.py")
    assert run(binaries / "python", "-I", script, cwd=tmp_path, timeout=60).splitlines()[-1] == "left"
