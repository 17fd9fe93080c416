"""What the journal of operations decides where statements commit by themselves: refuse, go on, or stop and say why."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import journal, operations
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused, StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations import own_tables
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.dying import Killed, dying, when_free
from tests.prepared import prepare
from tests.schema_migrations.trees import TreeWriter, columns, execute, scalar

FIRST = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer))'


@pytest.fixture
def mariadb(open_database: Callable[[str, str], Database], mysql_url: str) -> Database:
    """DDL commits by itself here."""
    database = open_database("test", mysql_url)
    prepare(database)
    return database


@pytest.fixture
def postgresql(open_database: Callable[[str, str], Database], postgresql_url: str) -> Database:
    """Only what stands in an autocommit block commits by itself here."""
    database = open_database("test", postgresql_url)
    prepare(database)
    return database


def opened(tree: TreeWriter, body: str) -> AlembicDriver:
    """Release 1 has table t; release 2 is one revision. Its `upgrade()` begins at line 12, its body at line 13."""
    tree.revision("expand", "e1", FIRST)
    tree.revision("expand", "e2", body, after="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\n')
    return tree.driver()


def expand(driver: AlembicDriver, database: Database, epoch: int = 1) -> object:
    return when_free(lambda: driver.run(database, "2", Step.EXPAND, owner_epoch=epoch))


def states(database: Database) -> list[tuple[int, int, str]]:
    with database.reading() as connection:
        return [(each.position, each.part, each.state.value) for each in operations.entries(connection, "shop", "e2")]


def die_after(driver: AlembicDriver, database: Database, statement: str) -> None:
    """Let a run die right after a statement took effect, before that is marked."""
    is_sent = False

    def cross(connection: sa.Connection, _cursor: object, sent: str, *_others: object) -> None:
        nonlocal is_sent
        if is_sent:
            driver_connection = connection.connection.dbapi_connection
            assert driver_connection is not None
            getattr(driver_connection, "_force_close", driver_connection.close)()
            raise Killed
        is_sent = sent.strip().startswith(statement)

    sa.event.listen(database.engine, "before_cursor_execute", cross)
    try:
        with pytest.raises(Killed):
            expand(driver, database)
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", cross)


# -- raw SQL ---------------------------------------------------------------------------------------------------------

RAW = """
op.add_column("t", sa.Column("b", sa.Integer))
op.execute("CREATE VIEW v AS SELECT id FROM t")
"""


def test_raw_ddl_without_a_query_is_refused_before_the_first_statement(tree: TreeWriter, mariadb: Database) -> None:
    driver = opened(tree, RAW)
    driver.install(mariadb, "1")

    with pytest.raises(MigrationRefused) as refusal:
        driver.plan(mariadb, "2", Step.EXPAND)
    assert (refusal.value.code, refusal.value.fields["line"]) == ("took_effect_needed", 14)
    with pytest.raises(MigrationRefused, match="CREATE VIEW v"):
        expand(driver, mariadb)
    assert "orchestrator_took_effect" in str(refusal.value.remedy)
    assert columns(mariadb, "t") == {"id", "a"}


def test_raw_ddl_around_the_operations_is_refused_too(tree: TreeWriter, mariadb: Database) -> None:
    driver = opened(tree, 'op.get_bind().execute(sa.text("CREATE VIEW v AS SELECT id FROM t"))')
    driver.install(mariadb, "1")

    with pytest.raises(MigrationRefused, match="CREATE VIEW v") as refusal:
        driver.plan(mariadb, "2", Step.EXPAND)
    assert refusal.value.code == "took_effect_needed"


@pytest.mark.parametrize("options", ["", ', execution_options={"orchestrator_repeatable": True}'])
def test_text_that_is_handed_to_the_driver_is_seen_too(tree: TreeWriter, mariadb: Database, options: str) -> None:
    body = f"""
    op.get_bind().exec_driver_sql("CREATE OR REPLACE VIEW v AS SELECT id FROM t"{options})
    op.get_bind().exec_driver_sql("INSERT INTO t (id) VALUES (1)")
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")

    if not options:
        with pytest.raises(MigrationRefused, match="CREATE OR REPLACE VIEW v"):
            expand(driver, mariadb)
        return
    die_after(driver, mariadb, "ALTER TABLE t")
    expand(driver, mariadb)
    assert scalar(mariadb, "SELECT count(*) FROM t") == 1


