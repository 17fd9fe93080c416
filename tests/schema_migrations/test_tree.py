"""The migration tree: it is sound as a whole, or it is refused with file, line and remedy."""

import pytest

from orchestrator.domain.errors import ManifestError
from tests.schema_migrations.trees import TreeWriter

ONE_RELEASE = """
[[release]]
name = "1"
expand = "e1"
"""


def refusal_of(tree: TreeWriter) -> ManifestError:
    with pytest.raises(ManifestError) as refusal:
        tree.driver()
    assert refusal.value.remedy
    return refusal.value


def test_a_tree_needs_no_env_py(shop: TreeWriter) -> None:
    driver = shop.driver()

    assert {revision.id for revision in driver.tree} == {"e1", "e2", "e3", "c2"}
    assert [each.id for each in driver.tree.closure(["c2"])] == ["e1", "e2", "e3", "c2"]


def test_an_env_py_is_never_run(shop: TreeWriter) -> None:
    (shop.directory / "env.py").write_text("raise SystemExit('env.py ran')")

    shop.driver()


def test_a_head_that_is_not_in_the_tree_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e7"\n')

    error = refusal_of(tree)
    assert error.code == "head_missing"
    assert (error.fields["file"], error.fields["line"]) == (str(tree.manifest_file), 3)
    assert "e1" in error.remedy


def test_a_head_of_the_other_branch_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.revision("contract", "c1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "c1"\ncontract = "c1"\n')

    assert refusal_of(tree).code == "head_in_other_branch"


def test_a_head_that_no_release_names_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    file = tree.revision("expand", "e2", after="e1")
    tree.manifest(ONE_RELEASE)

    error = refusal_of(tree)
    assert error.code == "head_not_named"
    assert (error.fields["file"], error.fields["line"]) == (str(file), 6)


def test_several_heads_in_a_branch_are_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.revision("expand", "e2", after="e1")
    file = tree.revision("expand", "e3", after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e2"\n')

    error = refusal_of(tree)
    assert error.code == "several_heads"
    assert (error.fields["file"], error.fields["line"]) == (str(file), 7)
    assert "e2" in error.message and "e3" in error.message


def test_releases_out_of_order_are_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.revision("expand", "e2", after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e2"\n[[release]]\nname = "2"\nexpand = "e1"\n')

    error = refusal_of(tree)
    assert (error.code, error.fields["line"]) == ("heads_out_of_order", 6)


def test_a_revision_that_does_not_import_is_refused_with_its_line(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1", head="import a_module_that_is_not_there\n")
    tree.manifest(ONE_RELEASE)

    error = refusal_of(tree)
    assert error.code == "revision_not_importable"
    assert (error.fields["file"], error.fields["line"]) == (str(file), 10)


def test_a_syntax_error_is_refused_with_its_line(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1", "this is no Python")
    tree.manifest(ONE_RELEASE)

    error = refusal_of(tree)
    assert (error.code, error.fields["file"], error.fields["line"]) == ("revision_not_importable", str(file), 12)


@pytest.mark.parametrize(("key", "line"), [("after", 7), ("depends_on", 9)])
def test_a_missing_revision_is_refused_where_it_is_named(tree: TreeWriter, key: str, line: int) -> None:
    tree.revision("expand", "e1")
    file = tree.revision("expand", "e2", **{"after": "e1", key: "gone"})
    tree.manifest('[[release]]\nname = "1"\nexpand = "e2"\n')

    error = refusal_of(tree)
    assert error.code == "revision_missing"
    assert (error.fields["file"], error.fields["line"]) == (str(file), line)


def test_a_revision_in_the_wrong_branch_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    file = tree.revision("contract", "c1", after="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\ncontract = "c1"\n')

    error = refusal_of(tree)
    assert (error.code, error.fields["file"]) == ("revision_in_two_branches", str(file))


def test_a_branch_without_its_label_is_refused(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1")
    file.write_text(file.read_text().replace("branch_labels = ('expand',)", "branch_labels = None"))
    tree.manifest(ONE_RELEASE)

    assert refusal_of(tree).code == "branch_label_missing"


def test_two_revisions_of_one_id_are_refused(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1")
    (file.parent / "other.py").write_text(file.read_text())
    tree.manifest(ONE_RELEASE)

    assert refusal_of(tree).code == "revision_twice"


def test_a_file_without_upgrade_is_refused(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1")
    file.write_text(file.read_text().replace("def upgrade", "def downgrade"))
    tree.manifest(ONE_RELEASE)

    error = refusal_of(tree)
    assert (error.code, error.fields["file"]) == ("revision_without_upgrade", str(file))


def test_a_circle_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1", depends_on="c1")
    tree.revision("contract", "c1", depends_on="e1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\ncontract = "c1"\n')

    assert refusal_of(tree).code == "tree_broken"


def test_an_id_longer_than_the_version_table_holds_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e" * 33)
    tree.manifest(f'[[release]]\nname = "1"\nexpand = "{"e" * 33}"\n')

    assert "33 characters" in refusal_of(tree).message


def test_an_acknowledgement_needs_a_reason(tree: TreeWriter) -> None:
    file = tree.revision("expand", "e1", head='acknowledged = ""\n')
    tree.manifest(ONE_RELEASE)

    error = refusal_of(tree)
    assert (error.code, error.fields["file"], error.fields["line"]) == ("acknowledgement_without_reason", str(file), 10)
