"""The manifest: what it says is read, and what is wrong is refused with its line."""

from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.domain.errors import ManifestError
from orchestrator.domain.ladder import InStepBy
from orchestrator.schema_migrations.manifest import Manifest, load_manifest


def load(directory: Path, text: str, *, brings_own_tool: bool = False) -> Manifest:
    (directory / "data").mkdir(exist_ok=True)
    (directory / "data" / "split_name.py").write_text("")
    path = directory / "releases.toml"
    path.write_text(dedent(text).lstrip("\n"))
    return load_manifest(path, schema="shop", brings_own_tool=brings_own_tool)


def test_a_manifest_says_what_a_release_is(tmp_path: Path) -> None:
    manifest = load(
        tmp_path,
        """
        [[release]]
        name = "1"
        expand = "e1"

        [[release]]
        name = "2"
        expand = "e2"
        contract = "c2"
        data_migrations = ["split_name"]
        old_shape = ["customers.name", "legacy"]
        fleets = ["api", "worker"]

        [[release]]
        name = "3"
        contract = "c2"
        in_step_by = "service"
        """,
    )
    first, second, third = manifest.releases.ordered

    assert (first.expand_head, first.contract_head, first.has_contract) == ("e1", None, False)
    assert (second.data_migrations, second.old_shape) == (("split_name",), ("customers.name", "legacy"))
    assert (second.fleets, second.in_step_by, second.has_contract) == (("api", "worker"), InStepBy.CLIENT, True)
    assert (third.in_step_by, third.has_contract) == (InStepBy.SERVICE, False)
    assert manifest.heads("3") == ("e2", "c2")
    assert manifest.place("2", "contract").line == 8


def test_a_schema_with_its_own_tool_needs_no_heads_and_no_files(tmp_path: Path) -> None:
    manifest = load(tmp_path, '[[release]]\nname = "2026.1"\ndata_migrations = ["elsewhere"]\n', brings_own_tool=True)
    release = manifest.releases["2026.1"]

    assert (release.has_contract, release.in_step_by) == (True, InStepBy.SERVICE)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "no release"),
        ('release = "1"\n', 1, "no release"),
        ('[[release]]\nname = "1"\n[other]\nx = 1\n', 3, "unknown key 'other'"),
        ('[[release]]\nname = "1"\nexpanded = "e1"\n', 3, "unknown key 'expanded'"),
        ('[[release]]\nexpand = "e1"\n', 1, "has no name"),
        ("[[release]]\nname = 1\n", 2, "needs a name"),
        ('[[release]]\nname = "1"\n[[release]]\nname = "1"\n', 4, "listed twice"),
        ('[[release]]\nname = "1"\nexpand = ["e1"]\n', 3, "one revision"),
        ('[[release]]\nname = "1"\nfleets = "api"\n', 3, "list of names"),
        ('[[release]]\nname = "1"\nfleets = ["api", "api"]\n', 3, "twice"),
        ('[[release]]\nname = "1"\nfleets = ["a p i"]\n', 3, "cannot stand"),
        ('[[release]]\nname = "1"\nold_shape = ["a.b.c.d"]\n', 3, "cannot stand"),
        ('[[release]]\nname = "1"\nin_step_by = "luck"\n', 3, "client, triggers or service"),
        ('[[release]]\nname = "1"\nin_step_by = "triggers"\n', 3, "needs contract revisions"),
        ('[[release]]\nname = "1"\ncontract = "c1"\nin_step_by = "triggers"\n', 4, "needs a list of the old shape"),
        ('[[release]]\nname = "1"\n\ndata_migrations = ["nowhere"]\n', 4, "no file"),
        ('[[release]]\nname = "1"\nexpand = \n', 3, "not valid TOML"),
        (
            '[[release]]\nname = "1"\ndata_migrations = ["split_name"]\n'
            '[[release]]\nname = "2"\ndata_migrations = ["split_name"]\n',
            6,
            "belongs to release '1'",
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_file_line_and_remedy(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, text)

    error = refusal.value
    assert words in error.message
    assert error.message.startswith(f"{tmp_path / 'releases.toml'}:{line}: ")
    assert (error.fields["file"], error.fields["line"]) == (str(tmp_path / "releases.toml"), line)
    assert error.remedy


def test_a_missing_manifest_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"releases\.toml") as refusal:
        load_manifest(tmp_path / "releases.toml", schema="shop")

    assert refusal.value.code == "manifest_missing"
