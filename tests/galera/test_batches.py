"""Batches on two nodes: who loses a certification begins anew, no row is counted twice, and none is left stale."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, LostCursor
from orchestrator.domain.view import MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site, add_customers, new_site
from tests.galera.cluster import Cluster, Node

EXPRESSION = """
    table = "customers"
    expressions = {"first_name": "UPPER(name)"}
"""
TRANSFORM = """
    table = "customers"
    reads = ("name",)
    writes = ("first_name",)

    def transform(self, row):
        return {"first_name": row["name"].upper()}
"""


@pytest.fixture
def name(new_name: Callable[[], str]) -> str:
    return new_name()


@pytest.fixture
def customers(cluster: Cluster, name: str, on: Callable[[Node, str], Database], tmp_path: Path) -> Site:
    """25 customers on both nodes, in backfill; the site is on the first one."""
    return add_customers(new_site(on(cluster.one, name), tmp_path))


@pytest.mark.parametrize("body", [EXPRESSION, TRANSFORM], ids=["expression", "transform"])
def test_batch_that_meets_a_write_of_the_other_node_is_repeated(
    cluster: Cluster, name: str, customers: Site, body: str
) -> None:
    written: list[int] = []

    def write(_connection: object, _cursor: object, statement: str, *_rest: Any) -> None:
        if statement.startswith("UPDATE orchestrator_data_migrations") and len(written) < 3:
            written.append(3 * (len(written) + 1))
            cluster.two.run(f"UPDATE {name}.customers SET name = 'Written Meanwhile' WHERE id = {written[-1]}")

    customers.start("upper", body)
    sa.event.listen(customers.database.engine, "before_cursor_execute", write)
    facts = customers.run("upper")
    sa.event.remove(customers.database.engine, "before_cursor_execute", write)
    assert written == [3, 6, 9]
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, 25, 25)
    assert customers.rows("SELECT COUNT(*) FROM customers WHERE name = 'Written Meanwhile'") == [(3,)]
    assert customers.rows("SELECT COUNT(*) FROM customers WHERE BINARY first_name <> BINARY UPPER(name)") == [(0,)]


def test_workers_on_both_nodes_move_the_rows_together_while_a_service_writes(
    cluster: Cluster, name: str, customers: Site, on: Callable[[Node, str], Database]
) -> None:
    second = DataMigrationRunner(on(cluster.two, name), SCHEMA, customers.directory)
    customers.execute("INSERT INTO customers (id, name) SELECT seq + 100, CONCAT('First Last', seq) FROM seq_1_to_1500")
    customers.start("upper", TRANSFORM)
    ended = threading.Event()

    def work(runner: DataMigrationRunner) -> None:
        while not ended.is_set():
            try:
                state = runner.run_batch("upper", UPGRADE, 50).state
            except (Conflict, LostCursor):  # the other one is at it
                continue
            if state in (MigrationState.COMPLETE, MigrationState.FAILED):
                ended.set()

    def serve() -> int:
        """As a service does that writes both shapes."""
        number = 0
        while not ended.is_set():
            number += 1
            word = f"'Renamed {number}'"
            try:
                cluster.two.run(
                    f"UPDATE {name}.customers SET name = {word}, first_name = UPPER({word})"
                    f" WHERE id = {101 + number * 37 % 1500}"
                )
            except pymysql.err.OperationalError as error:
                assert error.args[0] == 1213, error
        return number

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(work, customers.runner), pool.submit(work, second)]
        service = pool.submit(serve)
        for worker in workers:
            try:
                worker.result()
            finally:
                ended.set()
        assert service.result()
    facts = customers.facts("upper")
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, 1525, 1525)
    assert customers.rows("SELECT COUNT(*) FROM customers WHERE BINARY first_name <> BINARY UPPER(name)") == [(0,)]
