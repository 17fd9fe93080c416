"""Daemons on different nodes: one goes on where the node of the other one dies, or where the other one was stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Daemon, Site, until
from tests.daemon.inventory import assert_migrated, stocks
from tests.daemon.test_paused_leaders import MOMENTS, Moment, Server, address_of, begin, settled
from tests.faults.points import PausePoint, Then, is_stopped
from tests.galera.cluster import Cluster, Node
from tests.kill.books import assert_books_equal_catalog


class Places:
    """The state database and a managed one, and a site whose daemons are each connected to one node."""

    def __init__(self, cluster: Cluster, state: str, managed: str, directory: Path) -> None:
        self.cluster = cluster
        self._state, self._managed = state, managed
        self.site = Site(directory)
        self.site.is_prepared = False  # on two nodes the daemons make our tables at once
        self.site.more["leadership"] = {"ttl_seconds": 1}
        self.site.more["data_migrations"] = {"batch_rows": 50, "pause_seconds": 0.4}

    def state_url(self, node: Node) -> str:
        return node.url(self._state)

    def managed_url(self, node: Node) -> str:
        return node.url(self._managed)

    def server(self, node: Node) -> Server:
        """What can be read there of all that a leader could change."""
        urls = [self.managed_url(node), self.state_url(node)]
        return Server("mysql", urls.pop)

    def daemon(self, node: Node, point: PausePoint | None = None) -> Daemon:
        """A daemon that knows of that node only."""
        self.site.state_url, self.site.databases = self.state_url(node), {"main": self.managed_url(node)}
        return self.site.ready(environment=point.environment if point else {})

    def other(self, node: Node) -> Node:
        (other,) = (each for each in self.cluster.nodes if each is not node)
        return other

    def paused(self, node: Node, moment: Moment) -> Daemon:
        """A daemon on that node that leads and is stopped at that moment."""
        text = moment.point.format(differs="<=>")
        point = PausePoint(self.site.directory / moment.name, text, Then.STOP)
        daemon = self.daemon(node, point)
        if not self.upgrade_begun(node):
            with stocks(self.managed_url(node)) as (stock,):
                begin(daemon, stock)
                self.names, self.statuses = stock.names, stock.statuses
        if moment.name == "contract":
            daemon.orchestrator("upgrade", "approve", SCHEMA, "--phase", "contracted", "--reason", "all is well")
        until(lambda: point.is_reached, f"the moment {moment.name}", also=daemon.account)
        until(lambda: is_stopped(daemon.pid), "it is paused")
        assert self.server(node).where() == (moment.phase, moment.fence), moment
        return daemon

    def upgrade_begun(self, node: Node) -> bool:
        with stocks(self.state_url(node)) as (state,):
            return bool(state.scalar("SELECT COUNT(*) FROM upgrades"))

    def assert_migrated(self, node: Node) -> None:
        with stocks(self.managed_url(node)) as (stock,):
            stock.names, stock.statuses = self.names, self.statuses
            assert_migrated(stock)
        assert_books_equal_catalog(self.state_url(node), self.managed_url(node))


@pytest.fixture
def places(cluster: Cluster, new_name: Callable[[], str], tmp_path: Path) -> Iterator[Places]:
    places = Places(cluster, new_name(), new_name(), tmp_path)
    yield places
    places.site.close()


def test_node_of_the_leader_dies_in_the_middle_of_each_kind_of_step(cluster: Cluster, places: Places) -> None:
    """Three times: the leader is in the middle of its work, its node dies, a daemon on the other node goes on."""
    deaths = {moment.name: moment for moment in MOMENTS if moment.name in {"expand", "batch", "contract"}}
    node = cluster.two
    paused = []
    for name in ("expand", "batch", "contract"):
        paused.append(places.paused(node, deaths[name]))
        cluster.lose(node)
        node = places.other(node)
        if name != "contract":
            cluster.heal()
    last = places.daemon(node)
    last.until_status("completed")
    places.assert_migrated(node)
    cluster.heal()
    for daemon in paused:
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.until_ready()
    for each in cluster.nodes:
        places.assert_migrated(each)
    for daemon in (*paused, last):
        assert daemon.stop() == 0


def test_leaders_that_were_paused_on_different_nodes_do_nothing_when_they_come_back(
    cluster: Cluster, places: Places
) -> None:
    """What they hold on their node keeps nobody on the other one from going on: not even their rows' locks."""
    paused, node = [], cluster.one
    for moment in MOMENTS:
        if moment.name == "contract":  # on the same node, as on a single server, the lock of the step is in the way
            places.server(node).end_sessions()
        paused.append(places.paused(node, moment))
        node = places.other(node)
    places.server(node).end_sessions()  # there is the lock of whoever was about to seal
    last = places.daemon(node)
    last.until_status("completed")
    places.assert_migrated(node)
    server = places.server(node)
    before = settled(last, server)
    for daemon in paused:
        os.kill(daemon.pid, signal.SIGCONT)
    for _ in range(2):  # by then, whatever they were about to do is done or refused
        renewals = server.renewals()

        def all_renewed(before: dict[str, float] = renewals) -> bool:
            now = server.renewals()
            return all(now[address_of(daemon)] > before[address_of(daemon)] for daemon in paused)

        until(all_renewed, "they are awake", also=lambda: "\n".join(daemon.log for daemon in paused))
    for each in cluster.nodes:
        assert places.server(each).everything() == before
    for daemon in (*paused, last):
        assert daemon.stop() == 0