def test_raw_ddl_that_only_a_look_brings_forth_is_refused_as_it_is_sent(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    op.add_column("t", sa.Column("b", sa.Integer))
    if sa.inspect(op.get_bind()).has_table("t"):
        try:
            op.execute("CREATE VIEW v AS SELECT id FROM t")
        except Exception:
            pass
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert (refusal.value.code, refusal.value.fields["line"]) == ("took_effect_needed", 16)
    assert sa.inspect(mariadb.engine).get_view_names() == []


@pytest.mark.parametrize(
    "options",
    [
        {
            "orchestrator_took_effect": "SELECT count(*) FROM information_schema.views"
            " WHERE table_schema = DATABASE() AND table_name = 'v'"
        },
        {"orchestrator_repeatable": True},
    ],
)
def test_raw_ddl_with_a_query_or_that_may_run_twice_goes_on_after_a_kill(
    tree: TreeWriter, mariadb: Database, options: dict[str, object]
) -> None:
    body = f"""
    op.execute("CREATE OR REPLACE VIEW v AS SELECT id FROM t", execution_options={options!r})
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")

    die_after(driver, mariadb, "CREATE OR REPLACE VIEW")
    expand(driver, mariadb)
    assert columns(mariadb, "v") == {"id"}
    assert columns(mariadb, "t") == {"id", "a", "b"}
    assert states(mariadb) == []


def test_raw_ddl_in_a_transaction_needs_nothing(tree: TreeWriter, postgresql: Database) -> None:
    driver = opened(tree, RAW)
    driver.install(postgresql, "1")

    expand(driver, postgresql)
    assert columns(postgresql, "v") == {"id"}


def test_raw_sql_in_an_autocommit_block_needs_a_query(tree: TreeWriter, postgresql: Database) -> None:
    body = """
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE mood ADD VALUE 'soso'")
    """
    driver = opened(tree, body)
    driver.install(postgresql, "1")

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, postgresql)
    assert refusal.value.code == "took_effect_needed"


# -- what is found after a kill --------------------------------------------------------------------------------------


def test_a_statement_whose_effect_is_mixed_stops_with_what_was_found_and_what_to_type(
    tree: TreeWriter, mariadb: Database
) -> None:
    body = 'op.create_table("u", sa.Column("id", sa.Integer, primary_key=True), sa.Column("b", sa.Integer))'
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "CREATE TABLE u")
    execute(mariadb, "ALTER TABLE u DROP COLUMN b")

    with pytest.raises(StepFailed) as failure:
        expand(driver, mariadb)
    assert failure.value.code == "operation_in_doubt"
    assert failure.value.fields["found"] == ["column u.b is missing"]
    assert columns(mariadb, "u") == {"id"}
    done, forget = failure.value.fields["commands"]

    execute(mariadb, "DROP TABLE u")
    execute(mariadb, forget)
    expand(driver, mariadb)
    assert columns(mariadb, "u") == {"id", "b"}
    assert done.startswith("UPDATE orchestrator_operations SET state = 'done' WHERE schema_name = 'shop'")


def test_what_another_one_changed_meanwhile_does_not_hide_what_is_to_be_done(
    tree: TreeWriter, mariadb: Database
) -> None:
    driver = opened(tree, 'op.add_column("t", sa.Column("b", sa.Integer))')
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "INSERT INTO orchestrator_operations")
    die_after(driver, mariadb, "ALTER TABLE t ADD COLUMN b")
    execute(mariadb, "ALTER TABLE t DROP COLUMN b, ADD COLUMN other INTEGER")

    expand(driver, mariadb)
    assert columns(mariadb, "t") == {"id", "a", "b", "other"}


def test_what_was_there_before_is_not_taken_for_done(tree: TreeWriter, mariadb: Database) -> None:
    """A column that somebody added by hand, perhaps of another type, is an error, the second time too."""
    driver = opened(tree, 'op.add_column("t", sa.Column("b", sa.Integer))')
    driver.install(mariadb, "1")
    execute(mariadb, "ALTER TABLE t ADD COLUMN b VARCHAR(5)")

    for _ in range(2):
        with pytest.raises(StepFailed, match="Duplicate column") as failure:
            expand(driver, mariadb)
        assert failure.value.code == "revision_failed"
    assert states(mariadb) == []


def test_a_statement_that_was_changed_after_it_ran_is_refused_by_name(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    op.add_column("t", sa.Column("b", sa.Integer))
    op.add_column("t", sa.Column("c", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "ALTER TABLE t ADD COLUMN c")
    driver = opened(tree, body.replace('"b", sa.Integer', '"b", sa.String(9)'))

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert refusal.value.code == "operation_changed"
    assert "ADD COLUMN b INTEGER" in refusal.value.message
    assert refusal.value.fields["line"] == 13


def test_a_statement_that_was_left_out_after_it_ran_is_refused(tree: TreeWriter, mariadb: Database) -> None:
    driver = opened(tree, 'op.add_column("t", sa.Column("b", sa.Integer))')
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "ALTER TABLE t ADD COLUMN b")

    with pytest.raises(MigrationRefused) as refusal:
        expand(opened(tree, "pass"), mariadb)
    assert refusal.value.code == "operation_changed"


def test_what_failed_may_be_mended_in_the_file(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    op.add_column("t", sa.Column("b", sa.Integer))
    op.add_column("nowhere", sa.Column("c", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    with pytest.raises(StepFailed):
        expand(driver, mariadb)
    assert states(mariadb) == [(1, 1, "done")]

    expand(opened(tree, body.replace("nowhere", "t")), mariadb)
    assert columns(mariadb, "t") == {"id", "a", "b", "c"}


def test_a_revision_that_looks_first_is_passed_over_only_as_far_as_the_journal_reaches(
    tree: TreeWriter, mariadb: Database
) -> None:
    """Where each statement has a look of its own, a person says so, and it begins anew."""
    body = """
    for name in ("b", "c", "d"):
        if name not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns("t")}:
            op.add_column("t", sa.Column(name, sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "ALTER TABLE t ADD COLUMN c")

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert refusal.value.code == "operation_left_out"
    assert "ADD COLUMN c" in refusal.value.message
    execute(mariadb, refusal.value.fields["commands"][0])
    expand(driver, mariadb)
    assert columns(mariadb, "t") == {"id", "a", "b", "c", "d"}
    assert states(mariadb) == []


def test_what_one_look_guards_together_is_never_left_out_in_part(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    if not sa.inspect(op.get_bind()).has_table("kinds"):
        op.create_table("kinds", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9)))
        op.create_index("ix_kinds", "kinds", ["name"])
        op.execute("INSERT INTO kinds VALUES (1, 'new')")
    op.add_column("t", sa.Column("b", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "CREATE TABLE kinds")

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert refusal.value.code == "operation_left_out"
    for command in ("DROP TABLE kinds", *refusal.value.fields["commands"]):
        execute(mariadb, command)
    expand(driver, mariadb)
    assert scalar(mariadb, "SELECT count(*) FROM kinds") == 1


def test_rows_with_values_of_their_moment_are_not_written_twice_after_a_look(
    tree: TreeWriter, mariadb: Database
) -> None:
    body = """
    import uuid
    if "b" not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns("t")}:
        op.add_column("t", sa.Column("b", sa.String(36)))
    op.get_bind().execute(sa.text("INSERT INTO t (id, b) VALUES (7, :at)"), {"at": str(uuid.uuid4())})
    op.create_index("ix_b", "t", ["b"])
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    die_after(driver, mariadb, "CREATE INDEX ix_b")

    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert refusal.value.code == "operation_left_out"
    assert scalar(mariadb, "SELECT count(*) FROM t WHERE id = 7") == 1


def test_rows_that_were_found_before_they_were_written_are_written_once(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    bind = op.get_bind()
    for (row,) in bind.execute(sa.text("SELECT id FROM t WHERE a IS NULL ORDER BY id")).all():
        bind.execute(sa.text("UPDATE t SET a = :row * 10 WHERE id = :row"), {"row": row})
    op.add_column("t", sa.Column("b", sa.Integer))
    op.execute("INSERT INTO t (id, a) VALUES (9, 9)")
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    execute(mariadb, "INSERT INTO t (id) VALUES (1), (2), (3)")
    for statement in ("UPDATE t SET a", "ALTER TABLE t ADD COLUMN b", "INSERT INTO t (id"):
        die_after(driver, mariadb, statement)

    expand(driver, mariadb)
    assert scalar(mariadb, "SELECT GROUP_CONCAT(a ORDER BY id) FROM t") == "10,20,30,9"


@pytest.mark.parametrize(
    "statement",
    [
        'sa.text("INSERT INTO t (id) VALUES (5) RETURNING id")',
        'sa.table("t", sa.column("id")).insert().values(id=5).returning(sa.column("id"))',
    ],
)
def test_rows_that_are_asked_back_are_refused_before_they_are_written(
    tree: TreeWriter, mariadb: Database, statement: str
) -> None:
    """Going on after it was broken off, the revision would take something else for the answer."""
    driver = opened(tree, f"op.get_bind().execute({statement}).scalar()\nop.drop_column('t', 'a')")
    driver.install(mariadb, "1")
    with pytest.raises(MigrationRefused) as refusal:
        expand(driver, mariadb)
    assert refusal.value.code == "result_not_kept"
    assert scalar(mariadb, "SELECT count(*) FROM t") == 0


ANALYZE = 'bind.exec_driver_sql("ANALYZE TABLE t", execution_options={"orchestrator_repeatable": True})'
LOOKS = {
    "rowcount": ('bind.execute(sa.text("UPDATE t SET a = 1"))', "result.rowcount"),
    "rowcount of the driver": ('bind.exec_driver_sql("UPDATE t SET a = 1")', "result.rowcount"),
    "lastrowid": ('bind.execute(sa.text("INSERT INTO t (a) VALUES (1)"))', "result.lastrowid"),
    "inserted_primary_key": ("bind.execute(t.insert().values(a=1))", "result.inserted_primary_key[0]"),
    "scalar": (ANALYZE, "len(result.scalar())"),
    "rows": (ANALYZE, "len([*result])"),
}


@pytest.mark.parametrize(("statement", "look"), LOOKS.values(), ids=LOOKS)
def test_what_a_statement_gave_back_is_not_known_when_it_is_passed_over(
    tree: TreeWriter, mariadb: Database, statement: str, look: str
) -> None:
    """It stops by name, and goes on when the revision does not ask."""
    body = f"""
    bind = op.get_bind()
    t = sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer))
    result = {statement}
    seen = {look}
    op.add_column("t", sa.Column("b", sa.Integer))
    bind.execute(sa.text("INSERT INTO t (id, a) VALUES (100, :seen)"), {{"seen": seen}})
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    execute(mariadb, "INSERT INTO t (id) VALUES (41), (42)")
    die_after(driver, mariadb, "ALTER TABLE t")

    for _ in range(2):
        with pytest.raises(MigrationRefused) as refusal:
            expand(driver, mariadb, 2)
        assert refusal.value.code == "result_not_kept"
        assert refusal.value.fields["line"] == 16
        assert "operation 1" in refusal.value.message
    assert scalar(mariadb, "SELECT count(*) FROM t WHERE id = 100") == 0

    expand(opened(tree, body.replace(look, "7")), mariadb, 2)
    assert scalar(mariadb, "SELECT a FROM t WHERE id = 100") == 7
    assert columns(mariadb, "t") == {"id", "a", "b"}


