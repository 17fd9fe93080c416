"""A place whose schema brings its own migration tool: a program that does what the test says it does, verb by verb."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.demo.example import SCHEMA
from tests.recovery.place import Place

PRESET = """
version_table = "shop_version"
environment = {{ SHOP_CONNECTION = "{{connection}}" }}

[version]
argv = ["shop-manage", "version"]

[install]
argv = ["shop-manage", "install"]

[expand]
argv = ["shop-manage", "expand"]
timeout_seconds = {seconds}
grace_seconds = 0.1

[contract]
argv = ["shop-manage", "contract"]

[check]
argv = ["shop-manage", "check"]
exit_codes = {{ 0 = "done", 1 = "error", 2 = "expand_needed", 4 = "contract_needed" }}

[[release]]
names = ["1"]
version = "1"
expand = "e1"
contract = "c1"

[[release]]
names = ["2"]
version = "2"
expand = "e2"
contract = "c2"
"""

TOOL = '#!/bin/sh\n. "$(dirname "$0")/$1"\n'
"""Each verb is a file beside it."""

MOVE = """
import os, sqlite3
database = sqlite3.connect(os.environ["SHOP_CONNECTION"].removeprefix("sqlite:///"))
database.executescript({statements!r})
open({file!r}, "w").write({check!r})
"""


class Shop:
    """The tool, its preset and the database that it works on."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.directory = place.site.directory / "shop"
        self.program = self.directory / "shop-manage"
        self.directory.mkdir()
        fleets = 'fleets = ["inventory-api", "inventory-worker"]'
        releases = (f'[[release]]\nname = "{name}"\n{fleets}\n' for name in ("1", "2"))
        (self.directory / "releases.toml").write_text("\n".join(releases))
        self.write_tool()
        self._allow(60)
        self.verb("version", "echo shop 1.9.0")
        self.verb("check", "exit 0")
        place.site.migrations = self.directory
        place.site.more[f"schema:{SCHEMA}"] = {
            "driver": "command",
            "preset": self.directory / "shop.toml",
            "environment": f"PATH={self.directory}:/usr/bin:/bin",
        }
        place.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)", "CREATE TABLE shop_version (version_num TEXT)")
        self.stands_at("e1", "c1")

    def begin(self) -> None:
        """Adopt the database at release 1, install the tool of release 2, and begin the upgrade."""
        place = self.place
        place.orchestrator("schema", "init", SCHEMA, "--release", "1")
        self.verb("version", "echo shop 2.0.0")
        self.verb("check", "exit 2")
        place.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", "--reason", "test")
        place.nobody_runs()

    def write_tool(self, text: str = TOOL) -> Shop:
        """What is run."""
        self.program.write_text(text)
        self.program.chmod(0o755)
        return self

    def restart_with(self, seconds: float) -> Shop:
        """Restart the daemon, with another time limit of expand in the preset."""
        self._allow(seconds)
        self.place.reopen()
        return self

    def _allow(self, seconds: float) -> None:
        (self.directory / "shop.toml").write_text(PRESET.format(seconds=seconds))

    def verb(self, name: str, script: str) -> Shop:
        """What the tool does when it is asked for that."""
        (self.directory / name).write_text(f"{script}\n")
        return self

    def moves(self, verb: str, *heads: str, check: str) -> Shop:
        """Let that verb write these rows into the version table, and the check say this afterwards."""
        program = self.directory / f"{verb}.py"
        program.write_text(MOVE.format(statements=_rewriting(heads), file=str(self.directory / "check"), check=check))
        return self.verb(verb, f"exec {sys.executable} -I -S {program}")

    def stands_at(self, *heads: str) -> Shop:
        """Put these rows into the version table by hand."""
        self.place.execute(*_rewriting(heads).split("; "))
        return self

    @contextmanager
    def still_runs(self) -> Iterator[None]:
        """A command that another daemon started runs as long as the block does, and holds its lock."""
        database = self.place.site.directory / "main.sqlite"
        digest = hashlib.blake2b(SCHEMA.encode(), digest_size=6).hexdigest()
        with open(f"{database}-orchestrator-{digest}.command", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _rewriting(heads: tuple[str, ...]) -> str:
    rows = ", ".join(f"('{head}')" for head in heads)
    return f"DELETE FROM shop_version; INSERT INTO shop_version VALUES {rows}"
