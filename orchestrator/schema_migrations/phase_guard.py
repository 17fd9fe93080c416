"""The phase guard: expand may add or loosen, contract may remove or tighten, and every change is judged by that.

A change that belongs to the other stage, or to none, is refused with its line and what to write instead. Raw SQL that
nobody can judge, and rows written beside the data migrations, need the author's acknowledgement with a reason. What
is right for its stage but holds locks for long is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from orchestrator.domain.ladder import Stage
from orchestrator.schema_migrations.changes import Act, Change, ConstraintKind, Default
from orchestrator.schema_migrations.places import Place, refused
from orchestrator.schema_migrations.recording import Recording
from orchestrator.schema_migrations.tree import Revision

ACKNOWLEDGE = 'or, if you know that it is safe in its stage, write acknowledged = "the reason" in the file.'


@dataclass(frozen=True, slots=True)
class Warning_:
    """Something that is allowed and may hurt, e.g. by holding a lock for long."""

    revision: str
    place: Place
    sentence: str
    remedy: str


class Ruling(Enum):
    """What the guard says of a change."""

    ALLOWED = "allowed"
    WARNED = "warned"
    NEEDS_ACKNOWLEDGEMENT = "needs acknowledgement"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ruling on one change, with the reason and what to do instead."""

    ruling: Ruling
    why: str = ""
    remedy: str = ""


@dataclass(slots=True)
class Novelty:
    """What this release itself has added so far. The old release does not know it, so nothing there can break it."""

    tables: set[tuple[str | None, str]] = field(default_factory=set)
    columns: set[tuple[str | None, str, str]] = field(default_factory=set)
    sync_triggers: set[tuple[str | None, str, str]] = field(default_factory=set)

    def note(self, changes: Iterable[Change]) -> None:
        """Remember what these changes add."""
        for change in changes:
            if change.act is Act.CREATE_TABLE:
                self.tables.add((change.schema, change.table))
            elif change.act is Act.ADD_COLUMN:
                self.columns.add((change.schema, change.table, change.name))
            elif change.act is Act.CREATE_SYNC_TRIGGER:
                self.sync_triggers.add((change.schema, change.table, change.name))

    def has_sync_trigger(self, change: Change) -> bool:
        """Whether the change is to a sync trigger that this release brings."""
        return (change.schema, change.table, change.name) in self.sync_triggers

    def has_table(self, change: Change) -> bool:
        """Whether the change is to a table that this release brings."""
        return (change.schema, change.table) in self.tables

    def has_columns(self, change: Change) -> bool:
        """Whether all columns that the change covers are ones that this release brings."""
        names = change.columns or ((change.name,) if change.act not in _NOT_OF_A_COLUMN else ())
        return bool(names) and all((change.schema, change.table, name) in self.columns for name in names)


_NOT_OF_A_COLUMN = {Act.CREATE_INDEX, Act.DROP_INDEX, Act.ADD_CONSTRAINT, Act.DROP_CONSTRAINT}
_ALLOWED = Verdict(Ruling.ALLOWED)


def judge_revision(recording: Recording, novelty: Novelty) -> tuple[Warning_, ...]:
    """Refuse a revision that breaks the rules of its stage; otherwise say what may hurt.

    `novelty` is what the release added before this revision; it grows by what this one adds. Raises
    `MigrationRefused` with file, line and remedy for the first change that is refused.
    """
    revision = recording.revision
    warnings: list[Warning_] = []
    for change in recording.changes:
        novelty.note((change,))
        verdict = judge(change, revision.stage, novelty)
        enforce(verdict, change, revision)
        if verdict.ruling is Ruling.WARNED:
            sentence = f"{change.sentence}: {verdict.why}"
            warnings.append(Warning_(revision.id, change.place, sentence, verdict.remedy))
    if recording.stop is not None and revision.acknowledged is None:
        raise refused(
            "revision_not_judgeable",
            recording.stop.place,
            f"revision {revision.id} cannot be judged without a database: {recording.stop.sentence}",
            remedy="Write what it does as operations that need no look at the database, " + ACKNOWLEDGE,
            revision=revision.id,
        )
    return tuple(warnings)


