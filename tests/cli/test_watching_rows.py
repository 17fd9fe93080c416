"""`data-migration watch`: bars on a terminal, lines elsewhere, and an exit code that says how it ended."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console
from rich.live import Live

from orchestrator.cli import cells
from orchestrator.cli.answers import DataMigration, Eta, Intention
from orchestrator.cli.bars import Bars
from orchestrator.cli.data_migration_watch import Watch
from orchestrator.cli.exits import Exit
from orchestrator.cli.rows_words import in_short, line_of
from orchestrator.domain.throttling import Reading
from orchestrator.domain.view import MigrationState
from tests.api.world import World
from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("daemon")

Then = Callable[..., None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Then:
    """What happens between one look and the next; none is left at the end."""

    def meanwhile(*happens: Callable[[], object]) -> None:
        left: Iterator[Callable[[], object]] = iter(happens)
        monkeypatch.setattr(Watch, "sleep", staticmethod(lambda seconds: next(left)()))

    return meanwhile


@pytest.fixture
def moving(world: World) -> Callable[[], None]:
    """Begins an upgrade of 1,000 rows; each call moves or verifies 100 of them, which takes a second."""
    database = world.managed.on["main"]
    database.rows, database.batch_rows = 1000, 100
    world.upgrades.begin("inventory", "2", actor="test")
    world.cycle()
    upgrade = world.board.schema("inventory").upgrade
    assert upgrade is not None

    def move() -> None:
        world.clock.advance(1)
        world.managed.run_batch("main", "split_name", upgrade.upgrade.id, leads=True)
        world.cycle()

    return move


def test_each_change_is_a_line_until_all_is_done(run: Run, world: World, meanwhile: Then, moving: Then) -> None:
    meanwhile(*[moving] * 20)
    said = run("data-migration", "watch", "inventory")
    lines = said.out.splitlines()
    assert lines[0].startswith("split_name in main: pending")
    assert lines[1] == "split_name in main: running, 5 %, 100/1000 moved, measuring"
    assert "split_name in main: running, 35 %, 700/1000 moved, 100 rows/s, about 13 s left" in lines
    assert lines[-1] == "split_name in main: complete, 100 %, 1000/1000 verified"
    assert len(lines) == 21, "what does not change is not said again"
    assert (said.code, said.err) == (Exit.YES, "all rows are moved and verified\n")


def test_one_that_fails_ends_it_with_the_way_out(run: Run, world: World, meanwhile: Then, moving: Then) -> None:
    def fail() -> None:
        found = world.managed.on["main"].migrations
        found["split_name"] = replace(found["split_name"], state=MigrationState.FAILED, error="row 7 is too long")
        world.cycle()

    meanwhile(moving, fail)
    said = run("data-migration", "watch", "inventory", "split_name")
    assert said.code == Exit.ERROR
    assert said.out.splitlines()[-1].endswith("failed, 5 %, 100/1000 moved, row 7 is too long")
    assert "orchestrator data-migration retry inventory split_name --database main" in said.err


def test_upgrade_that_is_cancelled_ends_it(run: Run, world: World, meanwhile: Then, moving: Then) -> None:
    def cancel() -> None:
        world.upgrades.cancel("inventory", actor="test", reason="no")
        world.cycle()

    meanwhile(moving, cancel)
    said = run("data-migration", "watch", "inventory")
    assert said.code == Exit.NOT_YET
    assert "was cancelled" in said.err


@pytest.mark.parametrize(("words", "code"), [(("inventory",), Exit.NOT_YET), (("inventory", "nothing"), Exit.ERROR)])
def test_nothing_to_watch_ends_at_once(run: Run, words: tuple[str, ...], code: Exit) -> None:
    assert run("data-migration", "watch", *words).code == code


def test_why_rows_do_not_move_is_said_in_place_of_the_time(
    run: Run, world: World, meanwhile: Then, moving: Then
) -> None:
    database = world.managed.on["main"]

    def throttle() -> None:
        database.signals = (Reading("replica lag", 12.4, 5.0, "s", "replica db2"),)
        world.daemons.renew()
        world.move_rows()

    def go_on() -> None:
        database.signals, database.batch_rows = (), 1000
        world.move_rows()
        world.cycle()

    meanwhile(moving, throttle, go_on)
    said = run("data-migration", "watch", "inventory")
    assert "waits: replica lag is 12.4 s, more than 5 s on replica db2" in said.out
    assert said.code == Exit.YES


def test_daemon_that_is_away_is_waited_for(run: Run, world: World, meanwhile: Then, moving: Then) -> None:
    def away() -> None:
        world.store.is_broken = True

    def back() -> None:
        world.store.is_broken = False
        world.managed.on["main"].batch_rows = 1000
        world.move_rows()
        world.cycle()

    meanwhile(moving, away, lambda: None, back)
    said = run("data-migration", "watch", "inventory")
    assert said.err.count("waiting: the state database does not answer") == 1
    assert said.code == Exit.YES


def test_interrupt_is_no_mistake(run: Run, meanwhile: Then, moving: Then) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    meanwhile(moving, interrupt)
    said = run("data-migration", "watch", "inventory")
    assert (said.code, said.err) == (Exit.INTERRUPTED, "")


# -- on a terminal ---------------------------------------------------------------------------------------------------


def row(name: str, **more: object) -> DataMigration:
    found = DataMigration(name, "main", "running", rows_done=40, rows_total=100, progress=0.2)
    return msgspec.structs.replace(found, **more)


def drawn(*found: DataMigration, note: str = "", height: int = 24) -> list[str]:
    """What a terminal shows after that was drawn twice."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=height, color_system=None)
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        bars = Bars(live)
        bars.show(found)
        with console.capture() as capture:
            bars.show(found, note)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_terminal_has_a_bar_for_each() -> None:
    fast = row("split_name", rows_per_second=12.0, eta=Eta("estimated", 130.0))
    held = row("copy_mail", intention=Intention("paused", "alice", "month-end", 0.0), eta=Eta("held"))
    lines = drawn(
        fast, held, row("a_function", progress=None, rows_total=None, eta=Eta("uncounted")), note="waiting: x"
    )
    assert "━━━━━━" in lines[-4] and "20 %" in lines[-4]
    assert lines[-4].endswith("40/100 moved 12 rows/s about 2 min 10 s left")
    assert lines[-3].endswith("paused by alice: month-end")
    assert lines[-2].endswith("nobody counts them")
    assert lines[-1] == "waiting: x"


