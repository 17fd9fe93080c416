"""Sync triggers: whichever shape is written, the other one follows, and nothing else happens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.dialects import Database, open_database
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, execute, scalar

FIRST = """
op.create_table(
    "customers",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(100)),
    sa.Column("age", sa.Integer),
)
"""

# Of a name without a space the first word is all of it: computed back and forth, nothing is lost.
SPLIT = {
    "postgresql": (
        "split_part({name}, ' ', 1)",
        "CASE WHEN strpos({name}, ' ') > 0 THEN substr({name}, strpos({name}, ' ') + 1) END",
    ),
    "mysql": (
        "SUBSTRING_INDEX({name}, ' ', 1)",
        "CASE WHEN INSTR({name}, ' ') > 0 THEN SUBSTR({name}, INSTR({name}, ' ') + 1) END",
    ),
    "sqlite": (
        "CASE WHEN instr({name}, ' ') > 0 THEN substr({name}, 1, instr({name}, ' ') - 1) ELSE {name} END",
        "CASE WHEN instr({name}, ' ') > 0 THEN substr({name}, instr({name}, ' ') + 1) END",
    ),
}
JOIN = {
    "postgresql": "concat_ws(' ', {first_name}, {last_name})",
    "mysql": "CONCAT_WS(' ', {first_name}, {last_name})",
    "sqlite": "{first_name} || coalesce(' ' || {last_name}, '')",
}
NAMES = f"""
op.add_column("customers", sa.Column("first_name", sa.String(100)))
op.add_column("customers", sa.Column("last_name", sa.String(100)))
op.create_sync_trigger(
    "customers",
    old={{"name": {JOIN!r}}},
    new={{
        "first_name": { ({kind: first for kind, (first, _) in SPLIT.items()})!r},
        "last_name": { ({kind: last for kind, (_, last) in SPLIT.items()})!r},
    }},
)
"""
CONTRACT = """
with op.batch_alter_table("customers") as customers:
    customers.drop_column("name")
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
old_shape = ["customers.name"]
"""
SHOWN = "SELECT name, first_name, last_name FROM customers ORDER BY id"


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of each kind."""
    database = open_database("test", request.getfixturevalue(f"{request.param}_url"))
    prepare(database)
    yield database
    database.engine.dispose()


def two_releases(
    tree: TreeWriter, expand: str, *, first: str = FIRST, contract: str = CONTRACT, manifest: str = MANIFEST
) -> AlembicDriver:
    tree.revision("expand", "e1", first)
    tree.revision("expand", "e2", expand, after="e1")
    tree.revision("contract", "c2", contract, depends_on="e2")
    tree.manifest(manifest)
    return tree.driver()


def expanded(driver: AlembicDriver, database: Database) -> Database:
    driver.install(database, "1")
    driver.run(database, "2", Step.EXPAND, owner_epoch=1)
    return database


@pytest.fixture
def driver(tree: TreeWriter) -> AlembicDriver:
    return two_releases(tree, NAMES)


@pytest.fixture
def names(driver: AlembicDriver, anywhere: Database) -> Database:
    return expanded(driver, anywhere)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mysql"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of each kind, expanded, for all tests that only write rows."""
    directory = tmp_path_factory.mktemp("sync")
    with new_database(request, directory) as url:
        database = open_database("kept", url)
        prepare(database)
        yield expanded(two_releases(TreeWriter(directory / "shop"), NAMES), database)
        database.engine.dispose()