def test_results_may_be_looked_at_as_long_as_nothing_was_broken_off(tree: TreeWriter, mariadb: Database) -> None:
    body = """
    bind = op.get_bind()
    first = bind.execute(sa.text("INSERT INTO t (id) VALUES (5), (6)")).rowcount
    op.add_column("t", sa.Column("b", sa.Integer))
    bind.execute(sa.text("UPDATE t SET b = :first"), {"first": first}).close()
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    expand(driver, mariadb)
    assert scalar(mariadb, "SELECT sum(b) FROM t") == 4


# -- owners ----------------------------------------------------------------------------------------------------------


def test_an_owner_that_was_passed_in_the_middle_of_a_revision_sends_nothing_more(
    tree: TreeWriter, mariadb: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
    op.add_column("t", sa.Column("b", sa.Integer))
    op.add_column("t", sa.Column("c", sa.Integer))
    """
    driver = opened(tree, body)
    driver.install(mariadb, "1")
    finish = operations.finish

    def finish_and_be_passed(connection: sa.Connection, entry: operations.OperationEntry, *, now: float) -> None:
        finish(connection, entry, now=now)
        connection.execute(sa.text("UPDATE orchestrator_steps SET owner_epoch = 7 WHERE revision = 'e2'"))

    monkeypatch.setattr(operations, "finish", finish_and_be_passed)
    with pytest.raises(Conflict) as refusal:
        expand(driver, mariadb, epoch=6)
    monkeypatch.undo()

    assert refusal.value.code == "owner_epoch_passed"
    assert columns(mariadb, "t") == {"id", "a", "b"}
    expand(driver, mariadb, epoch=8)
    assert columns(mariadb, "t") == {"id", "a", "b", "c"}


