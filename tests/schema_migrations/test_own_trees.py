"""Our own tables: several versions of this program share them, each with the releases that it knows."""

import re
import shutil

import pytest

from orchestrator.dialects import Database
from orchestrator.domain.errors import MigrationRefused, Never, NotYet
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from orchestrator.schema_migrations.own_tables import begin, bring_to_newest
from tests.schema_migrations.trees import TreeWriter, execute, watched


def anything(release: str) -> bool:
    """Nobody needs anything any more."""
    return True


def older_driver(shop: TreeWriter) -> AlembicDriver:
    """The version before, which knows release 1 alone."""
    directory = shop.directory.with_name("older")
    shutil.copytree(shop.directory, directory)
    for file in [*directory.glob("expand/e[23].py"), *directory.glob("contract/*.py")]:
        file.unlink()
    older = TreeWriter.__new__(TreeWriter)
    older.directory = directory
    older.manifest(re.split(r"\[\[release\]\]\nname = \"2\"", shop.manifest_file.read_text())[0])
    return older.driver()


def test_contract_of_our_own_tables_waits_until_it_may(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()
    ran = watched(driver)
    assert bring_to_newest(driver, prepared) == "2"
    assert bring_to_newest(driver, prepared) == "2"
    assert ran == ["e1", "e2", "e3"]
    assert bring_to_newest(driver, prepared, may_contract=anything) is None
    assert ran == ["e1", "e2", "e3", "c2"]


def test_older_version_goes_on_with_what_a_newer_one_expanded(shop: TreeWriter, prepared: Database) -> None:
    older = older_driver(shop)
    ran = watched(older)
    assert bring_to_newest(older, prepared) is None
    bring_to_newest(shop.driver(), prepared)
    assert bring_to_newest(older, prepared) is None
    assert ran == ["e1"]
    bring_to_newest(shop.driver(), prepared, may_contract=anything)
    with pytest.raises(Never, match="has removed what this one uses") as refusal:
        bring_to_newest(older, prepared)
    assert refusal.value.code == "daemon_too_old"


def test_older_version_does_not_go_on_where_a_contract_was_begun(shop: TreeWriter, prepared: Database) -> None:
    older = older_driver(shop)
    bring_to_newest(shop.driver(), prepared)
    execute(
        prepared,
        "INSERT INTO orchestrator_steps (schema_name, revision, stage, file_hash, state, owner_epoch, started_at)"
        " VALUES ('shop', 'c2', 'contract', '', 'intent', 0, 1)",
    )
    with pytest.raises(Never):
        begin(older, prepared)


def test_older_version_that_comes_while_a_newer_one_expands_goes_on(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = older_driver(shop)
    begin(older, prepared)
    run = older.run

    def just_before(*args: object, **options: object) -> tuple[str, ...]:
        bring_to_newest(shop.driver(), prepared)
        return run(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(older, "run", just_before)
    ran = watched(older)
    assert bring_to_newest(older, prepared) is None
    assert ran == []


def test_revision_of_another_tree_is_no_newer_version(shop: TreeWriter, prepared: Database) -> None:
    bring_to_newest(shop.driver(), prepared)
    execute(prepared, "UPDATE alembic_version SET version_num = 'foreign'")
    with pytest.raises(MigrationRefused) as refusal:
        bring_to_newest(shop.driver(), prepared)
    assert refusal.value.code == "database_ahead"


def test_release_after_a_contract_that_may_not_run_waits(shop: TreeWriter, prepared: Database) -> None:
    """Neighbouring versions share the tables, no others."""
    shop.revision("expand", "e4", 'op.add_column("customers", sa.Column("note", sa.String(80)))', after="e3")
    shop.manifest(shop.manifest_file.read_text() + '\n[[release]]\nname = "3"\nexpand = "e4"\ncontract = "c2"\n')
    with pytest.raises(NotYet, match="cannot be taken to release 3") as refusal:
        bring_to_newest(shop.driver(), prepared)
    assert refusal.value.code == "older_daemon_runs"
    driver = shop.driver()
    ran = watched(driver)
    assert bring_to_newest(driver, prepared, may_contract=anything) is None
    assert ran == ["c2", "e4"]
