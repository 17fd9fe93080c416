"""Signals of a server's sessions: who works, who waits for us, whose transaction is open."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy import text

from orchestrator.dialects import Database
from orchestrator.domain.errors import Forbidden, Invalid, OrchestratorError, Unavailable
from orchestrator.throttles.active_sessions import ActiveSessions
from orchestrator.throttles.lock_waits import LockWaits
from orchestrator.throttles.oldest_transaction import OldestTransaction
from orchestrator.throttles.wal_backlog import WalBacklog

SECONDS = 30.0

IN_TURN = pytest.mark.xdist_group("innodb_transactions")
"""One after the other: InnoDB shows transactions as they were as long as anybody looks every 0.1 s."""

PATIENCE_SECONDS = 60.0
"""No test depends on how fast a machine is; one that hangs says so before that long."""


@pytest.fixture
def others(new_postgresql_role: str, postgresql: Database) -> Iterator[sa.Engine]:
    """A service's own sessions on PostgreSQL."""
    url = postgresql.engine.url.set(username=new_postgresql_role).update_query_dict({"application_name": "service"})
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def new_postgresql_role(postgresql: Database) -> Iterator[str]:
    name = f"service_{os.getpid()}"
    with postgresql.autocommitting() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        connection.exec_driver_sql("CREATE TABLE items (id integer PRIMARY KEY, n integer)")
        connection.exec_driver_sql("INSERT INTO items VALUES (1, 1)")
        connection.exec_driver_sql(f"GRANT ALL ON items TO {name}")
    yield name
    with postgresql.autocommitting() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def unprivileged(others: sa.Engine, open_database: Callable[[str, str], Database]) -> Database:
    """The same database, under a role that is shown little."""
    url = others.url.update_query_dict({"application_name": "orchestrator"})
    return open_database("main", url.render_as_string(hide_password=False))


