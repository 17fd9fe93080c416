"""Bad input to the real program: one clear sentence with its place and its remedy, a stable code, nothing half done."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.demo.example import SCHEMA, migrations_directory
from orchestrator.demo.ports import free_port
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import API, FLEETS, stocks

SAID = re.compile(r"orchestrator: (?P<sentence>[^\n]+) \((?P<code>[a-z_]+)\)\n  (?P<remedy>[^\n]+)\n")


def refused(site: Site, config: Path | None = None) -> tuple[str, str, str]:
    """Start a daemon that must not start. Its code, its sentence and its remedy, which are all that it says."""
    process = site.serve(config or site.configure())
    until(lambda: process.exit_code is not None, "it ends by itself", also=lambda: process.log)
    assert process.exit_code == 1, process.log
    said = SAID.fullmatch(process.log)
    assert said is not None, process.log
    return said["code"], said["sentence"], said["remedy"]


def own_migrations(site: Site) -> Path:
    """The example's migrations, to be spoiled."""
    site.migrations = site.directory / "migrations"
    shutil.copytree(migrations_directory(), site.migrations)
    return site.migrations


def replace(path: Path, old: str, new: str) -> None:
    """Spoil a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def nothing_was_made(site: Site) -> bool:
    return not list(site.directory.glob("*.sqlite*"))


# -- the daemon does not start ---------------------------------------------------------------------------------------


def test_unknown_option(site: Site) -> None:
    site.more["cycle"] = {"intervall_seconds": 3}
    config = site.configure()
    code, sentence, remedy = refused(site, config)
    assert (code, sentence) == ("option_unknown", f"{config}:11: [cycle] has no option intervall_seconds")
    assert "interval_seconds" in remedy
    assert nothing_was_made(site)


def test_missing_option(site: Site) -> None:
    sections = site.sections()
    del sections[f"schema:{SCHEMA}"]["migrations"]
    code, sentence, remedy = refused(site, site.configure(sections))
    assert code == "option_missing"
    assert f"[schema:{SCHEMA}] has no option migrations" in sentence
    assert "`migrations = ...`" in remedy
    assert nothing_was_made(site)


def test_state_database_that_does_not_answer(site: Site) -> None:
    port = free_port()
    site.state_url = f"postgresql://orchestrator:secret@127.0.0.1:{port}/state"
    code, sentence, remedy = refused(site)
    assert code == "database_unreachable"
    assert f"database state at postgresql://orchestrator:***@127.0.0.1:{port}/state does not answer" in sentence
    assert "secret" not in sentence + remedy


def test_state_database_that_is_none(site: Site) -> None:
    path = site.directory / "state.sqlite"
    path.write_text("this is a letter to my mother, and no database at all " * 100)
    code, sentence, _ = refused(site)
    assert code == "database_refused"
    assert str(path) in sentence
    assert "not a database" in sentence


def test_state_database_in_a_directory_that_is_missing(site: Site) -> None:
    site.state_url = f"sqlite:///{site.directory}/nowhere/state.sqlite"
    code, sentence, _ = refused(site)
    assert code == "database_unreachable"
    assert f"{site.directory}/nowhere/state.sqlite" in sentence


def test_state_directory_that_cannot_be_made(site: Site) -> None:
    (site.directory / "file").touch()
    site.more["orchestrator"] = {"state_dir": site.directory / "file" / "state"}
    code, sentence, _ = refused(site)
    assert code == "state_dir_unusable"
    assert f"{site.directory}/file/state cannot be made: Not a directory" in sentence


def test_state_database_of_a_newer_version(site: Site) -> None:
    daemon = site.ready()
    assert daemon.stop() == 0
    with stocks(site.state_url) as (state,):
        state.execute("UPDATE orchestrator_state_version SET version_num = 'state_9999'")
    code, sentence, remedy = refused(site)
    assert code == "database_ahead"
    assert "state_9999" in sentence
    assert remedy


def test_manifest_that_names_a_missing_revision(site: Site) -> None:
    manifest = own_migrations(site) / "releases.toml"
    replace(manifest, '"e002_new_shape" ', '"e002_no_shape" ')
    code, sentence, _ = refused(site)
    assert code == "head_missing"
    assert sentence == f"{manifest}:10: release 2 names revision e002_no_shape, which is not in expand/"
    assert nothing_was_made(site)


@pytest.mark.parametrize(
    "line, words",
    [("import nothing_of_that_name", "nothing_of_that_name"), ("def upgrade(:", "invalid syntax"), ("1 / 0", "zero")],
)
def test_revision_that_does_not_import(site: Site, line: str, words: str) -> None:
    revision = own_migrations(site) / "expand" / "e002_new_shape.py"
    replace(revision, "from alembic import op\n", f"from alembic import op\n{line}\n")
    code, sentence, remedy = refused(site)
    assert code == "revision_not_importable"
    assert f"{revision}:9" in sentence
    assert words in sentence
    assert remedy
    assert nothing_was_made(site)


def test_migrations_that_cannot_be_read(site: Site) -> None:
    manifest = own_migrations(site) / "releases.toml"
    manifest.unlink()
    assert refused(site)[0] == "manifest_missing"
    manifest.mkdir()
    code, sentence, _ = refused(site)
    assert code == "manifest_missing"
    assert str(manifest) in sentence
    manifest.rmdir()
    manifest.write_bytes(b"\xff\xfe")
    assert refused(site)[0] == "manifest_invalid"
    shutil.rmtree(site.migrations)
    assert refused(site)[0] == "directory_missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_migrations_that_may_not_be_read(site: Site) -> None:
    directory = own_migrations(site)
    (directory / "expand").chmod(0)
    code, sentence, _ = refused(site)
    (directory / "expand").chmod(0o755)
    assert (code, str(directory) in sentence) == ("directory_unreadable", True)


def test_port_in_use(site: Site) -> None:
    daemon = site.ready()
    code, sentence, remedy = refused(site, site.configure(port=daemon.port))
    assert code == "address_unusable"
    assert f"cannot listen on 127.0.0.1 port {daemon.port}: Address already in use" in sentence
    assert "Is another daemon running there?" in remedy
    assert daemon.ask("GET", "/healthz").status == 200


def test_tokens_file_with_a_broken_line(site: Site) -> None:
    tokens = site.directory / "tokens"
    tokens.write_text("# tokens\nalice operator\n")
    site.more["api"] = {"tokens_file": tokens}
    code, sentence, _ = refused(site)
    assert code == "tokens_file_invalid"
    assert f"line 2 of {tokens}" in sentence
    assert nothing_was_made(site)


# -- the daemon starts, and says so ----------------------------------------------------------------------------------


def test_managed_databases_that_cannot_be_used_are_named_and_the_others_go_on(site: Site) -> None:
    site.is_prepared = False
    port = free_port()
    garbage = site.directory / "garbage.sqlite"
    garbage.write_text("no database " * 1000)
    site.databases |= {"away": f"postgresql://orchestrator:secret@127.0.0.1:{port}/x", "spoilt": f"sqlite:///{garbage}"}
    daemon = site.ready()
    until(lambda: "1/3" in daemon.orchestrator("status"), "status says so", also=daemon.account)
    said = daemon.orchestrator("status")
    assert f"away: database away at postgresql://orchestrator:***@127.0.0.1:{port}/x does not answer" in said
    assert f"spoilt: database spoilt at sqlite:///{garbage} refused: file is not a database" in said
    listed = json.loads(daemon.orchestrator("database", "list", SCHEMA, "-f", "json"))
    assert [bool(row["Says"]) for row in listed] == [False, True, True], listed
    assert "database_unreachable" in daemon.orchestrator("schema", "init", SCHEMA, "--release", "1", code=1)
    assert daemon.ask("GET", f"/v1/schemas/{SCHEMA}").body["release"] is None
    garbage.unlink()
    until(lambda: "2/3" in daemon.orchestrator("status"), "the mended one is well", also=daemon.account)
    assert "secret" not in daemon.log
    assert daemon.stop() == 0


def test_data_migration_without_a_usable_key_is_refused_before_the_upgrade_begins(any_site: Site) -> None:
    site = any_site
    directory = own_migrations(site)
    tables = directory / "expand" / "e001_first_tables.py"
    tables.write_text(tables.read_text().replace(", primary_key=True", "", 1))
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    said = daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1)
    assert f"{directory}/data/split_name.py" in said
    assert "works on table customers, which has no primary key to walk by (key_missing)" in said
    assert "no upgrade of it has begun" in daemon.orchestrator("status")
    assert [each["action"] for each in daemon.ask("GET", "/v1/events").body["events"]] == ["schema.initialise"]


def test_data_migration_of_a_column_that_nothing_adds_is_refused_before_the_upgrade_begins(any_site: Site) -> None:
    site = any_site
    directory = own_migrations(site)
    replace(directory / "data" / "split_name.py", '"first_name"', '"forename"')
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    said = daemon.orchestrator("upgrade", "begin", SCHEMA, "--release", "2", code=1)
    assert f"{directory}/data/split_name.py" in said
    assert "that no expand revision of its release adds: forename (column_missing)" in said
    assert "no upgrade of it has begun" in daemon.orchestrator("status")


def test_wrong_requests(site: Site) -> None:
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "1")
    upgrade = f"/v1/schemas/{SCHEMA}/upgrade"
    instances = f"/v1/schemas/{SCHEMA}/fleets/{API}/instances"
    registration = {"id": "a", "nonce": "b", "release": "1"}
    for method, path, body, status, code, words in (
        ("POST", upgrade, {"releese": "2"}, 422, "body_invalid", "releese"),
        ("POST", upgrade, {"release": 2}, 422, "body_invalid", "release"),
        ("POST", upgrade, {}, 422, "body_invalid", "release"),
        ("POST", upgrade, {"release": "7"}, 404, "release_unknown", "'7'"),
        ("POST", upgrade, {"release": "1"}, 409, "already_there", "release 1"),
        ("GET", "/v1/schemas/inventary", None, 404, "schema_unknown", "'inventary'"),
        ("POST", "/v1/schemas/inventary/upgrade", {"release": "2"}, 404, "schema_unknown", "'inventary'"),
        ("POST", instances, {**registration, "release": "2"}, 503, "upgrade_not_begun", "has not begun"),
        ("POST", instances, {**registration, "release": "3"}, 409, "release_unknown", "'3'"),
        ("POST", instances, {**registration, "id": "not an id"}, 422, "name_invalid", "not an id"),
        ("POST", f"/v1/schemas/{SCHEMA}/fleets/nobody/instances", registration, 404, "fleet_unknown", "'nobody'"),
        ("GET", f"/v1/schemas/{SCHEMA}/gates/garden", None, 422, "gate_unknown", "'garden'"),
        ("DELETE", upgrade, None, 405, "method_not_allowed", "DELETE"),
    ):
        answer = daemon.ask(method, path, body)
        found = (answer.status, answer.body["code"])
        assert found == (status, code), (method, path, body, answer.body)
        assert words in answer.body["detail"]
        assert answer.body["remedy"]
    assert raw(daemon, upgrade, b"{half of") == (400, "body_malformed")
    assert daemon.upgrade()["status"] == "none"
    assert daemon.ask("GET", f"/v1/schemas/{SCHEMA}/instances").body["instances"] == []


def raw(daemon: Daemon, path: str, body: bytes) -> tuple[int, str]:
    """Post a body as it is: status and code of the answer."""
    request = urllib.request.Request(daemon.url + path, body, {"Content-Type": "application/json"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=60)
    with refusal.value as answer:
        return answer.code, json.loads(answer.read())["code"]


def test_instances_of_a_release_too_old_or_too_new_are_never_admitted(site: Site) -> None:
    directory = own_migrations(site)
    with (directory / "releases.toml").open("a") as manifest:
        fleets = json.dumps(list(FLEETS))
        for name in ("3", "4"):
            manifest.write(
                f'\n[[release]]\nname = "{name}"\nexpand = "e002_new_shape"\ncontract = "c002_drop_old_shape"\n'
                f"fleets = {fleets}\n"
            )
    daemon = site.ready()
    daemon.orchestrator("schema", "init", SCHEMA, "--release", "2")
    for release, code in (("1", "release_too_old"), ("4", "release_too_new")):
        body = {"id": "a", "nonce": "b", "release": release}
        answer = daemon.ask("POST", f"/v1/schemas/{SCHEMA}/fleets/{API}/instances", body)
        assert (answer.status, answer.body["code"]) == (409, code)
        assert f"release {release} is too" in answer.body["detail"]
        said = daemon.orchestrator("wait", "readiness", SCHEMA, "--release", release, code=4)
        assert f"({code})" in said
    assert daemon.ask("GET", f"/v1/schemas/{SCHEMA}/instances").body["instances"] == []


def test_two_daemons_on_one_sqlite_state_share_it(site: Site) -> None:
    first = site.ready()
    second = site.ready()
    assert "another daemon leads" in second.log
    second.orchestrator("schema", "init", SCHEMA, "--release", "1")
    assert f"{SCHEMA}  1 " in first.orchestrator("status")
    assert (second.stop(), first.stop()) == (0, 0)


def test_state_database_that_goes_away_is_said_once_and_comes_back(
    site: Site, new_postgresql_url: Callable[[], str]
) -> None:
    site.state_url = new_postgresql_url()
    daemon = site.ready()
    with stocks(site.state_url.rpartition("/")[0] + "/postgres" + site.state_url[site.state_url.index("?") :]) as (
        server,
    ):
        name = site.state_url.rpartition("/")[2].partition("?")[0]
        with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            until(lambda: daemon.ask("GET", "/readyz").status == 503, "it is not ready")
            assert daemon.ask("GET", "/readyz").body["code"] == "state_database_unavailable"
            until(lambda: "the state database postgresql" in daemon.log, "it says so", also=lambda: daemon.log)
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    daemon.until_ready()
    until(lambda: daemon.log.count("this daemon leads") == 2, "it leads again", also=lambda: daemon.log)
    said = [line.partition(" WARNING ")[2] for line in daemon.log.splitlines() if " WARNING " in line]
    assert said
    assert sorted(said) == sorted(set(said)), "each reason once: sessions that were ended, no new ones let in"
    assert daemon.stop() == 0
