"""docs/recovery.md and the tests know of each other: an entry without a test would be a guess."""

import re
from pathlib import Path

from tests.recovery.entries import ENTRIES

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
