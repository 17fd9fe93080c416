"""Functions of a service as data migrations: real processes, in an environment of their own."""

from __future__ import annotations

import ast
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.data_migrations import functions as wrapping
from orchestrator.data_migrations.functions import FunctionRunner
from orchestrator.data_migrations.loading import load
from orchestrator.data_migrations.service_process import IDLE_SECONDS, Answer, ServiceEnvironment, ServiceProcess
from orchestrator.data_migrations.turns import Beside
from orchestrator.domain.errors import (
    Conflict,
    LostCursor,
    MigrationRefused,
    OrchestratorError,
    StepFailed,
    Unavailable,
)
from orchestrator.domain.ladder import InStepBy, Phase
from orchestrator.domain.releases import Release
from orchestrator.domain.view import MigrationFacts, MigrationState

from .conftest import SCHEMA, UPGRADE, Site

SERVICE = """
import fcntl, os, sqlite3, sys, threading

HERE = os.path.dirname(os.path.abspath(__file__))
READY = []

def prepare():
    READY.append(True)

def admin():
    return {"user": "admin", "ready": bool(READY)}

def note(line):
    with open(os.path.join(HERE, "calls"), "a") as file:
        print(line, file=file)

def migrate(context, max_count):
    print("this is no answer")
    os.system("echo nor is this")
    note("%s %s %s" % (max_count, (context or {}).get("ready"), os.environ.get("SHOP_REGION")))
    connection = sqlite3.connect(os.path.join(HERE, "cells.sqlite"))
    found = connection.execute("SELECT id FROM cells WHERE new IS NULL LIMIT ?", (max_count,)).fetchall()
    connection.executemany("UPDATE cells SET new = old WHERE id = ?", found)
    connection.commit()
    return len(found), len(found)

def stuck(context, max_count):
    return 5, 0

def broken(context, max_count):
    raise ValueError("cannot log in with %s" % os.environ["SHOP_PASSWORD"])

def gone(context, max_count):
    os._exit(7)

def silly(context, max_count):
    return "many", None

def nothing(context, max_count):
    note("nothing")

def boundless(context, max_count):
    return 1, 5

def hanging(context, max_count):
    lock = open(os.path.join(HERE, "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.mkfifo(os.path.join(HERE, "hangs")) if not os.path.exists(os.path.join(HERE, "hangs")) else None
    with open(os.path.join(HERE, "hanging"), "w") as file:
        file.write(str(os.getpid()))
    threading.Event().wait()
"""


