"""What rows and services hold reaches an operator's terminal as text, in every format."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.cli.answers import Blocker, DataMigration
from orchestrator.cli.blockers import lines_of
from orchestrator.cli.exits import Exit
from orchestrator.domain.view import MigrationState
from tests.api.world import World

from .conftest import Run
from .test_watching_rows import drawn

HOSTILE = "cannot read '\x1b]0;owned\x07\x1b[2J\x9b31m\u202e'"
SHOWN = "cannot read '\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202e'"

pytestmark = pytest.mark.usefixtures("daemon")


@pytest.fixture(autouse=True)
def failed(world: World) -> None:
    """A data migration failed with the words of a row: of a daemon that lets them through."""
    world.upgrades.begin("inventory", "2", actor="test")
    world.cycle()
    found = world.managed.on["main"].migrations
    found["split_name"] = replace(found["split_name"], state=MigrationState.FAILED, error=HOSTILE)
    world.cycle()


def steers(text: str) -> bool:
    return any(character in text for character in "\x1b\x07\x9b\u202e\r")


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("upgrade", "show", "inventory"),
        ("data-migration", "list", "inventory"),
        ("data-migration", "show", "inventory", "split_name"),
        ("data-migration", "list", "inventory", "-f", "value"),
        ("data-migration", "list", "inventory", "-f", "csv"),
        ("data-migration", "watch", "inventory"),
    ],
)
def test_no_command_lets_it_through(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words)
    assert not steers(said.out + said.err)
    assert "owned" in said.out + said.err, "it is shown, and not kept back"


def test_scripts_read_what_the_daemon_said(run: Run) -> None:
    (found,) = [
        row
        for row in json.loads(run("data-migration", "list", "inventory", "-f", "json").out)
        if HOSTILE in row.values()
    ]
    assert found["State"] == "failed"


def test_refusal_of_a_daemon_steers_nothing(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.board), "schemas", _raises(ValueError(HOSTILE)))
    said = run("status")
    assert said.code != Exit.YES
    assert not steers(said.err)


def test_no_name_forges_a_line_of_status() -> None:
    blocker = Blocker("x", "waiting for 1 instance", "orchestrator evict 'y\n  > reboot'", ("y\n  > reboot",))
    assert list(lines_of(blocker)) == [
        "  waiting for 1 instance",
        "      y\\u000a  > reboot",
        "    > orchestrator evict 'y\\u000a  > reboot'",
    ]


def test_bars_show_it_as_text() -> None:
    row = DataMigration("split_name", "main", "failed", error=HOSTILE)
    assert any("\\u001b]0;owned" in line for line in drawn(row))


def test_bars_are_still_drawn_by_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    said = run("data-migration", "watch", "inventory")
    assert said.out.endswith("\x1b[?25h"), "its own controls"
    assert "\x1b]0;" not in said.out and not steers(said.err)


def _raises(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail
