"""Presets: how the migration tool of a service is called, and what its exit codes mean. One TOML file each."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import ManifestError
from orchestrator.schema_migrations.places import Place, broken

PRESETS = Path(__file__).with_name("presets")

_COMMANDS = ("version", "install", "expand", "migrate", "contract", "check")
_NEEDED = ("install", "expand", "contract", "check")
_TABLES = (*_COMMANDS, "environment", "drivers", "config_file", "release")
_KEYS = ("title", "version_table", *_TABLES)
_COMMAND_KEYS = {
    "version": ("argv", "timeout_seconds", "grace_seconds", "pattern"),
    "check": ("argv", "timeout_seconds", "grace_seconds", "exit_codes", "output", "trusted_from"),
}
_STEP_KEYS = ("argv", "timeout_seconds", "grace_seconds", "exit_codes")
_ARGV_WORDS = frozenset({"schema", "database", "release", "config_file"})
_ENVIRONMENT_WORDS = _ARGV_WORDS | {"connection", "connection_oslo"}
_QUICK_SECONDS = 120.0
_LONG_SECONDS = 6 * 3600.0
_GRACE_SECONDS = 10.0
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
CONFIG = "{config}"


class Meaning(StrEnum):
    """What an exit code, or a line of output, says."""

    DONE = "done"
    EXPAND_NEEDED = "expand_needed"
    MIGRATE_NEEDED = "migrate_needed"
    CONTRACT_NEEDED = "contract_needed"
    AGAIN = "again"  # one round of several is over
    ERROR = "error"


_CHECK_MEANINGS = (Meaning.DONE, Meaning.EXPAND_NEEDED, Meaning.MIGRATE_NEEDED, Meaning.CONTRACT_NEEDED, Meaning.ERROR)
_STEP_MEANINGS = (Meaning.DONE, Meaning.AGAIN, Meaning.ERROR)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table of meanings: an exit code, or a pattern that a line of standard output matches."""

    when: int | re.Pattern[str]
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """One command with its placeholders.

    After its time limit a command is asked to end, and killed after the grace. `outputs` are asked first where there
    are any, for tools whose exit code means two things. An exit code that is not listed is an error.
    """

    argv: tuple[str, ...]
    timeout_seconds: float
    grace_seconds: float
    exit_codes: tuple[Rule, ...] = ()
    outputs: tuple[Rule, ...] = ()

    def meaning(self, exit_code: int) -> Meaning | None:
        """What that exit code says; None for one that is not listed."""
        return next((rule.meaning for rule in self.exit_codes if rule.when == exit_code), None)

    def meaning_of_output(self, stdout: str) -> Meaning | None:
        """What the first matching pattern says; None where none matches."""
        for rule in self.outputs:
            if isinstance(rule.when, re.Pattern) and rule.when.search(stdout):
                return rule.meaning
        return None


@dataclass(frozen=True, slots=True)
class KnownRelease:
    """A release of the tool: what manifests may call it, its version, and where its migration tree ends."""

    names: tuple[str, ...]
    version: str
    expand: str
    contract: str

    def is_called(self, name: str) -> bool:
        """Whether a release of that name in a manifest is this one."""
        return name in self.names or is_version_of(name, self.version)


@dataclass(frozen=True, slots=True)
class Preset:
    """How one tool is called. `known` are releases in their order; `trusted_from` None trusts every check."""

    name: str
    path: Path
    file_hash: str
    title: str
    version_table: str | None
    environment: tuple[tuple[str, str], ...]
    drivers: tuple[tuple[str, str], ...]
    config_file: tuple[str, ...]
    install: CommandTemplate
    expand: CommandTemplate
    migrate: CommandTemplate | None
    contract: CommandTemplate
    check: CommandTemplate
    version: CommandTemplate | None
    version_pattern: re.Pattern[str] | None
    trusted_from: str | None
    known: tuple[KnownRelease, ...]

    def release(self, name: str) -> KnownRelease | None:
        """What the preset knows of a manifest's release, None for one that came later."""
        return next((known for known in self.known if known.is_called(name)), None)


def is_version_of(version: str, series: str) -> bool:
    """Whether `30.0.1` belongs to `30` or `30.0`."""
    return version == series or version.startswith(f"{series}.")


