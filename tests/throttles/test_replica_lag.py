"""Replica lag, on a real standby of PostgreSQL, and as MariaDB and servers that say odd things tell it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.dialects import Database
from orchestrator.dialects.load import Replica
from orchestrator.throttles import Sample
from orchestrator.throttles.replica_lag import ReplicaLag
from orchestrator.throttles.wal_backlog import WalBacklog
from tests.fakes import Clock
from tests.throttles.standby import Pair, a_pair

SECONDS = 30.0


# -- what is made of what servers say ----------------------------------------------------------------------------------


@dataclass
class Server:
    """Stands for a database and its load: what it has written, and what its replica says."""

    position: int = 100
    replica: Replica | None = field(default_factory=lambda: Replica("db2", 100, None))

    name = "main"
    knows_replicas = True

    @property
    def dialect(self) -> Server:
        return self

    @property
    def load(self) -> Server:
        return self

    @contextmanager
    def consulting(self, seconds: float) -> Iterator[None]:
        yield

    def written(self, connection: object) -> int:
        return self.position

    def replicas(self, connection: object) -> tuple[Replica, ...]:
        return () if self.replica is None else (self.replica,)


@dataclass
class Lag:
    server: Server = field(default_factory=Server)
    clock: Clock = field(default_factory=lambda: Clock(0.0))

    def __post_init__(self) -> None:
        self.signal = ReplicaLag(cast(Any, self.server), (), SECONDS, self.clock)

    def after(self, seconds: float, written: int, replayed: int | None, says: float | None = None) -> float | None:
        """The lag some time later, when so much was written and replayed, and the servers say this of it."""
        self.clock.advance(seconds)
        self.server.position, self.server.replica = written, Replica("db2", replayed, says)
        (sample,) = self.signal.read()
        return None if sample.error else sample.value


@pytest.fixture
def lag() -> Lag:
    return Lag()


def test_a_replica_that_has_everything_is_not_behind_whatever_is_said(lag: Lag) -> None:
    assert lag.after(0, 100, 100, says=3600.0) == 0.0  # the last transaction of an idle server is long ago
    assert lag.after(600, 100, 100, says=4200.0) == 0.0


def test_a_replica_that_keeps_up_with_much_writing_is_not_behind(lag: Lag) -> None:
    assert lag.after(0, 100, 100) == 0.0
    assert lag.after(1, 200, 190, says=3600.0) == 1.0  # it has all that was written a second ago
    assert lag.after(1, 300, 290, says=0.2) == 0.2


def test_a_replica_that_is_stuck_falls_behind_whatever_is_said(lag: Lag) -> None:
    assert lag.after(0, 100, 100) == 0.0
    assert lag.after(1, 200, 150, says=0.0) == 0.0
    assert lag.after(1, 300, 150, says=0.0) == 1.0
    assert lag.after(9, 400, 199, says=0.0) == 10.0
    assert lag.after(1, 400, 400, says=0.0) == 0.0


def test_a_replica_that_is_far_behind_does_not_seem_to_catch_up_while_it_replays(lag: Lag) -> None:
    lag.after(0, 1000, 0, says=12.0)
    found = [lag.after(1, 1000 + 100 * second, 100 * second, says=12.0) for second in range(1, 9)]
    assert found == [12.0] * 8


def test_what_nobody_knows_yet_is_no_zero(lag: Lag) -> None:
    assert lag.after(0, 200, 100) is None
    assert lag.after(1, 200, 100) == 1.0


def test_servers_that_cannot_be_compared_are_believed(lag: Lag) -> None:
    assert lag.after(0, 100, None, says=7.0) == 7.0
    assert lag.after(1, 100, None) is None


def test_no_replica_at_all_is_unreadable() -> None:
    (sample,) = Lag(Server(replica=None)).signal.read()
    assert sample.error is not None and "no replica is connected" in sample.error


# -- a real standby ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(postgresql_server: object) -> Iterator[Pair]:
    """Where PostgreSQL can be had at all."""
    root = Path(tempfile.mkdtemp(prefix="pair-"))  # short: sockets have short names
    root.chmod(0o777)
    try:
        with a_pair(root) as found:
            yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


def until(is_so: Callable[[], bool]) -> bool:
    while not is_so():
        threading.Event().wait(0.02)
    return True


@dataclass
class Standby:
    primary: Database
    replica: Database

    def write(self) -> None:
        with self.primary.autocommitting() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS noise (n integer)")
            connection.exec_driver_sql("INSERT INTO noise VALUES (1)")

    def on_standby(self, statement: str) -> None:
        with self.replica.autocommitting() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture
def standby(pair: Pair, open_database: Callable[[str, str], Database]) -> Iterator[Standby]:
    found = Standby(open_database("main", pair.primary), open_database("db2", pair.standby))
    yield found
    found.on_standby("SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize("is_named", [True, False], ids=["asked itself", "as the primary knows it"])
def test_a_standby_that_is_held_up_is_behind_and_catches_up(standby: Standby, is_named: bool) -> None:
    clock = Clock(0.0)
    signal = ReplicaLag(standby.primary, (standby.replica,) if is_named else (), SECONDS, clock)
    name = "replica db2" if is_named else "replica walreceiver"

    def read() -> Sample:
        (sample,) = signal.read()
        return sample

    standby.write()
    assert until(lambda: read() == Sample(0.0, name))
    clock.advance(3600.0)
    assert until(lambda: read() == Sample(0.0, name))  # idle is not behind: whatever the server wrote is there soon

    standby.on_standby("SELECT pg_wal_replay_pause()")
    standby.write()
    read()
    standby.write()
    read()
    clock.advance(12.5)
    found = read()
    assert found.value is not None and found.value >= 12.5
    assert found.of == name

    standby.on_standby("SELECT pg_wal_replay_resume()")
    assert until(lambda: read() == Sample(0.0, name))


def test_what_a_role_is_not_shown_of_replicas_is_no_zero(
    standby: Standby, open_database: Callable[[str, str], Database]
) -> None:
    with standby.primary.autocommitting() as connection:
        connection.exec_driver_sql("CREATE ROLE poor LOGIN")
    url = standby.primary.engine.url.set(username="poor").render_as_string(hide_password=False)
    signal = ReplicaLag(open_database("main", url), (), SECONDS, Clock())
    with pytest.raises(Exception, match="GRANT pg_monitor TO poor;"):
        signal.read()


def test_a_named_replica_that_is_away_or_none_is_unreadable_and_the_others_are_read(
    standby: Standby, open_database: Callable[[str, str], Database]
) -> None:
    away = open_database("db3", "postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=1")
    signal = ReplicaLag(standby.primary, (standby.replica, away, standby.primary), SECONDS, Clock())
    assert until(lambda: signal.read()[0] == Sample(0.0, "replica db2"))
    _, second, third = signal.read()
    assert second.of == "replica db3" and "does not answer" in (second.error or "")
    assert "secret" not in (second.error or "")
    assert third.error == "that server is no replica now"


def test_a_slot_keeps_what_nobody_has_read(standby: Standby) -> None:
    signal = WalBacklog(standby.primary, SECONDS)
    with standby.primary.autocommitting() as connection:
        connection.exec_driver_sql("SELECT pg_create_physical_replication_slot('lost', true)")
        try:
            standby.write()
            (sample,) = signal.read()
            assert sample.of == "replication slot lost"
            assert sample.value is not None and sample.value > 0
        finally:
            connection.exec_driver_sql("SELECT pg_drop_replication_slot('lost')")
    assert signal.read() == ()


# -- MariaDB -----------------------------------------------------------------------------------------------------------


def test_a_server_that_is_no_replica_is_unreadable_on_mariadb(mariadb: Database) -> None:
    (sample,) = ReplicaLag(mariadb, (mariadb,), SECONDS, Clock()).read()
    error, remedy = "that server is no replica now", "Name its replicas as they are now."
    assert sample == Sample(of="replica main", error=error, remedy=remedy)
