"""Strays: what somebody did to a database behind the journal's back. Pure decisions on what was read."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.ladder import Stage
from orchestrator.domain.releases import Release
from orchestrator.domain.removals import Removal
from orchestrator.schema_migrations.step_plan import Reading
from orchestrator.schema_migrations.tree import Tree

MOST_NAMES = 5
"""So many of the things that are missing are named."""


def strays(tree: Tree, reading: Reading) -> tuple[str, ...]:
    """The revisions that the version table implies and of which the journal has not even an intent, in their order."""
    known = {entry.revision for entry in reading.journal or ()}
    return tuple(each.id for each in tree.closure(reading.versions) if each.id not in known)


def removal(
    tree: Tree, release: Release, reading: Reading, things: tuple[str, ...], version_table: str
) -> Removal | None:
    """What was taken away by hand of what the release's contract revisions remove; `things` is what is not there."""
    own = {revision.id for revision in tree.own(release, Stage.CONTRACT)}
    found = tuple(each for each in strays(tree, reading) if each in own)
    if not found and not things:
        return None
    statements = tuple(_without(tree, reading, frozenset(found), version_table)) if found else ()
    return Removal(found, things, statements)


def _without(tree: Tree, reading: Reading, revisions: frozenset[str], version_table: str) -> Iterator[str]:
    """The statements that take these revisions out of the version table. What something depends on has no row."""
    left = [each for each in tree.closure(reading.versions) if each.id not in revisions]
    needed = {name for each in left for name in (*each.down, *each.depends)}
    rows = sorted(each.id for each in left if each.id not in needed)
    for version in reading.versions:
        if version not in rows:
            yield f"DELETE FROM {version_table} WHERE version_num = '{version}';"
    for row in rows:
        if row not in reading.versions:
            yield f"INSERT INTO {version_table} (version_num) VALUES ('{row}');"


def lacks(tree: Tree, release: Release, reading: Reading, differences: tuple[str, ...]) -> tuple[str, ...]:
    """What is missing of what expand makes: in the catalog, in the version table, and in the journal."""
    head = tree.head(release, Stage.EXPAND)
    needed = () if head is None else tree.closure([head])
    applied = tree.ids(reading.versions)
    unknown = [f"revision {each.id} is not in its version table" for each in needed if each.id not in applied]
    undone = [
        f"revision {each.id} was not run from here"
        for each in needed
        if each.id in applied and each.id not in reading.done
    ]
    found = (*differences, *unknown, *undone)
    more = (f"and {len(found) - MOST_NAMES} more",) if len(found) > MOST_NAMES else ()
    return (*found[:MOST_NAMES], *more)