def enforce(verdict: Verdict, change: Change, revision: Revision) -> None:
    """Raise `MigrationRefused` if the verdict does not let this change of this revision happen."""
    if verdict.ruling is Ruling.REFUSED:
        raise refused(
            f"not_in_{revision.stage.value}",
            change.place,
            f"revision {revision.id} would {change.sentence}: {verdict.why}",
            remedy=verdict.remedy,
            revision=revision.id,
        )
    if verdict.ruling is Ruling.NEEDS_ACKNOWLEDGEMENT and revision.acknowledged is None:
        raise refused(
            "acknowledgement_needed",
            change.place,
            f"revision {revision.id} would {change.sentence}: {verdict.why}",
            remedy=f"{verdict.remedy} {ACKNOWLEDGE[0].upper()}{ACKNOWLEDGE[1:]}",
            revision=revision.id,
        )


def judge(change: Change, stage: Stage, novelty: Novelty) -> Verdict:
    """Whether a change may be made in a stage."""
    if change.act in (Act.RENAME_TABLE, Act.RENAME_COLUMN):
        if stage is Stage.EXPAND and novelty.has_table(change):
            return _ALLOWED
        return _refuse(
            "one of the two releases does not know the name",
            "Add the new name in expand/, let both be written, move the data, and drop the old name in contract/.",
        )
    if change.act is Act.OPAQUE:
        return Verdict(Ruling.NEEDS_ACKNOWLEDGEMENT, "nobody can tell what it does", "Write it as operations.")
    if change.act is Act.DESCRIBE:
        return _ALLOWED
    return _judge_expand(change, novelty) if stage is Stage.EXPAND else _judge_contract(change)


def _judge_expand(change: Change, novelty: Novelty) -> Verdict:  # noqa: PLR0912  # one case per kind of change
    if novelty.has_table(change):
        return _ALLOWED
    match change.act:
        case Act.CREATE_TABLE | Act.CREATE_OTHER | Act.SET_NULLABLE | Act.SET_DEFAULT | Act.CREATE_SYNC_TRIGGER:
            return _ALLOWED
        case Act.DROP_SYNC_TRIGGER if novelty.has_sync_trigger(change):
            return _ALLOWED
        case Act.DROP_SYNC_TRIGGER:
            return _refuse("it keeps another release in step", "Leave it: sealing drops those of its release.")
        case Act.ADD_COLUMN:
            return _judge_added_column(change)
        case Act.DROP_COLUMN if novelty.has_columns(change):
            return _ALLOWED
        case Act.DROP_TABLE | Act.DROP_COLUMN | Act.DROP_OTHER:
            return _refuse("the old release still uses it", "Move it to a revision in contract/.")
        case Act.DROP_INDEX:
            return _acknowledge("the old release's queries may need it", "Move it to a revision in contract/.")
        case Act.SET_NOT_NULL:
            return _refuse(
                "the old release's INSERTs leave it out",
                "Leave it nullable in expand/, fill it by a data migration, and forbid NULL in contract/.",
            )
        case Act.DROP_DEFAULT:
            return _refuse("the old release's INSERTs may leave it out", "Drop the default in contract/.")
        case Act.CHANGE_DEFAULT:
            return _warn("the old release gets the new default too", "Make sure that it can live with it.")
        case Act.CHANGE_TYPE:
            return _judge_type(change)
        case Act.CREATE_INDEX if change.unique and not novelty.has_columns(change):
            return _refuse("a unique index refuses rows that the old release writes", "Create it in contract/.")
        case Act.CREATE_INDEX:
            return _judge_index_locks(change)
        case Act.ADD_CONSTRAINT:
            return _judge_added_constraint(change, novelty)
        case Act.DROP_CONSTRAINT if change.kind is ConstraintKind.PRIMARY_KEY:
            return _refuse("the old release finds its rows by it", "Drop it in contract/.")
        case Act.DROP_CONSTRAINT:
            return _ALLOWED
        case _:
            return _judge_rows(change)


