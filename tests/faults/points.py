"""Pause points: moments in a program's use of its databases, by name, with no line of the program written for them.

A point is written as `before commit 3 of 'orchestrator_steps' after 'alembic_version'`: the moment before the third
commit of a transaction that ran a statement with the first text, counted from the first statement with the second text
on. Both texts may be left out, the number too (1). Instead of commits, `execute` counts single statements. Case does
not matter. What the program does there: it waits until it is let go, stops whole (SIGSTOP), kills itself (SIGKILL),
or only writes down that it was there, so that a test may count the moments before it goes through all of them.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

POINT = "ORCHESTRATOR_TESTS_POINT"
THEN = "ORCHESTRATOR_TESTS_POINT_THEN"
DIRECTORY = "ORCHESTRATOR_TESTS_POINT_DIRECTORY"

POLL_SECONDS = 0.01
PATIENCE_SECONDS = 120.0
STOPPING_SECONDS = 1.0

_SYNTAX = re.compile(r"(before|after) (execute|commit)(?: (\d+))?(?: of '([^']*)')?(?: after '([^']*)')?")
_STATEMENTS = "orchestrator_tests_statements"


def is_stopped(pid: int) -> bool:
    """Whether that process lies still after a SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class Then(StrEnum):
    """What happens at a point."""

    WAIT = "wait"  # this thread; the others go on
    STOP = "stop"  # the whole process, until SIGCONT
    KILL = "kill"
    NOTE = "note"  # at every moment from the given one on, and nothing else happens


@dataclass(frozen=True, slots=True)
class Point:
    """One moment. `of` and `after` are in lower case, empty where every statement counts, and from the start."""

    before: bool
    what: str
    number: int = 1
    of: str = ""
    after: str = ""

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read what a person wrote."""
        found = _SYNTAX.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"no pause point: {text!r}; write: before commit 3 of 'text' after 'text'")
        when, what, number, of, after = found.groups()
        return cls(when == "before", what, int(number or 1), (of or "").lower(), (after or "").lower())


class PausePoint:
    """A point as its test sees it: hand `environment` to the program, wait until it is there, let it go.

    `directory` is where the two speak through files: a new one for each point.
    """

    def __init__(self, directory: Path, text: str, then: Then = Then.WAIT) -> None:
        Point.parse(text)
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.environment: Mapping[str, str] = {POINT: text, THEN: then.value, DIRECTORY: str(directory)}

    @property
    def is_reached(self) -> bool:
        """Whether the program was there."""
        return (self._directory / "reached").exists()

    @property
    def statements(self) -> tuple[str, ...]:
        """What ran, or was about to run, each time that it was noted: one line each."""
        noted = self._directory / "reached"
        return tuple(noted.read_text().splitlines()) if noted.exists() else ()

    def until_reached(self) -> None:
        """Return when the program is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_reached:
            assert time.monotonic() < deadline, f"never reached: {self.environment[POINT]}"
            time.sleep(POLL_SECONDS)

    def let_go(self) -> None:
        """Let a thread that waits there go on. One that stopped whole needs SIGCONT."""
        (self._directory / "go").touch()


def install_from(environment: Mapping[str, str]) -> None:
    """Install the point that the environment names, if it names one. Called in the process that is to stop there."""
    if environment.get(POINT):
        install(Point.parse(environment[POINT]), Then(environment[THEN]), Path(environment[DIRECTORY]))


def install(point: Point, then: Then, directory: Path) -> None:
    """Watch every engine of this process from now on."""
    watch = _Watch(point, then, directory)
    event.listen(Engine, "before_cursor_execute", watch.before_execute)
    event.listen(Engine, "after_cursor_execute", watch.after_execute)
    event.listen(Engine, "begin", watch.begin)
    event.listen(Engine, "commit", watch.before_commit)
    usual = DefaultDialect.do_commit

    def do_commit(self: DefaultDialect, dbapi_connection: Any) -> None:
        usual(self, dbapi_connection)  # type: ignore[no-untyped-call]
        watch.after_commit()

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]  # there is no event after a commit


class _Watch:
    """Counts the moments, in whatever thread they come."""

    def __init__(self, point: Point, then: Then, directory: Path) -> None:
        self._point = point
        self._then = then
        self._directory = directory
        self._lock = threading.Lock()
        self._counts = not point.after
        self._seen = 0
        self._committing = threading.local()

    def begin(self, connection: Connection) -> None:
        connection.info[_STATEMENTS] = []

    def before_execute(self, connection: Connection, _cursor: object, statement: str, *_others: object) -> None:
        connection.info.setdefault(_STATEMENTS, []).append(statement)
        if self._point.what == "execute" and self._point.before:
            self._cross((statement,))
        self._look_for_start(statement)

    def after_execute(self, _connection: object, _cursor: object, statement: str, *_others: object) -> None:
        if self._point.what == "execute" and not self._point.before:
            self._cross((statement,))

    def before_commit(self, connection: Connection) -> None:
        statements = tuple(connection.info.pop(_STATEMENTS, ()))
        self._committing.statements = statements
        if self._point.what == "commit" and self._point.before:
            self._cross(statements)

    def after_commit(self) -> None:
        statements = getattr(self._committing, "statements", ())
        self._committing.statements = ()
        if self._point.what == "commit" and not self._point.before:
            self._cross(statements)

    def _look_for_start(self, statement: str) -> None:
        if not self._counts and self._point.after in statement.lower():
            self._counts = True

    def _cross(self, statements: tuple[str, ...]) -> None:
        is_meant = not self._point.of or any(self._point.of in statement.lower() for statement in statements)
        if not self._counts or not is_meant:
            return
        with self._lock:
            self._seen += 1
            is_here = self._seen == self._point.number or (self._then is Then.NOTE and self._seen > self._point.number)
        if is_here:
            self._arrive(statements)

    def _arrive(self, statements: tuple[str, ...]) -> None:
        line = " ".join(" ; ".join(statements).split()) + "\n"
        noted = os.open(self._directory / "reached", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(noted, line.encode())
        os.close(noted)
        if self._then is Then.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._then is Then.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(STOPPING_SECONDS)  # a process of several threads does not stop at once
        elif self._then is Then.WAIT:
            while not (self._directory / "go").exists():
                time.sleep(POLL_SECONDS)
