"""A real Keystone goes from 2023.1 (version 23) to 2026.2 (version 30): its own command, expand and contract."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.conf.settings import SchemaSettings
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.command_driver import CommandDriver
from orchestrator.schema_migrations.own_tables import prepare
from tests.real.conftest import KeystoneManage
from tests.real.daemon import Daemon

pytestmark = pytest.mark.real

OLD, NEW = "2023.1", "2026.2"
AT_OLD = ("29e87d24a316", "e25ffa003242")
EXPANDED = ("742c857f1dfb", "e25ffa003242")
AT_NEW = ("742c857f1dfb", "c88cdce8f248")

MANIFEST = f"""
[[release]]
name = "{OLD}"
fleets = ["keystone"]

[[release]]
name = "{NEW}"
fleets = ["keystone"]
"""


@pytest.fixture
def settings(tools: Path, configuration: Path, tmp_path: Path) -> SchemaSettings:
    (tmp_path / "releases.toml").write_text(MANIFEST)
    return SchemaSettings(
        "keystone",
        tmp_path,
        (),
        driver="command",
        preset="keystone",
        config_file=configuration,
        environment=(("PATH", f"{tools}/{{release}}/bin:/usr/bin:/bin"),),
    )


def test_keystone_expands_and_contracts_while_both_releases_write(
    settings: SchemaSettings, database: Database, database_url: str, keystone_manage: KeystoneManage
) -> None:
    driver = CommandDriver(settings)
    prepare(database)
    assert driver.position(database, OLD).empty

    driver.install(database, OLD)
    driver.adopt(database, OLD)
    assert driver.position(database, NEW).heads == AT_OLD
    keystone_manage(OLD, database_url, "bootstrap", "--bootstrap-username=one")

    with pytest.raises(Conflict) as refused:
        driver.run(database, NEW, Step.CONTRACT, owner_epoch=1)
    assert refused.value.code == "expand_first"

    (planned,) = driver.plan(database, NEW, Step.EXPAND)
    assert planned.summary.endswith("db_sync --expand")
    assert driver.run(database, NEW, Step.EXPAND, owner_epoch=1) == ("742c857f1dfb",)
    position = driver.position(database, NEW)
    assert (position.heads, position.expanded, position.contracted) == (EXPANDED, True, False)
    keystone_manage(OLD, database_url, "bootstrap", "--bootstrap-username=two")
    keystone_manage(NEW, database_url, "bootstrap", "--bootstrap-username=three")
    keystone_manage(NEW, database_url, "db_sync", "--check", exit_code=4)

    assert driver.run(database, NEW, Step.CONTRACT, owner_epoch=1) == ("c88cdce8f248",)
    position = driver.position(database, NEW)
    assert (position.heads, position.expanded, position.contracted) == (AT_NEW, True, True)
    keystone_manage(NEW, database_url, "bootstrap", "--bootstrap-username=four")
    keystone_manage(NEW, database_url, "db_sync", "--check")
    assert driver.run(database, NEW, Step.CONTRACT, owner_epoch=1) == ()

    with database.reading() as connection:
        names = connection.execute(sa.text("SELECT name FROM local_user")).scalars().all()
    assert {"one", "two", "three", "four"} <= set(names)


def test_connection_that_keystone_s_own_configuration_names_gives_way_to_ours(
    settings: SchemaSettings, sqlite_url: str, open_database: Callable[[str, str], Database], tmp_path: Path
) -> None:
    assert settings.config_file is not None
    own = tmp_path / "own.sqlite"
    with settings.config_file.open("a") as file:
        file.write(f"[database]\nconnection = sqlite:///{own}\n")
    database = open_database("test", sqlite_url)
    prepare(database)
    CommandDriver(settings).install(database, NEW)
    assert not own.exists() or not sqlite3.connect(own).execute("SELECT * FROM sqlite_master").fetchall()


def test_keystone_of_another_release_is_refused(settings: SchemaSettings, tools: Path) -> None:
    wrong = SchemaSettings(
        "keystone",
        settings.migrations,
        (),
        driver="command",
        preset="keystone",
        environment=(("PATH", f"{tools}/{OLD}/bin:/usr/bin:/bin"),),
    )
    with pytest.raises(Conflict, match=r"has version 23\.0\.2; release 2026\.2 is version 30 of it"):
        CommandDriver(wrong).check(NEW)


# -- under the daemon ------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(settings: SchemaSettings, database_url: str, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that manages Keystone's database; its own state is in a file."""
    (path,) = (value for name, value in settings.environment if name == "PATH")
    started = Daemon(
        tmp_path,
        f"""
[database]
connection = sqlite:///{tmp_path}/state.sqlite

[orchestrator]
schemas = keystone
state_dir = {tmp_path}/state

[schema:keystone]
migrations = {settings.migrations}
connection = {database_url.replace("$", "$$")}
driver = command
preset = keystone
config_file = {settings.config_file}
environment = PATH={path}
approve = contracted
""",
    )
    yield started
    assert started.stop() == 0, started.log()


def test_keystone_goes_through_expand_and_contract_under_the_daemon_with_a_fleet_gate(
    daemon: Daemon, database: Database, database_url: str, keystone_manage: KeystoneManage
) -> None:
    daemon.ask("schema", "init", "keystone", "--release", OLD)
    assert heads_of(database) == AT_OLD
    keystone_manage(OLD, database_url, "bootstrap", "--bootstrap-username=one")

    # A fleet of which nothing is known may run anything.
    daemon.ask("gate", "check", "keystone", f"deploy:keystone:{NEW}", exit_code=3)
    daemon.ask("upgrade", "begin", "keystone", "--release", NEW)
    assert "fleet_unknown" in daemon.ask("upgrade", "plan", "keystone", "-f", "json", exit_code=3)
    assert heads_of(database) == AT_OLD
    daemon.ask("fleet", "report", "keystone", "keystone", "--release", OLD, "--instances", "3")

    daemon.ask("wait", "phase", "keystone", "expanded", "--timeout", "600")
    assert heads_of(database) == EXPANDED
    daemon.ask("gate", "check", "keystone", f"deploy:keystone:{NEW}")
    keystone_manage(OLD, database_url, "bootstrap", "--bootstrap-username=two")
    keystone_manage(NEW, database_url, "bootstrap", "--bootstrap-username=three")

    # The fleet still runs the old release, and says so: nothing is contracted, whatever is approved.
    daemon.ask("upgrade", "approve", "keystone", "--phase", "contracted", "--reason", "the release was rehearsed")
    plan = daemon.ask("upgrade", "plan", "keystone", "-f", "json", exit_code=3)
    assert f"fleet keystone is reported to run {OLD} (3 instances)" in plan
    daemon.ask("gate", "check", "keystone", "phase:contracted", exit_code=3)
    assert heads_of(database) == EXPANDED

    daemon.ask("fleet", "report", "keystone", "keystone", "--release", NEW, "--instances", "3")
    daemon.ask("wait", "phase", "keystone", "contracted", "--timeout", "600")
    assert heads_of(database) == AT_NEW
    keystone_manage(NEW, database_url, "bootstrap", "--bootstrap-username=four")
    keystone_manage(NEW, database_url, "db_sync", "--check")
    daemon.ask("gate", "check", "keystone", f"deploy:keystone:{OLD}", exit_code=4)
    daemon.ask("status")
    daemon.ask("events", "--schema", "keystone")


def heads_of(database: Database) -> tuple[str, ...]:
    with database.reading() as connection:
        heads = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
        return tuple(sorted(heads))
