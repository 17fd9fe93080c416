"""The manifest `releases.toml`: the ordered releases of one schema."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import ManifestError
from orchestrator.domain.ladder import InStepBy
from orchestrator.domain.releases import Release, Releases
from orchestrator.schema_migrations.places import Place, broken

MANIFEST_NAME = "releases.toml"

_RELEASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
_FLEET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MIGRATION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_OLD_SHAPE = re.compile(r"[^\W\d][\w $-]*(\.[^\W\d][\w $-]*){0,2}\Z|([^\W\d][\w $-]*\.){1,2}\*\Z")

_HEADS = ("expand", "contract")
_KEYS = (
    "name", *_HEADS, "data_migrations", "reverse_data_migrations", "in_step_by", "old_shape", "fleets",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyLine:
    """Where a key of one release stands; the `[[release]]` line itself has the key `` (empty)."""

    release: int
    key: str
    line: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was read and found sound by itself. Whether a migration tree has its heads, the tree says."""

    path: Path
    releases: Releases
    lines: tuple[KeyLine, ...]

    def place(self, release: str, key: str = "name") -> Place:
        """Where a release, or one of its keys, is written; the release's own line if it does not write that key."""
        index = self.releases.index(release)
        return Place(self.path, _line(self.lines, index, key))

    def heads(self, release: str) -> tuple[str | None, str | None]:
        """The expand and the contract head at a release: its own, else the nearest earlier release's."""
        expand: str | None = None
        contract: str | None = None
        for each in self.releases.ordered[: self.releases.index(release) + 1]:
            expand = each.expand_head or expand
            contract = each.contract_head or contract
        return expand, contract


def load_manifest(path: Path, *, schema: str, brings_own_tool: bool = False) -> Manifest:
    """Read a manifest. Raises `ManifestError` with file, line and remedy for the first thing that is wrong.

    A schema that brings its own migration tool has no heads and no files of data migrations to look for; each of
    its releases counts as having contract migrations.
    """
    source = _read(path)
    lines = tuple(_key_lines(source))
    content = _parse(path, source)
    reader = _Reader(path, lines, brings_own_tool)
    return Manifest(path=path, releases=Releases(schema, reader.releases(content)), lines=lines)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise broken(
            "manifest_missing",
            Place(path, 1),
            f"the manifest cannot be read: {error.strerror or error}",
            remedy=f"Write a {MANIFEST_NAME} beside expand/ and contract/, or correct the directory in the options.",
        ) from error
    except UnicodeDecodeError as error:
        raise broken(
            "manifest_invalid", Place(path, 1), "the manifest is not UTF-8 text", remedy="Save it as UTF-8."
        ) from error


def _parse(path: Path, source: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else source.count("\n") + 1
        raise broken("manifest_invalid", Place(path, line), f"not valid TOML: {error}", remedy="Correct it.") from error


def _key_lines(source: str) -> Iterator[KeyLine]:
    release = -1
    for number, text in enumerate(source.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*release\s*\]\]", text):
            release += 1
            yield KeyLine(release, "", number)
        elif re.match(r"\s*\[", text):
            yield KeyLine(-1, text.strip().strip("[]").strip(), number)
        elif found := re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=", text):
            yield KeyLine(release, found[1], number)


def _line(lines: tuple[KeyLine, ...], release: int, key: str) -> int:
    own = next((each.line for each in lines if each.release == release and each.key == key), None)
    if own is not None:
        return own
    return next((each.line for each in lines if each.release == release and each.key == ""), 1)


