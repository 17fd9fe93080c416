"""docs/recovery.md and the tests know of each other: an entry without a test would be a guess."""

import re
from pathlib import Path

from orchestrator.dialects import mysql, postgresql, sqlite
from orchestrator.domain import pacing
from orchestrator.schema_migrations.waiting import Patience
from tests.recovery.entries import ENTRIES, PAGE

TESTS = Path(__file__).parent
FILES = (*TESTS.glob("test_*.py"), TESTS.parent / "galera" / "test_recovery.py")


def test_each_entry_has_one_test_that_produces_it() -> None:
    marks = [mark for file in FILES for mark in re.findall(r"^@mends\((.+?)\)$", file.read_text(), re.M | re.S)]
    tested = [title for mark in marks for title in re.findall(r'"(.+?)"', mark)]
    assert sorted(tested) == sorted(ENTRIES)


def test_commands_stand_for_themselves() -> None:
    for entry in ENTRIES.values():
        assert all(command.startswith("orchestrator ") for command in entry.types), entry.title
        assert all(statement.endswith(";") for statement in entry.sql), entry.title


def test_page_of_databases_says_how_long_locks_are_waited_for() -> None:
    """As the program has it."""
    said = " ".join((PAGE.with_name("databases.md")).read_text().split())
    patience = Patience()
    assert postgresql.LOCK_TIMEOUT_SECONDS == mysql.LOCK_TIMEOUT_SECONDS
    assert patience.lock_seconds == pacing.LOCK_TIMEOUT_SECONDS
    for sentence in (
        f"waits for a lock {mysql.LOCK_TIMEOUT_SECONDS} s at the most, on SQLite {sqlite.BUSY_TIMEOUT_SECONDS:g} s",
        f"A statement of a revision or of a batch waits {patience.lock_seconds:g} s",
        f"such as CREATE INDEX CONCURRENTLY, {patience.outside_seconds:g} s",
        f"a revision {patience.attempts} times in all",
    ):
        assert sentence in said
