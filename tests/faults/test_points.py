"""Pause points: a program stops where it is told, and nothing in it knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.daemon.daemons import loaded, until
from tests.faults.points import PausePoint, Point, Then, install_from, is_stopped

PROGRAM = """
import sys, sqlalchemy as sa
engine = sa.create_engine(sys.argv[1])
for number in range(4):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS things (number INTEGER)")
        connection.exec_driver_sql(f"INSERT INTO things VALUES ({number})")
"""


def run_program(url: str, environment: dict[str, str]) -> None:
    install_from(environment)
    engine = sa.create_engine(url)
    for number in range(4):
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS things (number INTEGER)")
            connection.exec_driver_sql(f"INSERT INTO things VALUES ({number})")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/things.sqlite"


@pytest.fixture
def start(url: str) -> Iterator[Any]:
    """Starts the program with a point, in a process of its own."""
    started: list[Any] = []

    def start(point: PausePoint) -> Any:
        process = loaded().Process(target=run_program, args=(url, dict(point.environment)))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def things(url: str) -> list[int]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT number FROM things ORDER BY number").scalars().all()
    engine.dispose()
    return list(found)


def test_points_are_read_as_people_write_them() -> None:
    assert Point.parse("before commit 3 of 'Steps' after 'x y'") == Point(True, "commit", 3, "steps", "x y")
    assert Point.parse("after execute") == Point(False, "execute")
    with pytest.raises(ValueError, match="no pause point"):
        Point.parse("somewhere")


def test_waits_before_a_commit_and_goes_on(start: Any, url: str, tmp_path: Path) -> None:
    point = PausePoint(tmp_path / "point", "before commit 2 after 'VALUES (0)'")
    process = start(point)
    point.until_reached()
    assert things(url) == [0]
    assert point.statements == ("CREATE TABLE IF NOT EXISTS things (number INTEGER) ; INSERT INTO things VALUES (1)",)
    point.let_go()
    process.join()
    assert things(url) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("before execute of 'VALUES (2)'", [0, 1]),
        ("after execute 1 of 'VALUES (2)'", [0, 1]),
        ("before commit 3 of 'insert'", [0, 1]),
        ("after commit of 'VALUES (2)'", [0, 1, 2]),
    ],
)
def test_kills_itself_there(start: Any, url: str, tmp_path: Path, text: str, left: list[int]) -> None:
    point = PausePoint(tmp_path / "point", text, Then.KILL)
    process = start(point)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert things(url) == left


def test_stops_whole_until_it_is_continued(start: Any, url: str, tmp_path: Path) -> None:
    point = PausePoint(tmp_path / "point", "after commit 2", Then.STOP)
    process = start(point)
    point.until_reached()
    assert things(url) == [0, 1]
    until(lambda: is_stopped(process.pid), "it has stopped")
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert things(url) == [0, 1, 2, 3]


def test_notes_every_moment_so_that_a_test_may_go_through_all(start: Any, tmp_path: Path) -> None:
    point = PausePoint(tmp_path / "point", "before execute of 'insert'", Then.NOTE)
    start(point).join()
    assert point.statements == tuple(f"INSERT INTO things VALUES ({number})" for number in range(4))


def test_module_is_run_with_a_point(tmp_path: Path, url: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["-m", "tests.faults.paused", "before commit 3", "--then", "kill", "--in", str(tmp_path), "program", url]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"}
    ended = subprocess.run([sys.executable, *words], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert things(url) == [0, 1]