def _judge_contract(change: Change) -> Verdict:
    match change.act:
        case Act.CREATE_TABLE | Act.ADD_COLUMN | Act.CREATE_SYNC_TRIGGER:
            return _refuse("contract may only remove or tighten", "Move it to a revision in expand/.")
        case Act.SET_NULLABLE | Act.SET_DEFAULT:
            return _refuse(
                "it loosens, and who needs that needs it before contract", "Move it to a revision in expand/."
            )
        case Act.CHANGE_TYPE if change.widens:
            return _refuse("a wider type loosens", "Move it to a revision in expand/.")
        case Act.CHANGE_TYPE:
            return _acknowledge(
                "it rewrites the table under a lock", "Add a column of the new type in expand/ instead."
            )
        case Act.CREATE_OTHER:
            return _acknowledge("contract may only remove or tighten", "Move it to a revision in expand/.")
        case Act.SET_NOT_NULL:
            return _warn(
                "PostgreSQL reads the whole table under a lock, MySQL rebuilds it",
                "On PostgreSQL: add CHECK (... IS NOT NULL) NOT VALID, validate it, set NOT NULL, drop the check.",
            )
        case Act.ADD_CONSTRAINT if not change.online:
            return _warn(
                "existing rows are checked under a lock",
                "On PostgreSQL: add it NOT VALID and validate it in another revision; a unique index CONCURRENTLY.",
            )
        case Act.CREATE_INDEX:
            return _judge_index_locks(change)
        case Act.WRITE_ROWS:
            return _judge_rows(change)
        case _:
            return _ALLOWED


def _judge_added_column(change: Change) -> Verdict:
    shape = change.shapes[0]
    if shape.primary_key:
        return _refuse("a new primary key rewrites the table", "Add a nullable column; make it the key in contract/.")
    if not shape.nullable and shape.default is Default.NONE:
        return _refuse(
            "it is NOT NULL without a default, so the old release's INSERTs fail",
            "Make it nullable, fill it by a data migration, and forbid NULL in contract/; or give it a server_default.",
        )
    if shape.default in (Default.EXPRESSION, Default.GENERATED):
        return _acknowledge(
            "a default that differs from row to row rewrites the table under a lock",
            "Add the column without it, set the default by another operation, and fill the rows by a data migration.",
        )
    if shape.unique or shape.indexed:
        return _warn("its index is built under a lock", "Create the index by itself, CONCURRENTLY on PostgreSQL.")
    return _ALLOWED


def _judge_type(change: Change) -> Verdict:
    if change.widens:
        return _ALLOWED
    if change.widens is None:
        return _refuse(
            "nobody can tell whether the old release can live with the new type",
            "Say what it was (existing_type=...), or add a column of the new type.",
        )
    return _refuse(
        "it is no mere widening: rows are rewritten under a lock, or old values do not fit",
        "Add a column of the new type, move the data, and drop the old column in contract/.",
    )


def _judge_added_constraint(change: Change, novelty: Novelty) -> Verdict:
    if change.kind in (ConstraintKind.UNIQUE, ConstraintKind.FOREIGN_KEY) and novelty.has_columns(change):
        if change.online:
            return _ALLOWED
        return _warn("existing rows are checked under a lock", "On PostgreSQL: add it NOT VALID, validate it later.")
    return _refuse("it refuses rows that the old release writes", "Add it in contract/.")


def _judge_index_locks(change: Change) -> Verdict:
    if change.online:
        return _ALLOWED
    return _warn(
        "building it blocks writes on PostgreSQL",
        "Use postgresql_concurrently=True inside `with op.get_context().autocommit_block():`.",
    )


def _judge_rows(change: Change) -> Verdict:
    if change.act is Act.WRITE_ROWS:
        return _acknowledge(
            "rows changed together with the structure are one long transaction, and nobody verifies them",
            "Write a data migration in data/.",
        )
    return _ALLOWED


def _refuse(why: str, remedy: str) -> Verdict:
    return Verdict(Ruling.REFUSED, why, remedy)


def _acknowledge(why: str, remedy: str) -> Verdict:
    return Verdict(Ruling.NEEDS_ACKNOWLEDGEMENT, why, remedy)


def _warn(why: str, remedy: str) -> Verdict:
    return Verdict(Ruling.WARNED, why, remedy)