def until(is_so: Callable[[], bool]) -> bool:
    """Ask until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if is_so():
                return True
        except Unavailable as refusal:
            assert refusal.code == "load_outdated"  # whatever else runs on that server asks, too
        time.sleep(random.uniform(0.05, 0.3))  # not in step with it
    return False


def test_active_sessions_of_others_are_counted(postgresql: Database, others: sa.Engine) -> None:
    signal = ActiveSessions(postgresql, SECONDS)

    def count() -> float:
        (sample,) = signal.read()
        assert sample.value is not None
        return sample.value

    with others.connect() as one, others.connect() as two:
        one.exec_driver_sql("LOCK TABLE items")
        # Whoever has just been answered is called active for a moment yet.
        assert until(lambda: count() == 0)
        waiting = threading.Thread(target=lambda: two.exec_driver_sql("SELECT * FROM items"))
        waiting.start()
        assert until(lambda: count() == 1)
        one.rollback()
        waiting.join()


def test_our_own_sessions_are_not_counted(postgresql: Database, others: sa.Engine) -> None:
    waiting_here = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with others.connect() as one, postgresql.reading() as ours, postgresql.reading() as asking:
        before = postgresql.dialect.load.active_sessions(asking)
        one.exec_driver_sql("LOCK TABLE items")
        waiting = threading.Thread(target=lambda: ours.exec_driver_sql("SELECT * FROM items"))
        waiting.start()

        def waits() -> bool:
            asking.rollback()
            return bool(asking.execute(waiting_here).scalar_one() == 1)

        assert until(waits)
        # Whoever has just been answered is called active for a moment yet.
        assert until(lambda: waits() and postgresql.dialect.load.active_sessions(asking) <= before)
        one.rollback()
        waiting.join()


@pytest.mark.parametrize("kind", [ActiveSessions, OldestTransaction])
def test_what_is_not_shown_is_no_zero(
    kind: type[ActiveSessions | OldestTransaction], postgresql: Database, unprivileged: Database
) -> None:
    with postgresql.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(Forbidden) as caught:
            kind(unprivileged, SECONDS).read()
    assert "GRANT pg_monitor TO" in caught.value.message


def test_a_granted_role_is_shown_it(postgresql: Database, unprivileged: Database) -> None:
    with postgresql.autocommitting() as connection:
        connection.exec_driver_sql(f"GRANT pg_monitor TO {unprivileged.engine.url.username}")
        assert ActiveSessions(unprivileged, SECONDS).read()
        assert OldestTransaction(unprivileged, SECONDS).read()


def test_the_oldest_transaction_of_others_is_found(postgresql: Database, others: sa.Engine) -> None:
    signal = OldestTransaction(postgresql, SECONDS)
    with postgresql.reading() as ours:
        ours.exec_driver_sql("SELECT 1")
        (sample,) = signal.read()
        assert sample.value == 0.0
        with others.connect() as one:
            one.exec_driver_sql("SELECT 1")
            assert until(lambda: (signal.read()[0].value or 0) > 0.05)


def test_sessions_that_wait_for_our_locks_are_counted(
    postgresql: Database, unprivileged: Database, others: sa.Engine
) -> None:
    with postgresql.writing() as ours:
        signal = LockWaits(postgresql, SECONDS)
        ours.exec_driver_sql("UPDATE items SET n = 2")
        assert until(lambda: signal.read()[0].value == 0)

        def update() -> None:
            with others.begin() as connection:
                connection.exec_driver_sql("UPDATE items SET n = 3")

        waiting = threading.Thread(target=update)
        waiting.start()
        assert until(lambda: signal.read()[0].value == 1)
        # Who asks under another role holds none of these locks.
        assert LockWaits(unprivileged, SECONDS).read()[0].value == 0
    waiting.join()


def test_no_slot_keeps_nothing(postgresql: Database) -> None:
    assert WalBacklog(postgresql, SECONDS).read() == ()


# -- MariaDB -----------------------------------------------------------------------------------------------------------


def user_of(mariadb: Database, name: str, rights: str = "ALL ON {database}.*") -> sa.URL:
    database = mariadb.engine.url.database
    with mariadb.autocommitting() as connection:
        connection.exec_driver_sql(f"CREATE OR REPLACE USER {name}@localhost")
        connection.exec_driver_sql(f"GRANT {rights.format(database=database)} TO {name}@localhost")
    return mariadb.engine.url.set(username=name)


def test_threads_running_are_counted(mariadb: Database) -> None:
    signal = ActiveSessions(mariadb, SECONDS)
    other = sa.create_engine(mariadb.engine.url)
    take = text("SELECT GET_LOCK(:name, 60)")
    name = {"name": f"throttles {mariadb.engine.url.database}"}
    with other.connect() as connection, mariadb.reading() as holding:
        holding.execute(take, name)
        waiting = threading.Thread(target=lambda: connection.execute(take, name))
        waiting.start()
        assert until(lambda: (signal.read()[0].value or 0) >= 1)
        holding.execute(text("SELECT RELEASE_LOCK(:name)"), name)
        waiting.join()
    other.dispose()


@IN_TURN
def test_sessions_that_wait_for_our_locks_are_counted_on_mariadb(mariadb: Database) -> None:
    with mariadb.autocommitting() as connection:
        connection.exec_driver_sql("CREATE TABLE items (id integer PRIMARY KEY, n integer)")
        connection.exec_driver_sql("INSERT INTO items VALUES (1, 1)")
    service = user_of(mariadb, f"service_{os.getpid()}")
    other = sa.create_engine(service, connect_args={"init_command": "SET innodb_lock_wait_timeout = 600"})
    signal = LockWaits(mariadb, SECONDS)
    with mariadb.writing() as ours:
        ours.exec_driver_sql("UPDATE items SET n = 2")
        assert until(lambda: signal.read()[0].value == 0)

        def update() -> None:
            with other.begin() as connection:
                connection.exec_driver_sql("UPDATE items SET n = 3")

        waiting = threading.Thread(target=update)
        waiting.start()
        assert until(lambda: signal.read()[0].value == 1)
    waiting.join()
    other.dispose()


@IN_TURN
def test_the_oldest_transaction_of_others_is_found_on_mariadb(mariadb: Database) -> None:
    with mariadb.autocommitting() as connection:
        connection.exec_driver_sql("CREATE TABLE items (id integer PRIMARY KEY, n integer)")
        connection.exec_driver_sql("INSERT INTO items VALUES (1, 1)")
    other = sa.create_engine(user_of(mariadb, f"service_{os.getpid()}"))
    with other.connect() as connection:
        connection.exec_driver_sql("UPDATE items SET n = 2")
        assert until(lambda: (OldestTransaction(mariadb, SECONDS).read()[0].value or 0) >= 1)
    other.dispose()


@IN_TURN
@pytest.mark.parametrize("kind", [LockWaits, OldestTransaction])
def test_transactions_that_are_shown_as_they_were_are_no_sample(
    kind: type[LockWaits | OldestTransaction], mariadb: Database
) -> None:
    """InnoDB shows them as they were as long as somebody looks: this one never stops."""
    signal, over = kind(mariadb, SECONDS), threading.Event()

    def look() -> None:
        with mariadb.reading() as connection:
            while not over.is_set():
                connection.exec_driver_sql("SELECT COUNT(*) FROM information_schema.innodb_trx").all()

    def is_outdated() -> bool:
        try:
            signal.read()
        except Unavailable as refusal:
            return refusal.code == "load_outdated"
        return False

    looking = threading.Thread(target=look)
    looking.start()
    try:
        assert until(is_outdated)
    finally:
        over.set()
        looking.join()
    assert until(lambda: signal.read()[0].value is not None)


@IN_TURN
def test_many_databases_of_one_server_do_not_keep_each_other_from_seeing_it(mariadb: Database) -> None:
    def read(_: int) -> None:
        for _ in range(5):
            LockWaits(mariadb, SECONDS).read()

    with ThreadPoolExecutor(20) as workers:
        list(workers.map(read, range(20)))


@pytest.mark.parametrize("kind", [LockWaits, OldestTransaction])
def test_a_missing_right_is_named_on_mariadb(
    kind: type[LockWaits | OldestTransaction], mariadb: Database, open_database: Callable[[str, str], Database]
) -> None:
    url = user_of(mariadb, f"poor_{os.getpid()}")
    with pytest.raises(Forbidden) as caught:
        kind(open_database("main", url.render_as_string(hide_password=False)), SECONDS).read()
    assert f"GRANT PROCESS ON *.* TO 'poor_{os.getpid()}'@'localhost';" in caught.value.message


def test_mariadb_keeps_no_log_for_replicas(mariadb: Database) -> None:
    with pytest.raises(Invalid):
        WalBacklog(mariadb, SECONDS).read()


@pytest.mark.parametrize("kind", [ActiveSessions, LockWaits, OldestTransaction, WalBacklog])
def test_a_file_has_no_sessions(
    kind: type[ActiveSessions | LockWaits | OldestTransaction | WalBacklog], sqlite: Database
) -> None:
    with pytest.raises(Invalid):
        kind(sqlite, SECONDS).read()


def test_a_database_that_is_away_cannot_be_read(open_database: Callable[[str, str], Database]) -> None:
    away = open_database("main", "postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(OrchestratorError) as caught:
        ActiveSessions(away, 1.0).read()
    assert "secret" not in str(caught.value)
