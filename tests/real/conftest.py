"""Real services of other projects, each version in an environment of its own, kept in build/real for the next run."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "build" / "real"


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mysql", id="mariadb")])
def new_database_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes new, empty databases of one kind; the test runs once per kind."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    return create


@pytest.fixture(scope="session")
def tools() -> Path:
    """A directory with one environment for each release of Keystone, named as in the manifest."""
    drivers = ("psycopg2-binary", "PyMySQL")
    environment("2023.1", "keystone==23.0.2", *drivers, "setuptools", constraints="keystone-23.0.2.txt")
    environment("2026.2", "keystone==30.0.0", *drivers, constraints="keystone-30.0.0.txt")
    return ENVIRONMENTS


def environment(name: str, *packages: str, constraints: str) -> None:
    """Make a virtual environment with these packages, unless a complete one is there."""
    directory = ENVIRONMENTS / name
    pins = Path(__file__).with_name(constraints)
    with _locked(ENVIRONMENTS / f"{name}.lock"):
        complete = directory / "complete"
        if complete.exists() and complete.read_text() == pins.read_text():
            return
        print(f"\ninstalling {packages[0]} into {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        _run(sys.executable, "-m", "venv", directory)
        _run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", pins, *packages)
        complete.write_text(pins.read_text())


def _run(*command: str | Path) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        last = "\n".join(ran.stderr.splitlines()[-15:])
        pytest.fail(f"{' '.join(map(str, command))} ended with {ran.returncode}:\n{last}", pytrace=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


KeystoneManage = Callable[..., str]


@pytest.fixture
def configuration(tools: Path, tmp_path: Path) -> Path:
    """Keystone's own configuration: where its keys are. It names no database."""
    path = tmp_path / "keystone.conf"
    path.write_text(
        f"[fernet_tokens]\nkey_repository = {tmp_path}/fernet\n[credential]\nkey_repository = {tmp_path}/credential\n"
    )
    who = (f"--keystone-user={os.getuid()}", f"--keystone-group={os.getgid()}")
    for verb in ("fernet_setup", "credential_setup"):
        (tmp_path / verb.partition("_")[0]).mkdir(mode=0o700)
        _run(tools / "2026.2/bin/keystone-manage", f"--config-file={path}", verb, *who)
    return path


@pytest.fixture
def keystone_manage(tools: Path, configuration: Path) -> KeystoneManage:
    """Runs `keystone-manage` of a release on a database, as an instance or an operator would."""

    def run(release: str, url: str, *arguments: str, exit_code: int = 0) -> str:
        ran = subprocess.run(
            (tools / release / "bin" / "keystone-manage", f"--config-file={configuration}", *arguments),
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "OS_DATABASE__CONNECTION": url.replace("postgresql+psycopg:", "postgresql+psycopg2:").replace(
                    "%2F", "/"
                ),
                "OS_BOOTSTRAP_PASSWORD": "correct horse battery staple",
            },
        )
        assert ran.returncode == exit_code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return run
