"""What a revision may say of its transaction, and what is refused by name before it is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.dialects import Database
from orchestrator.domain.errors import MigrationRefused
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, scalar

FIRST = """
op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer))
op.execute("INSERT INTO t (id) VALUES (1)")
"""

ENDING = [
    "COMMIT",
    "commit work",
    "/* so far */ COMMIT",
    "ROLLBACK",
    "BEGIN",
    "START TRANSACTION",
]
BY_THE_BIND = ["op.get_bind().commit()", "op.get_bind().rollback()"]


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def site(request: pytest.FixtureRequest, open_database: Callable[[str, str], Database]) -> Database:
    """A database of each kind, with our own tables."""
    database = open_database("test", request.getfixturevalue(f"{request.param}_url"))
    prepare(database)
    return database


def opened(tree: TreeWriter, body: str) -> AlembicDriver:
    """Release 1 has table t with one row; release 2 is one revision. Its body begins at line 13."""
    tree.revision("expand", "e1", FIRST, head='acknowledged = "a test"\n')
    tree.revision("expand", "e2", body, after="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    return tree.driver()


def refusal_of(driver: AlembicDriver, database: Database) -> MigrationRefused:
    """How the step is refused; whatever it was, nothing is marked, and nobody is kept from going on."""
    with pytest.raises(MigrationRefused) as refusal:
        driver.run(database, "2", Step.EXPAND, owner_epoch=1)
    assert scalar(database, "SELECT state FROM orchestrator_steps WHERE revision = 'e2'") in (None, "intent")
    assert scalar(database, "SELECT count(*) FROM alembic_version WHERE version_num = 'e2'") == 0
    return refusal.value


@pytest.mark.parametrize("text", ENDING)
def test_text_that_ends_the_transaction_is_refused_without_a_database(tree: TreeWriter, text: str) -> None:
    driver = opened(tree, f'op.execute("UPDATE t SET a = 1")\nop.execute("{text}")')
    with pytest.raises(MigrationRefused) as refusal:
        driver.check("2")
    assert refusal.value.code == "transaction_control"
    assert refusal.value.fields["line"] == 14
    assert text.partition("*/")[2].strip() in refusal.value.message


@pytest.mark.parametrize("statement", BY_THE_BIND)
def test_ending_the_transaction_by_the_connection_is_refused_without_a_database(
    tree: TreeWriter, statement: str
) -> None:
    driver = opened(tree, f'op.execute("UPDATE t SET a = 1")\n{statement}')
    with pytest.raises(MigrationRefused) as refusal:
        driver.check("2")
    assert refusal.value.code == "transaction_control"
    assert refusal.value.fields["line"] == 14


@pytest.mark.parametrize("statement", ['op.execute("COMMIT")', *BY_THE_BIND])
def test_what_only_a_look_brings_forth_is_refused_before_it_is_sent(
    tree: TreeWriter, site: Database, statement: str
) -> None:
    """Rows that were written before it are not there: nobody has committed them."""
    body = f"""
    op.get_bind().execute(sa.text("SELECT 1")).scalar_one()  # what follows is not known before
    op.execute("UPDATE t SET a = 1")
    {statement}
    op.execute("UPDATE t SET a = 2")
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(site, "1")
    refusal = refusal_of(driver, site)
    assert refusal.code == "transaction_control"
    assert refusal.fields["line"] == 15
    assert scalar(site, "SELECT a FROM t") is None
    assert columns(site, "t") == {"id", "a"}

    mended = opened(tree, body.replace(statement, "pass"))
    assert mended.run(site, "2", Step.EXPAND, owner_epoch=2) == ("e2",)
    assert scalar(site, "SELECT a FROM t") == 2


@pytest.mark.parametrize("statement", BY_THE_BIND[:1])
def test_a_refusal_that_the_revision_swallows_is_raised_all_the_same(
    tree: TreeWriter, site: Database, statement: str
) -> None:
    body = f"""
    op.get_bind().execute(sa.text("SELECT 1")).scalar_one()
    op.execute("UPDATE t SET a = 1")
    for attempt in (1, 2):
        try:
            {statement}
        except Exception:
            pass
        try:
            op.execute("UPDATE t SET a = 2")
        except Exception:
            pass
    """
    driver = opened(tree, body)
    driver.install(site, "1")
    assert refusal_of(driver, site).code == "transaction_control"
    assert scalar(site, "SELECT a FROM t") is None


def test_several_statements_in_one_text_are_all_read(
    tree: TreeWriter, open_database: Callable[[str, str], Database], postgresql_url: str
) -> None:
    site = open_database("test", postgresql_url)
    prepare(site)
    for number, text in enumerate(("UPDATE t SET a = 1; COMMIT", "UPDATE t SET a = 1; SELECT ';'; -- so\nend;")):
        driver = opened(tree, f"op.get_bind().exec_driver_sql({text!r})")
        if not number:
            driver.install(site, "1")
        assert refusal_of(driver, site).code == "transaction_control"
    assert scalar(site, "SELECT a FROM t") is None


