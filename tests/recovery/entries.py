"""The entries of docs/recovery.md: what each says that status shows, under which codes, and what people are to type."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"

_HEADING = re.compile(r"^### (?P<title>.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODES = re.compile(r"\A\s*Code:(?P<codes>[^\n]+)\n")
_VARIABLE = re.compile(r"(?P<time>\d+ (?:s|min|h)\b)|(?P<number>\d+)|(?P<gap>\.\.\.)")


@dataclass
class Entry:
    """One failure. `shows` are lines of `orchestrator status`, `types` its commands, `sql` those of a database.

    `codes` are what programs are told.
    """

    title: str
    shows: tuple[str, ...]
    types: tuple[str, ...]
    sql: tuple[str, ...]
    codes: tuple[str, ...] = ()
    was_shown: bool = field(default=False, compare=False)
    was_typed: bool = field(default=False, compare=False)

    def is_shown(self, said: str) -> bool:
        """Whether these lines stand in what was said, in this order. Numbers and lengths of time may be others."""
        lines = iter(said.splitlines())
        found = all(any(_matches(shown, line) for line in lines) for shown in self.shows)
        self.was_shown |= found
        return found

    def assert_shown(self, said: str) -> None:
        """The page shows what was said."""
        assert self.is_shown(said), f"docs/recovery.md, {self.title!r}, shows other lines than these:\n{said}"

    def commands(self) -> tuple[str, ...]:
        """The commands, which are about to be typed."""
        self.was_typed = True
        return self.types

    def statements(self, *numbers: int) -> tuple[str, ...]:
        """The statements, which are about to be typed, with these numbers instead of the page's."""
        self.was_typed = True
        given = iter(numbers)
        return tuple(re.sub(r"\b\d+\b", lambda found: str(next(given, found[0])), each) for each in self.sql)


def _matches(shown: str, line: str) -> bool:
    pattern, end = "", 0
    for found in _VARIABLE.finditer(shown):
        pattern += re.escape(shown[end : found.start()])
        pattern += {"time": r"\d+ (?:s|min|h)", "number": r"\d+", "gap": ".*"}[str(found.lastgroup)]
        end = found.end()
    return re.fullmatch(rf"\s*{pattern}{re.escape(shown[end:])}\s*", line) is not None


def _entries() -> dict[str, Entry]:
    page = PAGE.read_text()
    headings = list(_HEADING.finditer(page))
    found = {}
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        text = page[heading.end() : following.start() if following else len(page)]
        blocks: dict[str, list[str]] = {}
        for block in _BLOCK.finditer(text):
            lines = [line.strip() for line in block["text"].splitlines()]
            blocks.setdefault(block["kind"], []).extend(line for line in lines if line)
        shows, types, sql = (tuple(blocks.get(kind, ())) for kind in ("text", "sh", "sql"))
        codes = _CODES.match(text)
        named = tuple(re.findall(r"`(\w+)`", codes["codes"])) if codes else ()
        entry = Entry(heading["title"], shows, types, sql, named)
        assert entry.shows, f"docs/recovery.md, {entry.title!r}: it shows nothing"
        found[entry.title] = entry
    return found


ENTRIES = _entries()


def mends(title: str, *more: str) -> pytest.MarkDecorator:
    """The test of that entry, which is given it; of several, that come one after the other in one place, as a tuple."""
    if not more:
        return pytest.mark.parametrize("entry", [ENTRIES[title]], ids=[title.replace(" ", "_")])
    return pytest.mark.parametrize("entries", [tuple(ENTRIES[each] for each in (title, *more))], ids=["several"])