def test_terminal_that_is_too_small_shows_those_under_way() -> None:
    found = [row(f"done_{number}", state="complete") for number in range(30)]
    found += [row("moving"), *(row(f"next_{number}", state="pending") for number in range(20))]
    shown, rest = in_short(found, 5)
    assert [each.name for each in shown] == ["moving"]
    assert rest == "and 30 complete, 20 pending"
    assert len(drawn(*found, height=7)) <= 7
    many = [row(f"moving_{number}") for number in range(9)]
    assert (len(in_short(many, 5)[0]), in_short(many, 5)[1]) == (4, "and 5 running")
    assert in_short(many, 9) == (tuple(many), "")


def test_line_of_what_was_never_read_is_short() -> None:
    assert line_of(DataMigration("split_name", "main", "absent")) == "split_name in main: absent"


def test_program_draws_bars_where_its_output_is_a_terminal(
    run: Run, meanwhile: Then, moving: Then, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    meanwhile(*[moving] * 20)
    said = run("data-migration", "watch", "inventory")
    assert said.code == Exit.YES
    assert "━" in said.out and "complete" in said.out
    assert said.out.endswith("\x1b[?25h"), "the cursor is there again"


def test_time_that_is_further_away_than_is_told_is_no_other_number() -> None:
    """Of an upgrade whose windows are short: the work itself would be done sooner."""
    assert str(cells.eta(Eta("estimated"), None)) == "far away"
    assert str(cells.eta(Eta("throttled"))) == "waits"
    assert str(cells.eta(None, 90.0)) == "1 min 30 s", "of a daemon that tells no state"