def test_words_of_the_transaction_within_other_statements_are_no_control(tree: TreeWriter, site: Database) -> None:
    bodies = {
        "postgresql": "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END",
        "sqlite": "CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET a = 1; END",
        "mysql": "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1; END",
    }
    options = 'execution_options={"orchestrator_repeatable": True}'
    body = f"""
    op.execute({bodies[site.dialect.name]!r}, {options})
    op.execute("UPDATE t SET a = 5 WHERE 'COMMIT; BEGIN' <> ''")
    op.execute("SET time_zone = '+00:00'" if op.get_bind().dialect.name == "mysql" else "SELECT 1")
    """
    driver = opened(tree, body)
    driver.install(site, "1")
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert scalar(site, "SELECT a FROM t") == 5


# -- savepoints, locks, sessions ---------------------------------------------------------------------------------------

SAVEPOINTS = """
bind = op.get_bind()
bind.execute(sa.text("SELECT 1")).scalar_one()
with bind.begin_nested():
    op.execute("UPDATE t SET a = 1")
try:
    with bind.begin_nested():
        op.execute("UPDATE t SET a = 2")
        op.execute("INSERT INTO t (id) VALUES (1)")
except sa.exc.DBAPIError:
    pass
except Exception as error:
    if "Duplicate" not in type(error).__name__:
        raise
"""


def test_savepoints_are_kept_where_there_is_a_transaction(tree: TreeWriter, site: Database) -> None:
    driver = opened(tree, SAVEPOINTS)
    driver.install(site, "1")
    if site.dialect.transactional_ddl:
        assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
        assert scalar(site, "SELECT a FROM t") == 1
        return
    refusal = refusal_of(driver, site)
    assert (refusal.code, refusal.fields["line"]) == ("transaction_control", 15)
    assert "SAVEPOINT" in refusal.message
    assert scalar(site, "SELECT a FROM t") is None


@pytest.mark.parametrize(
    "text",
    [
        "SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "LOCK TABLES t WRITE",
        "FLUSH TABLES WITH READ LOCK",
        "SET autocommit = 0",
        "SET @@session.foreign_key_checks = 0, @@autocommit=1",
        "XA START 'a'",
        "/*!40101 SET AUTOCOMMIT=0 */",
    ],
)
def test_on_mariadb_there_is_nothing_to_hold_them(
    tree: TreeWriter, open_database: Callable[[str, str], Database], mysql_url: str, text: str
) -> None:
    site = open_database("test", mysql_url)
    prepare(site)
    options = 'execution_options={"orchestrator_repeatable": True}'
    driver = opened(tree, f'op.execute("UPDATE t SET a = 1")\nop.execute("{text}", {options})')
    driver.install(site, "1")
    assert refusal_of(driver, site).code == "transaction_control"
    driver = opened(tree, f'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()\nop.execute("{text}", {options})')
    assert refusal_of(driver, site).code == "transaction_control"


@pytest.mark.parametrize("text", ["SAVEPOINT a", "LOCK TABLE t IN SHARE MODE"])
def test_in_an_autocommit_block_there_is_nothing_to_hold_them_either(
    tree: TreeWriter, open_database: Callable[[str, str], Database], postgresql_url: str, text: str
) -> None:
    site = open_database("test", postgresql_url)
    prepare(site)
    driver = opened(tree, f'with op.get_context().autocommit_block():\n    op.execute("{text}")')
    driver.install(site, "1")
    assert refusal_of(driver, site).code == "transaction_control"
    driver = opened(tree, f'op.execute("{text}")\nop.execute("UPDATE t SET a = 1")')
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert scalar(site, "SELECT a FROM t") == 1


def test_a_session_of_the_orm_leaves_the_commit_to_the_runner(tree: TreeWriter, site: Database) -> None:
    body = """
    from sqlalchemy.orm import Session
    op.get_bind().execute(sa.text("SELECT 1")).scalar_one()
    session = Session(bind=op.get_bind())
    session.execute(sa.text("UPDATE t SET a = 1"))
    session.commit()
    with Session(op.get_bind()) as other, other.begin():
        other.execute(sa.text("INSERT INTO t (id, a) VALUES (2, 2)"))
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(site, "1")
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert scalar(site, "SELECT sum(a) FROM t") == 3


def test_what_failed_and_was_passed_by_is_not_taken_for_done(
    tree: TreeWriter, open_database: Callable[[str, str], Database], mysql_url: str
) -> None:
    """A look after it belongs to nothing that was sent before."""
    site = open_database("test", mysql_url)
    prepare(site)
    body = """
    bind = op.get_bind()
    bind.execute(sa.text("SELECT 1")).scalar_one()
    for statement in ("INSERT INTO t (id) VALUES (1)", "INSERT INTO nowhere (id) VALUES (1)"):
        try:
            op.execute(statement)
        except Exception:
            pass
    bind.execute(sa.text("SELECT 1")).scalar_one()
    try:
        op.add_column("t", sa.Column("a", sa.Integer))
    except Exception:
        pass
    bind.execute(sa.text("SELECT 1")).scalar_one()
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(site, "1")
    assert driver.run(site, "2", Step.EXPAND, owner_epoch=1) == ("e2",)
    assert columns(site, "t") == {"id", "a", "b"}
