"""Places in files, so that every refusal can say where to look."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.errors import ManifestError, MigrationRefused


@dataclass(frozen=True, slots=True)
class Place:
    """One line of one file. Lines count from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def line_of(source: str, pattern: str) -> int:
    """The line of the first match of a regular expression in a text, 1 if there is none."""
    found = re.search(pattern, source, re.MULTILINE)
    return 1 if found is None else source.count("\n", 0, found.start()) + 1


def line_of_error(file: Path, error: BaseException) -> int:
    """The last line of that file that an error passed through, 1 if it never was there."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 1
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return (frames[-1] if frames else None) or 1


def broken(code: str, place: Place, sentence: str, *, remedy: str) -> ManifestError:
    """A manifest or tree that cannot be used, with its place in the sentence and in the fields."""
    return ManifestError(code, f"{place}: {sentence}", remedy=remedy, file=str(place.file), line=place.line)


def refused(code: str, place: Place, sentence: str, *, remedy: str, **fields: object) -> MigrationRefused:
    """A revision that must not run, with its place in the sentence and in the fields."""
    return MigrationRefused(
        code, f"{place}: {sentence}", remedy=remedy, file=str(place.file), line=place.line, **fields
    )