class Shop:
    """A service with a function, and the runner that calls it."""

    def __init__(self, site: Site, home: Path) -> None:
        self.site = site
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(home), "SHOP_PASSWORD": "wine&dine", "SHOP_REGION": "north",
        }  # fmt: skip
        self.now = 0.0
        (home / "shop_objects.py").write_text(SERVICE)
        with closing(sqlite3.connect(home / "cells.sqlite")) as connection:
            connection.execute("CREATE TABLE cells (id INTEGER PRIMARY KEY, old TEXT, new TEXT)")
            connection.executemany("INSERT INTO cells (old) VALUES (?)", [(f"cell {n}",) for n in range(25)])
            connection.commit()
        self.runner = self.another_runner()

    def another_runner(self, beside: Beside = lambda name: (name,)) -> FunctionRunner:
        return FunctionRunner(
            self.site.database,
            SCHEMA,
            self.site.directory,
            surroundings=lambda release: ServiceEnvironment(
                (), self.environment, lambda text: text.replace("wine&dine", "***")
            ),
            clock=lambda: self.now,
            beside=beside,
        )

    def begin(self, function: str = "migrate", **more: object) -> None:
        given = {"function": f"shop_objects:{function}", "interpreter": sys.executable, "call_seconds": 60.0} | more
        self.site.write("cells", "\n".join(f"{name} = {value!r}" for name, value in given.items()))
        release = Release("2", data_migrations=("cells",), in_step_by=InStepBy.SERVICE)
        self.runner.check(release)
        self.runner.check(release, expanded=True)
        self.runner.enrol(release, UPGRADE)
        assert self.batch().state is MigrationState.RUNNING

    def batch(self, rows: int = 10) -> MigrationFacts:
        return self.runner.run_batch("cells", UPGRADE, rows)

    def calls(self) -> list[str]:
        return (self.home / "calls").read_text().splitlines()

    def left(self) -> int:
        with closing(sqlite3.connect(self.home / "cells.sqlite")) as connection:
            return int(connection.execute("SELECT count(*) FROM cells WHERE new IS NULL").fetchone()[0])

    def hanging_pid(self) -> int:
        """The process that hangs, as soon as it does."""
        while True:
            try:
                return int((self.home / "hanging").read_text())
            except (FileNotFoundError, ValueError):
                threading.Event().wait(0.01)

    def wait_for_its_end(self) -> None:
        with (self.home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.fixture
def shop(site: Site, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(site, tmp_path)
    yield made
    made.runner._end("cells")


def fails(shop: Shop) -> str:
    """What is said when it has been tried as often as it is."""
    for _ in range(wrapping.MOST_IN_VAIN - 1):
        with pytest.raises(Unavailable, match="tried again"):
            shop.batch()
    facts = shop.batch()
    assert facts.state is MigrationState.FAILED
    assert facts.error is not None
    return facts.error


def test_function_is_called_until_it_finds_nothing_and_then_once_more(shop: Shop) -> None:
    shop.begin(context="shop_objects:admin", setup="import shop_objects\nshop_objects.prepare()")
    states: list[MigrationFacts] = []
    while not states or states[-1].state is not MigrationState.COMPLETE:
        states.append(shop.batch())
    assert [each.rows_done for each in states] == [10, 20, 25, 25, 25]
    assert [each.state.value for each in states] == ["running", "running", "running", "verifying", "complete"]
    assert states[0].rows_total is None
    assert states[-1].rows_total == 25
    with shop.site.database.reading() as connection:
        assert states[-1].witness == shop.site.database.dialect.incarnation(connection)
    assert shop.calls() == ["10 True north"] * 5
    assert shop.left() == 0


def test_another_daemon_goes_on_with_what_was_done(shop: Shop) -> None:
    shop.begin()
    shop.batch()
    first, shop.runner = shop.runner, shop.another_runner()
    assert shop.batch().rows_done == 20
    first._end("cells")


def test_rows_that_come_before_the_proof_are_moved_too(shop: Shop) -> None:
    shop.begin()
    while shop.batch(100).state is not MigrationState.VERIFYING:
        pass
    with closing(sqlite3.connect(shop.home / "cells.sqlite")) as connection:
        connection.execute("INSERT INTO cells (old) VALUES ('late')")
        connection.commit()
    assert shop.batch().state is MigrationState.RUNNING
    assert shop.batch().state is MigrationState.VERIFYING
    assert shop.batch().state is MigrationState.COMPLETE
    assert shop.left() == 0


def test_function_without_progress_has_failed_in_the_end(shop: Shop) -> None:
    shop.begin("stuck")
    error = fails(shop)
    assert "makes no progress: it found 5 rows that are left to do, and did none of them" in error
    assert shop.runner.retry("cells").state is MigrationState.RUNNING
    assert "makes no progress" in fails(shop)


def test_function_that_raises_is_tried_again_and_its_secrets_are_hidden(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shop.begin("broken")
    error = fails(shop)
    assert "shop_objects:broken failed: ValueError: cannot log in with ***" in error
    assert "wine&dine" not in error + caplog.text


@pytest.mark.parametrize(
    ("function", "more", "says"),
    [
        ("gone", {}, "ended its process with exit code 7, and did not answer"),
        ("silly", {}, "failed: TypeError: it returned ('many', None), which are not two counts"),
        ("nothing", {}, "failed: TypeError: it returned None, which are not two counts, of rows found and rows done"),
        ("boundless", {}, "failed: ValueError: it returned (1, 5): it did more rows than it found"),
        ("no_such", {}, "failed: AttributeError"),
        ("migrate", {"context": "no_such_module:it"}, "failed: ModuleNotFoundError"),
        ("migrate", {"setup": "raise SystemExit('not configured')"}, "failed: SystemExit: not configured"),
        ("migrate", {"interpreter": "no-such-python"}, "needs a program no-such-python"),
    ],
)
def test_what_is_wrong_with_the_other_end_is_said(shop: Shop, function: str, more: dict[str, str], says: str) -> None:
    shop.begin(function, **more)
    assert says in fails(shop)


def test_answer_that_is_none_shows_no_lines_of_ours(shop: Shop) -> None:
    shop.begin("nothing")
    error = fails(shop)
    assert "Traceback" not in error
    assert "it said last" not in error


def test_call_that_does_not_come_back_is_ended(shop: Shop) -> None:
    shop.begin("hanging")

    def clock() -> float:
        shop.now += 20.0 if (shop.home / "hanging").exists() else 0.0
        return shop.now

    shop.runner._clock = clock
    with pytest.raises(Unavailable, match="time limit of 60 s"):
        shop.batch()
    shop.wait_for_its_end()


def calling(shop: Shop) -> tuple[threading.Thread, list[OrchestratorError]]:
    """A call that is under way in a thread of its own, and what it raised in the end."""
    raised: list[OrchestratorError] = []

    def call() -> None:
        try:
            shop.batch()
        except OrchestratorError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    shop.hanging_pid()
    return thread, raised


def test_fence_ends_the_call_and_waits_for_its_end(shop: Shop) -> None:
    shop.begin("hanging")
    thread, raised = calling(shop)
    with shop.another_runner().quiet():
        with (shop.home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is over
        shop.site.enter(Phase.BACKFILL, fence=Phase.EXPANDED)
    thread.join(60)
    assert isinstance(raised[0], LostCursor)
    with pytest.raises(Conflict) as refused:
        shop.batch()
    assert refused.value.code == "not_in_backfill"


def test_fence_that_cannot_wait_any_longer_is_not_set(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "_QUIET_SECONDS", 0.1)
    shop.begin()
    with (
        shop.runner._alone("cells"),
        pytest.raises(Unavailable, match="is still called") as refused,
        shop.another_runner().quiet(),
    ):
        raise AssertionError
    assert refused.value.code == "function_under_way"


def test_stop_of_the_daemon_ends_the_call(shop: Shop) -> None:
    shop.begin("hanging")
    thread, raised = calling(shop)
    shop.runner._is_stopping = lambda: True
    thread.join(60)
    assert isinstance(raised[0], LostCursor)
    shop.wait_for_its_end()


def test_two_daemons_never_call_at_once(shop: Shop) -> None:
    shop.begin("hanging")
    thread, _ = calling(shop)
    with pytest.raises(Conflict) as refused:
        shop.another_runner().run_batch("cells", UPGRADE, 10)
    assert refused.value.code == "batch_claimed"
    shop.runner._is_stopping = lambda: True
    thread.join(60)


DAEMON = """
import sys
from pathlib import Path
from orchestrator.data_migrations.loading import load
from orchestrator.data_migrations.service_process import ServiceEnvironment, ServiceProcess

definition = load(Path(sys.argv[1]), "cells")
surroundings = ServiceEnvironment((), {"PYTHONPATH": sys.argv[2], "PATH": ""}, str)
ServiceProcess(definition, definition.function, surroundings).call(10, lambda: True)
"""


def test_process_dies_with_its_daemon(shop: Shop) -> None:
    shop.begin("hanging")
    words = (sys.executable, "-c", DAEMON, str(shop.site.file("cells")), str(shop.home))
    with subprocess.Popen(words, cwd=Path(wrapping.__file__).parents[2]) as daemon:
        shop.hanging_pid()
        daemon.send_signal(signal.SIGKILL)
    shop.wait_for_its_end()


def test_process_that_was_not_asked_for_long_is_started_anew(shop: Shop) -> None:
    shop.begin()
    shop.batch()
    first = shop.runner._processes["cells"]
    assert first.is_fresh
    shop.now += IDLE_SECONDS
    shop.batch()
    assert shop.runner._processes["cells"] is not first
    assert not first.is_fresh


def test_changed_file_is_refused_by_name(shop: Shop) -> None:
    shop.begin()
    with shop.site.file("cells").open("a") as file:
        file.write("# another one\n")
    with pytest.raises(MigrationRefused):
        shop.runner.run_batch("cells", UPGRADE, 10, leads=False)
    assert "its file has changed since" in str(shop.batch().error)


def test_release_that_claims_values_is_refused(shop: Shop) -> None:
    shop.site.write("cells", 'function = "shop_objects:migrate"')
    with pytest.raises(MigrationRefused) as refused:
        shop.runner.check(Release("2", data_migrations=("cells",)))
    assert refused.value.code == "function_needs_service"
    assert 'in_step_by = "service"' in refused.value.remedy


@pytest.mark.parametrize("expanded", [False, True])
def test_schema_that_says_no_environment_is_refused(site: Site, expanded: bool) -> None:
    site.write("cells", 'function = "shop_objects:migrate"')
    plain = DataMigrationRunner(site.database, SCHEMA, site.directory)
    with pytest.raises(MigrationRefused) as refused:
        plain.check(Release("2", data_migrations=("cells",), in_step_by=InStepBy.SERVICE), expanded=expanded)
    assert refused.value.code == "function_without_environment"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('function = "shop_objects.migrate"', "data_migration_function"),
        ('function = "shop_objects:migrate"\ncontext = 7', "data_migration_function"),
        ('function = "shop_objects:migrate"\ncall_seconds = "long"', "data_migration_function"),
        ('function = "shop_objects:migrate"\ninterpreter = ""', "data_migration_function"),
        ('function = "shop_objects:migrate"\ntable = "cells"', "data_migration_kind"),
        ('function = "shop_objects:migrate"\nshares_table = True', "data_migration_kind"),
        ('function = "shop_objects:migrate"\nafter = "users"', "data_migration_after"),
        ('function = "shop_objects:migrate"\nafters = ("users",)', "data_migration_attribute"),
        ('function = "shop_objects:migrate"\nexpressions = {"a": "b"}', "data_migration_kind"),
    ],
)
def test_file_that_says_it_wrongly_is_refused(site: Site, body: str, code: str) -> None:
    with pytest.raises(MigrationRefused) as refused:
        load(site.write("cells", body), "cells")
    assert refused.value.code == code


def test_function_follows_whom_it_says(site: Site) -> None:
    path = site.write("cells", 'function = "shop_objects:migrate"\nafter = ("users",)')
    assert load(path, "cells").link.after == ("users",)


def test_other_data_migrations_of_such_a_schema_run_as_ever(shop: Shop) -> None:
    shop.site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)", "INSERT INTO things VALUES (1, 2, 3)"
    )
    shop.site.write("things", 'table = "things"\nexpressions = {"b": "a"}')
    release = Release("2", data_migrations=("things",), in_step_by=InStepBy.SERVICE)
    shop.runner.check(release, expanded=True)
    shop.runner.enrol(release, UPGRADE)
    while shop.runner.run_batch("things", UPGRADE, 10).state is not MigrationState.COMPLETE:
        pass
    assert shop.site.rows("SELECT b FROM things") == [(2,)]


