"""A place where something fails: real databases, the daemon's own services, the command line. Nothing moves by itself.

What a daemon does at its turns is done when the test says so, and the test then asks `orchestrator status`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.api.application import ApiServices, ApiSettings, create_application
from orchestrator.client import HttpTransport
from orchestrator.conf import load
from orchestrator.daemon.composition import Services, compose
from orchestrator.demo.example import SCHEMA
from tests.cli.conftest import serving
from tests.daemon.daemons import Said, Site, run
from tests.recovery.entries import Entry

FLEETS = ("inventory-api", "inventory-worker")
MOST_TURNS = 60


class Place:
    """The example's schema `inventory` at one site. Open it, begin, work, look."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.url = ""
        self.codes: set[str] = set()
        """The codes of all that status, or a command that was refused, has told so far."""
        self._opened = ExitStack()
        self._services: Services | None = None
        self._was_open = False

    # -- the daemon ------------------------------------------------------------------------------------------------

    def open(self) -> Place:
        """Start the daemon, so far as it can be started without its turns."""
        if not self._was_open:
            self.site.prepare()
            self._was_open = True
        services = compose(load([self.site.configure()]), threading.Event())
        self._services = services
        self._opened.callback(services.daemons.leave)
        self._opened.callback(services.elections.resign)
        application = create_application(
            ApiServices(
                upgrades=services.upgrades,
                leases=services.leases,
                renewing=services.renewing,
                fleets=services.fleets,
                board=services.board,
                data_migrations=services.data_migrations,
                rows_control=services.rows_control,
                daemons=services.daemons,
                is_healthy=lambda: True,
                nudge=lambda schema: None,
            ),
            ApiSettings(tokens=None, fresh_seconds=0),
        )
        self.url = self._opened.enter_context(serving(application))
        return self

    def close(self) -> None:
        """Stop it."""
        self._opened.close()

    def reopen(self) -> Place:
        """Restart it, which reads configuration and files anew."""
        self.close()
        return self.open()

    @property
    def services(self) -> Services:
        assert self._services is not None
        return self._services

    def work(self) -> Place:
        """All turns of a leading daemon, until nothing moves any more."""
        for _ in range(MOST_TURNS):
            if not self.turn():
                return self
        raise AssertionError(f"it never comes to rest:\n{self.status()}")

    def work_until(self, phase: str) -> Place:
        """The turns that lead into that phase; no row moves."""
        for _ in range(MOST_TURNS):
            if self.phase() == phase:
                return self
            self.turn(batches=lambda: False)
        raise AssertionError(f"it never gets there:\n{self.status()}")

    def goes_on(self) -> bool:
        """Whether the turns of a leading daemon lead into another phase now."""
        before = self.phase()
        while self.phase() == before:
            if not self.turn():
                return self.phase() != before
        return True

    def turn(self, batches: Callable[[], bool] = lambda: True) -> bool:
        """One turn. Whether anything moved."""
        epoch = self.services.elections.campaign()
        assert epoch is not None, "another daemon leads"
        self.services.evicting.run(SCHEMA, leader_epoch=epoch)
        moved = self.services.advancing.advance(SCHEMA, leader_epoch=epoch).has_moved
        for database in self.site.databases:
            moved |= self.services.data_migrations.run(SCHEMA, database, may_go_on=batches, leads=lambda: True)
        return moved

    # -- the operator ----------------------------------------------------------------------------------------------

    def orchestrator(self, *words: str, code: int | None = 0) -> str:
        """A command of the program. What it printed."""
        said: Said = run("--url", self.url, *words)
        assert code is None or said.code == code, f"{words} ended with {said.code}:\n{said.out}{said.err}"
        return said.out + self.hear(said.err)

    def hear(self, said: str) -> str:
        """The same, with the codes in it noted."""
        self.codes.update(re.findall(r"\(([a-z]+(?:_[a-z]+)+)\)(?:$|\. )", said, re.MULTILINE))
        return said

    def status(self, code: int = 0) -> str:
        """What `orchestrator status` shows."""
        shown = self.orchestrator("status", code=code)
        if code == 0:
            for schema in self.ask("GET", "/v1/schemas")["schemas"]:
                self._note(schema["upgrade"])
        return shown

    def _note(self, upgrade: Mapping[str, Any]) -> None:
        databases = upgrade["databases"]
        steps = [each["step"] for each in databases if each["step"] is not None]
        told = (each["code"] for each in (*upgrade["blockers"], *databases, *steps))
        self.codes.update(code for code in told if code is not None)

    def type(self, entry: Entry) -> None:
        """Type the commands that the entry says."""
        for command in entry.commands():
            self.type_one(command)

    def type_one(self, command: str) -> None:
        """Type one command of an entry."""
        words = shlex.split(command.replace("...", "because"))
        assert words[0] == "orchestrator", command
        self.orchestrator(*words[1:])

    def begin(self, release: str = "2") -> Place:
        """At release 1, begin the upgrade."""
        self.orchestrator("schema", "init", SCHEMA, "--release", "1")
        self.orchestrator("upgrade", "begin", SCHEMA, "--release", release, "--reason", "test")
        return self

    def begun(self) -> Place:
        """Open it, at release 1 and with the upgrade begun: the files of another place where that was done."""
        for name in ("state.sqlite", "main.sqlite"):
            shutil.copy(_begun() / name, self.site.directory / name)
        return self.open()

    def nobody_runs(self, *fleets: str) -> Place:
        """Nothing runs of these fleets, or of all."""
        for fleet in fleets or FLEETS:
            self.orchestrator("fleet", "report", SCHEMA, fleet, "--release", "1", "--instances", "0")
        return self

    def phase(self) -> str:
        """The phase that the upgrade is in."""
        return str(self.ask("GET", f"/v1/schemas/{SCHEMA}/upgrade")["phase"])

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """One request to the API."""
        return HttpTransport(self.url, timeout=60).request(method, path, body, headers).json

    # -- by hand ---------------------------------------------------------------------------------------------------

    def execute(self, *statements: str, database: str = "main", autocommit: bool = False) -> list[Any]:
        """Do something by hand in a database. What the last statement found."""
        return execute(self.site.databases[database], *statements, autocommit=autocommit)

    def in_state(self, *statements: str) -> list[Any]:
        """Do something by hand in the state database."""
        return execute(self.site.state_url, *statements)

    def own_migrations(self) -> Path:
        """The example's migrations, to be changed."""
        if self.site.migrations.parent != self.site.directory:
            mine = self.site.directory / "migrations"
            shutil.copytree(self.site.migrations, mine)
            self.site.migrations = mine
        return self.site.migrations

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the migrations."""
        file = self.own_migrations() / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def without_a_way_back(self) -> Place:
        """The release brings no reverse data migrations."""
        self.edit("releases.toml", 'reverse_data_migrations = ["join_name", "name_status"]', "")
        return self


@cache
def _begun() -> Path:
    """A directory with the databases of a place on SQLite where the upgrade has just begun."""
    directory = Path(tempfile.mkdtemp(prefix="recovery-", dir=os.environ["ORCHESTRATOR_TESTS_DIRECTORY"]))
    Place(Site(directory)).open().begin().close()
    return directory


def execute(url: str, *statements: str, autocommit: bool = False) -> list[Any]:
    """Run statements in the database of that URL. What the last one found."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT") if autocommit else sa.create_engine(url)
    found: list[Any] = []
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                found = list(result.all()) if result.returns_rows else []
    finally:
        engine.dispose()
    return found


OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
END_OTHERS = f"{OTHERS} pg_backend_pid()"
"""Ends all other sessions of a PostgreSQL database."""


@contextmanager
def in_the_background(work: Callable[[], object]) -> Iterator[None]:
    """Something goes on for as long as the block runs, and has ended without an error when it is left."""
    wrong: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # shown where the test can see it
            wrong.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if wrong:
        raise wrong[0]


def number_in(text: str, pattern: str) -> int:
    """The first number that stands there in the text."""
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1])
