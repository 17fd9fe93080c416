"""A trial of a sound data migration passes on every database, and leaves that as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.data_migrations import runner, target
from orchestrator.data_migrations.loading import load
from orchestrator.dialects import open_database
from orchestrator.schema_migrations import own_tables
from orchestrator.testing import DataMigrationTrial, MigrationFault, expand

from .conftest import SPLIT, Shop, fault_of, new_release, old_release

IN_SQL = """
    table = "customers"
    expressions = {"first_name": "UPPER(name)", "last_name": "LOWER(customers.name)"}
"""


def writes_upper(connection: sa.Connection, random: object) -> None:
    statement = "UPDATE customers SET name = 'Ada L', first_name = 'ADA L', last_name = 'ada l' WHERE id = 6"
    connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("any_shop", "kind"),
    [
        ("sqlite", "transform"),
        ("postgresql", "expression"),
        ("mariadb", "expression"),
        *(
            pytest.param(*both, marks=pytest.mark.kill)
            for both in (("sqlite", "expression"), ("postgresql", "transform"), ("mariadb", "transform"))
        ),
    ],
    indirect=["any_shop"],
)
def test_sound_data_migration_passes(any_shop: Shop, kind: str) -> None:
    both = new_release if kind == "transform" else writes_upper
    body = SPLIT if kind == "transform" else IN_SQL
    any_shop.trial(body, writes_one_shape=old_release, writes_both_shapes=both).check()


def test_reverse_data_migration_passes(shop: Shop) -> None:
    def new_shape(connection: sa.Connection, random: object) -> None:
        connection.exec_driver_sql("UPDATE customers SET first_name = 'Ada', last_name = 'L' WHERE id = 6")

    join = """
        table = "customers"
        reads = ("first_name", "last_name")
        writes = ("name",)

        def transform(self, row):
            return {"name": " ".join(part for part in (row["first_name"], row["last_name"]) if part)}
    """
    trial = shop.trial(join, is_reverse=True, writes_one_shape=new_shape, writes_both_shapes=new_release)
    trial.check()


def test_trial_leaves_no_tables_and_the_values_that_it_found(any_shop: Shop) -> None:
    every = "SELECT * FROM customers ORDER BY id"
    before = any_shop.rows(every)
    trial = any_shop.trial()
    trial.check()
    assert any_shop.rows(every) == before
    engine = sa.create_engine(any_shop.url)
    assert sa.inspect(engine).get_table_names() == ["customers"]
    engine.dispose()


def test_engine_will_do_for_a_url(shop: Shop) -> None:
    engine = sa.create_engine(shop.url)
    DataMigrationTrial(engine, shop.write("split_name", SPLIT)).check_run()
    engine.dispose()


def test_same_seed_lets_writers_choose_the_same(shop: Shop) -> None:
    chosen: list[list[int]] = []
    for _ in range(2):
        numbers: list[int] = []

        def write(connection: sa.Connection, random: object, numbers: list[int] = numbers) -> None:
            numbers.append(random.randrange(1_000_000))  # type: ignore[attr-defined]

        shop.trial(writes_both_shapes=write, seed=7).check_writers()
        chosen.append(numbers)
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) > 10


def test_managed_database_is_refused_and_left_alone(shop: Shop) -> None:
    database = open_database("main", shop.url)
    own_tables.prepare(database)
    steps = shop.rows("SELECT count(*) FROM orchestrator_steps")
    fault = fault_of(shop.trial().check_run)
    assert fault.faults[0].code == "trial_database_managed"
    assert shop.rows("SELECT count(*) FROM orchestrator_steps") == steps != [(0,)]
    database.engine.dispose()


def test_what_a_killed_trial_left_behind_is_in_nobodys_way(shop: Shop) -> None:
    with shop.trial()._ground.prepared():
        shop.trial().check_run()


def test_database_in_memory_is_refused(shop: Shop) -> None:
    fault = fault_of(lambda: DataMigrationTrial("sqlite://", shop.write("split_name", SPLIT)))
    assert fault.faults[0].code == "trial_database_in_memory"
    assert "sqlite:////absolute/path.sqlite" in str(fault)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"in_step_by": "clients"}, "Give one of 'client'"),
        ({"never_null": ["nmae"]}, "has id, name, first_name, last_name"),
        ({"never_null": "name"}, "Give a list of columns"),
        ({"batch_rows": -1}, "a trial cannot have batch_rows = -1"),
        ({"batch_rows": 0}, "1 or more"),
        ({"writes": 0}, "1 or more"),
    ],
)
def test_argument_that_means_nothing_is_refused(shop: Shop, given: dict[str, Any], says: str) -> None:
    fault = fault_of(lambda: shop.trial(**given))
    assert fault.faults[0].code == "trial_argument"
    assert says in str(fault)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    nothing: Any = None
    for begin in (lambda: expand(nothing, tmp_path, "2"), lambda: DataMigrationTrial(nothing, tmp_path / "a.py")):
        fault = fault_of(begin)
        assert fault.faults[0].code == "trial_database_unknown"
        assert "None is no database" in str(fault)


def test_json_is_as_it_was_at_first(any_shop: Shop) -> None:
    """A NULL stays one, and so does a null of JSON."""
    any_shop.execute(
        "ALTER TABLE customers ADD COLUMN extra JSON",
        "UPDATE customers SET extra = 'null' WHERE id < 7",
        "UPDATE customers SET extra = '[1]' WHERE id > 30",
    )
    before = "SELECT id, CAST(extra AS CHAR(4)), extra IS NULL FROM customers ORDER BY id"
    at_first = any_shop.rows(before)
    any_shop.trial('table = "customers"\nexpressions = {"extra": "NULL"}').check()
    assert any_shop.rows(before) == at_first
    assert len({(text, bool(is_null)) for _, text, is_null in at_first}) == 3


def test_empty_table_is_refused(shop: Shop) -> None:
    shop.execute("DELETE FROM customers")
    assert "is empty" in str(fault_of(shop.trial))


def test_file_that_stands_elsewhere_is_refused(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "split_name.py").write_text("")
    fault = fault_of(lambda: DataMigrationTrial(shop.url, tmp_path / "split_name.py"))
    assert "migrations/data/NAME.py" in str(fault)


def test_file_that_cannot_be_loaded_is_told_as_the_daemon_would(shop: Shop) -> None:
    fault = fault_of(lambda: shop.trial('table = "no_such_table"\nexpressions = {"a": "1"}'))
    assert fault.faults[0].code == "table_missing"
    assert isinstance(fault, AssertionError)


def test_trial_needs_the_writer_that_writes_beside_it(shop: Shop) -> None:
    assert "writes_both_shapes" in str(fault_of(shop.trial(writes_one_shape=old_release).check_writers))
    with_triggers = shop.trial(writes_both_shapes=new_release, in_step_by="triggers")
    assert "writes_one_shape" in str(fault_of(with_triggers.check_writers))


def test_faults_are_failures_for_every_test_runner() -> None:
    assert issubclass(MigrationFault, AssertionError)


def test_table_is_described_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a trial lets another runner go on, each of which loads the file anew."""
    found: list[str] = []

    def noted(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any) -> Any:
            found.append(what)
            return work(*given)

        return noting

    monkeypatch.setattr(target, "_described", noted("table", target._described))
    monkeypatch.setattr(runner, "load", noted("file", load))
    shop.trial().check_kill()
    assert found.count("table") == 1
    assert found.count("file") > 10