def test_proof_whose_call_is_lost_is_none(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what it did: it may have moved rows of which others were proven before."""
    shop.begin()
    while shop.batch(100).state is not MigrationState.VERIFYING:
        pass
    call = ServiceProcess.call

    def lost(process: ServiceProcess, rows: int, is_still: Callable[[], bool]) -> Answer:
        call(process, rows, is_still)
        raise StepFailed("function_ended", "it ended", remedy="")

    with monkeypatch.context() as patch:
        patch.setattr(ServiceProcess, "call", lost)
        with pytest.raises(Unavailable):
            shop.batch()
    assert [shop.batch().state for _ in range(2)] == [MigrationState.VERIFYING, MigrationState.COMPLETE]


def test_what_a_function_may_have_changed_is_proven_anew(shop: Shop) -> None:
    """Only the service knows which rows it changes: here those that an expression had been proven by."""
    shop.site.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)", "INSERT INTO things VALUES (1, 2, 3)"
    )
    shop.site.write("things", 'table = "things"\nexpressions = {"b": "a"}')
    shop.site.write(
        "cells", f'after = ("things",)\nfunction = "shop_objects:migrate"\ninterpreter = {sys.executable!r}'
    )
    names = ("things", "cells")
    release = Release("2", data_migrations=names, in_step_by=InStepBy.SERVICE)
    shop.runner = shop.another_runner(beside=lambda name: names)
    shop.runner.check(release)
    shop.runner.enrol(release, UPGRADE)

    def run(name: str, state: MigrationState) -> None:
        while shop.runner.run_batch(name, UPGRADE, 100).state is not state:
            pass

    run("things", MigrationState.COMPLETE)
    run("cells", MigrationState.RUNNING)
    shop.site.execute("UPDATE things SET a = 5")
    run("cells", MigrationState.VERIFYING)
    assert shop.site.facts("things").state is MigrationState.VERIFYING
    with pytest.raises(Conflict, match="waits for things"):
        shop.batch()
    run("things", MigrationState.FAILED)
    shop.runner.retry("things", followers=("cells",))
    run("things", MigrationState.COMPLETE)
    run("cells", MigrationState.VERIFYING)
    run("things", MigrationState.COMPLETE)
    run("cells", MigrationState.COMPLETE)
    assert shop.site.facts("things").state is MigrationState.COMPLETE


def test_a_function_is_asked_again_when_others_have_moved_rows(shop: Shop) -> None:
    shop.site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)")
    shop.site.write("things", 'table = "things"\nexpressions = {"b": "a"}')
    shop.site.write("cells", f'function = "shop_objects:migrate"\ninterpreter = {sys.executable!r}')
    names = ("cells", "things")
    shop.runner = shop.another_runner(beside=lambda name: names)
    shop.runner.enrol(Release("2", data_migrations=names, in_step_by=InStepBy.SERVICE), UPGRADE)
    while shop.batch(100).state is not MigrationState.COMPLETE:
        pass
    for _ in range(2):
        shop.runner.run_batch("things", UPGRADE, 100)
    assert shop.site.facts("cells").state is MigrationState.VERIFYING
    assert shop.batch(100).state is MigrationState.COMPLETE
    assert shop.runner.run_batch("things", UPGRADE, 100).state is MigrationState.COMPLETE
    assert shop.site.facts("cells").state is MigrationState.COMPLETE


def test_other_end_is_written_for_old_interpreters() -> None:
    source = Path(wrapping.__file__).with_name("service_function.py").read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= sys.stdlib_module_names
    assert dedent(source).startswith('"""')
