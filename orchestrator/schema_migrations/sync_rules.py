"""Rules for the sync triggers of a release: which it must have, may have, and what they may share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.ladder import InStepBy
from orchestrator.domain.releases import Release
from orchestrator.schema_migrations.changes import Act, Change, Default
from orchestrator.schema_migrations.manifest import Manifest
from orchestrator.schema_migrations.old_shape import OldThing
from orchestrator.schema_migrations.places import refused
from orchestrator.schema_migrations.sync_definitions import left_standing

_HARMLESS = (
    Act.CREATE_SYNC_TRIGGER,
    Act.DROP_SYNC_TRIGGER,
    Act.ADD_COLUMN,
    Act.CREATE_INDEX,
    Act.DROP_INDEX,
    Act.WRITE_ROWS,
)


def refuse_sync_triggers(manifest: Manifest, release: Release, changes: Sequence[Change]) -> None:
    """Raise `MigrationRefused`, with file and line, where the release and its sync triggers do not fit together.

    `changes` are those that its expand revisions make, in their order.
    """
    standing = left_standing(changes)
    if release.in_step_by is InStepBy.TRIGGERS and not standing:
        raise refused(
            "sync_trigger_missing",
            manifest.place(release.name, "in_step_by"),
            f"release {release.name} is kept in step by triggers, and its expand revisions leave none behind",
            remedy="Write op.create_sync_trigger(...) in an expand revision of that release.",
            release=release.name,
        )
    for change in standing.values():
        _refuse_undeclared(release, change)
        _refuse_forgotten(manifest, release, change)
        _refuse_default(release, changes, change)
        _refuse_rebuilt(release, changes, change)
    _refuse_shared(release, list(standing.values()))


def _refuse_undeclared(release: Release, change: Change) -> None:
    if release.in_step_by is not InStepBy.TRIGGERS:
        raise _refused(
            "sync_trigger_undeclared",
            release,
            change,
            f"release {release.name} creates a sync trigger, and says that it is kept in step by "
            f"{release.in_step_by.value}",
            'Write in_step_by = "triggers" for that release, or remove the trigger.',
        )


def _refuse_forgotten(manifest: Manifest, release: Release, change: Change) -> None:
    """What triggers keep valid goes stale when they are dropped, so it has to be denied from then on."""
    listed = {(thing.schema, thing.table, thing.column) for thing in map(OldThing.read, release.old_shape)}
    for column in change.sync.old_columns if change.sync is not None else ():
        if (change.schema, change.table, None) in listed or (change.schema, change.table, column) in listed:
            continue
        place = manifest.place(release.name, "old_shape")
        raise _refused(
            "sync_trigger_old_shape",
            release,
            change,
            f"the sync trigger of {change.subject} keeps {column} valid until it is sealed, and old_shape ({place}) "
            "does not list it",
            f'Add "{change.table}.{column}" to old_shape.',
        )


def _refuse_default(release: Release, changes: Iterable[Change], change: Change) -> None:
    wanted = change.sync.new_columns if change.sync is not None else ()
    for other in changes:
        if (other.schema, other.table) != (change.schema, change.table):
            continue
        shapes = [each for each in other.shapes if each.name in wanted and each.default is not Default.NONE]
        sets = other.act in (Act.SET_DEFAULT, Act.CHANGE_DEFAULT) and other.name in wanted
        if shapes or sets:
            raise _refused(
                "sync_trigger_unfit",
                release,
                other,
                f"the new column {other.table}.{shapes[0].name if shapes else other.name} has a default, so its sync "
                "trigger could not tell whether the old release wrote a row",
                "Leave the default out here, and set it in a contract revision.",
            )


def _refuse_rebuilt(release: Release, changes: Sequence[Change], change: Change) -> None:
    """SQLite changes a table by building another one, which has no triggers."""
    after = changes[changes.index(change) + 1 :]
    for other in after:
        same = (other.schema, other.table) == (change.schema, change.table)
        if same and other.act not in _HARMLESS:
            raise _refused(
                "sync_trigger_early",
                release,
                other,
                f"it would {other.sentence} after the sync trigger of {change.subject} was created, which does not "
                "outlive that everywhere",
                f"Create the trigger ({change.place}) when the table is as it is going to be.",
            )


def _refuse_shared(release: Release, standing: Sequence[Change]) -> None:
    for number, change in enumerate(standing):
        for other in standing[:number]:
            if (
                change.sync is None
                or other.sync is None
                or (change.schema, change.table) != (other.schema, other.table)
            ):
                continue
            written = {*change.sync.old_columns, *change.sync.new_columns}
            written_by_other = {*other.sync.old_columns, *other.sync.new_columns}
            shared = sorted((written & {*other.sync.columns}) | (written_by_other & {*change.sync.columns}))
            if shared:
                raise _refused(
                    "sync_trigger_shared",
                    release,
                    change,
                    f"two sync triggers of {change.table} share the column {shared[0]} ({other.place}): which of them "
                    "runs first differs from database to database",
                    "Write one trigger for all columns that depend on each other.",
                )


def _refused(code: str, release: Release, change: Change, sentence: str, remedy: str) -> MigrationRefused:
    return refused(code, change.place, sentence, remedy=remedy, release=release.name)
