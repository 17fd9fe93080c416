"""The demo from beginning to end: the usual way, then the orchestrated way, then the verdict."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from orchestrator.demo.board import Board
from orchestrator.demo.content import Seed
from orchestrator.demo.control import ControlResult, upgrade_the_usual_way
from orchestrator.demo.daemon import DAEMON_LOG, start_daemon
from orchestrator.demo.errors import DemoFailed
from orchestrator.demo.example import FLEETS, SCHEMA, service_module
from orchestrator.demo.fleet import Fleets
from orchestrator.demo.options import DemoOptions
from orchestrator.demo.plain_alembic import RELEASE_1_REVISION, run_revisions
from orchestrator.demo.processes import Processes
from orchestrator.demo.servers import Server, insert_seed, running_server
from orchestrator.demo.upgrade import OrchestratedUpgrade
from orchestrator.demo.verdict import Outcome, Verdict
from orchestrator.demo.verification import verify

CONTROL_ROWS = 20_000
INTERRUPTED = 130


def run(options: DemoOptions) -> int:
    """Run all of it; see `run_demo`."""
    began = time.monotonic()
    board = Board(Console(highlight=False))
    with signals_end_the_program(), _directory() as directory, ExitStack() as stack:
        control, outcome, error, api_url = None, None, None, ""
        try:
            server = stack.enter_context(running_server(options.database, directory, given=options.server))
            control = _control(options, server, directory, board)
            processes = stack.enter_context(Processes(directory))
            api_url, outcome = _orchestrated(options, server, processes, directory, board)
        except KeyboardInterrupt:
            board.console.print("Stopping.")
            return INTERRUPTED
        except DemoFailed as failed:
            error = str(failed)
        except Exception as unexpected:  # the edge: people get a sentence, and everything started is stopped
            error = f"{type(unexpected).__name__}: {unexpected}"
        if error is not None:
            board.say_log(directory / DAEMON_LOG)
        verdict = Verdict(options.database.value, control, outcome, time.monotonic() - began, error)
        verdict.show(board.console)
        if options.json_file is not None:
            verdict.write(options.json_file)
        if options.keep and api_url:
            _stay(board, api_url)
    return 0 if verdict.ok else 1


def _control(options: DemoOptions, server: Server, directory: Path, board: Board) -> ControlResult:
    board.title("The usual way: migrate, then restart the services")
    control_directory = directory / "control"
    control_directory.mkdir()
    seed = Seed.of(min(options.rows, CONTROL_ROWS), len(FLEETS) * options.fleet_size)
    url = server.create("control")
    engine = service_module("service").connect(url)
    with engine.begin() as connection:
        run_revisions(connection, RELEASE_1_REVISION)
    insert_seed(engine, seed)
    with Processes(control_directory) as processes:
        fleets = Fleets(
            processes,
            control_directory,
            database=url,
            orchestrator=None,
            seed=seed,
            size=options.fleet_size,
            pause_seconds=options.pause_seconds,
        )
        with board.watching(fleets):
            result = upgrade_the_usual_way(fleets, engine, seed)
    engine.dispose()
    board.say(
        f"{result.requests:,} requests, {result.requests_failed:,} failed, {result.rows_wrong:,} rows wrong at the end"
        f", in {result.seconds:.0f} s",
        "bold red",
    )
    board.say(f"for example: {result.first_error}")
    return result


def _orchestrated(
    options: DemoOptions, server: Server, processes: Processes, directory: Path, board: Board
) -> tuple[str, Outcome]:
    board.title("With the orchestrator")
    seed = Seed.of(options.rows, len(FLEETS) * options.fleet_size)
    url = server.create(SCHEMA)
    api = start_daemon(processes, directory, state_url=server.create("orchestrator"), managed_url=url)
    board.say(f"the orchestrator runs; status page: {api.url}/")
    answer = api.init("1")
    if not answer.ok:
        raise DemoFailed(f"the tables of release 1 could not be made: {answer.problem}")
    engine = service_module("service").connect(url)
    seconds = insert_seed(engine, seed)
    board.say(f"release 1 installed, {seed.rows:,} rows inserted in {seconds:.1f} s")
    fleets = Fleets(
        processes,
        directory,
        database=url,
        orchestrator=api.url,
        seed=seed,
        size=options.fleet_size,
        pause_seconds=options.pause_seconds,
    )
    upgrade = OrchestratedUpgrade(api, fleets, board)
    with board.watching(fleets):
        upgrade.run(turn_back=options.turn_back)
        board.say("the fleets have left; comparing every row")
    findings = verify(engine, seed, fleets.owned_rows(), release="1" if options.turn_back else "2")
    engine.dispose()
    return api.url, Outcome(
        totals=fleets.totals(),
        rows_seeded=seed.rows,
        rows_migrated=sum(done for done, _ in upgrade.moved.values()),
        rows_verified=sum(verified for _, verified in upgrade.moved.values()),
        findings=findings,
        phases=board.clock.times(time.monotonic()),
        refused_for=upgrade.refused_for,
        ended_badly=fleets.ended_badly(),
        turned_back=options.turn_back,
    )


def _stay(board: Board, url: str) -> None:
    board.console.print(
        f"\nThe orchestrator keeps running. Status page: {url}/   API: {url}/docs   End it with Ctrl+C."
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        board.console.print("Stopping.")


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory for all files of one run."""
    directory = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def signals_end_the_program() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the program, as Ctrl+C does, so that everything started is stopped."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
