"""Screen: where commands write, and nobody else's words steer the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO, cast

from orchestrator.domain.visible import visible_lines


class _Screen:
    """A stream that shows every character that is not seen: what daemons answer may hold what rows hold."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def screened(stream: TextIO) -> TextIO:
    """The stream for what others have said. Line ends and tabs stay; JSON and YAML mean the same as before."""
    return cast(TextIO, _Screen(stream))


def unscreened(stream: TextIO) -> TextIO:
    """The stream itself, for whoever draws with controls, and makes others' words visible alone."""
    return stream.stream if isinstance(stream, _Screen) else stream
