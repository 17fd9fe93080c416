"""The entries of docs/recovery.md that need a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.daemon.daemons import Site, until
from tests.galera.cluster import Cluster
from tests.recovery.entries import Entry, mends
from tests.recovery.place import Place


@mends("A node of Galera has lost its cluster")
def test_node_that_has_lost_its_cluster(
    cluster: Cluster, new_name: Callable[[], str], tmp_path: Path, entry: Entry
) -> None:
    place = Place(Site(tmp_path))
    place.site.is_prepared = False
    place.site.databases = {"main": cluster.one.url(new_name())}
    try:
        place.open().begin().nobody_runs()
        cluster.lose_quorum(cluster.one)
        place.work()
        entry.assert_shown(place.status())
        cluster.one.run(*entry.statements())
        cluster.one.until(lambda: cluster.one.is_up, "ready again")
        until(place.goes_on, "it goes on")
    finally:
        place.close()
