"""Real daemons for tests: a configuration file, `orchestrator serve` in a process group of its own, and its log.

Processes are forked from one that has loaded the program already: loading it costs more than most tests.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.cli.main import main
from orchestrator.client import ClientError, HttpTransport, Refused, Unreachable
from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.demo.ports import free_port
from tests.faults.points import install_from
from tests.prepared import prepare_site

PATIENCE_SECONDS = 120.0
"""How long a test waits for what must come. The machine may be slow; nobody waits this long when all is well."""

POLL_SECONDS = 0.1

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Answer:
    """What a daemon answered, a refusal or not."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What a command of the program said, and its exit code."""

    code: int
    out: str
    err: str


def until(holds: Callable[[], Any], what: str, *, also: Callable[[], str] = str) -> Any:
    """Ask again and again until the answer is true, and return it. `also` says more where it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never happened: {what}\n{also()}"
        time.sleep(POLL_SECONDS)
    return found


def run(*words: str) -> Said:
    """Run one command of the program in this process, as a shell would."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Said(code, out.getvalue(), err.getvalue())


class Daemon:
    """One `orchestrator serve`. `log` is everything that it printed."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._transport = HttpTransport(self.url, timeout=60.0)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._process.log

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.exit_code

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request. A refusal is an answer, silence is not."""
        try:
            found = self._transport.request(method, path, body, headers)
        except Refused as refused:
            return Answer(refused.status, refused.problem)
        return Answer(found.status, found.json or {}, found.headers)

    def until_ready(self) -> Daemon:
        """Return when its API answers and its state database too."""
        until(self._is_ready, "the daemon is ready", also=lambda: self.log)
        return self

    def _is_ready(self) -> bool:
        assert self._process.exit_code is None, f"it ended with {self._process.exit_code}:\n{self.log}"
        try:
            return self.ask("GET", "/readyz").status == 200
        except Unreachable:
            return False

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.ask_to_stop()
        return self.ended()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it gets no say in it."""
        self._process.signal(signal.SIGKILL)
        self.ended()

    def ended(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        until(lambda: self._process.exit_code is not None, "the daemon ends", also=lambda: self.log)
        assert self._process.exit_code is not None
        return self._process.exit_code

    # -- the upgrade of the example --------------------------------------------------------------------------------

    def orchestrator(self, *words: str, code: int = 0) -> str:
        """A command of the program, asked of this daemon. What it printed, after the exit code was as expected."""
        said = run("--url", self.url, *words)
        assert said.code == code, f"{words} ended with {said.code}:\n{said.out}{said.err}\n{self.log}"
        return said.out + said.err

    def upgrade(self) -> Mapping[str, Any]:
        """The newest upgrade as the API shows it."""
        return self.ask("GET", f"/v1/schemas/{SCHEMA}/upgrade").body

    def until_phase(self, phase: str) -> None:
        """Return when the upgrade has reached the phase."""
        until(lambda: self.upgrade().get("phase") == phase, f"phase {phase}", also=self.account)

    def until_status(self, status: str) -> None:
        """Return when the upgrade has ended so."""
        until(lambda: self.upgrade().get("status") == status, f"status {status}", also=self.account)

    def until_open(self, gate: str) -> None:
        """Return when the gate is open."""
        path = f"/v1/schemas/{SCHEMA}/gates/{gate}"
        until(lambda: self.ask("GET", path).body["open"], f"{gate} is open", also=self.account)

    def until_blocked(self, *codes: str) -> Mapping[str, Any]:
        """Return the first blocker of those codes, when the plan names exactly those."""

        def blocked() -> Mapping[str, Any] | None:
            found = self.ask("GET", f"/v1/schemas/{SCHEMA}/plan").body.get("blockers", ())
            return found[0] if {each["code"] for each in found} == set(codes) else None

        blocker: Mapping[str, Any] = until(blocked, f"blocked by {', '.join(codes)}", also=self.account)
        return blocker

    def account(self) -> str:
        """Where it stands, for a test that fails."""
        try:
            return f"{self.orchestrator('status')}\n{self.upgrade()}\n{self.log}"
        except ClientError as error:
            return f"{error}\n{self.log}"


class Process:
    """One process of the program, forked or executed, with its output in a file."""

    def __init__(self, argv: tuple[str, ...], log: Path, environment: Mapping[str, str], *, execute: bool) -> None:
        self._log = log
        self._asking = threading.Lock()
        log.touch()
        self._forked: multiprocessing.process.BaseProcess | None = None
        self._executed: subprocess.Popen[bytes] | None = None
        if execute:
            command = [sys.executable, "-m", "orchestrator", *argv]
            with log.open("wb") as output:
                self._executed = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, **environment},
                )
            self.pid = self._executed.pid
        else:
            self._forked = loaded().Process(target=_serve, args=(argv, str(log), dict(environment)))
            self._forked.start()
            assert self._forked.pid is not None
            self.pid = self._forked.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        with self._asking:  # of two that ask at the same time, one would read nothing
            return self._forked.exitcode if self._forked else self._executed.poll() if self._executed else None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. Harmless when it has ended."""
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def destroy(self) -> None:
        """End it with all that it started."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                send(self.pid, signal.SIGKILL)
        if self._forked is not None:
            self._forked.join()
        if self._executed is not None:
            self._executed.wait()


def loaded() -> multiprocessing.context.ForkServerContext:
    """Starts processes that have the program loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.daemon.loaded"])
    return context