@contextmanager
def new_database(request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{directory}/kept.sqlite"
        return
    server: sa.URL = request.getfixturevalue(f"{request.param}_server")
    name = f"kept_{os.getpid()}"
    options = {"ssl_disabled": True} if request.param == "mysql" else {}
    administration = sa.create_engine(server, connect_args=options, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with administration.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with administration.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.fixture
def customers(kept: Database) -> Database:
    """Nobody yet."""
    execute(kept, "DELETE FROM customers")
    return kept


def rows(database: Database, query: str = SHOWN) -> list[tuple[object, ...]]:
    with database.reading() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def run(database: Database, *statements: str) -> None:
    for statement in statements:
        execute(database, statement)


def test_each_shape_follows_the_other_one(customers: Database) -> None:
    run(customers, "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace')")
    assert rows(customers) == [("Ada Lovelace", "Ada", "Lovelace")]
    run(customers, "UPDATE customers SET name = 'Ada King'")
    assert rows(customers) == [("Ada King", "Ada", "King")]
    run(customers, "UPDATE customers SET last_name = 'Byron'")
    assert rows(customers) == [("Ada Byron", "Ada", "Byron")]
    run(customers, "UPDATE customers SET name = NULL")
    assert rows(customers)[0][0] is None
    run(customers, "UPDATE customers SET first_name = 'Grace', last_name = NULL")
    assert rows(customers) == [("Grace", "Grace", None)]
    run(
        customers,
        "DELETE FROM customers",
        "INSERT INTO customers (id, first_name, last_name) VALUES (1, 'Bob', 'Ross')",
    )
    assert rows(customers) == [("Bob Ross", "Bob", "Ross")]
    run(customers, "UPDATE customers SET age = 3", "UPDATE customers SET name = name, first_name = first_name")
    assert rows(customers) == [("Bob Ross", "Bob", "Ross")]


def test_a_change_of_case_or_of_spaces_is_a_change(customers: Database) -> None:
    run(customers, "INSERT INTO customers (id, name) VALUES (1, 'ada')", "UPDATE customers SET name = 'ADA'")
    assert rows(customers) == [("ADA", "ADA", None)]
    run(customers, "UPDATE customers SET first_name = 'Ada'")
    assert rows(customers) == [("Ada", "Ada", None)]


def test_what_is_computed_back_does_not_come_round_again(customers: Database) -> None:
    """(Mary Ann, Smith) becomes Mary Ann Smith, which would be split into (Mary, Ann Smith)."""
    run(customers, "INSERT INTO customers (id, first_name, last_name) VALUES (1, 'Mary Ann', 'Smith')")
    assert rows(customers) == [("Mary Ann Smith", "Mary Ann", "Smith")]
    run(customers, "UPDATE customers SET last_name = 'Jones'")
    assert rows(customers) == [("Mary Ann Jones", "Mary Ann", "Jones")]
    run(customers, "UPDATE customers SET first_name = 'Ann Mary', age = 7 WHERE last_name = 'Jones'")
    assert rows(customers) == [("Ann Mary Jones", "Ann Mary", "Jones")]


def test_where_both_are_written_the_old_shape_wins(customers: Database) -> None:
    run(customers, "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace')")
    run(customers, "UPDATE customers SET name = 'Eve Moon', first_name = 'Bob'")
    assert rows(customers) == [("Eve Moon", "Eve", "Moon")]


def test_a_row_that_is_copied_stays_as_it_is(customers: Database) -> None:
    run(
        customers,
        "INSERT INTO customers (id, name) VALUES (1, 'Juan Carlos  Ruiz')",
        "INSERT INTO customers (id, first_name, last_name) VALUES (2, 'Mary Ann', 'Smith')",
    )
    before = rows(customers)
    run(
        customers,
        "INSERT INTO customers (id, name, first_name, last_name)"
        " SELECT id + 2, name, first_name, last_name FROM customers",
    )
    assert rows(customers) == before * 2


def test_statements_of_many_rows_reach_each(customers: Database) -> None:
    values = ", ".join(f"({n}, 'First{n} Last{n}')" for n in range(1, 51))
    run(customers, f"INSERT INTO customers (id, name) VALUES {values}")
    assert rows(customers) == [(f"First{n} Last{n}", f"First{n}", f"Last{n}") for n in range(1, 51)]
    run(customers, "UPDATE customers SET last_name = 'Same' WHERE id <= 25")
    assert rows(customers)[:26] == [(f"First{n} Same", f"First{n}", "Same") for n in range(1, 26)] + [
        ("First26 Last26", "First26", "Last26")
    ]


def test_inserting_or_updating_in_one_statement_is_in_step(customers: Database) -> None:
    clause = "ON DUPLICATE KEY UPDATE" if customers.dialect.name == "mysql" else "ON CONFLICT (id) DO UPDATE SET"
    run(customers, "INSERT INTO customers (id, name) VALUES (1, 'Ada One')")
    run(customers, f"INSERT INTO customers (id, name) VALUES (1, 'Eve Moon') {clause} name = 'Ada Two'")
    assert rows(customers) == [("Ada Two", "Ada", "Two")]
    run(customers, f"INSERT INTO customers (id, first_name) VALUES (1, 'Bob') {clause} first_name = 'Carol'")
    assert rows(customers) == [("Carol Two", "Carol", "Two")]


def test_replace_is_in_step(customers: Database) -> None:
    if customers.dialect.name == "postgresql":
        return  # it has no such statement
    run(customers, "REPLACE INTO customers (id, name) VALUES (1, 'Ada One')")
    run(customers, "REPLACE INTO customers (id, name) VALUES (1, 'Ada Two')")
    assert rows(customers) == [("Ada Two", "Ada", "Two")]
    run(customers, "REPLACE INTO customers (id, first_name, last_name) VALUES (1, 'Bob', 'Ross')")
    assert rows(customers) == [("Bob Ross", "Bob", "Ross")]


def test_sealing_drops_them_first(names: Database, driver: AlembicDriver) -> None:
    run(names, "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace')")
    assert driver.position(names, "2").triggers.in_step
    done = driver.run(names, "2", Step.SEAL, owner_epoch=2)
    assert done[0] == "drop the sync trigger of customers"
    assert done[1].startswith("deny writes to customers.name")
    state = driver.position(names, "2").triggers
    assert state.sealed
    assert not state.in_step
    run(names, "UPDATE customers SET first_name = 'Eve'")
    assert rows(names) == [("Ada Lovelace", "Eve", "Lovelace")]
    driver.run(names, "2", Step.CONTRACT, owner_epoch=3)
    assert driver.position(names, "2").contracted


def disable(database: Database) -> Sequence[str]:
    match database.dialect.name:
        case "postgresql":
            return ("ALTER TABLE customers DISABLE TRIGGER USER",)
        case "mysql":
            ours = "information_schema.triggers WHERE trigger_schema = DATABASE()"
            name = scalar(database, f"SELECT trigger_name FROM {ours} ORDER BY 1 LIMIT 1")
        case _:
            name = scalar(database, "SELECT name FROM sqlite_master WHERE type = 'trigger' LIMIT 1")
    return (f"DROP TRIGGER {name}",)


def test_one_that_is_gone_or_disabled_is_noticed_and_made_again(names: Database, driver: AlembicDriver) -> None:
    run(names, *disable(names))
    assert not driver.position(names, "2").triggers.in_step
    assert driver.run(names, "2", Step.EXPAND, owner_epoch=2) == ()
    assert driver.position(names, "2").triggers.in_step
    run(names, "INSERT INTO customers (id, name) VALUES (1, 'Ada Lovelace')")
    assert rows(names) == [("Ada Lovelace", "Ada", "Lovelace")]


def test_names_of_every_kind(tree: TreeWriter, anywhere: Database) -> None:
    table, old, new = "Bestellungen order " + "ü" * 10, "select", "Straße\\ 'x' $1 %s :y \"z\""
    first = f"""
    op.create_table({table!r}, sa.Column("id", sa.Integer, primary_key=True), sa.Column({old!r}, sa.String(50)))
    """
    expand = f"""
    op.add_column({table!r}, sa.Column({new!r}, sa.String(50)))
    op.create_sync_trigger({table!r}, old={{{old!r}: "upper({{" + {new!r} + "}})"}},
        new={{{new!r}: "lower({{" + {old!r} + "}})"}}, name="a name with ' and ü")
    """
    contract = f"op.drop_column({table!r}, {old!r})"
    driver = two_releases(
        tree, expand, first=first, contract=contract, manifest=MANIFEST.replace("customers.name", f"{table}.{old}")
    )
    expanded(driver, anywhere)
    assert driver.position(anywhere, "2").triggers.in_step
    of = sa.table(table, sa.column("id"), sa.column(old), sa.column(new))
    with anywhere.writing() as connection:
        connection.execute(sa.insert(of).values({"id": 1, old: "ABC"}))
        connection.execute(sa.insert(of).values({"id": 2, new: "def"}))
        found = connection.execute(sa.select(of.c[old], of.c[new]).order_by(of.c.id)).all()
    assert [tuple(row) for row in found] == [("ABC", "abc"), ("DEF", "def")]
    driver.run(anywhere, "2", Step.SEAL, owner_epoch=2)
    driver.run(anywhere, "2", Step.CONTRACT, owner_epoch=3)
    assert driver.position(anywhere, "2").contracted


def test_several_of_one_table(tree: TreeWriter, anywhere: Database) -> None:
    expand = NAMES + (
        'op.add_column("customers", sa.Column("years", sa.Integer))\n'
        'op.create_sync_trigger("customers", old={"age": "{years}"}, new={"years": "{age}"}, name="years")\n'
    )
    manifest = MANIFEST.replace('["customers.name"]', '["customers.name", "customers.age"]')
    driver = two_releases(tree, expand, manifest=manifest)
    expanded(driver, anywhere)
    run(anywhere, "INSERT INTO customers (id, name, years) VALUES (1, 'Ada Lovelace', 36)")
    run(anywhere, "UPDATE customers SET first_name = 'Eve', age = 37")
    assert rows(anywhere, "SELECT name, first_name, age, years FROM customers") == [("Eve Lovelace", "Eve", 37, 37)]


BEGIN = 'op.add_column("customers", sa.Column("label", sa.String(50)))\n'


@pytest.mark.parametrize(
    ("expand", "code", "line"),
    [
        ('op.create_sync_trigger("customers", old={}, new={"label": "{name}"})', "sync_trigger_invalid", 13),
        (
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"name": "{name}"})',
            "sync_trigger_invalid",
            13,
        ),
        (
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"label": "{label}"})',
            "sync_trigger_invalid",
            13,
        ),
        (
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"label": "{name"})',
            "expression_invalid",
            13,
        ),
        (
            'op.create_sync_trigger("customers", old={"age": "{label}"}, new={"label": "{age}"})',
            "sync_trigger_old_shape",
            13,
        ),
        (
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"label": "{name}"})\n'
            'op.alter_column("customers", "age", existing_type=sa.Integer, nullable=True)',
            "sync_trigger_early",
            14,
        ),
        (
            'op.add_column("customers", sa.Column("full", sa.String(50), server_default="x"))\n'
            'op.create_sync_trigger("customers", old={"name": "{full}"}, new={"full": "{name}"})',
            "sync_trigger_unfit",
            13,
        ),
        (
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"label": "{name}"})\n'
            'op.create_sync_trigger("customers", old={"name": "{label}"}, new={"label": "{name}"}, name="b")',
            "sync_trigger_shared",
            14,
        ),
        ('op.drop_sync_trigger("customers", name="theirs")', "not_in_expand", 13),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(tree: TreeWriter, expand: str, code: str, line: int) -> None:
    driver = two_releases(tree, BEGIN + expand)
    with pytest.raises(MigrationRefused) as refusal:
        driver.check("2")
    assert (refusal.value.code, refusal.value.fields["line"]) == (code, line)
    assert refusal.value.remedy


