"""What rows wait for: what the options come to, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.conf import load
from orchestrator.conf.settings import SchemaSettings, ThrottleSettings, ThrottlingSettings
from orchestrator.domain.errors import ConfigurationError

POSTGRESQL = "connection = postgresql://db/nova\n"
MARIADB = "connection = mysql://root@db/nova\n"
SQLITE = "connection = sqlite:////tmp/nova.sqlite\n"
THROTTLE = "[throttle:nova:jobs]\n"


def loaded(tmp_path: Path, schema: str, rest: str = "") -> SchemaSettings:
    (tmp_path / "migrations").mkdir(exist_ok=True)
    file = tmp_path / "orchestrator.conf"
    top = "[orchestrator]\nschemas = nova\nstate_dir = state\n"
    file.write_text(f"{top}[schema:nova]\nmigrations = migrations\n{schema}{rest}")
    return load([file]).schemas[0]


def test_by_default_rows_wait_for_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, POSTGRESQL).throttling == ThrottlingSettings()


def test_a_schema_says_otherwise_than_the_site(tmp_path: Path) -> None:
    site = "[throttling]\ntimeout_seconds = 1\nmax_replica_lag_seconds = 5\nmax_active_sessions = 4\n"
    site += "max_lock_waits = 0\n"
    own = "max_active_sessions = -1\nmax_lock_waits = 2\n"
    found = loaded(tmp_path, POSTGRESQL + own, site).throttling
    assert found == ThrottlingSettings((("max_replica_lag_seconds", 5.0), ("max_lock_waits", 2)), timeout_seconds=1.0)


def test_a_schema_may_be_nicer_than_the_site(tmp_path: Path) -> None:
    site = "[data_migrations]\nnice_ratio = 1\n"
    assert loaded(tmp_path, POSTGRESQL).nice_ratio == 0.0
    assert loaded(tmp_path, POSTGRESQL, site).nice_ratio == 1.0
    assert loaded(tmp_path, POSTGRESQL + "nice_ratio = 4\n", site).nice_ratio == 4.0


def test_a_schema_may_have_more_workers_than_the_site(tmp_path: Path) -> None:
    site = "[data_migrations]\nworkers = 2\n"
    assert loaded(tmp_path, POSTGRESQL).workers == 1
    assert loaded(tmp_path, POSTGRESQL, site).workers == 2
    assert loaded(tmp_path, POSTGRESQL + "workers = 4\n", site).workers == 4


def test_replicas_are_those_of_their_database(tmp_path: Path) -> None:
    own = "replicas = mysql://root:secret@db2/nova\nreplicas = mysql://root:secret@db3/nova\n"
    found = loaded(tmp_path, MARIADB + own, "[throttling]\nmax_replica_lag_seconds = 5\n")
    assert found.databases[0].replicas == ("mysql://root:secret@db2/nova", "mysql://root:secret@db3/nova")
    assert "secret" not in repr(found)


def test_a_query_and_a_check_are_read(tmp_path: Path) -> None:
    rest = (
        f"{THROTTLE}query = SELECT count(*)\n    FROM jobs\nmax = 100\ndatabases = nova\n"
        "[throttle:nova:gate]\nurl = http://127.0.0.1:80/?token=secret\n"
    )
    found = loaded(tmp_path, POSTGRESQL, rest)
    assert found.throttling.own == (
        ThrottleSettings("jobs", "SELECT count(*)\nFROM jobs", 100.0, databases=("nova",)),
        ThrottleSettings("gate", url="http://127.0.0.1:80/?token=secret"),
    )
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("schema", "rest", "code", "said"),
    [
        (POSTGRESQL, "[throttling]\nmax_active_sessions = -2\n", "option_value_invalid", "[throttling] max_active"),
        (POSTGRESQL, "[throttling]\ninterval_seconds = 0\n", "option_value_invalid", "[throttling] interval_seconds"),
        (POSTGRESQL + "max_lock_waits = few\n", "", "option_value_invalid", "[schema:nova] max_lock_waits"),
        (SQLITE + "max_active_sessions = 4\n", "", "option_without_effect", "of a kind that has no such thing"),
        (MARIADB + "max_wal_backlog_mib = 4\n", "", "option_without_effect", "of a kind that has no such thing"),
        (MARIADB + "max_replica_lag_seconds = 4\n", "", "replicas_unnamed", "[schema:nova] max_replica_lag_seconds"),
        (MARIADB, "[throttling]\nmax_replica_lag_seconds = 4\n", "replicas_unnamed", "[throttling] max_replica_lag"),
        (POSTGRESQL, f"{THROTTLE}max = 4\n", "option_missing", "has no option query"),
        (POSTGRESQL, f"{THROTTLE}query = DELETE FROM jobs\n", "query_unusable", "it is no query"),
        (
            POSTGRESQL, f"{THROTTLE}query = WITH d AS (DELETE FROM jobs RETURNING id) SELECT count(*) FROM d\n",
            "query_unusable", "it writes: it has a DELETE in it",
        ),
        (
            SQLITE, f"{THROTTLE}query = WITH d AS (SELECT 1) INSERT INTO jobs SELECT * FROM d\n", "query_unusable",
            "it writes: it has an INSERT in it",
        ),
        (POSTGRESQL, f"{THROTTLE}query = SELECT 1\nmax = nan\n", "option_value_invalid", "no finite number"),
        (POSTGRESQL, f"{THROTTLE}query = SELECT 1\nurl = http://x\n", "option_ambiguous", "a query too"),
        (POSTGRESQL, f"{THROTTLE}url = http://u:secret@x\n", "option_value_invalid", "a user or a password"),
        (POSTGRESQL, f"{THROTTLE}url = http://x\nmax = 4\n", "option_without_effect", "means nothing with url"),
        (POSTGRESQL, f"{THROTTLE}query = SELECT 1\ndatabases = other\n", "database_unknown", "no database other"),
        (POSTGRESQL, "[throttle:nov:jobs]\nquery = SELECT 1\n", "section_unknown", "no section"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path: Path, schema: str, rest: str, code: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, schema, rest)
    assert caught.value.code == code
    assert said in caught.value.message
    assert "secret" not in str(caught.value)
    assert caught.value.remedy


MIXED = (
    "databases = pg, my\n[database:nova:pg]\nconnection = postgresql://db/nova\n"
    "[database:nova:my]\nconnection = mysql://root@db/nova\n"
)


@pytest.mark.parametrize("option", ["max_replica_lag_seconds", "max_wal_backlog_mib"])
def test_a_limit_that_one_of_the_databases_has_not_is_refused_with_the_way_to_have_it_in_the_others(
    tmp_path: Path, option: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, f"{option} = 4.5\n{MIXED}")
    command = f"orchestrator data-migration set nova {option}=4.5 --database pg"
    assert caught.value.remedy.endswith(f"To have it in pg alone, give -1, and to the running daemon: {command}.")


def test_what_the_site_limits_holds_where_there_is_such_a_thing(tmp_path: Path) -> None:
    site = "[throttling]\nmax_wal_backlog_mib = 100\nmax_active_sessions = 40\n"
    assert loaded(tmp_path, SQLITE, site).throttling.limits


@pytest.mark.parametrize(
    ("schema", "query"),
    [
        (POSTGRESQL, "SELECT count(*) FROM jobs WHERE state = 'delete' AND \"update\" > 0"),
        (MARIADB, "SELECT length(INSERT('abc', 1, 1, 'x')) + length(REPLACE('abc', 'a', 'b'))"),
        (SQLITE, "WITH d AS (SELECT max(rowid) AS n FROM jobs) SELECT n FROM d"),
        (POSTGRESQL, "SELECT some_grammar_that FROM ONLY ROWS (nobody knows) ->> here"),
    ],
)
def test_what_only_looks_like_writing_is_let_be(tmp_path: Path, schema: str, query: str) -> None:
    assert loaded(tmp_path, schema, f"{THROTTLE}query = {query}\n").throttling.own
