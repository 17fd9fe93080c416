"""Sections of inventory sources: what they come to, and what is refused before anything starts."""

from pathlib import Path

import pytest

from orchestrator.conf import load
from orchestrator.conf.settings import InventorySettings
from orchestrator.domain.errors import ConfigurationError

PLACE = """\
[orchestrator]
schemas = nova_cell
state_dir = state

[schema:nova_cell]
migrations = migrations
databases = cell01, cell02

[database:nova_cell:cell01]
connection = sqlite:////tmp/cell01.sqlite

[database:nova_cell:cell02]
connection = sqlite:////tmp/cell02.sqlite

"""
SECTION = "[inventory:nova_cell:nova-compute]\n"


def loaded(tmp_path: Path, text: str) -> tuple[InventorySettings, ...]:
    (tmp_path / "migrations").mkdir(exist_ok=True)
    file = tmp_path / "orchestrator.conf"
    file.write_text(PLACE + text)
    return load([file]).schemas[0].inventories


def test_section_is_read(tmp_path: Path) -> None:
    text = """\
query = SELECT host AS instance, version
    FROM services WHERE binary = 'nova-compute'
releases = 66:2026.1, 67:2026.2
databases = cell02
max_age_seconds = 90
"""
    assert loaded(tmp_path, SECTION + text) == (
        InventorySettings(
            fleet="nova-compute",
            query="SELECT host AS instance, version\nFROM services WHERE binary = 'nova-compute'",
            releases=(("66", "2026.1"), ("67", "2026.2")),
            databases=("cell02",),
            max_age_seconds=90.0,
            timeout_seconds=5.0,
        ),
    )


def test_a_section_without_options_says_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, SECTION) == ()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (f"{SECTION}query =\n", "option_missing", "[inventory:nova_cell:nova-compute] has no option query"),
        (f"{SECTION}max_age_seconds = 9\n", "option_missing", "has no option query"),
        (f"{SECTION}query = SELECT 1; SELECT 2\n", "query_unusable", "query: it is more than one statement"),
        (f"{SECTION}query = DELETE FROM services\n", "query_unusable", "it is no query"),
        (f"{SECTION}query = SELECT 1\ndatabases = cell1\n", "database_unknown", "no database cell1"),
        (f"{SECTION}query = SELECT 1\nreleases = 66:\n", "option_value_invalid", "releases"),
        (f"{SECTION}query = SELECT 1\nreleases = 66\n", "option_value_invalid", "releases"),
        (f"{SECTION}query = SELECT 1\nquerry = SELECT 2\n", "option_unknown", "no option querry"),
        ("[inventory:nova_cel:nova-compute]\nquery = SELECT 1\n", "section_unknown", "no section"),
        ("[inventory:nova_cell]\nquery = SELECT 1\n", "section_unknown", "no section"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, code: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, text)
    assert caught.value.code == code
    assert said in caught.value.message
    assert caught.value.remedy
