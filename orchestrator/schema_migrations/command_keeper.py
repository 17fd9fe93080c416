"""The keeper of a command: a process of its own that starts one command, ends it in time and says how it ended.

It stands between the daemon and the command so that both survive the daemon's death in good order. The keeper
inherits the descriptors that hold the database's lock, and the command does not: so the lock lasts exactly as long
as the command, also when the daemon is killed and when the command is an ssh or a sudo that closes what it inherits.
The time limit holds without the daemon too. Standard library only; run by its path, never imported by the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from types import FrameType


class _Stopped(Exception):
    """Somebody asks the keeper to end its command."""


class _Stop:
    """What SIGTERM does. It is noted until there is a command to end: it may come while that is being started."""

    def __init__(self) -> None:
        self._is_asked = False
        self._has_command = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._is_asked = True
        if self._has_command:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise _Stopped

    def has_command(self) -> None:
        """From now on it is raised, at once if it was asked for before."""
        self._has_command = True
        if self._is_asked:
            raise _Stopped


def main(arguments: list[str]) -> None:
    """Arguments: the descriptor to report on, the time limit and the grace in seconds, then the command."""
    report, limit_seconds, grace_seconds = int(arguments[0]), float(arguments[1]), float(arguments[2])
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    answer = json.dumps(keep(arguments[3:], limit_seconds, grace_seconds, stop))
    with contextlib.suppress(BrokenPipeError):  # the daemon is gone; there is nobody to tell
        os.write(report, answer.encode())


def keep(command: list[str], limit_seconds: float, grace_seconds: float, stop: _Stop) -> dict[str, int | str]:
    """Run the command to its end. `ended` is one of exited, timed_out, stopped, not_started."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        return {"ended": "not_started", "reason": error.strerror or str(error)}
    ended = "exited"
    try:
        stop.has_command()
        child.wait(limit_seconds)
    except subprocess.TimeoutExpired:
        ended = "timed_out"
        _end(child, grace_seconds)
    except _Stopped:
        ended = "stopped"
        _end(child, grace_seconds)
    _signal_group(child, signal.SIGKILL)  # nothing that the command left behind goes on
    return {"ended": ended, "exit_code": child.wait()}


def _end(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ask the whole group to end, and kill it if it does not."""
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(grace_seconds)
    except (subprocess.TimeoutExpired, _Stopped):
        _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
