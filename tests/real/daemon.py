"""The orchestrator as an operator has it: a daemon process, and its command line."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """`orchestrator serve` in a process of its own. Every command and its answer are shown with `pytest -s`."""

    def __init__(self, directory: Path, configuration: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        path = directory / "orchestrator.conf"
        path.write_text(f"{configuration}\n[api]\nport = {self._url.rpartition(':')[2]}\n")
        self._log = directory / "orchestrator.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "orchestrator", "serve", "--config-file", path), cwd=ROOT, stdout=log, stderr=log
            )
        self._wait_until_up()

    def stop(self) -> int:
        """End it as an operator does; returns its exit code."""
        self._process.terminate()
        return self._process.wait(60)

    def ask(self, *words: str, exit_code: int = 0) -> str:
        """Run a command that must end with that exit code. Returns what it printed."""
        print(f"\n$ orchestrator {' '.join(words)}")
        ran = self._run(*words)
        print(ran.stdout + ran.stderr)
        assert ran.returncode == exit_code, f"exit code {ran.returncode}\n{self.log()}"
        return ran.stdout + ran.stderr

    def log(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._log.read_text().splitlines()[-30:])

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "orchestrator", *words),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ORCHESTRATOR_URL": self._url, "COLUMNS": "160", "NO_COLOR": "1"},
        )

    def _wait_until_up(self) -> None:
        for _ in range(600):
            assert self._process.poll() is None, self.log()
            if self._run("schema", "list").returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"the daemon does not answer:\n{self.log()}")