# -- CREATE INDEX CONCURRENTLY ---------------------------------------------------------------------------------------

CONCURRENTLY = {
    "operation": 'op.create_index("ix_a", "t", ["a"], unique=True, postgresql_concurrently=True)',
    "raw": 'op.execute("CREATE UNIQUE INDEX CONCURRENTLY ix_a ON t (a)")',
}


@pytest.mark.parametrize("statement", CONCURRENTLY.values(), ids=CONCURRENTLY)
def test_an_invalid_index_that_we_left_is_removed_and_built_again(
    tree: TreeWriter, postgresql: Database, statement: str
) -> None:
    body = f"""
    op.drop_column("t", "b")
    with op.get_context().autocommit_block():
        {statement}
    """
    tree.revision("expand", "e1", FIRST.replace('"a", sa.Integer)', '"a", sa.Integer), sa.Column("b", sa.Integer)'))
    tree.revision("contract", "c2", body, depends_on="e1", head='acknowledged = "a test"\n')
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\ncontract = "c2"\n')
    driver = tree.driver()
    driver.install(postgresql, "1")
    execute(postgresql, "INSERT INTO t (id, a) VALUES (1, 1), (2, 1)")

    for _ in range(2):
        with pytest.raises(StepFailed, match="could not create unique index"):
            driver.run(postgresql, "2", Step.CONTRACT, owner_epoch=1)
        assert scalar(postgresql, VALID) is False

    execute(postgresql, "DELETE FROM t WHERE id = 2")
    assert driver.run(postgresql, "2", Step.CONTRACT, owner_epoch=2) == ("c2",)
    assert scalar(postgresql, VALID) is True
    assert driver.position(postgresql, "2").differences == ()


