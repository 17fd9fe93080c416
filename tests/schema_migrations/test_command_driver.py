"""Schemas that bring their own migration tool: real processes, on real databases."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalState
from orchestrator.dialects import Database
from orchestrator.domain.errors import ConfigurationError, Conflict, Invalid, OrchestratorError, StepFailed
from orchestrator.domain.ladder import InStepBy, Step
from orchestrator.schema_migrations.command_driver import CommandDriver
from orchestrator.schema_migrations.command_process import Ended, Result
from tests.prepared import prepare

PRESET = """
version_table = "shop_version"
environment = { SHOP_CONNECTION = "{connection}" }
drivers = { postgresql = "postgresql" }

[config_file]
argv = ["--config-file", "{config_file}"]

[version]
argv = ["shop-manage", "version"]

[install]
argv = ["shop-manage", "{config}", "install"]

[expand]
argv = ["shop-manage", "{config}", "expand"]
timeout_seconds = 20

[contract]
argv = ["shop-manage", "{config}", "contract"]

[check]
argv = ["shop-manage", "{config}", "check"]
exit_codes = { 0 = "done", 1 = "error", 2 = "expand_needed", 3 = "migrate_needed", 4 = "contract_needed" }
"""

KNOWN = """
[[release]]
names = ["one"]
version = "1"
expand = "e1"
contract = "c1"

