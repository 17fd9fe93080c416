"""A Galera cluster of two real nodes on this machine, any of which a test may stop, kill and have back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pymysql

from orchestrator.demo import mariadb_server
from orchestrator.demo.ports import free_port

LIBRARIES = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so", "/usr/lib/libgalera_smm.so")
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05

LIGHT, HEAVY = 1, 2

# A node that is silent for so long is voted out: as soon as tests can bear, and not for a busy moment.
TIMES = {
    "evs.keepalive_period": "PT0.3S",
    "evs.inactive_check_period": "PT0.3S",
    "evs.suspect_timeout": "PT2S",
    "evs.inactive_timeout": "PT4S",
    "evs.join_retrans_period": "PT0.3S",
}
# Every table needs a primary key there: a row without one is told apart on no other node.
SETTINGS = {
    "binlog-format": "ROW",
    "default-storage-engine": "InnoDB",
    "innodb-autoinc-lock-mode": "2",
    "innodb-force-primary-key": "ON",
    "innodb-lock-wait-timeout": "5",
    "innodb-buffer-pool-size": "128M",
    "innodb-log-file-size": "32M",
    "wsrep-on": "ON",
    "wsrep-cluster-name": "orchestrator-tests",
    "wsrep-sst-method": "rsync",
}


def find_library() -> str | None:
    """The path of the replication library, None where it is not installed."""
    return next((path for path in LIBRARIES if Path(path).exists()), None)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one node listens: for clients, for the group, for what a newcomer is sent."""

    clients: int
    group: int
    changes: int
    state: int


class Node:
    """One server of the cluster. Its URL stays the same when it comes back."""

    def __init__(self, name: str, directory: Path, ports: Ports) -> None:
        self.name = name
        self.ports = ports
        self._directory = directory
        self._lives = 0

    def url(self, database: str = "") -> str:
        """The URL of a database on this node, over TCP."""
        return f"mysql+pymysql://root@127.0.0.1:{self.ports.clients}/{database}"

    def start(self, owner: int, library: str, peers: Sequence[Node]) -> None:
        """Begin the cluster if there are no peers, else join it; all that it had is fetched anew from a peer."""
        self._lives += 1
        provider = {
            **TIMES,
            "base_port": str(self.ports.group),
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.ports.group}",
            "ist.recv_addr": f"127.0.0.1:{self.ports.changes}",
            "gcache.size": "32M",
            "pc.weight": str(LIGHT),
        }
        settings = {
            **SETTINGS,
            "wsrep-provider": library,
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider.items()),
            "wsrep-cluster-address": "gcomm://" + ",".join(f"127.0.0.1:{peer.ports.group}" for peer in peers),
            "wsrep-node-name": self.name,
            "wsrep-node-address": f"127.0.0.1:{self.ports.group}",
            "wsrep-sst-receive-address": f"127.0.0.1:{self.ports.state}",
        }
        options = [*(f"--{name}={value}" for name, value in settings.items())]
        if not peers:
            options.append("--wsrep-new-cluster")
        mariadb_server.start(self._home, owner, port=self.ports.clients, options=options)
        self.until(lambda: self.status("wsrep_ready") == "ON", "ready")

    @property
    def log(self) -> str:
        """What the server wrote in its present life."""
        return (self._home / "log").read_text(errors="replace")

    @property
    def process(self) -> int:
        """The server's process."""
        return int((self._home / "pid").read_text())

    @property
    def is_up(self) -> bool:
        """Whether it answers, and lets its databases be used."""
        with suppress(pymysql.err.MySQLError, OSError):
            return self.status("wsrep_ready") == "ON"
        return False

    def status(self, name: str) -> str:
        """One of the server's own counters."""
        with self.session() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE %s", [name])
            found = cursor.fetchone()
        return "" if found is None else str(found[1])

    def run(self, *statements: str) -> tuple[tuple[object, ...], ...]:
        """Run statements on a connection of its own, each committed. Returns the rows of the last one."""
        rows: tuple[tuple[object, ...], ...] = ()
        with self.session() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = tuple(cursor.fetchall())
        return rows

    @contextmanager
    def session(self) -> Iterator[pymysql.cursors.Cursor]:
        """A connection that commits each statement."""
        options = {"host": "127.0.0.1", "port": self.ports.clients, "user": "root", "ssl_disabled": True}
        with (
            pymysql.connect(**options, autocommit=True, connect_timeout=5, read_timeout=60) as connection,
            connection.cursor() as cursor,
        ):
            yield cursor

    def kill(self) -> None:
        """SIGKILL, and its data is gone with it."""
        mariadb_server.stop(self._home)

    def freeze(self) -> None:
        """SIGSTOP: it is silent, and its connections stay open."""
        os.kill(self.process, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.process, signal.SIGCONT)

    def weigh(self, weight: int) -> None:
        """How much its vote counts when the cluster falls apart."""
        self.run(f"SET GLOBAL wsrep_provider_options = 'pc.weight={weight}'")

    def until(self, holds: Callable[[], bool], what: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Return when it is so."""
        deadline = time.monotonic() + patience_seconds
        while True:
            with suppress(pymysql.err.MySQLError, OSError):
                if holds():
                    return
            assert time.monotonic() < deadline, f"node {self.name} is never {what}:\n{self.log[-3000:]}"
            time.sleep(POLL_SECONDS)

    @property
    def _home(self) -> Path:
        return self._directory / f"{self.name}-{self._lives}"


class Cluster:
    """Two nodes. `heal` before each test gives both back, in step."""

    def __init__(self, directory: Path, owner: int, library: str) -> None:
        self._owner = owner
        self._library = library
        self.nodes = tuple(Node(name, directory, ports) for name, ports in zip(("one", "two"), _ports(2), strict=True))
        self.one, self.two = self.nodes

    def start(self) -> None:
        """Start both."""
        self.one.start(self._owner, self._library, ())
        self.heal()

    def heal(self) -> None:
        """Bring back what a test has ended, and let all votes count the same."""
        for node in self.nodes:
            if not node.is_up:
                node.kill()
                (peer,) = (other for other in self.nodes if other is not node)
                node.start(self._owner, self._library, (peer,))
        for node in self.nodes:
            node.weigh(LIGHT)
        self.until_whole()

    def until_whole(self) -> None:
        """Return when both have found each other."""
        for node in self.nodes:
            node.until(lambda node=node: node.status("wsrep_cluster_size") == "2", "in a cluster of two")  # type: ignore[misc]

    def lose(self, node: Node) -> None:
        """Kill a node whose vote does not count: the other one goes on alone."""
        self._prefer(*(other for other in self.nodes if other is not node))
        node.kill()

    def lose_quorum(self, survivor: Node) -> None:
        """Kill the node whose vote counts: the survivor refuses to work, as it cannot know who else does."""
        (other,) = (node for node in self.nodes if node is not survivor)
        self._prefer(other)
        other.kill()
        survivor.until(lambda: survivor.status("wsrep_cluster_status") == "non-Primary", "alone")

    def bootstrap(self, survivor: Node) -> None:
        """What an administrator types when the others will not come back."""
        survivor.run("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
        survivor.until(lambda: survivor.is_up, "ready again")

    def stop(self) -> None:
        """End both."""
        for node in self.nodes:
            node.kill()

    def _prefer(self, node: Node) -> None:
        node.weigh(HEAVY)
        for each in self.nodes:
            each.until(lambda each=each: each.status("wsrep_cluster_weight") == str(HEAVY + LIGHT), "told of it")  # type: ignore[misc]


def _ports(nodes: int) -> Iterator[Ports]:
    numbers: set[int] = set()
    while len(numbers) < 4 * nodes:
        numbers.add(free_port())
    for _ in range(nodes):
        yield Ports(*(numbers.pop() for _ in range(4)))