def test_a_release_that_triggers_keep_in_step_creates_one(tree: TreeWriter) -> None:
    driver = two_releases(tree, BEGIN)
    with pytest.raises(MigrationRefused, match=r"releases\.toml:10: .* leave none behind") as refusal:
        driver.check("2")
    assert refusal.value.code == "sync_trigger_missing"


def test_a_release_that_creates_one_says_so(tree: TreeWriter) -> None:
    driver = two_releases(tree, NAMES, manifest=MANIFEST.replace('in_step_by = "triggers"', ""))
    with pytest.raises(MigrationRefused) as refusal:
        driver.check("2")
    assert refusal.value.code == "sync_trigger_undeclared"


@pytest.mark.parametrize(
    ("column", "expression", "code"),
    [
        ("name", "nowhere({label})", "sync_trigger_expression"),
        ("nmae", "{label}", "sync_trigger_unfit"),
        ("name", "{label} || {id}", "sync_trigger_unfit"),
    ],
)
def test_what_the_database_would_choke_on_is_refused_before_it_is_made(
    tree: TreeWriter, anywhere: Database, column: str, expression: str, code: str
) -> None:
    first = FIRST.replace(", autoincrement=False", "")
    expand = BEGIN + (
        f'op.create_sync_trigger("customers", old={{{column!r}: {expression!r}}}, new={{"label": "{{{column}}}"}})'
    )
    driver = two_releases(tree, expand, first=first, manifest=MANIFEST.replace("customers.name", f"customers.{column}"))
    driver.install(anywhere, "1")
    with pytest.raises(MigrationRefused) as refusal:
        driver.run(anywhere, "2", Step.EXPAND, owner_epoch=1)
    assert refusal.value.code == code
    assert refusal.value.fields["line"] == 13