[[release]]
names = ["two"]
version = "2"
expand = "e2"
contract = "c2"
"""

MIGRATE = """
[migrate]
argv = ["shop-manage", "migrate"]
exit_codes = { 0 = "done", 10 = "again" }
"""


@dataclass(frozen=True)
class Settings:
    name: str
    migrations: Path
    preset: str | None
    command_prefix: tuple[str, ...] = ()
    config_file: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def with_variables(self, **variables: str | Path) -> "Settings":
        return replace(self, environment=(*self.environment, *((name, str(v)) for name, v in variables.items())))


@dataclass(frozen=True)
class Shop:
    """A directory with a manifest, a preset and a tool; `driver` makes drivers that differ in what is asked."""

    directory: Path
    settings: Settings

    def write_preset(self, text: str) -> None:
        assert self.settings.preset is not None
        Path(self.settings.preset).write_text(text)

    def driver(self, **variables: str | Path) -> CommandDriver:
        return CommandDriver(self.settings.with_variables(**variables))

    def calls(self) -> list[str]:
        log = self.directory / "calls"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    directory = tmp_path / "shop"
    programs = directory / "bin"
    programs.mkdir(parents=True)
    source = Path(__file__).with_name("shop_tool.py").read_text()
    tool = programs / "shop-manage"
    tool.write_text(f"#!{sys.executable} -S\n{source}")
    tool.chmod(0o755)
    manifest = '[[release]]\nname = "1"\nfleets = ["web"]\n\n[[release]]\nname = "2"\nfleets = ["web"]\n'
    (directory / "releases.toml").write_text(manifest)
    (directory / "shop.toml").write_text(PRESET + KNOWN)
    path = f"{programs}:/usr/bin:/bin"
    environment = (("PATH", path), ("SHOP_LOG", str(directory / "calls")))
    return Shop(directory, Settings("shop", directory, str(directory / "shop.toml"), environment=environment))


@pytest.fixture
def prepared(database: Database) -> Database:
    prepare(database)
    return database


@pytest.fixture
def at_one(prepared: Database, shop: Shop) -> Database:
    """A database at release 1."""
    shop.driver(SHOP_VERSION="1.4.0").install(prepared, "1")
    (shop.directory / "calls").unlink()
    return prepared


@pytest.fixture
def file_at_one(sqlite_url: str, open_database: Callable[[str, str], Database], shop: Shop) -> Database:
    """A SQLite database at release 1, for what does not depend on the kind of database."""
    database = open_database("test", sqlite_url)
    prepare(database)
    shop.driver(SHOP_VERSION="1.4.0").install(database, "1")
    (shop.directory / "calls").unlink()
    return database


def journalled(database: Database) -> dict[str, JournalState]:
    with database.reading() as connection:
        return {entry.revision: entry.state for entry in journal.entries(connection, "shop")}


# -- the way of a schema ---------------------------------------------------------------------------------------------


def test_releases_of_a_tool_vouch_for_themselves_and_always_contract(shop: Shop) -> None:
    releases = shop.driver().releases
    assert [release.in_step_by for release in releases.ordered] == [InStepBy.SERVICE, InStepBy.SERVICE]
    assert all(release.has_contract for release in releases.ordered)


def test_empty_database_is_recognised_without_asking_the_tool(prepared: Database, shop: Shop) -> None:
    position = shop.driver().position(prepared, "2")
    assert (position.empty, position.expanded, position.contracted) == (True, False, False)
    assert shop.calls() == []


def test_schema_goes_from_one_release_to_the_next(at_one: Database, shop: Shop) -> None:
    driver = shop.driver()
    driver.adopt(at_one, "1")

    assert driver.position(at_one, "2").heads == ("c1", "e1")
    assert not driver.position(at_one, "2").expanded

    assert driver.run(at_one, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    position = driver.position(at_one, "2")
    assert (position.heads, position.expanded, position.contracted) == (("c1", "e2"), True, False)

    assert driver.run(at_one, "2", Step.CONTRACT, owner_epoch=1) == ("c2",)
    position = driver.position(at_one, "2")
    assert (position.heads, position.expanded, position.contracted) == (("c2", "e2"), True, True)
    assert set(journalled(at_one).values()) == {JournalState.DONE}


def test_unknown_releases_go_by_the_tool_alone(at_one: Database, shop: Shop) -> None:
    shop.write_preset(PRESET)
    driver = shop.driver()
    driver.run(at_one, "2", Step.EXPAND, owner_epoch=1)
    driver.run(at_one, "2", Step.CONTRACT, owner_epoch=1)
    assert driver.position(at_one, "2").contracted


def test_step_that_is_done_runs_nothing(file_at_one: Database, shop: Shop) -> None:
    shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=2) == ()
    assert shop.calls().count("expand") == 1


def test_plan_names_the_command_and_changes_nothing(file_at_one: Database, shop: Shop) -> None:
    (planned,) = shop.driver().plan(file_at_one, "2", Step.EXPAND)
    assert planned.sentence == "expand 2 (shop-manage expand)"
    assert shop.calls() == []
    assert shop.driver().plan(file_at_one, "2", Step.NONE) == ()


def test_tool_is_not_asked_again_while_the_version_table_stands_still(file_at_one: Database, shop: Shop) -> None:
    driver = shop.driver()
    driver.position(file_at_one, "2")
    assert shop.calls() == []  # the version table says that it is not expanded: no need to ask
    driver.run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    before = shop.calls()
    for _ in range(3):
        assert driver.position(file_at_one, "2").expanded
    assert shop.calls() == before


def test_contract_before_expand_is_refused(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(Conflict) as refused:
        shop.driver().run(file_at_one, "2", Step.CONTRACT, owner_epoch=1)
    assert refused.value.code == "expand_first"


def test_empty_database_is_not_expanded(prepared: Database, shop: Shop) -> None:
    with pytest.raises(Conflict) as refused:
        shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert refused.value.code == "database_empty"


def test_install_needs_an_empty_database(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(Conflict) as refused:
        shop.driver().install(file_at_one, "2")
    assert refused.value.code == "database_not_empty"


def test_install_that_was_broken_off_goes_on(prepared: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed):
        shop.driver(SHOP_FAULT="fails").install(prepared, "2")
    assert shop.driver().position(prepared, "2").empty
    shop.driver().install(prepared, "2")
    assert not shop.driver().position(prepared, "2").empty


def test_database_of_another_release_is_not_adopted(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(Conflict) as refused:
        shop.driver().adopt(file_at_one, "2")
    assert refused.value.code == "not_at_release"


def test_data_that_the_service_moves_is_moved_before_contract_until_nothing_is_left(
    file_at_one: Database, shop: Shop
) -> None:
    shop.write_preset(PRESET + MIGRATE + KNOWN)
    driver = shop.driver(SHOP_ROUNDS=shop.directory / "rounds")
    driver.run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    driver.run(file_at_one, "2", Step.CONTRACT, owner_epoch=1)
    steps = [call for call in shop.calls() if call in {"expand", "migrate", "contract"}]
    assert steps == ["expand", "migrate", "migrate", "contract"]


# -- what a tool can do wrong ----------------------------------------------------------------------------------------


def test_failing_command_is_named_with_exit_code_last_lines_and_remedy(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_FAULT="fails").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    error = failed.value
    assert error.code == "command_failed"
    assert "`shop-manage expand` ended with exit code 1 in database test" in error.message
    assert "table orders is locked" in error.message
    assert "retry" in error.remedy
    assert error.fields["exit_code"] == 1
    assert journalled(file_at_one)["2:expand@2.0.0"] is JournalState.INTENT


def test_last_lines_are_not_those_that_python_itself_ignores() -> None:
    noise = "Exception ignored in: <function f at 0x7f>\nTraceback (most recent call last):\n  File x\nE: no\n"
    output = f"one\n{noise}two\n{noise}"
    assert Result(Ended.EXITED, 1, output, "").last_lines() == "one / two"


def test_failed_step_succeeds_when_it_is_retried(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed):
        shop.driver(SHOP_FAULT="fails").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1) == ("e2",)


def test_exit_code_that_is_not_listed_is_an_error(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed, match="exit code 77, which is not listed"):
        shop.driver(SHOP_FAULT="strange").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)


def test_command_that_is_killed_is_an_error(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed, match="ended with signal 9"):
        shop.driver(SHOP_FAULT="killed").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)


@pytest.mark.parametrize("known", ["", KNOWN])
def test_success_without_effect_is_no_success(file_at_one: Database, shop: Shop, known: str) -> None:
    shop.write_preset(PRESET + known)
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_FAULT="idle").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "version_table_unmoved"
    assert not shop.driver().position(file_at_one, "2").expanded


def test_success_without_effect_is_no_success_where_there_is_no_version_table(
    file_at_one: Database, shop: Shop
) -> None:
    shop.write_preset(PRESET.replace('version_table = "shop_version"', ""))
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_FAULT="idle").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "step_unverified"


def test_check_that_contradicts_the_version_table_is_not_believed(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_FAULT="check-lies").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "position_disputed"
    assert "expand" not in shop.calls()


def test_tool_whose_check_is_known_to_lie_is_judged_by_the_version_table(file_at_one: Database, shop: Shop) -> None:
    shop.write_preset((PRESET + KNOWN).replace("[check]", '[check]\ntrusted_from = "3"'))
    driver = shop.driver(SHOP_FAULT="check-lies")
    (warning,) = driver.check("2")
    assert "cannot be trusted" in warning.sentence
    assert driver.run(file_at_one, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert not driver.position(file_at_one, "2").contracted
    assert "check" not in shop.calls()


def test_tool_whose_check_lies_is_refused_where_its_heads_are_not_known(file_at_one: Database, shop: Shop) -> None:
    shop.write_preset(PRESET.replace("[check]", '[check]\ntrusted_from = "3"'))
    for refuses in (
        lambda: shop.driver().check("2"),
        lambda: shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1),
    ):
        with pytest.raises(Conflict) as refused:
            refuses()
        assert refused.value.code == "check_untrusted"


def test_tool_that_works_on_another_database_is_found_out(
    file_at_one: Database, shop: Shop, new_sqlite_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    url = new_sqlite_url()
    other = open_database("other", url)
    prepare(other)
    shop.driver(SHOP_VERSION="1.4.0").install(other, "1")
    shop.write_preset(PRESET)
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_CONNECTION=url).run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "version_table_unmoved"
    assert "another database" in failed.value.remedy


def test_expand_that_also_contracts_is_reported(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed) as failed:
        shop.driver(SHOP_FAULT="contracts").run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "contract_in_expand"


def test_step_that_was_undone_behind_our_back_is_reported(file_at_one: Database, shop: Shop) -> None:
    shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    with file_at_one.writing() as connection:
        connection.execute(sa.text("UPDATE shop_version SET version_num = 'e1' WHERE version_num = 'e2'"))
    with pytest.raises(StepFailed) as failed:
        shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "step_undone"


def test_owner_that_was_passed_runs_nothing(file_at_one: Database, shop: Shop) -> None:
    with pytest.raises(StepFailed):
        shop.driver(SHOP_FAULT="fails").run(file_at_one, "2", Step.EXPAND, owner_epoch=7)
    calls = shop.calls().count("expand")
    with pytest.raises(Conflict) as passed:
        shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=6)
    assert passed.value.code == "owner_epoch_passed"
    assert shop.calls().count("expand") == calls


# -- the right tool --------------------------------------------------------------------------------------------------


def test_tool_of_another_release_is_refused_before_anything_runs(file_at_one: Database, shop: Shop) -> None:
    old = shop.driver(SHOP_VERSION="1.4.0")
    for refuses in (
        lambda: old.check("2"),
        lambda: old.run(file_at_one, "2", Step.EXPAND, owner_epoch=1),
    ):
        with pytest.raises(Conflict, match=r"has version 1\.4\.0; release 2 is version 2 of it") as refused:
            refuses()
        assert refused.value.code == "tool_version_wrong"
    assert set(shop.calls()) == {"version"}


def test_each_release_can_have_a_tool_of_its_own(file_at_one: Database, shop: Shop) -> None:
    (shop.directory / "bin").rename(shop.directory / "2")
    settings = replace(shop.settings, environment=(("PATH", f"{shop.directory}/{{release}}:/bin"),))
    driver = CommandDriver(settings)
    assert driver.check("2") == ()
    with pytest.raises(ConfigurationError) as missing:
        driver.check("1")
    assert missing.value.code == "command_not_found"
    assert f"{shop.directory}/1" in missing.value.message


def test_missing_program_is_named_with_the_path(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="no program shop-manage on the path /nowhere"):
        shop.driver(PATH="/nowhere").check("2")


def test_program_that_cannot_start_is_an_error(shop: Shop) -> None:
    (shop.directory / "bin" / "shop-manage").write_text("#!/no/such/interpreter\n")
    with pytest.raises(StepFailed, match="cannot be started: No such file or directory") as failed:
        shop.driver().check("2")
    assert failed.value.code == "command_not_started"


def test_output_without_a_version_is_an_error(shop: Shop) -> None:
    with pytest.raises(StepFailed, match="names no version; it said last: shop unknown") as failed:
        shop.driver(SHOP_VERSION="unknown").check("2")
    assert failed.value.code == "output_unreadable"


def test_output_can_speak_where_the_exit_code_means_two_things(file_at_one: Database, shop: Shop) -> None:
    by_output = (
        "[check]\nargv = ['/bin/echo', 'pending: expand']\n"
        "output = [{ pattern = '^pending: expand', meaning = 'expand_needed' }]\n"
    )
    shop.write_preset(PRESET[: PRESET.index("[check]")] + by_output)
    assert not shop.driver().position(file_at_one, "2").expanded
    shop.write_preset(PRESET[: PRESET.index("[check]")] + by_output.replace("'pending: expand']", "'perhaps']"))
    with pytest.raises(
        StepFailed, match="said nothing that is known in database test; it said last: perhaps"
    ) as failed:
        shop.driver().position(file_at_one, "2")
    assert failed.value.code == "output_unreadable"


def test_prefix_stands_before_every_command(file_at_one: Database, shop: Shop) -> None:
    settings = replace(shop.settings, command_prefix=("/usr/bin/env", "SHOP_FAULT=fails"))
    with pytest.raises(StepFailed, match="`/usr/bin/env SHOP_FAULT=fails shop-manage expand` ended with exit code 1"):
        CommandDriver(settings).run(file_at_one, "2", Step.EXPAND, owner_epoch=1)


def test_no_shell_sees_a_command(file_at_one: Database, shop: Shop, tmp_path: Path) -> None:
    harmful = Path(f"x; touch {tmp_path}/touched; $(touch {tmp_path}/touched)")
    CommandDriver(replace(shop.settings, config_file=harmful)).run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert not (tmp_path / "touched").exists()


def test_tool_gets_the_given_environment_and_nothing_else(
    file_at_one: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_FAULT", "fails")
    assert shop.driver().run(file_at_one, "2", Step.EXPAND, owner_epoch=1) == ("e2",)


# -- secrets, limits, death ------------------------------------------------------------------------------------------


def test_password_is_in_no_message_and_no_argument(
    postgresql_url: str, open_database: Callable[[str, str], Database], shop: Shop
) -> None:
    url = sa.make_url(postgresql_url).set(password="pa$s/w@rd").render_as_string(hide_password=False)
    database = open_database("test", url)
    prepare(database)
    driver = shop.driver(SHOP_FAULT="fails")
    with pytest.raises(StepFailed) as failed:
        driver.install(database, "2")
    said = f"{failed.value} {failed.value.fields}"
    assert "reading postgresql://" in said or "reading ***" in said
    assert "pa$s" not in said
    assert "w@rd" not in said
    assert "w%40rd" not in said


def test_preset_that_puts_the_password_on_a_command_line_is_refused(shop: Shop) -> None:
    shop.write_preset(PRESET.replace('["shop-manage", "{config}", "expand"]', '["shop-manage", "{connection}"]'))
    with pytest.raises(Invalid, match=r"shop\.toml:16: .*every user of a machine can read"):
        shop.driver()


def test_time_limit_ends_the_whole_process_group(file_at_one: Database, shop: Shop) -> None:
    shop.write_preset((PRESET + KNOWN).replace("timeout_seconds = 20", "timeout_seconds = 5\ngrace_seconds = 0.1"))
    driver = shop.driver(SHOP_FAULT="hangs", SHOP_CHILD=shop.directory / "child")
    with pytest.raises(StepFailed, match="was ended after its time limit of 5 s") as failed:
        driver.run(file_at_one, "2", Step.EXPAND, owner_epoch=1)
    assert failed.value.code == "command_timeout"
    child = int((shop.directory / "child").read_text())
    assert wait_for(lambda: not is_running(child))


def test_database_in_memory_is_refused(open_database: Callable[[str, str], Database], shop: Shop) -> None:
    database = open_database("test", "sqlite://")
    prepare(database)
    with pytest.raises(Invalid) as refused:
        shop.driver().install(database, "2")
    assert refused.value.code == "database_in_memory"


KILLED_DAEMON = """
import sys
from orchestrator.dialects import open_database
from orchestrator.domain.ladder import Step
from tests.schema_migrations.test_command_driver import Path, Settings
from orchestrator.schema_migrations.command_driver import CommandDriver