def is_older(version: str, than: str) -> bool:
    """Whether a version of numbers and dots is older than another."""
    return _numbers(version) < _numbers(than)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The text with every {placeholder} replaced. Other braces stay."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def load_preset(name_or_path: str) -> Preset:
    """The preset of that name that comes along, or the one in that file.

    Raises `ManifestError`: code `preset_unknown`, or `preset_invalid` with file, line and remedy.
    """
    is_path = "/" in name_or_path or name_or_path.endswith(".toml")
    path = Path(name_or_path) if is_path else PRESETS / f"{name_or_path}.toml"
    if not is_path and not path.is_file():
        known = ", ".join(sorted(each.stem for each in PRESETS.glob("*.toml")))
        raise ManifestError(
            "preset_unknown",
            f"there is no preset {name_or_path!r}",
            remedy=f"These come along: {known}. For your own write the path of its file, with a slash.",
            preset=name_or_path,
        )
    try:
        source = path.read_text(encoding="utf-8")
        content = tomllib.loads(source)
    except OSError as error:
        raise broken(
            "preset_invalid",
            Place(path, 1),
            f"the preset cannot be read: {error.strerror or error}",
            remedy="Correct the path in the schema's preset option, or the file's permissions.",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        found = re.search(r"line (\d+)", str(error))
        place = Place(path, int(found[1]) if found else 1)
        raise broken("preset_invalid", place, f"not valid TOML: {error}", remedy="Correct it.") from error
    return _Reader(path, source).preset(content)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


class _Reader:
    """Turns the parsed file into a preset, refusing what is wrong with its line."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source

    def preset(self, content: Mapping[str, Any]) -> Preset:
        self._known_keys(content, _KEYS, "", "A preset")
        for name in _NEEDED:
            if name not in content:
                raise self._wrong("", name, f"the preset has no [{name}]", f"Write [{name}] with argv = [...].")
        commands = {name: self._command(name, content[name]) for name in _COMMANDS if name in content}
        version, check = content.get("version", {}), content["check"]
        return Preset(
            name=self._path.stem,
            path=self._path,
            file_hash=hashlib.sha256(self._source.encode()).hexdigest(),
            title=self._text("", "title", content.get("title", self._path.stem)),
            version_table=self._text("", "version_table", content["version_table"])
            if "version_table" in content
            else None,
            environment=self._strings("environment", content.get("environment", {}), _ENVIRONMENT_WORDS),
            drivers=self._strings("drivers", content.get("drivers", {}), frozenset()),
            config_file=self._config_file(content.get("config_file")),
            install=commands["install"],
            expand=commands["expand"],
            migrate=commands.get("migrate"),
            contract=commands["contract"],
            check=commands["check"],
            version=commands.get("version"),
            version_pattern=self._pattern("version", version.get("pattern", r"(\d+(\.\d+)+)")) if version else None,
            trusted_from=self._trusted_from(check, has_version="version" in content),
            known=self._releases(content.get("release", [])),
        )

    def _command(self, name: str, table: object) -> CommandTemplate:
        if not isinstance(table, dict):
            raise self._wrong("", name, f"{name!r} is a table", f"Write [{name}] with argv = [...].")
        self._known_keys(table, _COMMAND_KEYS.get(name, _STEP_KEYS), name, f"[{name}]")
        meanings = _CHECK_MEANINGS if name == "check" else _STEP_MEANINGS
        codes = table.get("exit_codes", {"0": Meaning.DONE.value})
        if not isinstance(codes, dict) or not codes:
            raise self._wrong(name, "exit_codes", "'exit_codes' is a table", 'Write e.g. 0 = "done".')
        limit = _QUICK_SECONDS if name in {"check", "version"} else _LONG_SECONDS
        return CommandTemplate(
            argv=self._argv(name, table.get("argv")),
            timeout_seconds=self._seconds(name, "timeout_seconds", table.get("timeout_seconds", limit)),
            grace_seconds=self._seconds(name, "grace_seconds", table.get("grace_seconds", _GRACE_SECONDS)),
            exit_codes=tuple(self._exit_code(name, code, said, meanings) for code, said in codes.items()),
            outputs=tuple(self._output(name, rule, meanings) for rule in table.get("output", ())),
        )

    def _seconds(self, name: str, key: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise self._wrong(name, key, f"{key!r} is not a time: {value!r}", "Write seconds, e.g. 3600.")
        return float(value)

    def _argv(self, name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
            raise self._wrong(
                name, "argv", f"'argv' of [{name}] is a list of words, found {value!r}", 'Write argv = ["tool", "..."].'
            )
        for word in value:
            if word != CONFIG:
                self._check_placeholders(name, "argv", word, _ARGV_WORDS)
        return tuple(value)

    def _exit_code(self, name: str, code: str, said: object, meanings: tuple[Meaning, ...]) -> Rule:
        if not re.fullmatch(r"\d{1,3}", code) or int(code) > 255:
            raise self._wrong(name, code, f"{code!r} is no exit code", "Exit codes are 0 to 255.")
        return Rule(int(code), self._meaning(name, code, said, meanings))

    def _output(self, name: str, rule: object, meanings: tuple[Meaning, ...]) -> Rule:
        if not isinstance(rule, dict) or set(rule) != {"pattern", "meaning"}:
            raise self._wrong(
                name, "output", "each 'output' has a pattern and a meaning", f"Write [[{name}.output]] with both."
            )
        return Rule(self._pattern(name, rule["pattern"]), self._meaning(name, "meaning", rule["meaning"], meanings))

    def _meaning(self, name: str, key: str, said: object, meanings: tuple[Meaning, ...]) -> Meaning:
        for meaning in meanings:
            if said == meaning.value:
                return meaning
        raise self._wrong(name, key, f"{said!r} is no meaning", f"Write one of: {', '.join(meanings)}.")

    def _pattern(self, name: str, value: object) -> re.Pattern[str]:
        try:
            return re.compile(self._text(name, "pattern", value), re.MULTILINE)
        except re.error as error:
            raise self._wrong(name, "pattern", f"not a regular expression: {error}", "Correct it.") from error

    def _trusted_from(self, check: Mapping[str, Any], *, has_version: bool) -> str | None:
        if "trusted_from" not in check:
            return None
        if not has_version:
            raise self._wrong("check", "trusted_from", "'trusted_from' needs to know the version", "Write [version].")
        return self._text("check", "trusted_from", check["trusted_from"])

    def _config_file(self, table: object) -> tuple[str, ...]:
        if table is None:
            return ()
        if not isinstance(table, dict):
            raise self._wrong("", "config_file", "'config_file' is a table", "Write [config_file] with argv = [...].")
        self._known_keys(table, ("argv",), "config_file", "[config_file]")
        return self._argv("config_file", table.get("argv"))

    def _strings(self, name: str, table: object, words: frozenset[str]) -> tuple[tuple[str, str], ...]:
        if not isinstance(table, dict):
            raise self._wrong("", name, f"{name!r} is a table", f"Write [{name}].")
        for key, value in table.items():
            self._check_placeholders(name, key, self._text(name, key, value), words)
        return tuple(table.items())

    def _releases(self, entries: object) -> tuple[KnownRelease, ...]:
        if not isinstance(entries, list):
            raise self._wrong("", "release", "'release' is a list of tables", "Write [[release]].")
        keys = ("names", "version", "expand", "contract")
        found = []
        for entry in entries:
            if not isinstance(entry, dict) or set(entry) != set(keys) or not isinstance(entry["names"], list):
                raise self._wrong(
                    "", "release", f"a [[release]] has {', '.join(keys)}", "Write all four, and no other."
                )
            version, expand, contract = (self._text("release", key, entry[key]) for key in keys[1:])
            names = tuple(self._text("release", "names", name) for name in entry["names"])
            found.append(KnownRelease(names, version, expand, contract))
        return tuple(found)

    def _text(self, name: str, key: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self._wrong(name, key, f"{key!r} is a text, found {value!r}", "Write it in quotes.")
        return value

    def _check_placeholders(self, name: str, key: str, text: str, words: frozenset[str]) -> None:
        for word in _PLACEHOLDER.findall(text):
            if word in words:
                continue
            if word in _ENVIRONMENT_WORDS:
                raise self._wrong(
                    name,
                    key,
                    f"{{{word}}} holds a password, and every user of a machine can read the words of a command",
                    "Hand it over in [environment].",
                )
            allowed = ", ".join(f"{{{each}}}" for each in sorted(words)) or "none"
            raise self._wrong(name, key, f"unknown placeholder {{{word}}}", f"Here these have a meaning: {allowed}.")

    def _known_keys(self, table: Mapping[str, Any], keys: tuple[str, ...], name: str, what: str) -> None:
        for key in table:
            if key not in keys:
                raise self._wrong(name, key, f"unknown key {key!r}", f"{what} has: {', '.join(keys)}.")

    def _wrong(self, table: str, key: str, sentence: str, remedy: str) -> ManifestError:
        return broken("preset_invalid", Place(self._path, self._line(table, key)), sentence, remedy=remedy)

    def _line(self, table: str, key: str) -> int:
        """Where a key of a table is written, or a table of the file; else where the table begins, else 1."""
        header = re.compile(rf"\s*\[+\s*{re.escape(table or key)}\s*[\].]")
        assignment = re.compile(rf"(^|[{{,])\s*[\"']?{re.escape(key)}[\"']?\s*=")
        begins, inside = None, not table
        for number, text in enumerate(self._source.splitlines(), start=1):
            if header.match(text):
                if not table:
                    return number
                begins, inside = begins or number, True
            elif re.match(r"\s*\[", text):
                inside = False
            elif inside and assignment.search(text):
                return number
        return begins or 1
