"""Sealing and unsealing, killed at any moment and done again, end as if nothing had happened."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping.journal import JournalState
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.ports import StepWatch
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.dying import dying, when_free
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, execute

FIRST = """
op.create_table(
    "customers",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(50)),
    sa.Column("kind", sa.String(50)),
)
op.create_table("legacy", sa.Column("id", sa.Integer, primary_key=True))
"""
EXPAND = """
op.add_column("customers", sa.Column("label", sa.String(50)))
op.create_sync_trigger("customers", old={"name": "upper({label})"}, new={"label": "lower({name})"})
"""
CONTRACT = """
op.drop_column("customers", "name")
op.drop_table("legacy")
op.drop_column("customers", "kind")
"""
MANIFEST = """
[[release]]
name = "1"
expand = "e1"

[[release]]
name = "2"
expand = "e2"
contract = "c2"
in_step_by = "triggers"
old_shape = ["customers.name", "customers.kind", "legacy"]
"""

moments = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.kill)], ids=["few", "all"])
"""All of them take minutes: `make test-kill`. Few: every thirteenth, and those within a transaction count as one."""


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def anywhere(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A database of each kind."""
    database = open_database("test", request.getfixturevalue(f"{request.param}_url"))
    prepare(database)
    return database


@pytest.fixture
def driver(tree: TreeWriter) -> AlembicDriver:
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", EXPAND, after="e1")
    tree.revision("contract", "c2", CONTRACT, depends_on="e2")
    tree.manifest(MANIFEST)
    return tree.driver()


def catalog(database: Database) -> list[str]:
    """Everything of ours, by name, and whether its journal says that it is done."""
    queries = {
        "sqlite": "SELECT name || sql FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT proname || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace UNION ALL"
        " SELECT relname::text FROM pg_class WHERE relkind = 'S' AND relname LIKE 'orchestrator%' UNION ALL"
        " SELECT tgname || tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal",
        "mysql": "SELECT CONCAT(trigger_name, event_object_table) FROM information_schema.triggers"
        " WHERE trigger_schema = DATABASE() UNION ALL SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'SEQUENCE'",
    }
    with database.reading() as connection:
        found = list(connection.execute(sa.text(queries[database.dialect.name])).scalars())
        states = connection.execute(
            sa.text("SELECT revision, state FROM orchestrator_steps WHERE schema_name = 'shop'")
        )
        return sorted([*found, *(f"{row.revision} {row.state}" for row in states)])


def check_moments(driver: AlembicDriver, database: Database, way: list[Step], step: Step, *, every: bool) -> None:
    """Kill a step at its moments, each time from where the step before it leads."""
    epochs = itertools.count(1)

    def run(which: Step) -> None:
        when_free(lambda: driver.run(database, "2", which, owner_epoch=next(epochs)))

    for before in way:
        run(before)
    expected = None
    for moment in itertools.count(2, step=1 if every else 13):
        with dying(database, moment, every=every) as first:
            run(step)
        if first.died is None and expected is not None:
            assert moment > 5
            return
        run(step)
        assert expected in (None, catalog(database)), (moment, first.died)
        expected = catalog(database)
        assert not any(each.endswith(f" {JournalState.INTENT.value}") for each in expected)
        assert when_free(lambda: driver.run(database, "2", step, owner_epoch=next(epochs))) == ()
        for before in way[-1:]:
            run(before)


@moments
def test_a_seal(driver: AlembicDriver, anywhere: Database, every: bool) -> None:
    driver.install(anywhere, "1")
    when_free(lambda: driver.run(anywhere, "2", Step.EXPAND, owner_epoch=0))
    check_moments(driver, anywhere, [Step.UNSEAL], Step.SEAL, every=every)
    with anywhere.reading() as connection:
        assert anywhere.dialect.triggers.denials(connection, ()) in (0, None)
    assert driver.position(anywhere, "2").triggers.sealed


