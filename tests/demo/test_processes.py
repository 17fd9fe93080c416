"""The child processes of the demo: none of them outlives it, and the usual way really costs requests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.demo import DemoOptions
from orchestrator.demo.content import Seed
from orchestrator.demo.control import upgrade_the_usual_way
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.example import FLEETS, service_module
from orchestrator.demo.fleet import Fleets
from orchestrator.demo.plain_alembic import RELEASE_1_REVISION, run_revisions
from orchestrator.demo.processes import Processes
from orchestrator.demo.servers import SqliteFiles, insert_seed


def alive(pid: int) -> bool:
    """The process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pids: list[int]) -> None:
    """Return when the killed processes are gone, which the system does in its own time."""
    deadline = time.monotonic() + 30
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, f"one of {pids} still runs"
        time.sleep(0.02)


def until(path: Path) -> str:
    """The content of a file that another process is about to write."""
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text()


@pytest.fixture
def stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `stubborn` that ignores SIGTERM, has a child, and says both process ids in a file."""
    pids = tmp_path / "pids"
    (tmp_path / "stubborn.py").write_text(
        "import os, pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pids = pathlib.Path({str(pids)!r})\n"
        "pids.with_suffix('.new').write_text(f'{os.getpid()} {child.pid}')\n"
        "pids.with_suffix('.new').rename(pids)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return pids


def test_every_process_ends_with_the_block(stubborn: Path, tmp_path: Path) -> None:
    with Processes(tmp_path, stop_seconds=0.1) as processes:
        processes.start_module("stubborn", [], name="stubborn")
        pids = [int(pid) for pid in until(stubborn).split()]
        assert all(map(alive, pids))
    wait_until_dead(pids)


def test_every_process_ends_when_the_demo_is_terminated(stubborn: Path, tmp_path: Path) -> None:
    program = (
        "import pathlib, time\n"
        "from orchestrator.demo.processes import Processes\n"
        "from orchestrator.demo.program import signals_end_the_program\n"
        f"with signals_end_the_program(), Processes(pathlib.Path({str(tmp_path)!r}), stop_seconds=0.1) as processes:\n"
        "    processes.start_module('stubborn', [], name='stubborn')\n"
        "    time.sleep(600)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])
    demo = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    pids = [int(pid) for pid in until(stubborn).split()]
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(30) == 128 + signal.SIGTERM
    wait_until_dead(pids)


def test_usual_way_fails_requests_and_leaves_no_process(tmp_path: Path) -> None:
    url = SqliteFiles(tmp_path).create("control")
    engine = service_module("service").connect(url)
    seed = Seed.of(400, len(FLEETS))
    with engine.begin() as connection:
        run_revisions(connection, RELEASE_1_REVISION)
    insert_seed(engine, seed)
    with Processes(tmp_path) as processes:
        fleets = Fleets(
            processes,
            tmp_path,
            database=url,
            orchestrator=None,
            seed=seed,
            size=1,
            pause_seconds=DemoOptions().pause_seconds,
        )
        result = upgrade_the_usual_way(fleets, engine, seed)
        assert fleets.running() == ()
        assert fleets.ended_badly() == ()
    engine.dispose()
    assert 0 < result.requests_failed < result.requests
    assert "no such column" in result.first_error or "no column named" in result.first_error


def test_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        fleets = Fleets(
            processes,
            tmp_path,
            database="nonsense://",
            orchestrator=None,
            seed=Seed.of(400, 2),
            size=1,
            pause_seconds=0.01,
        )
        with pytest.raises(DemoFailed, match=r"(?s)did not start to work.*nonsense"):
            fleets.start("1")
