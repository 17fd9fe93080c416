"""Sites that tests find prepared: what a daemon that starts on empty databases would have made, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.tables import VERSION_TABLE, steps
from orchestrator.daemon.own_tables import STATE_VERSION_TABLE
from orchestrator.demo.example import SCHEMA
from tests.daemon.daemons import Site
from tests.own_tables import described
from tests.prepared import prepare_site
from tests.recovery.place import Place

VERSIONS = (VERSION_TABLE, STATE_VERSION_TABLE)


def made_by_a_daemon(site: Site) -> Site:
    """It comes to empty databases, knows of the schema, and stops."""
    site.is_prepared = False
    place = Place(site).open()
    place.orchestrator("schema", "init", SCHEMA, "--release", "1")
    place.close()
    return site


def our_own(url: str) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Our tables, the journal of our own trees, and what the version tables say."""
    engine = sa.create_engine(url)
    tables = {name: each for name, each in described(engine).items() if name not in {"customers", "items"}}
    c = steps.c
    columns = c.schema_name, c.revision, c.stage, c.file_hash, c.state, c.owner_epoch
    mine = sa.select(*columns).where(steps.c.schema_name.startswith("orchestrator_")).order_by(*columns)
    with engine.connect() as connection:
        journal = [tuple(row) for row in connection.execute(mine)]
        versions = [
            tuple(row)
            for name in VERSIONS
            if name in tables
            for row in connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1")
        ]
    engine.dispose()
    tables.pop("alembic_version", None)
    return tables, journal, versions


def filled(url: str) -> set[str]:
    """The tables that have rows."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {
            name
            for name in sa.inspect(connection).get_table_names()
            if connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()
        }
    engine.dispose()
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", pytest.param("mysql", id="mariadb")])
def test_prepared_site_is_what_a_daemon_makes_of_empty_databases(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    new_url: Callable[[], str] = request.getfixturevalue(f"new_{kind}_url")
    site = Site(tmp_path)
    site.state_url, site.databases = new_url(), {"main": new_url()}
    made_by_a_daemon(site)
    for _ in range(2):  # the second one may be made of the statements that made the first
        state, managed = new_url(), new_url()
        prepare_site(state, (managed,))
        assert our_own(state) == our_own(site.state_url)
        assert our_own(managed) == our_own(site.databases["main"])
        assert filled(state) == {steps.name, *VERSIONS}
        assert filled(managed) == {steps.name, VERSION_TABLE}


def test_prepared_state_that_is_a_file_is_read_by_nobody_else(tmp_path: Path) -> None:
    prepare_site(f"sqlite:///{tmp_path}/state.sqlite", ())
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o777 == 0o600