def _serve(argv: tuple[str, ...], log: str, environment: Mapping[str, str]) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment)
    install_from(environment)
    sys.exit(main(argv))


class Site:
    """Everything of one test: a directory, a configuration, and the daemons that were started with it.

    Where `is_prepared`, which a test about a first start sets to False, our own tables are there before the first
    daemon that is to be `ready`: making them takes longer than most tests. What it registers it always makes itself.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state_url = f"sqlite:///{directory}/state.sqlite"
        self.databases: dict[str, str] = {"main": f"sqlite:///{directory}/main.sqlite"}
        self.migrations = migrations_directory()
        self.more: dict[str, dict[str, object]] = {}
        self.is_prepared = True
        self._processes: list[Process] = []

    def sections(self) -> dict[str, dict[str, object]]:
        """The configuration: short times, and one schema."""
        sections: dict[str, dict[str, object]] = {
            "database": {"connection": self.state_url},
            "orchestrator": {"schemas": SCHEMA, "state_dir": self.directory},
            "leases": {"ttl_seconds": 30, "renew_seconds": 0.3},
            "cycle": {"interval_seconds": 0.2},
            f"schema:{SCHEMA}": {"migrations": self.migrations, "databases": ", ".join(self.databases)},
        }
        for name, url in self.databases.items():
            sections[f"database:{SCHEMA}:{name}"] = {"connection": url}
        for name, options in self.more.items():
            sections.setdefault(name, {}).update(options)
        return sections

    def configure(self, sections: Sections | None = None, *, port: int = 0) -> Path:
        """Write a configuration file for a daemon on that port."""
        path = self.directory / f"orchestrator-{len(list(self.directory.glob('*.conf')))}.conf"
        written = {name: dict(options) for name, options in (sections or self.sections()).items()}
        written.setdefault("api", {}).setdefault("port", port or free_port())
        path.write_text("\n".join(_lines(written)) + "\n")
        return path

    def start(
        self, *, port: int = 0, config: Path | None = None, execute: bool = False, environment: Mapping[str, str] = {}
    ) -> Daemon:
        """Start a daemon; it may not be ready yet."""
        port = port or free_port()
        path = config or self.configure(port=port)
        return Daemon(self.serve(path, execute=execute, environment=environment), port)

    def serve(self, config: Path, *, execute: bool = False, environment: Mapping[str, str] = {}) -> Process:
        """Run `orchestrator serve` with that file."""
        log = self.directory / f"daemon-{len(self._processes)}.log"
        process = Process(("serve", "--config-file", str(config)), log, environment, execute=execute)
        self._processes.append(process)
        return process

    def ready(self, **how: Any) -> Daemon:
        """Start a daemon and wait until it is ready."""
        if not self._processes:
            self.prepare()
        return self.start(**how).until_ready()

    def prepare(self) -> None:
        """Make our own tables, where they are to be there before a daemon comes."""
        if self.is_prepared:
            prepare_site(self.state_url, tuple(self.databases.values()))

    def close(self) -> None:
        """End all that still runs. No daemon may have shown anybody a traceback."""
        for process in self._processes:
            process.destroy()
            print(process.log)  # shown with a test that failed
        assert not [each for each in self._processes if "Traceback" in each.log]


def _lines(sections: Sections) -> Iterator[str]:
    for name, options in sections.items():
        yield f"[{name}]"
        for option, value in options.items():
            yield f"{option} = {str(value).replace('$', '$$')}"
