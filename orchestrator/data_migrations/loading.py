"""Loading: from the file of a data migration to its definition, or to one sentence saying what is wrong with it."""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.data_migrations.authoring import DataMigration
from orchestrator.data_migrations.expressions import overwritten, read_columns
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.releases import Link

_PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)

_NEAR = 0.8
"""How like another name one is that was probably meant to be it, of 1."""

Transform = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ServiceFunction:
    """A function of the service, wrapped: how it is found and called in the service's own environment."""

    function: str
    context: str | None
    setup: str
    interpreter: str
    call_seconds: float


@dataclass(frozen=True, slots=True)
class Definition:
    """A data migration as its author wrote it. `key` is None for the primary key.

    Exactly one of `expressions` (column, SQL), `transform` and `function` is there. `writes` are the columns that
    change. With a function nobody but the service knows the table: it is empty then. `after` and `shares_table` are
    what it says of others of its release, as a `Link` has them.
    """

    name: str
    path: Path
    file_hash: str
    table: str
    key: tuple[str, ...] | None
    writes: tuple[str, ...]
    expressions: tuple[tuple[str, str], ...] = ()
    reads: tuple[str, ...] = ()
    transform: Transform | None = None
    function: ServiceFunction | None = None
    after: tuple[str, ...] | None = None
    shares_table: bool = False

    @property
    def link(self) -> Link:
        """What concerns others of its release."""
        if self.function is not None:
            return Link(self.name, None, self.after)
        reads = read_columns(self.table, dict(self.expressions)) | {(self.table, each) for each in self.reads}
        return Link(
            self.name, self.table, self.after, self.shares_table,
            reads=frozenset((table.casefold(), column.casefold()) for table, column in reads),
            writes=frozenset(each.casefold() for each in self.writes),
        )  # fmt: skip

    @property
    def place(self) -> str:
        """How sentences name it."""
        return f"data migration {self.name} ({self.path})"


def file_of(directory: Path, name: str) -> Path:
    """Where the data migration of that name stands, below the directory of the migration tree."""
    return directory / "data" / f"{name}.py"


def hash_of(path: Path, name: str) -> str:
    """The hash under which the ledger knows a file. Raises `MigrationRefused` (code `data_migration_missing`)."""
    return hashlib.sha256(_source(path, name)).hexdigest()


def load(path: Path, name: str) -> Definition:
    """The definition in that file. Raises `MigrationRefused` naming file, line where known, and remedy."""
    source = _source(path, name)
    file_hash = hashlib.sha256(source).hexdigest()
    module = _executed(path, name, source, file_hash)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, DataMigration) and value.__module__ == module.__name__
    ]
    authors = tuple(dict.fromkeys(found))  # one may have two names
    if len(authors) != 1:
        count = f"{len(authors)} data migrations: {_places(authors, source)}" if authors else "no data migration"
        remedy = "One file holds exactly one subclass of DataMigration; a base of it is none itself."
        raise _refused("data_migration_count", path, name, f"has {count}", remedy)
    return _definition(authors[0], path, name, file_hash)


