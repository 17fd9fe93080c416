"""Commands of other people's tools: run without a shell, in a given environment, for a limited time."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from orchestrator.domain.errors import ConfigurationError

_KEEPER = Path(__file__).with_name("command_keeper.py")
_TAIL_BYTES = 64 * 1024
_DRAIN_SECONDS = 5.0
_URL_PASSWORD = re.compile(r"(\w://[^\s:/@]*:)[^\s@/]+(?=@)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IGNORED = re.compile(r"^Exception ignored in:.*\n(Traceback .*\n)?([ \t].*\n)*(\w.*(\n|\Z))?", re.MULTILINE)
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|CONNECTION", re.IGNORECASE)


class Ended(StrEnum):
    """How a command came to its end."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    NOT_STARTED = "not_started"
    LOST = "lost"  # whoever watched it was killed; the command may still run


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values that nobody may see in messages and logs."""

    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Iterable[tuple[str, str]], *more: str | None) -> Secrets:
        """The values of the variables whose names speak of secrets, and some more. Very short ones are no secrets."""
        found = {value for name, value in environment if _SECRET_NAME.search(name)}
        found |= {value for value in more if value}
        return cls(tuple(sorted((value for value in found if len(value) > 3), key=len, reverse=True)))

    def hide(self, text: str) -> str:
        """The text with `***` where a secret was; also for passwords in URLs that we do not know."""
        for value in self.values:
            text = text.replace(value, "***")
        return _URL_PASSWORD.sub(r"\1***", text)


@dataclass(frozen=True, slots=True)
class Command:
    """One command, ready to run. `environment` is all that it gets; `argv` holds no secret: every user can read it."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    timeout_seconds: float
    secrets: Secrets = Secrets()
    grace_seconds: float = 10.0

    @property
    def words(self) -> str:
        """The command as a person would type it, without secrets."""
        return self.secrets.hide(shlex.join(self.argv))


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended. Output is what came last, without secrets; `stdout` is a part of `output`.

    `exit_code` is negative for a signal, None if there is none; `reason` says why it could not be started.
    """

    ended: Ended
    exit_code: int | None
    output: str
    stdout: str
    reason: str = ""

    def last_lines(self, count: int = 5) -> str:
        """The last lines that say something, in one line; not what Python says of its own end and calls ignored."""
        lines = [line.strip() for line in _IGNORED.sub("", self.output).splitlines() if line.strip()]
        return " / ".join(lines[-count:])


def run_command(command: Command, *, kept_open: tuple[int, ...] = ()) -> Result:
    """Run a command to its end, at most for its time limit; then its whole process group is killed.

    `kept_open` are descriptors that stay open as long as the command runs, even if this process dies. Raises
    `ConfigurationError` (code `command_not_found`) if there is no such program.
    """
    program = _find(command)
    read_end, write_end = os.pipe()
    limits = (str(write_end), str(command.timeout_seconds), str(command.grace_seconds))
    try:
        keeper = subprocess.Popen(
            (sys.executable, "-I", "-S", str(_KEEPER), *limits, program, *command.argv[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(command.environment),
            cwd="/",
            pass_fds=(write_end, *kept_open),
            start_new_session=True,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    everything, stdout = _Tail(), _Tail()
    readers = (_reader(keeper.stdout, everything, stdout), _reader(keeper.stderr, everything))
    with os.fdopen(read_end, "rb") as report:
        said = report.read()
    keeper.wait()
    for reader in readers:
        reader.join(_DRAIN_SECONDS)  # something that fled the process group may hold the pipe open for ever
    return _result(said, command.secrets.hide(everything.text()), command.secrets.hide(stdout.text()))


def _find(command: Command) -> str:
    name = command.argv[0]
    path = dict(command.environment).get("PATH", os.defpath)
    found = shutil.which(name, path=path) if os.path.dirname(name) == "" or os.path.isabs(name) else None
    if found is None:
        where = "" if os.path.isabs(name) else f" on the path {path}"
        raise ConfigurationError(
            "command_not_found",
            f"there is no program {name}{where}, which `{command.words}` needs",
            remedy="Install it, write PATH=... in the schema's environment option, or set its command_prefix.",
            command=command.words,
        )
    return found


def _result(said: bytes, output: str, stdout: str) -> Result:
    try:
        answer = json.loads(said)
    except ValueError:
        return Result(Ended.LOST, None, output, stdout)
    return Result(Ended(answer["ended"]), answer.get("exit_code"), output, stdout, reason=str(answer.get("reason", "")))


class _Tail:
    """The last bytes of what several threads write."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._chunks.append(chunk)
            self._size += len(chunk)
            while self._size - len(self._chunks[0]) >= _TAIL_BYTES:
                self._size -= len(self._chunks.popleft())

    def text(self) -> str:
        with self._lock:
            whole = b"".join(self._chunks)
        if len(whole) > _TAIL_BYTES:
            whole = whole[-_TAIL_BYTES:].partition(b"\n")[2]  # half a line could hold half a secret
        return _COLOURS.sub("", whole.decode("utf-8", errors="replace"))


def _reader(stream: IO[bytes], *tails: _Tail) -> threading.Thread:
    def read() -> None:
        with suppress(OSError, ValueError), stream:
            while chunk := os.read(stream.fileno(), 8192):
                for tail in tails:
                    tail.add(chunk)

    thread = threading.Thread(target=read, name="command-output", daemon=True)
    thread.start()
    return thread
