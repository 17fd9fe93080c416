"""Presets: what comes along, what the documentation shows, and what is refused with its line."""

import re
from pathlib import Path

import pytest

from orchestrator.domain.errors import ManifestError
from orchestrator.schema_migrations.preset import PRESETS, Meaning, load_preset

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "command-driver.md"

SOUND = """\
version_table = "shop_version"
[environment]
SHOP = "{connection}"
[version]
argv = ["shop", "--version"]
[install]
argv = ["shop", "install"]
[expand]
argv = ["shop", "expand"]
[contract]
argv = ["shop", "contract"]
[check]
argv = ["shop", "check"]
exit_codes = { 0 = "done", 2 = "expand_needed" }
[[release]]
names = ["one"]
version = "1"
expand = "e1"
contract = "c1"
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_presets_that_come_along_are_sound(name: str) -> None:
    preset = load_preset(name)
    assert preset.check.meaning(0) is Meaning.DONE
    assert all(not each.startswith("/") for template in (preset.expand, preset.contract) for each in template.argv)


@pytest.mark.parametrize(
    ("called", "version"),
    [("2023.1", "23"), ("23", "23"), ("23.0.2", "23"), ("hibiscus", "30"), ("30", "30")],
)
def test_keystone_releases_go_by_their_names_and_versions(called: str, version: str) -> None:
    known = load_preset("keystone").release(called)
    assert known is not None
    assert known.version == version


def test_keystone_releases_of_the_future_are_not_guessed() -> None:
    assert load_preset("keystone").release("2031.1") is None


def test_example_of_the_documentation_is_sound(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(title = .*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert len(examples) == 1
    path = tmp_path / "shop.toml"
    path.write_text(examples[0])
    preset = load_preset(str(path))
    assert preset.migrate is not None
    assert preset.migrate.meaning(1) is Meaning.AGAIN


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("[expand]", "[expand", 8, "not valid TOML"),
        ("[install]", "[instal]", 6, "unknown key 'instal'"),
        ('argv = ["shop", "expand"]', 'argv = "shop expand"', 9, "'argv' of [expand] is a list of words"),
        ('argv = ["shop", "expand"]', "timeout_seconds = 5", 8, "'argv' of [expand] is a list of words"),
        ('argv = ["shop", "expand"]', 'argv = ["shop", "{connection}"]', 9, "holds a password"),
        ('argv = ["shop", "expand"]', 'argv = ["shop", "{relase}"]', 9, "unknown placeholder {relase}"),
        ('argv = ["shop", "expand"]', 'argv = ["shop"]\ntimeout_seconds = -1', 10, "'timeout_seconds' is not a time"),
        ('argv = ["shop", "expand"]', 'argv = ["shop"]\nshell = true', 10, "unknown key 'shell'"),
        ('SHOP = "{connection}"', "SHOP = 5", 3, "'SHOP' is a text"),
        ('"expand_needed"', '"expand"', 14, "'expand' is no meaning"),
        ("2 =", "300 =", 14, "'300' is no exit code"),
        ('contract = "c1"', "", 15, "a [[release]] has names, version, expand, contract"),
    ],
)
def test_broken_preset_is_refused_with_its_line(tmp_path: Path, before: str, after: str, line: int, says: str) -> None:
    assert before in SOUND
    path = tmp_path / "shop.toml"
    path.write_text(SOUND.replace(before, after, 1))
    with pytest.raises(ManifestError) as refused:
        load_preset(str(path))
    error = refused.value
    assert error.code == "preset_invalid"
    assert says in error.message
    assert error.fields["line"] == line
    assert error.remedy


def test_preset_without_a_check_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(SOUND[: SOUND.index("[check]")])
    with pytest.raises(ManifestError, match=r"has no \[check\]"):
        load_preset(str(path))


def test_unknown_preset_is_refused_with_those_that_come_along() -> None:
    with pytest.raises(ManifestError, match="there is no preset 'keyston'") as refused:
        load_preset("keyston")
    assert "keystone" in refused.value.remedy


def test_preset_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"shop\.toml:1: the preset cannot be read: No such file"):
        load_preset(str(tmp_path / "shop.toml"))
