"""Visible: text of strangers, such as a row's value in an error, as people, terminals and shells may be given it."""

from __future__ import annotations

import re
import shlex

UNSEEN = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""Controls, breaks of lines, changes of direction: they would forge lines in a log and steer terminals."""

LONGEST_NAME = 255

_UNSEEN = re.compile(f"[{UNSEEN}]")
_UNSEEN_BUT_LAYOUT = re.compile(rf"(?![\n\t])[{UNSEEN}]")


def visible(text: str) -> str:
    """The same with every character that is not seen in the words of JSON, as \\u001b."""
    return _UNSEEN.sub(_in_words, text)


def visible_lines(text: str) -> str:
    """As `visible`, where tabs and ends of lines are our own."""
    return _UNSEEN_BUT_LAYOUT.sub(_in_words, text)


def is_name(text: str) -> bool:
    """Whether requests and commands can name something so."""
    return 0 < len(text) <= LONGEST_NAME and _UNSEEN.search(text) is None


def typed(*names: str) -> str:
    """Names that strangers chose, for a command that is to be typed: each one word to a shell, whatever it holds."""
    return shlex.join(names)


def _in_words(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