url, directory, *variables = sys.argv[1:]
environment = tuple(tuple(each.split("=", 1)) for each in variables)
settings = Settings("shop", Path(directory), f"{directory}/shop.toml", environment=environment)
CommandDriver(settings).run(open_database("test", url), "2", Step.EXPAND, owner_epoch=1)
"""


def test_command_of_a_killed_daemon_is_not_joined_by_a_second_one(
    at_one: Database, database_url: str, shop: Shop
) -> None:
    begun, go_on = shop.directory / "begun", shop.directory / "go_on"
    os.mkfifo(begun)
    os.mkfifo(go_on)
    settings = shop.settings.with_variables(SHOP_FAULT="waits", SHOP_BEGUN=begun, SHOP_GO_ON=go_on)
    variables = [f"{name}={value}" for name, value in settings.environment]
    command = [sys.executable, "-c", KILLED_DAEMON, database_url, str(shop.directory), *variables]
    daemon = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    assert begun.read_text() == "x"  # the command runs
    daemon.kill()
    daemon.wait()

    with pytest.raises(Conflict) as busy:
        shop.driver().run(at_one, "2", Step.EXPAND, owner_epoch=2)
    assert busy.value.code == "lock_busy"

    go_on.write_text("x")
    assert wait_for(lambda: not is_busy(shop.driver(), at_one))
    assert shop.driver().position(at_one, "2").expanded
    assert shop.calls().count("expand") == 1


def is_busy(driver: CommandDriver, database: Database) -> bool:
    try:
        driver.run(database, "2", Step.EXPAND, owner_epoch=2)
    except OrchestratorError as error:
        assert error.code == "lock_busy", error
        return True
    return False


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold; gives up after a long time."""
    for _ in range(600):
        if holds():
            return True
        time.sleep(0.05)
    return False
