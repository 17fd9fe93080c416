"""authoring: a new data migration, and its test, from the templates that come along."""

from __future__ import annotations

import argparse
import json
import keyword
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from orchestrator.cli.configured import Configured
from orchestrator.cli.exits import Exit
from orchestrator.cli.failures import UsageError
from orchestrator.domain.errors import Invalid, NotFound
from orchestrator.domain.releases import Release

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Draft:
    """A data migration as its author asks for it: expressions (column, SQL), or what a transform reads and writes."""

    name: str
    table: str
    expressions: tuple[tuple[str, str], ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    is_reverse: bool

    @property
    def class_name(self) -> str:
        """The name in the way of classes."""
        return "".join(word.capitalize() for word in self.name.split("_")) or "Migration"

    def text(self) -> str:
        """The file."""
        return _filled(
            "expression" if self.expressions else "transform",
            class_name=self.class_name,
            table=self.table,
            table_text=_quoted(self.table),
            columns=", ".join(self.writes or (column for column, _ in self.expressions)),
            expressions="\n".join(f"        {_quoted(column)}: {_quoted(sql)}," for column, sql in self.expressions),
            reads=_tuple(self.reads),
            writes=_tuple(self.writes),
            todo=_quoted(f"say what {' and '.join(self.writes)} become, as a dictionary of all of them"),
        )

    def trial(self, test: Path, directory: Path, release: Release) -> str:
        """Its test, as it would stand in that file."""
        new = "the new release from write_new on" if self.is_reverse else "the old release"
        return _filled(
            "trial",
            name=self.name,
            migrations=_quoted(os.path.relpath(directory, test.absolute().parent)),
            one=new,
            one_columns="only the columns that the data migration reads",
            both="the new release while rows are moved" + (" back" if self.is_reverse else ""),
            release=_quoted(release.name),
            insert=_quoted(f"INSERT INTO {self.table} (...) VALUES (...)"),
            file_name=_quoted(f"{self.name}.py"),
            in_step_by=_quoted(release.in_step_by.value),
            is_reverse="\n        is_reverse=True," if self.is_reverse else "",
        )


class New(Configured):
    """Begin a data migration from a template, with its test.

    Needs no daemon. Nothing that is there is overwritten, and releases.toml is not touched: the line to add to it is
    printed, for people to review.
    """

    EXAMPLE = (
        "orchestrator data-migration new examples/inventory/migrations split_title --table items "
        "--reads title --writes title_words"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "schema", metavar="SCHEMA_OR_DIRECTORY", help="a schema of the configuration, or the directory of its tree"
        )
        parser.add_argument("name", metavar="NAME", help="name of the data migration, and of its file in data/")
        parser.add_argument("--table", required=True, help="the table whose rows change, as TABLE or SCHEMA.TABLE")
        parser.add_argument(
            "--expression",
            action="append",
            default=[],
            metavar="COLUMN=SQL",
            help="a new column, and the SQL that computes it; can be repeated",
        )
        parser.add_argument("--reads", type=_columns, default=(), metavar="A,B", help="what a transform is given")
        parser.add_argument("--writes", type=_columns, default=(), metavar="C,D", help="what it returns")
        parser.add_argument(
            "--reverse", action="store_true", help="it moves rows back into the old shape, should an upgrade go back"
        )
        parser.add_argument("--test", type=Path, metavar="PATH", help="write its test there (default: print it)")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from orchestrator.schema_migrations.manifest import MANIFEST_NAME, load_manifest

        draft = _draft(parsed_args)
        directory = self._directory(parsed_args)
        manifest = load_manifest(directory / MANIFEST_NAME, schema=parsed_args.schema)
        release = manifest.releases.ordered[-1]
        file = directory / "data" / f"{draft.name}.py"
        test: Path | None = parsed_args.test
        trial = draft.trial(test or Path(f"test_{draft.name}.py"), directory, release)
        for path in (file, *((test,) if test else ())):
            _refuse_existing(path)
        _write(file, draft.text())
        self.say(f"{file}: the data migration, for you to complete")
        if test is not None:
            _write(test, trial)
            self.say(f"{test}: its test, for you to complete")
        key = "reverse_data_migrations" if draft.is_reverse else "data_migrations"
        names = (*(release.reverse_data_migrations if draft.is_reverse else release.data_migrations), draft.name)
        self.say(f"{manifest.place(release.name, key)}: let release {release.name} have this line when it is ready:")
        self.say(f"  {key} = [{', '.join(map(_quoted, names))}]")
        if test is None:
            self.say(f"its test, for instance as test_{draft.name}.py (--test PATH would have written it):\n")
            self.say(trial.rstrip("\n"))
        return Exit.YES

    def _directory(self, parsed_args: argparse.Namespace) -> Path:
        given = Path(parsed_args.schema)
        if given.is_dir():
            return given.absolute()
        if os.sep in parsed_args.schema or (not parsed_args.config_file and not _is_configured()):
            raise NotFound(
                "tree_unknown",
                f"there is no directory {parsed_args.schema}, and no configuration that manages a schema of that name",
                remedy="Give the directory that holds releases.toml, or the schema with --config-file.",
            )
        schemas = {each.name: each.migrations for each in self.settings(parsed_args).schemas}
        if parsed_args.schema not in schemas:
            raise NotFound(
                "tree_unknown",
                f"there is no directory {parsed_args.schema}, and the configuration manages no schema of that name",
                remedy=f"It manages: {', '.join(schemas)}.",
            )
        return schemas[parsed_args.schema]


def _draft(given: argparse.Namespace) -> Draft:
    from orchestrator.data_migrations.expressions import overwritten

    name: str = given.name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"{name!r} cannot be the name of a Python module: letters, digits and _, not beginning with a digit, "
            f"{_LONGEST_NAME} characters at the most, for example split_name."
        )
    if bool(given.expression) == bool(given.reads or given.writes):
        raise UsageError("give either --expression COLUMN=SQL, or both --reads A,B and --writes C,D.")
    if not given.expression and not (given.reads and given.writes):
        raise UsageError("a transform needs both: --reads A,B, what it is given, and --writes C,D, what it returns.")
    if both := sorted(set(given.reads) & set(given.writes)):
        raise UsageError(f"{', '.join(both)} cannot be read and written: a batch that is repeated needs the old value.")
    pairs = tuple(_expression(each) for each in given.expression)
    if own := overwritten(given.table, dict(pairs)):
        raise UsageError(
            f"{', '.join(own)} cannot be read and written: a batch that is repeated needs the old value. If a column "
            "of another table is meant, put the name of that table before it."
        )
    return Draft(name, given.table, pairs, tuple(given.reads), tuple(given.writes), given.reverse)


def _expression(text: str) -> tuple[str, str]:
    column, equals, sql = (part.strip() for part in text.partition("="))
    if not (column and equals and sql):
        raise UsageError(f"--expression {text!r} is not COLUMN=SQL, for example upper_name='upper(name)'.")
    return column, sql


def _columns(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _is_configured() -> bool:
    from orchestrator.conf.loading import find_config_files

    return bool(find_config_files())


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise Invalid(
            "file_exists",
            f"{path} is there already, and is not overwritten",
            remedy="Give another name, or take that file away first.",
        )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Invalid(
            "file_not_written", f"{path} cannot be written: {error.strerror}", remedy="Let it be written there."
        ) from error


def _filled(template: str, **values: str) -> str:
    return Template((_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(values)


def _quoted(text: str) -> str:
    """A literal of Python, and of TOML."""
    return json.dumps(text, ensure_ascii=False)


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(map(_quoted, names))}{',' if len(names) == 1 else ''})"
