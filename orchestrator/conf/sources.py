"""Where each option is written: file and line, which oslo.config does not keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import iniparser

from orchestrator.domain.errors import ConfigurationError

DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a configuration file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Section:
    """One `[section]` heading as it is written."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `option = value` as it is written, in its section."""

    section: str
    option: str
    place: Place


@dataclass(frozen=True, slots=True)
class Sources:
    """All headings and assignments of all files, in the order in which they are read: the last one counts."""

    files: tuple[Path, ...]
    sections: tuple[Section, ...]
    assignments: tuple[Assignment, ...]

    def place(self, section: str, option: str) -> Place | None:
        """Where the value that counts is written; None where no file has it."""
        for found in reversed(self.assignments):
            if found.section == section and found.option == option:
                return found.place
        return None

    def heading(self, section: str) -> Place | None:
        """Where the section begins; None where no file has it."""
        return next((found.place for found in self.sections if found.name == section), None)


def read_sources(files: Sequence[Path]) -> Sources:
    """Read the files. Raises `ConfigurationError` for one that cannot be read, or a line that is no option."""
    sections: list[Section] = []
    assignments: list[Assignment] = []
    for file in files:
        parser = _Parser(file)
        try:
            parser.parse(_lines(file))
        except iniparser.ParseError as error:
            raise ConfigurationError(
                "config_line_invalid",
                f"{file}:{error.lineno}: this line is no option and no section",
                remedy="Write options as `name = value` and sections as `[name]`; comments begin with #.",
                file=str(file),
                line=error.lineno,
            ) from None  # its message repeats the line, which may hold a password
        sections += parser.sections
        assignments += parser.assignments
    return Sources(tuple(files), tuple(sections), tuple(assignments))


def _lines(file: Path) -> Iterable[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "config_file_missing",
            f"there is no configuration file {file}",
            remedy="Name an existing one with --config-file; `orchestrator config sample` prints one to begin with.",
            file=str(file),
        ) from error
    except OSError as error:
        raise ConfigurationError(
            "config_file_unreadable",
            f"{file} cannot be read: {error.strerror}",
            remedy="Let the user that runs the orchestrator read it.",
            file=str(file),
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "config_file_unreadable", f"{file} is not UTF-8 text", remedy="Save it as UTF-8.", file=str(file)
        ) from error


class _Parser(iniparser.BaseParser):
    """oslo.config's own grammar, keeping lines. An option's line is noted when its key is met, not when it ends."""

    def __init__(self, file: Path) -> None:
        self.sections: list[Section] = []
        self.assignments: list[Assignment] = []
        self._file = file
        self._section = DEFAULT
        self._key_line = 0

    def _split_key_value(self, line: str) -> tuple[str, list[str]]:
        self._key_line = self.lineno
        return super()._split_key_value(line)

    def new_section(self, section: str) -> None:
        self._section = section
        self.sections.append(Section(section, Place(self._file, self.lineno)))

    def assignment(self, key: str, value: list[str]) -> None:
        place = Place(self._file, self._key_line)
        if not self.sections and not self.assignments:
            self.sections.append(Section(DEFAULT, place))
        self.assignments.append(Assignment(self._section, key, place))
