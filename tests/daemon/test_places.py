"""Places: whoever holds one knows that the daemon that held it before has ended. Nothing else proves that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
import sqlalchemy as sa

from orchestrator.conf import load
from orchestrator.daemon.place import held
from orchestrator.daemon.serve import _bind
from orchestrator.demo.ports import free_port
from tests.daemon.daemons import Daemon, Site, until
from tests.faults.points import PausePoint, Then, is_stopped

HOLD = """
import sys
from orchestrator.daemon.place import held
with held(sys.argv[1]) as place:
    print(place, flush=True)
    sys.stdin.read()
"""

ADDRESS = f"127.0.0.1:8776 of test {os.getpid()}"


class Holder:
    """Another process that holds a place, or tries to."""

    def __init__(self, *before: str) -> None:
        command = [*before, sys.executable, "-c", HOLD, ADDRESS]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.place = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_place_is_held_by_one_process_at_a_time_and_free_when_that_ends() -> None:
    holder = Holder()
    with held(ADDRESS) as place:
        assert place is None
    holder.kill()
    with held(ADDRESS) as place:
        assert place == holder.place
        with held(ADDRESS) as second:
            assert second is None
        with held(f"{ADDRESS} too") as other:
            assert other not in (None, place)
        late = Holder()
        assert late.place == "None"
        late.kill()


def test_place_is_another_one_in_another_network_namespace() -> None:
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    elsewhere = Holder("unshare", "--net")
    with held(ADDRESS) as place:
        assert place is not None
        assert elsewhere.place not in ("None", place)
    elsewhere.kill()


def test_address_too_long_for_a_name_is_no_place() -> None:
    with held("x" * 200) as place:
        assert place is None


def test_socket_is_shared_with_no_other_program(site: Site) -> None:
    with closing(_bind(load([site.configure()]))) as channel:
        assert channel.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


class Register:
    """The daemons as the state database has them, by their processes."""

    def __init__(self, site: Site) -> None:
        self._engine = sa.create_engine(site.state_url, poolclass=sa.NullPool)

    def value(self, daemon: Daemon, column: str) -> object:
        with self._engine.begin() as connection:
            found = connection.exec_driver_sql(f"SELECT id, {column} FROM daemons").all()
        return next((value for name, value in found if str(name).split(":")[1] == str(daemon.pid)), None)

    def let_run_out(self, daemon: Daemon) -> None:
        """As if its lease had run out long ago."""
        with self._engine.begin() as connection:
            statement = sa.text("UPDATE daemons SET expires_at = 0 WHERE id LIKE :name")
            assert connection.execute(statement, {"name": f"%:{daemon.pid}:%"}).rowcount == 1


def test_daemon_that_was_killed_is_followed_at_its_place(site: Site) -> None:
    site.more["leadership"] = {"ttl_seconds": 1}
    register, port = Register(site), free_port()
    killed = site.ready(port=port)
    assert register.value(killed, "place")
    killed.kill()
    following = site.ready(port=port)
    assert register.value(following, "place") == register.value(killed, "place")
    register.let_run_out(killed)
    until(lambda: register.value(killed, "state") == "left", "it is counted out", also=following.account)
    assert following.stop() == 0


def test_daemon_that_does_not_listen_yet_is_not_followed_while_it_lives(
    site: Site, new_postgresql_url: Callable[[], str]
) -> None:
    site.state_url = new_postgresql_url()
    site.more["leadership"] = {"ttl_seconds": 1}
    register, port = Register(site), free_port()
    moment = "before execute of 'from schemas' after 'insert into daemons'"
    point = PausePoint(site.directory / "point", moment, Then.STOP)
    starting = site.start(port=port, environment=point.environment)
    point.until_reached()
    until(lambda: is_stopped(starting.pid), "it is paused")
    following = site.ready(port=port)
    register.let_run_out(starting)
    for _ in range(2):
        renewed = register.value(following, "renewed_at")
        until(
            lambda before=renewed: register.value(following, "renewed_at") != before,  # type: ignore[misc]
            "it renews",
            also=following.account,
        )
    assert register.value(starting, "state") == "alive"
    os.kill(starting.pid, signal.SIGCONT)
    assert starting.ended() == 1
    assert "address_unusable" in starting.log
    assert register.value(starting, "state") == "left"
    assert following.stop() == 0
