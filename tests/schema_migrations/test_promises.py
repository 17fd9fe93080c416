"""Promises: what a tree says of the columns that its tables will have, and where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.dialects import open_database
from tests.schema_migrations.trees import TreeWriter

RELEASES = """
[[release]]
name = "1"
expand = "e1"

[[release]]
name = "2"
expand = "e2"
contract = "c2"

[[release]]
name = "3"
expand = "e3"
contract = "c2"
"""
THINGS = 'op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("old", sa.Integer))'
ADD = 'op.add_column("things", sa.Column("new", sa.Integer))'


def written(tmp_path: Path, *, first: str = THINGS, second: str = ADD, third: str = "pass") -> TreeWriter:
    tree = TreeWriter(tmp_path / "migrations")
    tree.revision("expand", "e1", first)
    tree.revision("expand", "e2", second, after="e1")
    tree.revision("contract", "c2", 'op.drop_column("things", "old")', depends_on="e2")
    tree.revision("expand", "e3", third, after="e2")
    tree.manifest(RELEASES)
    return tree


def may_add(tree: TreeWriter, column: str, table: str = "things", release: str = "2") -> bool:
    return tree.driver().may_add(open_database("main", "sqlite://"), release, table, column)


def test_columns_that_the_expand_revisions_add_may_come_and_no_others(tmp_path: Path) -> None:
    tree = written(tmp_path)
    assert may_add(tree, "new")
    assert not may_add(tree, "old"), "release 1 made it: where it is not there now, it does not come"
    assert not may_add(tree, "newer")
    assert not may_add(tree, "new", table="others")


@pytest.mark.parametrize(
    "body",
    [
        'op.execute("SELECT add_my_columns()", execution_options={"orchestrator_repeatable": True})',
        'op.rename_table("others", "things")',
        "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()",
    ],
)
def test_where_nobody_can_tell_every_column_may_come(tmp_path: Path, body: str) -> None:
    assert may_add(written(tmp_path, second=body), "newer")


def test_a_column_under_its_new_name_may_come(tmp_path: Path) -> None:
    assert may_add(written(tmp_path, second='op.alter_column("things", "old", new_column_name="newer")'), "newer")


def test_a_table_that_the_tree_makes_lacks_what_no_revision_adds_and_what_was_contracted(tmp_path: Path) -> None:
    driver = written(tmp_path).driver()
    assert not driver.lacks("2", "things", "old")
    assert not driver.lacks("2", "things", "new")
    assert driver.lacks("2", "things", "newer")
    assert driver.lacks("1", "things", "new")
    assert driver.lacks("3", "things", "old"), "contracted with release 2"
    assert not driver.lacks("2", "others", "newer"), "which table that is the tree does not say"
