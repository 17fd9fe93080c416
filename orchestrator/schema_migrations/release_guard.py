"""The release guard: what the revisions of one release may do together, judged without a database."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Stage
from orchestrator.domain.releases import Release
from orchestrator.schema_migrations.changes import Act
from orchestrator.schema_migrations.expectations import ExpectedCatalog
from orchestrator.schema_migrations.old_shape import OldThing
from orchestrator.schema_migrations.phase_guard import Novelty, Warning_, judge_revision
from orchestrator.schema_migrations.places import refused
from orchestrator.schema_migrations.recording import Recordings
from orchestrator.schema_migrations.step_plan import refuse_other_stage
from orchestrator.schema_migrations.sync_rules import refuse_sync_triggers
from orchestrator.schema_migrations.tree import STAGES, Tree


def judge_release(tree: Tree, recordings: Recordings, release: Release) -> Iterator[Warning_]:
    """Yield what is allowed and may hurt. Raises `MigrationRefused`, with file, line and remedy, for what is not."""
    _refuse_crossing(tree, release)
    novelty = Novelty()
    for stage in STAGES:
        for revision in tree.own(release, stage):
            recording = recordings.of(revision)
            if recording.control is not None:
                raise recording.control
            yield from judge_revision(recording, novelty)
    _refuse_tight_old_shape(tree, recordings, release)
    expand = [change for each in tree.own(release, Stage.EXPAND) for change in recordings.of(each).changes]
    refuse_sync_triggers(tree.manifest, release, expand)
    yield from _undeclared_drops(tree, recordings, release)


def _refuse_crossing(tree: Tree, release: Release) -> None:
    """A step of a release that would pull in revisions of the other stage can never run; say so at once."""
    earlier = tree.earlier(release)
    done = tree.ids(tree.heads(earlier)) if earlier is not None else frozenset()
    for stage in STAGES:
        head = tree.head(release, stage)
        if head is not None:
            todo = tuple(each for each in tree.closure([head]) if each.id not in done)
            refuse_other_stage(todo, stage, release)
            done |= frozenset(each.id for each in todo)


def _refuse_tight_old_shape(tree: Tree, recordings: Recordings, release: Release) -> None:
    """New code ends up writing only the new shape: its INSERTs leave the old columns out."""
    if not release.old_shape:
        return
    catalog = ExpectedCatalog()
    head = tree.head(release, Stage.EXPAND)
    for revision in tree.closure([head] if head is not None else []):
        catalog.add(revision.id, recordings.of(revision).changes)
    for written in release.old_shape:
        thing = OldThing.read(written)
        expected = catalog.column(thing.schema, thing.table, thing.column) if thing.column else None
        if expected is None or not expected.present or expected.nullable is not False or expected.has_default:
            continue
        raise refused(
            "old_shape_not_loosened",
            tree.manifest.place(release.name, "old_shape"),
            f"release {release.name} stops writing {written}, which is NOT NULL without a default "
            f"({expected.place}): its INSERTs would fail",
            remedy=f"Let an expand revision of release {release.name} make it nullable or give it a default.",
            release=release.name,
        )


def _undeclared_drops(tree: Tree, recordings: Recordings, release: Release) -> Iterator[Warning_]:
    declared = set(map(OldThing.read, release.old_shape))
    for revision in tree.own(release, Stage.CONTRACT):
        for change in recordings.of(revision).changes:
            schemas, columns = (None, change.schema), (None, change.name or None)
            known = {OldThing(schema, change.table, column) for schema in schemas for column in columns}
            if declared and change.act in (Act.DROP_TABLE, Act.DROP_COLUMN) and not declared & known:
                yield Warning_(
                    revision.id,
                    change.place,
                    f"{change.sentence}: old_shape of release {release.name} does not list it",
                    f"Add it to old_shape ({tree.manifest.place(release.name, 'old_shape')}).",
                )
