"""The database's server dies in the middle of batches, and comes back: rows and cursor are those of the last commit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import Database
from tests.data_migrations.conftest import SCHEMA, new_site
from tests.data_migrations.counting import KINDS, Persistent, counted
from tests.data_migrations.test_faults import every_second_time
from tests.faults.servers import Server, a_server

pytestmark = pytest.mark.kill


@pytest.fixture(params=["postgresql", pytest.param("mysql", id="mariadb")])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    # Sockets have short names, and servers change their user.
    with tempfile.TemporaryDirectory() as directory, a_server(request.param, Path(directory) / "server") as server:
        yield server


@pytest.mark.parametrize("moment", ["cursor", "commit"])
@pytest.mark.parametrize(("kind", "workers"), [(KINDS[0], 1), (KINDS[1], 2)])
def test_server_dies_in_every_second_batch(
    server: Server,
    open_database: Callable[[str, str], Database],
    tmp_path: Path,
    kind: str,
    workers: int,
    moment: str,
) -> None:
    site = counted(new_site(open_database("main", server.url), tmp_path), kind, rows=25)
    other = open_database("other", server.url)
    persistent = Persistent(site, DataMigrationRunner(other, SCHEMA, site.directory, workers=workers))
    with every_second_time(other, moment, lambda _: server.crash_and_start()) as died:
        persistent.to_the_end()
    assert persistent.refusals.count("database_unreachable") == len(died) >= 3