class _Reader:
    """Turns the parsed file into releases, refusing what is wrong with its line."""

    def __init__(self, path: Path, lines: tuple[KeyLine, ...], brings_own_tool: bool) -> None:
        self._path = path
        self._lines = lines
        self._brings_own_tool = brings_own_tool

    def releases(self, content: Mapping[str, Any]) -> tuple[Release, ...]:
        for key in content:
            if key != "release":
                raise self._wrong(-1, key, f"unknown key {key!r}", "The manifest holds [[release]] tables only.")
        entries = content.get("release")
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise self._wrong(-1, "release", "the manifest lists no release", 'Write [[release]] and name = "...".')
        found: list[Release] = []
        for index, entry in enumerate(entries):
            found.append(self._release(index, entry, tuple(found)))
        return tuple(found)

    def _release(self, index: int, entry: Mapping[str, Any], earlier: tuple[Release, ...]) -> Release:
        for key in entry:
            if key not in _KEYS:
                raise self._wrong(index, key, f"unknown key {key!r}", f"A release has: {', '.join(_KEYS)}.")
        name = self._name(index, entry, earlier)
        expand, contract = (self._head(index, entry, key) for key in _HEADS)
        last_contract = next((each.contract_head for each in reversed(earlier) if each.contract_head), None)
        return Release(
            name=name,
            expand_head=expand,
            contract_head=contract,
            data_migrations=self._data_migrations(index, entry, earlier),
            reverse_data_migrations=self._reverse_data_migrations(index, entry, earlier),
            in_step_by=self._in_step_by(index, entry),
            old_shape=self._words(
                index,
                entry,
                "old_shape",
                _OLD_SHAPE,
                'Write "table" or "table.column" for each, e.g. "users.name"; in a schema of PostgreSQL '
                '"schema.table.column" or "schema.table.*".',
            ),
            fleets=self._words(index, entry, "fleets", _FLEET_NAME, "Fleet names have letters, digits, '.', '_', '-'."),
            has_contract=self._brings_own_tool or (contract is not None and contract != last_contract),
        )

    def _name(self, index: int, entry: Mapping[str, Any], earlier: tuple[Release, ...]) -> str:
        name = entry.get("name")
        if not isinstance(name, str) or not _RELEASE_NAME.match(name):
            raise self._wrong(
                index,
                "name",
                f"a release needs a name, found {name!r}" if "name" in entry else "this release has no name",
                'Write name = "2026.1": up to 64 letters, digits and . _ + -, in quotes.',
            )
        if any(each.name == name for each in earlier):
            raise self._wrong(index, "name", f"release {name!r} is listed twice", "Give each release its own name.")
        return name

    def _head(self, index: int, entry: Mapping[str, Any], key: str) -> str | None:
        if key not in entry:
            return None
        value = entry[key]
        if self._brings_own_tool:
            raise self._wrong(
                index, key, f"{key!r} names a revision, but this schema brings its own tool", "Remove the line."
            )
        if not isinstance(value, str) or not value:
            raise self._wrong(index, key, f"{key!r} is the id of one revision, found {value!r}", "Write it in quotes.")
        return value

    def _reverse_data_migrations(
        self, index: int, entry: Mapping[str, Any], earlier: tuple[Release, ...]
    ) -> tuple[str, ...]:
        key = "reverse_data_migrations"
        names = self._data_migrations(index, entry, earlier, key)
        if not names:
            return ()
        both = next((name for name in names if name in entry.get("data_migrations", [])), None)
        if both is not None:
            sentence = f"{both!r} stands in data_migrations too"
            raise self._wrong(index, key, sentence, "Rows move one way in a data migration: write two.")
        if self._in_step_by(index, entry) is not InStepBy.CLIENT:
            raise self._wrong(
                index,
                key,
                "rows are moved back at read_new, where every instance writes both shapes because it was told to",
                'Remove the line, or use in_step_by = "client". Triggers keep the old shape valid by themselves.',
            )
        return names

    def _data_migrations(
        self, index: int, entry: Mapping[str, Any], earlier: tuple[Release, ...], key: str = "data_migrations"
    ) -> tuple[str, ...]:
        names = self._words(
            index, entry, key, _MIGRATION_NAME, "Write the names of files in data/, without the directory and '.py'."
        )
        for name in names:
            owner = next((each.name for each in earlier if name in each.all_data_migrations), None)
            if owner is not None:
                raise self._wrong(
                    index,
                    key,
                    f"data migration {name!r} belongs to release {owner!r} already",
                    "A data migration runs for one release; give this one its own file and name.",
                )
            file = self._path.parent / "data" / f"{name}.py"
            if not self._brings_own_tool and not file.is_file():
                raise self._wrong(
                    index,
                    key,
                    f"there is no file {file} for data migration {name!r}",
                    "Write that file, or correct the name.",
                    code="data_migration_missing",
                )
        return names

    def _in_step_by(self, index: int, entry: Mapping[str, Any]) -> InStepBy:
        default = InStepBy.SERVICE if self._brings_own_tool else InStepBy.CLIENT
        value = entry.get("in_step_by", default.value)
        try:
            found = InStepBy(value)
        except ValueError:
            known = "client, triggers or service"
            raise self._wrong(
                index, "in_step_by", f"in_step_by is {known}, found {value!r}", "Write one of the three."
            ) from None
        if found is InStepBy.TRIGGERS:
            self._refuse_without_end(index, entry)
        return found

    def _refuse_without_end(self, index: int, entry: Mapping[str, Any]) -> None:
        """Triggers stand until the old shape is sealed, so there has to be one that is sealed and removed."""
        key = next((each for each in ("contract", "old_shape") if not entry.get(each)), None)
        if self._brings_own_tool:
            raise self._wrong(
                index,
                "in_step_by",
                "this schema brings its own tool, so nobody could create the triggers",
                'Use in_step_by = "service".',
            )
        if key is not None:
            what = "contract revisions that remove the old shape" if key == "contract" else "a list of the old shape"
            raise self._wrong(
                index,
                "in_step_by",
                f"a release that triggers keep in step needs {what}: they stand until it is sealed",
                f"Write {key} = ... for that release.",
                code="triggers_without_end",
            )

    def _words(
        self, index: int, entry: Mapping[str, Any], key: str, pattern: re.Pattern[str], remedy: str
    ) -> tuple[str, ...]:
        value = entry.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(index, key, f"{key!r} is a list of names, found {value!r}", f'Write {key} = ["..."].')
        for each in value:
            if not isinstance(each, str) or not pattern.match(each):
                raise self._wrong(index, key, f"{each!r} cannot stand in {key!r}", remedy)
            if value.count(each) > 1:
                raise self._wrong(index, key, f"{each!r} stands in {key!r} twice", "Remove one of the two.")
        return tuple(value)

    def _wrong(
        self, index: int, key: str, sentence: str, remedy: str, *, code: str = "manifest_invalid"
    ) -> ManifestError:
        return broken(code, Place(self._path, _line(self._lines, index, key)), sentence, remedy=remedy)