def _places(authors: Iterable[type[DataMigration]], source: bytes) -> str:
    lines = {node.name: node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    return ", ".join(
        f"{each.__name__} at line {lines[each.__name__]}" if each.__name__ in lines else each.__name__
        for each in authors
    )


def _refuse_misspelled(author: type[DataMigration], path: Path, name: str) -> None:
    """Refuse what is nearly an attribute of a data migration: nobody would read it. What is called is no attribute."""
    known = [each for each in DataMigration.__annotations__ if not each.startswith("_")]
    own = {each: value for kind in author.__mro__ if kind is not DataMigration for each, value in vars(kind).items()}
    for each, value in own.items():
        near = difflib.get_close_matches(each, known, n=1, cutoff=_NEAR)
        if near and each not in known and not each.startswith("_") and not callable(value):
            raise _refused(
                "data_migration_attribute",
                path,
                name,
                f"has an attribute {each}, which no data migration has",
                f"Write {near[0]}; or begin its name with _, if it is meant to be one of your own.",
            )


def _function(
    author: type[DataMigration], path: Path, name: str, file_hash: str, after: tuple[str, ...] | None
) -> Definition:
    others = ("table", "key", "expressions", "reads", "writes", "shares_table")
    if author.transform is not DataMigration.transform or any(getattr(author, each, None) for each in others):
        raise _refused(
            "data_migration_kind",
            path,
            name,
            "has a function of the service, and a table or f of its own",
            "A wrapped function picks and changes its own rows: leave the others out, but for `after`.",
        )
    places = (author.function, *(() if author.context is None else (author.context,)))
    if not all(isinstance(each, str) and _PLACE.fullmatch(each) for each in places):
        raise _refused(
            "data_migration_function",
            path,
            name,
            "has a function, or a context, that is not written as module:name",
            'For example function = "nova.objects.instance:migrate_x", context = "nova.context:get_admin_context".',
        )
    texts = (author.setup, author.interpreter)
    if not (all(isinstance(each, str) for each in texts) and author.interpreter and _is_time(author.call_seconds)):
        raise _refused(
            "data_migration_function",
            path,
            name,
            "has a setup or an interpreter that is not text, or call_seconds that are no time",
            'Write setup = "statements", interpreter = "python3", call_seconds = 600.',
        )
    wrapped = ServiceFunction(
        str(author.function), author.context, author.setup, author.interpreter, float(author.call_seconds)
    )
    return Definition(name, path, file_hash, "", None, (), function=wrapped, after=after)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _definition(author: type[DataMigration], path: Path, name: str, file_hash: str) -> Definition:
    _refuse_misspelled(author, path, name)
    after, shares_table = author.after, author.shares_table
    if after is not None and after != () and not _are_names(after):
        raise _refused(
            "data_migration_after", path, name, "has an `after` that is not a tuple of data migrations",
            'For example after = ("split_name",), or after = () where it follows none.',
        )  # fmt: skip
    if author.function is not None:
        return _function(author, path, name, file_hash, after)
    table, key = getattr(author, "table", None), author.key
    if not isinstance(table, str) or not table:
        raise _refused(
            "data_migration_table", path, name, "names no table", 'Give the class an attribute: table = "customers".'
        )
    if key is not None and not _are_names(key):
        raise _refused(
            "data_migration_key", path, name, "has a key that is not a tuple of columns", 'For example key = ("id",).'
        )
    if not isinstance(shares_table, bool):
        raise _refused(
            "data_migration_shares", path, name, "has a `shares_table` that is neither True nor False",
            "Write shares_table = True, or leave it out.",
        )  # fmt: skip
    has_transform = author.transform is not DataMigration.transform
    if bool(author.expressions) == has_transform:
        both = "has both expressions and a transform" if has_transform else "has neither expressions nor a transform"
        remedy = "Give it expressions = {column: SQL}, or reads, writes and a method transform(self, row)."
        raise _refused("data_migration_kind", path, name, both, remedy)
    plain = Definition(name, path, file_hash, table, key, (), after=after, shares_table=shares_table)
    return _in_python(author, plain) if has_transform else _in_sql(author, plain)


def _in_sql(author: type[DataMigration], plain: Definition) -> Definition:
    expressions = author.expressions
    if author.reads or author.writes:
        raise _refused(
            "data_migration_kind", plain.path, plain.name, "has expressions, and reads or writes",
            "Leave reads and writes out: expressions name the columns that they write, and read what they name.",
        )  # fmt: skip
    if not isinstance(expressions, Mapping) or not _are_names((*expressions.keys(), *expressions.values())):
        raise _refused(
            "data_migration_expressions", plain.path, plain.name, "has expressions that are not text",
            'Write expressions = {"new_column": "SQL over the columns of the row"}.',
        )  # fmt: skip
    definition = replace(plain, writes=tuple(expressions), expressions=tuple(expressions.items()))
    refuse_overwriting(definition)
    return definition


def _in_python(author: type[DataMigration], plain: Definition) -> Definition:
    for what, columns in (("reads", author.reads), ("writes", author.writes)):
        if columns and not _are_names(columns):
            raise _refused(
                "data_migration_columns", plain.path, plain.name, f"has `{what}` that are not a tuple of columns",
                f'Write {what} = ("name",): the comma makes it a tuple, also around one column.',
            )  # fmt: skip
    if not author.reads or not author.writes:
        raise _refused(
            "data_migration_columns", plain.path, plain.name,
            "does not say which columns its transform reads and writes",
            'Write reads = ("name",) and writes = ("first_name", "last_name").',
        )  # fmt: skip
    if overlap := sorted(set(author.reads) & set(author.writes)):
        raise _refused(
            "data_migration_overwrites", plain.path, plain.name,
            f"reads and writes the same columns: {', '.join(overlap)}",
            "Write new columns: a batch that is repeated must find the old values, and a check must compare with them.",
        )  # fmt: skip
    try:
        transform = author().transform
    except (Exception, SystemExit) as error:  # whatever the author's constructor does, people get a sentence
        raise _refused(
            "data_migration_constructor", plain.path, plain.name, f"cannot be constructed: {_words(error)}",
            "The class is made without arguments; leave its constructor out.",
        ) from error  # fmt: skip
    if not _takes_a_row(transform):
        raise _refused(
            "data_migration_kind", plain.path, plain.name, "has a transform that cannot be called with a row alone",
            "Write def transform(self, row).",
        )  # fmt: skip
    return replace(plain, writes=tuple(author.writes), reads=tuple(author.reads), transform=transform)


def _takes_a_row(transform: Transform) -> bool:
    try:
        inspect.signature(transform).bind({})
    except TypeError:
        return False
    except ValueError:
        return True  # nobody can tell
    return True


def refuse_overwriting(definition: Definition, dialect: str | None = None) -> None:
    """Refuse expressions that read what they write. Without a dialect: those that do so in each.

    Run again they would compute from their own answers, and the old values are gone. Raises `MigrationRefused` (code
    `data_migration_overwrites`).
    """
    if both := overwritten(definition.table, dict(definition.expressions), dialect):
        raise _refused(
            "data_migration_overwrites",
            definition.path,
            definition.name,
            f"has expressions that read columns that it writes: {', '.join(both)}",
            "Write new columns, and compute them from old ones alone, whatever stands in the new ones already. If a "
            "column of another table is meant, put the name of that table before it.",
        )


def line_in(path: Path, error: BaseException) -> int | None:
    """The line of that file at which the error arose, or None when it did not pass there."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def _source(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MigrationRefused(
            "data_migration_missing",
            f"data migration {name} has no readable file {path}: {error.strerror}",
            remedy="Add the file, or take its name out of releases.toml.",
            file=str(path),
            data_migration=name,
        ) from error


def _executed(path: Path, name: str, source: bytes, file_hash: str) -> ModuleType:
    """Run the file as a module of its own. Compiled here, so that no stale bytecode can stand in for it.

    It is among the loaded modules from then on: dataclasses and type hints look for their module there.
    """
    module = ModuleType(f"orchestrator_data_migration_{name}_{file_hash[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:  # whatever the author's file does, people get a sentence
        line = line_in(path, error)
        at = "" if line is None else f" at line {line}"
        raise _refused(
            "data_migration_broken",
            path,
            name,
            f"does not import{at}: {_words(error)}",
            "Mend the file.",
            line=line,
        ) from error
    return module


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, str) and item for item in value)


def words_of(error: BaseException) -> str:
    """What an error of the author's code says, also where it fails to say it."""
    try:
        return str(error.msg if isinstance(error, SyntaxError) else error)
    except (Exception, SystemExit) as another:
        return f"its words raise {type(another).__name__}"


def _words(error: BaseException) -> str:
    text = words_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _refused(code: str, path: Path, name: str, what: str, remedy: str, *, line: int | None = None) -> MigrationRefused:
    return MigrationRefused(
        code,
        f"data migration {name} ({path}) {what}",
        remedy=remedy,
        file=str(path),
        line=line,
        data_migration=name,
    )