@moments
def test_an_unseal(driver: AlembicDriver, anywhere: Database, every: bool) -> None:
    driver.install(anywhere, "1")
    when_free(lambda: driver.run(anywhere, "2", Step.EXPAND, owner_epoch=0))
    check_moments(driver, anywhere, [Step.SEAL], Step.UNSEAL, every=every)
    assert driver.position(anywhere, "2").triggers.unsealed


@pytest.mark.parametrize("moment", [7, 12])
def test_a_contract_of_what_was_sealed(
    driver: AlembicDriver, open_database: Callable[[str, str], Database], mysql_url: str, moment: int
) -> None:
    """Where statements commit by themselves what denies writes must be gone before its column is."""
    database = open_database("test", mysql_url)
    prepare(database)
    driver.install(database, "1")
    driver.run(database, "2", Step.EXPAND, owner_epoch=0)
    driver.run(database, "2", Step.SEAL, owner_epoch=1)
    with dying(database, moment):
        driver.run(database, "2", Step.CONTRACT, owner_epoch=2)
    execute(database, f"INSERT INTO customers (id, label) VALUES ({moment}, 'x')")
    assert driver.position(database, "2").triggers.sealed
    when_free(lambda: driver.run(database, "2", Step.CONTRACT, owner_epoch=3))
    assert driver.position(database, "2").contracted
    assert columns(database, "customers") == {"id", "label"}
    assert not any("orchestrator_deny" in each for each in catalog(database))


@pytest.mark.parametrize("moment", [13, 21])
def test_an_expansion_with_a_sync_trigger(
    driver: AlembicDriver, open_database: Callable[[str, str], Database], mysql_url: str, moment: int
) -> None:
    database = open_database("test", mysql_url)
    prepare(database)
    driver.install(database, "1")
    with dying(database, moment):
        driver.run(database, "2", Step.EXPAND, owner_epoch=1)
    when_free(lambda: driver.run(database, "2", Step.EXPAND, owner_epoch=2))
    position = driver.position(database, "2")
    assert position.expanded
    assert position.triggers.in_step
    execute(database, "INSERT INTO customers (id, name) VALUES (1, 'ADA')")


class Told(StepWatch):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def waits(self, why: Exception) -> None:
        self.reasons.append(str(why))

    def interferes(self, action: str, sentence: str) -> None:
        raise AssertionError(action)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_whoever_is_in_the_way_of_a_seal_is_named(
    driver: AlembicDriver, open_database: Callable[[str, str], Database], request: pytest.FixtureRequest, kind: str
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    database, other = open_database("test", url), open_database("other", url)
    prepare(database)
    driver.install(database, "1")
    driver.run(database, "2", Step.EXPAND, owner_epoch=0)
    told = Told()
    with other.writing() as holding:
        holding.execute(sa.text("INSERT INTO customers (id, label) VALUES (1, 'x')"))
        number = other.dialect.session_number(holding)
        with pytest.raises(StepFailed) as failed:
            driver.run(database, "2", Step.SEAL, owner_epoch=1, watch=told)
        assert failed.value.code == "lock_timeout"
        assert failed.value.message.startswith("lock timeout in the seal of release 2, in 3 attempts: session ")
        assert f"session {number} " in failed.value.message
        assert told.reasons
    assert not driver.position(database, "2").triggers.sealed
    driver.run(database, "2", Step.SEAL, owner_epoch=2)
    assert driver.position(database, "2").triggers.sealed


def test_an_owner_that_was_passed_seals_nothing(driver: AlembicDriver, anywhere: Database) -> None:
    driver.install(anywhere, "1")
    driver.run(anywhere, "2", Step.EXPAND, owner_epoch=5)
    driver.run(anywhere, "2", Step.SEAL, owner_epoch=7)
    driver.run(anywhere, "2", Step.UNSEAL, owner_epoch=8)
    with pytest.raises(Conflict) as conflict:
        driver.run(anywhere, "2", Step.SEAL, owner_epoch=7)
    assert conflict.value.code == "owner_epoch_passed"
    assert driver.position(anywhere, "2").triggers.unsealed
