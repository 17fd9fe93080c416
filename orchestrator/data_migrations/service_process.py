"""A service's process: one that calls a wrapped function, batch by batch, in the environment of its service.

It ends with whoever started it, however that ends: its standard input ends then. Secrets of its environment are in no
log and no message.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from orchestrator.data_migrations.loading import Definition, ServiceFunction
from orchestrator.domain.errors import LostCursor, StepFailed
from orchestrator.domain.visible import visible

LOG = logging.getLogger(__name__)

IDLE_SECONDS = 120.0
"""A process that is asked nothing for so long ends by itself: an upgrade may be paused for days."""

_FRESH_SECONDS = IDLE_SECONDS / 2
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 5.0
_LAST_LINES = 5
_LONGEST_LINE = 2000
_PROGRAM = Path(__file__).with_name("service_function.py")
_BOOTSTRAP = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), 'service_function', 'exec'))"


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """Where the service's own code runs: what is put before the interpreter, and all variables that it gets.

    `hide` takes secrets out of a text.
    """

    prefix: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    hide: Callable[[str], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call found that is left to do, and how much of it it did."""

    found: int
    done: int


class ServiceProcess:
    """One process for one function. Calls come one at a time."""

    def __init__(
        self,
        definition: Definition,
        function: ServiceFunction,
        surroundings: ServiceEnvironment,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._definition = definition
        self._function = function
        self._surroundings = surroundings
        self._clock = clock
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._process: subprocess.Popen[bytes] | None = None
        self._used_at = clock()

    @property
    def is_fresh(self) -> bool:
        """Whether it may be asked: it runs, and is not about to end because nobody asked."""
        is_running = self._process is not None and self._process.poll() is None
        return is_running and self._clock() - self._used_at < _FRESH_SECONDS

    def call(self, max_count: int, is_still_mine: Callable[[], bool]) -> Answer:
        """One call. Raises `StepFailed` for whatever goes wrong with it, and `LostCursor` as soon as it is not ours
        any more; the process is gone then, and what the call had not committed is rolled back by its database."""
        try:
            if self._process is None:
                self._start()
                self._await(is_still_mine)
            self._send(json.dumps({"max_count": max_count}).encode() + b"\n")
            answer = self._await(is_still_mine)
            self._used_at = self._clock()
            return Answer(answer["found"], answer["done"])
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End it, and whatever it started. Repeatable."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
                break
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing that it left behind goes on

    def _start(self) -> None:
        function, source = self._function, _PROGRAM.read_bytes()
        words = (*self._surroundings.prefix, function.interpreter)
        path = self._surroundings.environment.get("PATH", os.defpath)
        program = shutil.which(words[0], path=path)
        if program is None:
            raise self._failed(
                "function_not_started",
                f"needs a program {words[0]}, which is not on the path {path}",
                "Write PATH=... in the schema's environment option, or lead command_prefix to where it is.",
            )
        given = (str(len(source)), function.function, function.context or "", function.setup, str(IDLE_SECONDS))
        try:
            self._process = subprocess.Popen(
                (program, *words[1:], "-u", "-c", _BOOTSTRAP, *given),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self._surroundings.environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise self._failed(
                "function_not_started", f"cannot start {program}: {error.strerror}", "Mend the schema's environment."
            ) from error
        self._answers = queue.Queue()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        _in_thread(self._read_answers, self._process.stdout, self._answers)
        _in_thread(self._read_words, self._process.stderr)
        self._send(source)

    def _send(self, request: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its end is found when its answer is awaited
            self._process.stdin.write(request)
            self._process.stdin.flush()

    def _await(self, is_still_mine: Callable[[], bool]) -> dict[str, Any]:
        """The next answer, looking now and then whether it is still asked for."""
        deadline = self._clock() + self._function.call_seconds
        while (left := deadline - self._clock()) > 0:
            try:
                line = self._answers.get(timeout=min(left, _LOOK_SECONDS))
            except queue.Empty:
                if not is_still_mine():
                    raise self._lost() from None
                continue
            return self._read(line)
        raise self._failed(
            "function_timeout",
            f"did not come back within its time limit of {self._function.call_seconds:g} s",
            "Find out what it waits for; or make batches smaller (batch_rows), or give it a larger call_seconds.",
        )

    def _read(self, line: bytes | None) -> dict[str, Any]:
        if line is None:
            assert self._process is not None
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
            code = self._process.returncode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            raise self._failed(
                "function_ended",
                f"ended its process with {how}, and did not answer",
                "Look at what it said last; mend it, or the environment that it runs in.",
            )
        try:
            answer = json.loads(line)
        except ValueError:
            answer = {"error": f"an answer that is none: {line[:80]!r}"}
        if "error" not in answer:
            return dict(answer)
        raise self._failed("function_raised", f"failed: {answer['error']}", "Mend the function, or what it names.")

    def _failed(self, code: str, what: str, remedy: str) -> StepFailed:
        said = f"; it said last: {' / '.join(self._said)}" if self._said else ""
        return StepFailed(
            code,
            self._surroundings.hide(f"{self._definition.place}: {self._function.function} {what}{said}"),
            remedy=remedy,
            file=str(self._definition.path),
            data_migration=self._definition.name,
        )

    def _lost(self) -> LostCursor:
        return LostCursor(
            "lost_cursor",
            f"data migration {self._definition.name} was taken while its function ran; its process was ended",
            remedy="Nothing to do: it goes on where the upgrade lets it.",
            data_migration=self._definition.name,
        )

    def _read_answers(self, stream: IO[bytes], answers: queue.Queue[bytes | None]) -> None:
        for line in stream:
            answers.put(line)
        answers.put(None)

    def _read_words(self, stream: IO[bytes]) -> None:
        for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            words = visible(self._surroundings.hide(line.decode("utf-8", errors="replace").strip()))
            if words.strip():
                self._said.append(words.strip())
                LOG.info(
                    "%(data_migration)s says: %(words)s",
                    {"action": "function.said", "data_migration": self._definition.name, "words": words},
                )


def _in_thread(work: Callable[..., None], stream: IO[bytes], *more: object) -> None:
    def read() -> None:
        with suppress(OSError, ValueError), stream:
            work(stream, *more)

    threading.Thread(target=read, name="service-process", daemon=True).start()
