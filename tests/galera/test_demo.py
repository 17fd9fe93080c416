"""The whole demo on one node of a cluster, whose other node is killed in the middle of the upgrade."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.demo import DatabaseKind, DemoOptions, run_demo
from tests.galera.cluster import Cluster

ROWS = 6000


def test_demo_passes_on_one_node_while_the_other_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    verdict_file = tmp_path / "verdict.json"

    def kill() -> None:
        """As soon as rows are moved; until then there is no such table, or no upgrade."""
        moving = "SELECT COUNT(*) FROM inventory.orchestrator_data_migrations WHERE state = 'running'"
        cluster.one.until(lambda: cluster.one.run(moving) == ((1,),), "moving rows", patience_seconds=240)
        cluster.lose(cluster.two)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        exit_code = run_demo(
            DemoOptions(
                database=DatabaseKind.MARIADB,
                rows=ROWS,
                json_file=verdict_file,
                fleet_size=1,
                server=cluster.one.url(),
            )
        )
        killing.result()
    verdict = json.loads(verdict_file.read_text())
    assert verdict["failures"] == []
    assert (exit_code, verdict["ok"], verdict["requests_failed"]) == (0, True, 0)
    assert cluster.one.status("wsrep_cluster_size") == "1"
    assert {"inventory", "orchestrator", "control"}.isdisjoint(name for (name,) in cluster.one.run("SHOW DATABASES"))
