"""The example service: its migrations make what its models say, and its releases can share a database."""

import importlib.util
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from orchestrator.demo.example import FLEETS, OLD_COLUMNS, migrations_directory, service_module
from orchestrator.demo.plain_alembic import CONTRACT_REVISION, NEW_SHAPE_REVISION, RELEASE_1_REVISION, run_revisions

NAMES = ("Ada Lovelace", "Plato", "Juana Inés de la Cruz")
STATUSES = ("available", "reserved", "sold", "retired")


@dataclass(frozen=True)
class Behaviour:
    """One of the ways in which release 2 treats the two shapes."""

    reads_new: bool
    writes_old: bool


READS_OLD_WRITES_BOTH = Behaviour(reads_new=False, writes_old=True)
READS_NEW_WRITES_BOTH = Behaviour(reads_new=True, writes_old=True)
READS_NEW_WRITES_NEW = Behaviour(reads_new=True, writes_old=False)


@dataclass(frozen=True)
class Told:
    """Stands where `Member` stands: always the same behaviour."""

    behaviour: Behaviour

    @contextmanager
    def transaction(self) -> Iterator[Behaviour]:
        yield self.behaviour


@pytest.fixture
def service_engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    engine = service_module("service").connect(database_url)
    yield engine
    engine.dispose()


def migrate(engine: sqlalchemy.Engine, target: str) -> None:
    with engine.begin() as connection:
        run_revisions(connection, target)


def differences(engine: sqlalchemy.Engine, release: str) -> list[Any]:
    with engine.connect() as connection:
        found: list[Any] = compare_metadata(
            MigrationContext.configure(connection), service_module(f"inventory_v{release}").metadata
        )
        return found


def inventory(engine: sqlalchemy.Engine, release: str, behaviour: Behaviour = READS_NEW_WRITES_NEW) -> Any:
    return service_module(f"inventory_v{release}").Inventory(engine, Told(behaviour))


def data_migration(name: str) -> ModuleType:
    path = migrations_directory() / "data" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_each_reads_what_the_other_writes(one: Any, other: Any) -> None:
    for writer, reader in ((one, other), (other, one)):
        for name in NAMES:
            customer_id = writer.add_customer(name)
            assert reader.customer_name(customer_id) == name
            reader.rename_customer(customer_id, f"{name} II")
            assert writer.customer_name(customer_id) == f"{name} II"
        for status in STATUSES:
            item_id = writer.add_item("lamp", status)
            assert reader.item_status(item_id) == status
            reader.set_status(item_id, "retired")
            assert writer.item_status(item_id) == "retired"


def test_manifest_names_what_is_there() -> None:
    directory: Path = migrations_directory()
    manifest = tomllib.loads((directory / "releases.toml").read_text())
    first, second = manifest["release"]
    assert (first["expand"], second["expand"]) == (RELEASE_1_REVISION, NEW_SHAPE_REVISION)
    assert second["contract"] == CONTRACT_REVISION
    assert tuple(second["fleets"]) == tuple(first["fleets"]) == FLEETS
    assert second["old_shape"] == [".".join(column) for column in OLD_COLUMNS]
    assert all((directory / "data" / f"{name}.py").is_file() for name in second["data_migrations"])


def test_release_1_models_equal_its_migrations(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, RELEASE_1_REVISION)
    assert differences(service_engine, "1") == []


def test_release_2_models_equal_the_expanded_schema(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, NEW_SHAPE_REVISION)
    assert differences(service_engine, "2") == []


def test_contract_removes_the_old_shape_and_nothing_else(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, CONTRACT_REVISION)
    missing = [(kind, table, column.name) for kind, _, table, column in differences(service_engine, "2")]
    assert missing == [("add_column", *column) for column in OLD_COLUMNS]


def test_release_1_works_on_its_own_schema(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, RELEASE_1_REVISION)
    assert_each_reads_what_the_other_writes(inventory(service_engine, "1"), inventory(service_engine, "1"))


def test_releases_share_the_expanded_schema(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, NEW_SHAPE_REVISION)
    old, new = inventory(service_engine, "1"), inventory(service_engine, "2", READS_OLD_WRITES_BOTH)
    assert_each_reads_what_the_other_writes(old, new)


@pytest.mark.parametrize(
    ("one", "other"),
    [(READS_OLD_WRITES_BOTH, READS_NEW_WRITES_BOTH), (READS_NEW_WRITES_BOTH, READS_NEW_WRITES_NEW)],
)
def test_neighbouring_behaviours_share_the_schema(
    service_engine: sqlalchemy.Engine, one: Behaviour, other: Behaviour
) -> None:
    migrate(service_engine, NEW_SHAPE_REVISION)
    assert_each_reads_what_the_other_writes(inventory(service_engine, "2", one), inventory(service_engine, "2", other))


def test_release_2_works_on_the_contracted_schema(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, CONTRACT_REVISION)
    new = inventory(service_engine, "2", READS_NEW_WRITES_NEW)
    assert_each_reads_what_the_other_writes(new, new)


def test_missing_rows_are_none(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, NEW_SHAPE_REVISION)
    for service in (inventory(service_engine, "1"), inventory(service_engine, "2")):
        assert service.customer_name(1) is None
        assert service.item_status(1) is None


@pytest.mark.parametrize("name", NAMES)
def test_release_2_writes_what_the_data_migration_computes(name: str) -> None:
    written = service_module("inventory_v2").name_columns(READS_OLD_WRITES_BOTH, name)
    assert written == {"name": name, **data_migration("split_name").SplitName().transform({"name": name})}


def test_release_2_writes_the_status_that_the_data_migration_computes(service_engine: sqlalchemy.Engine) -> None:
    migrate(service_engine, NEW_SHAPE_REVISION)
    new = inventory(service_engine, "2", READS_OLD_WRITES_BOTH)
    for status in STATUSES:
        new.add_item("lamp", status)
    expression = data_migration("link_status").LinkStatus.expressions["status_id"]
    with service_engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT status_id, {expression} FROM items").all()
    assert [written for written, _ in rows] == [computed for _, computed in rows]
    assert len(rows) == len(STATUSES)
