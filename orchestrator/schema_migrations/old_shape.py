"""The old shape: what a release stops using, as its manifest writes it and as a database has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from orchestrator.dialects import Dialect
from orchestrator.dialects.triggers import DefaultKind, Denial, TableFacts, TableKind, short_message
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.releases import Release
from orchestrator.schema_migrations.manifest import Manifest
from orchestrator.schema_migrations.places import refused

WHOLE_TABLE = "*"

_ADD_IT = "Add it there as it was; only if no database has it, correct old_shape."


@dataclass(frozen=True, slots=True)
class OldThing:
    """A table, or a column of one. `schema` None is the default schema of the database."""

    schema: str | None
    table: str
    column: str | None

    @classmethod
    def read(cls, written: str) -> OldThing:
        """As the manifest writes it: `table`, `table.column`, `schema.table.column`, `schema.table.*`."""
        parts = written.split(".")
        match len(parts):
            case 1:
                return cls(None, parts[0], None)
            case 2:
                return cls(None, parts[0], None if parts[1] == WHOLE_TABLE else parts[1])
            case _:
                return cls(parts[0], parts[1], None if parts[2] == WHOLE_TABLE else parts[2])

    @property
    def subject(self) -> str:
        """For people: `customers.name`."""
        return ".".join(part for part in (self.schema, self.table, self.column) if part)


@dataclass(frozen=True, slots=True)
class Deniable:
    """Something of the old shape that somebody could write, and how far that can be denied.

    `inserts` is false where a database cannot tell an INSERT that leaves the column out from one that names it.
    """

    denial: Denial
    inserts: bool


def deniable(connection: Connection, dialect: Dialect, schema: str, release: Release) -> Iterator[Deniable]:
    """What of the old shape is there and can be written. What the database computes, nobody can write."""
    for written in release.old_shape:
        thing = OldThing.read(written)
        facts = dialect.triggers.table(connection, thing.schema, thing.table)
        if facts is None or facts.kind not in (TableKind.TABLE, TableKind.PARTITIONED):
            continue
        inserts = True
        if thing.column is not None:
            column = facts.column(thing.column)
            if column is None or column.generated:
                continue
            inserts = column.default_kind is not DefaultKind.COMPUTED
        yield Deniable(denial_of(thing, schema, release), inserts)


def denial_of(thing: OldThing, schema: str, release: Release) -> Denial:
    """What denies writes to it."""
    return Denial(thing.table, thing.schema, thing.column, short_message(schema, thing.subject, release.name))


def refuse_unsealable(
    connection: Connection, dialect: Dialect, manifest: Manifest, release: Release, database: str
) -> None:
    """Raise `MigrationRefused` with the manifest's line for what is not there, or cannot be denied as it is there."""
    for written in release.old_shape:
        thing = OldThing.read(written)
        facts = dialect.triggers.table(connection, thing.schema, thing.table)
        found = _fault(thing, facts)
        if found is not None:
            code, sentence, remedy = found
            raise _refused(
                manifest, release, code, f"old_shape lists {written}: database {database} {sentence}", remedy
            )


def gone(connection: Connection, dialect: Dialect, release: Release) -> tuple[str, ...]:
    """What of the old shape is not there, as the manifest writes it."""
    return tuple(
        written
        for thing, written in ((OldThing.read(written), written) for written in release.old_shape)
        if (facts := dialect.triggers.table(connection, thing.schema, thing.table)) is None
        or (thing.column is not None and facts.column(thing.column) is None)
    )


def refuse_missing_rights(
    connection: Connection,
    dialect: Dialect,
    manifest: Manifest,
    release: Release,
    tables: tuple[tuple[str | None, str], ...],
    database: str,
) -> None:
    """Raise `MigrationRefused` (code `right_missing`) for what the database would refuse when it is sealed."""
    missing = dialect.triggers.missing_rights(connection, tables)
    if missing:
        raise _refused(
            manifest,
            release,
            "right_missing",
            f"release {release.name} needs triggers in database {database}: "
            f"{'; '.join(each.sentence for each in missing)}",
            " ".join(dict.fromkeys(each.remedy for each in missing)),
            database=database,
        )


def _fault(thing: OldThing, facts: TableFacts | None) -> tuple[str, str, str] | None:
    if facts is None:
        return "old_shape_missing", f"has no table {thing.table}", _ADD_IT
    if facts.kind is TableKind.VIEW:
        return (
            "old_shape_view",
            "has a view of that name, and what is written through a view is written to its tables",
            "List the tables and columns behind it instead.",
        )
    if facts.kind is TableKind.PARENT:
        return (
            "old_shape_inherited",
            "has tables that inherit from it, which triggers of it do not reach",
            "List those tables, each by itself, and let them inherit no more; or make it a partitioned table.",
        )
    if facts.kind is TableKind.OTHER:
        return "old_shape_no_table", "has something else of that name", "List tables and columns only."
    if thing.column is not None and facts.column(thing.column) is None:
        known = ", ".join(column.name for column in facts.columns)
        return "old_shape_missing", f"has no column {thing.subject}", f"{_ADD_IT} The table has: {known}."
    return None


def _refused(
    manifest: Manifest, release: Release, code: str, sentence: str, remedy: str, **fields: object
) -> MigrationRefused:
    place = manifest.place(release.name, "old_shape")
    return refused(code, place, sentence, remedy=remedy, release=release.name, **fields)