def test_an_invalid_index_of_somebody_else_stays(tree: TreeWriter, postgresql: Database) -> None:
    body = """
    with op.get_context().autocommit_block():
        op.create_index("ix_a", "t", ["a"], postgresql_concurrently=True)
    """
    driver = opened(tree, body)
    driver.install(postgresql, "1")
    execute(postgresql, "CREATE INDEX ix_a ON t (a)")
    execute(postgresql, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_a'::regclass")

    for _ in range(2):
        with pytest.raises(StepFailed, match="already exists"):
            expand(driver, postgresql)
    assert scalar(postgresql, VALID) is False


VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_a'::regclass"


# -- own tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.kill)], ids=["few", "all"])
def test_own_tables_are_completed_by_the_next_start(
    open_database: Callable[[str, str], Database], new_mysql_url: Callable[[], str], step: int
) -> None:
    moment = 1 - step
    while True:
        moment += step
        database = open_database("test", new_mysql_url())
        with dying(database, moment, every=False) as life:
            own_tables.prepare(database)
        when_free(partial(own_tables.prepare, database))
        with database.reading() as connection:
            found = journal.entries(connection, "orchestrator_bookkeeping")
        assert {entry.state for entry in found} == {journal.JournalState.DONE}
        assert {entry.revision for entry in found} == {each.id for each in own_tables.bookkeeping_driver().tree}
        assert scalar(database, "SELECT count(*) FROM orchestrator_bookkeeping_version") == 1
        if life.died is None:
            break
    assert moment > 6
