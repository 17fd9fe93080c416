"""The distribution as its users get it: built from a copy of the checkout, installed away from it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def run(*command: str | Path, cwd: Path, timeout: float = 300) -> str:
    """Run a command to its end, away from the checkout; what it printed. A failure shows all of its words."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    ran = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    said = f"{ran.stdout}\n{ran.stderr}"
    assert ran.returncode == 0, f"{' '.join(map(str, command))} exited {ran.returncode}:\n{said}"
    assert "Traceback" not in said
    return ran.stdout


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source distribution, and the wheel that was built from it, not from the checkout."""
    directory = tmp_path_factory.mktemp("distributions")
    copy = directory / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_OURS))
    run(sys.executable, "-m", "build", "--outdir", directory, copy, cwd=directory)
    return directory


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    """The wheel."""
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of a clean environment that holds the wheel and what it depends on."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    return install(environment, f"{wheel}[demo]")


def install(environment: Path, *requirements: str) -> Path:
    """Make an empty virtual environment and install into it; its `bin` directory."""
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment.parent)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "--quiet", "--no-compile", *requirements, cwd=environment.parent)
    return python.parent
