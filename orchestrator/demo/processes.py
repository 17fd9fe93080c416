"""The child processes of the demo: each in a process group of its own, and none of them outlives the demo."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

STOP_SECONDS = 10.0
"""How long a process may take to stop before it is killed."""


class Processes:
    """Starts child processes and ends them all, with their own children, when the block ends, however it ends."""

    def __init__(self, directory: Path, *, stop_seconds: float = STOP_SECONDS) -> None:
        self._directory = directory
        self._stop_seconds = stop_seconds
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        atexit.register(self.end_all)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end_all()
        atexit.unregister(self.end_all)

    def start_module(self, module: str, arguments: list[str], *, name: str) -> Child:
        """Run `python -m module`; what it prints goes to the log file of that name."""
        log = self._directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
        self._started.append(process)
        return Child(name, process, log)

    def end_all(self) -> None:
        """Ask every process that still runs to stop, and kill those that do not. Repeatable."""
        running = [process for process in self._started if process.poll() is None]
        for process in running:
            _signal_group(process, signal.SIGTERM)
        for process in running:
            try:
                process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            _signal_group(process, signal.SIGKILL)  # what it started itself and did not stop
        self._started.clear()


class Child:
    """One child process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to stop: SIGTERM. Harmless when it has ended."""
        self._process.terminate()

    def last_words(self, lines: int = 12) -> str:
        """The end of what it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def _environment() -> dict[str, str]:
    """The environment of this process, with the same program importable."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUNBUFFERED": "1"}


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
