"""The runner on real databases: what it refuses before the first statement, and what it leaves when broken off."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import journal
from orchestrator.bookkeeping.journal import JournalEntry, JournalState
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused, OrchestratorError, StepFailed
from orchestrator.domain.ladder import Step
from orchestrator.schema_migrations.alembic_driver import AlembicDriver
from tests.schema_migrations.trees import TreeWriter, columns, execute, scalar


def at_release_1(shop: TreeWriter, database: Database) -> AlembicDriver:
    driver = shop.driver()
    driver.install(database, "1")
    return driver


def states(database: Database) -> dict[str, str]:
    """The journal: the state of each revision."""
    with database.reading() as connection:
        return {entry.revision: entry.state.value for entry in journal.entries(connection, "shop")}


def versions(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars())


def refusal_of(work: Callable[[], object]) -> OrchestratorError:
    with pytest.raises((MigrationRefused, Conflict)) as refusal:
        work()
    assert refusal.value.remedy
    return refusal.value


# -- the way through -------------------------------------------------------------------------------------------------


def test_a_schema_goes_from_one_release_to_the_next(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    execute(prepared, "INSERT INTO customers (id, name) VALUES (1, 'Ada')")

    assert [each.id for each in driver.plan(prepared, "2", Step.EXPAND)] == ["e2", "e3"]
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")
    assert columns(prepared, "customers") == {"id", "name", "full_name"}

    assert driver.run(prepared, "2", Step.CONTRACT, owner_epoch=1) == ("c2",)
    assert columns(prepared, "customers") == {"id", "full_name"}
    assert scalar(prepared, "SELECT count(*) FROM customers") == 1
    assert states(prepared) == {"e1": "done", "e2": "done", "e3": "done", "c2": "done"}


def test_a_step_that_is_done_runs_nothing(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert driver.plan(prepared, "2", Step.EXPAND) == ()
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ()


def test_the_plan_says_what_would_run_and_changes_nothing(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)

    first, second = driver.plan(prepared, "2", Step.EXPAND)

    assert first.sentence == "expand e2 (Revision e2): add column customers.full_name"
    assert second.sentence == "expand e3 (Revision e3): allow NULL in customers.name"
    assert columns(prepared, "customers") == {"id", "name"}


def test_install_makes_an_empty_database_one_of_the_release(shop: TreeWriter, prepared: Database) -> None:
    driver = shop.driver()

    assert driver.install(prepared, "2") == ("e1", "e2", "e3", "c2")
    assert columns(prepared, "customers") == {"id", "full_name"}
    assert driver.install(prepared, "2") == ()


# -- refusals before the first statement -----------------------------------------------------------------------------


def test_expanding_an_empty_database_does_not_run_contract_revisions(tree: TreeWriter, prepared: Database) -> None:
    """As neutron's `upgrade --expand` does, through `depends_on`."""
    tree.revision("expand", "e1", 'op.create_table("t", sa.Column("id", sa.Integer), sa.Column("x", sa.Integer))')
    tree.revision("contract", "c1", 'op.drop_column("t", "x")', depends_on="e1")
    file = tree.revision("expand", "e2", 'op.add_column("t", sa.Column("y", sa.Integer))', after="e1", depends_on="c1")
    tree.manifest(
        """
        [[release]]
        name = "1"
        expand = "e1"
        [[release]]
        name = "2"
        contract = "c1"
        [[release]]
        name = "3"
        expand = "e2"
        """
    )
    driver = tree.driver()

    error = refusal_of(lambda: driver.run(prepared, "3", Step.EXPAND, owner_epoch=1))
    assert error.code == "contract_in_expand"
    assert "c1" in error.message and "e2" in error.message
    assert (error.fields["file"], error.fields["line"]) == (str(file), 9)
    assert columns(prepared, "t") == set()

    assert driver.install(prepared, "3") == ("e1", "c1", "e2")


def test_a_release_whose_expand_needs_its_own_contract_is_refused_offline(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.revision("contract", "c1", depends_on="e1")
    tree.revision("expand", "e2", after="e1", depends_on="c1")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\n[[release]]\nname = "2"\nexpand = "e2"\ncontract = "c1"\n')

    assert refusal_of(lambda: tree.driver().check("2")).code == "contract_in_expand"


def test_a_contract_that_needs_a_later_expand_is_refused(tree: TreeWriter) -> None:
    tree.revision("expand", "e1")
    tree.revision("expand", "e2", after="e1")
    file = tree.revision("contract", "c1", depends_on="e2")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e1"\ncontract = "c1"\n[[release]]\nname = "2"\nexpand = "e2"\n')

    error = refusal_of(lambda: tree.driver().check("1"))
    assert (error.code, error.fields["file"], error.fields["line"]) == ("expand_in_contract", str(file), 9)


def test_contract_before_expand_is_refused(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)

    error = refusal_of(lambda: driver.run(prepared, "2", Step.CONTRACT, owner_epoch=1))
    assert error.code == "expand_first"
    assert (error.fields["file"], error.fields["line"]) == (str(shop.manifest_file), 8)
    assert columns(prepared, "customers") == {"id", "name"}


def test_a_skipped_release_is_refused(shop: TreeWriter, prepared: Database) -> None:
    """As glance does not: its skip-level upgrade leaves the data of the skipped release unmigrated."""
    driver = at_release_1(shop, prepared)
    shop.revision("expand", "e4", 'op.add_column("customers", sa.Column("age", sa.Integer))', after="e3")
    shop.manifest(shop.manifest_file.read_text() + '\n[[release]]\nname = "3"\nexpand = "e4"\n')
    driver = shop.driver()

    error = refusal_of(lambda: driver.run(prepared, "3", Step.EXPAND, owner_epoch=1))
    assert error.code == "release_skipped"
    assert error.fields["file"].endswith("e2.py")

    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert refusal_of(lambda: driver.run(prepared, "3", Step.EXPAND, owner_epoch=1)).code == "release_skipped"
    driver.run(prepared, "2", Step.CONTRACT, owner_epoch=1)
    assert driver.run(prepared, "3", Step.EXPAND, owner_epoch=1) == ("e4",)


def test_a_database_ahead_of_the_code_is_refused(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    execute(prepared, "UPDATE alembic_version SET version_num = 'e9'")

    error = refusal_of(lambda: driver.plan(prepared, "2", Step.EXPAND))
    assert error.code == "database_ahead"
    assert "e9" in error.message
    assert (error.fields["file"], error.fields["line"]) == (str(shop.manifest_file), 7)
    assert refusal_of(lambda: driver.position(prepared, "2")).code == "database_ahead"


def test_an_unknown_revision_in_the_journal_is_refused(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    entry = JournalEntry("shop", "e9", "expand", "0" * 64, JournalState.INTENT, 1, 0.0)
    with prepared.writing() as connection:
        journal.record(connection, [entry])

    assert refusal_of(lambda: driver.plan(prepared, "2", Step.EXPAND)).code == "database_ahead"


def test_a_revision_that_was_changed_after_it_ran_is_refused_by_name(shop: TreeWriter, prepared: Database) -> None:
    at_release_1(shop, prepared)
    file = shop.directory / "expand" / "e1.py"
    file.write_text(file.read_text() + "\n# harmless\n")

    error = refusal_of(lambda: shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=1))
    assert error.code == "revision_changed"
    assert (error.fields["file"], error.fields["line"]) == (str(file), 6)


def test_a_version_table_that_was_stamped_by_hand_is_refused(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    execute(prepared, "UPDATE alembic_version SET version_num = 'e3'")

    error = refusal_of(lambda: driver.run(prepared, "2", Step.CONTRACT, owner_epoch=1))
    assert error.code == "not_in_journal"
    assert error.fields["file"].endswith("e2.py")


def test_a_version_table_that_was_set_back_is_refused(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    execute(prepared, "UPDATE alembic_version SET version_num = 'e2'")

    assert refusal_of(lambda: driver.plan(prepared, "2", Step.EXPAND)).code == "version_table_behind"


def test_a_database_without_bookkeeping_is_refused(shop: TreeWriter, database: Database) -> None:
    driver = shop.driver()

    assert refusal_of(lambda: driver.run(database, "1", Step.EXPAND, owner_epoch=1)).code == "bookkeeping_missing"
    assert columns(database, "customers") == set()


def test_a_revision_that_breaks_the_rules_stops_its_whole_step(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    file = shop.directory / "expand" / "e3.py"
    file.write_text(file.read_text().replace("nullable=True", "new_column_name='x'"))
    driver = shop.driver()

    assert refusal_of(lambda: driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)).code == "not_in_expand"
    assert columns(prepared, "customers") == {"id", "name"}


def test_a_revision_that_looks_first_is_judged_as_it_runs(shop: TreeWriter, prepared: Database) -> None:
    at_release_1(shop, prepared)
    body = """
    def upgrade():
        op.add_column("customers", sa.Column("extra", sa.Integer))
        if sa.inspect(op.get_bind()).has_table("customers"):
            op.drop_column("customers", "name")
    """
    file = shop.directory / "expand" / "e2.py"
    text = file.read_text().partition("def upgrade")[0]
    indented = "\n".join(line[4:] for line in body.strip("\n").splitlines())
    file.write_text(f'{text}acknowledged = "adds only what is missing"\n\n{indented}\n')

    error = refusal_of(lambda: shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=1))
    assert (error.code, error.fields["line"]) == ("not_in_expand", 16)
    assert columns(prepared, "customers") == {"id", "name"}


def test_install_refuses_a_database_that_is_not_empty(shop: TreeWriter, prepared: Database) -> None:
    execute(prepared, "CREATE TABLE customers (id INTEGER)")

    error = refusal_of(lambda: shop.driver().install(prepared, "1"))
    assert (error.code, "customers" in error.message) == ("database_not_empty", True)


def test_install_is_no_way_around_an_upgrade(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)

    assert refusal_of(lambda: driver.install(prepared, "2")).code == "database_not_empty"
    assert columns(prepared, "customers") == {"id", "name"}


# -- broken off and resumed ------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends everything at that point, as a signal would."""


def break_once(driver: AlembicDriver, revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first run of that revision end after its last statement, before anything is marked."""
    module = driver.tree.module(revision)
    upgrade = module.upgrade

    def upgrade_and_die() -> None:
        upgrade()
        raise Killed

    monkeypatch.setattr(module, "upgrade", upgrade_and_die)


def test_a_run_killed_inside_a_revision_goes_on_with_that_revision(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = at_release_1(shop, prepared)
    driver.plan(prepared, "2", Step.EXPAND)
    break_once(driver, "e3", monkeypatch)

    with pytest.raises(Killed):
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert states(prepared) == {"e1": "done", "e2": "done", "e3": "intent"}
    assert not driver.position(prepared, "2").expanded

    monkeypatch.undo()
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=2) == ("e3",)
    assert driver.position(prepared, "2").expanded


def test_a_run_killed_between_two_revisions_goes_on_after_the_first(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = at_release_1(shop, prepared)
    intend = journal.intend

    def intend_unless_second(connection: sa.Connection, entry: JournalEntry) -> bool:
        if entry.revision == "e3":
            raise Killed
        return intend(connection, entry)

    monkeypatch.setattr(journal, "intend", intend_unless_second)
    with pytest.raises(Killed):
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)
    assert versions(prepared) == {"e2"}

    monkeypatch.undo()
    assert [each.id for each in driver.plan(prepared, "2", Step.EXPAND)] == ["e3"]
    assert shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=2) == ("e3",)


def test_an_install_that_was_killed_is_resumed(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = shop.driver()
    driver.plan(prepared, "1", Step.EXPAND)
    driver.check("2")
    driver.position(prepared, "2")
    break_once(driver, "e2", monkeypatch)
    with pytest.raises(Killed):
        driver.install(prepared, "2")
    monkeypatch.undo()

    assert driver.position(prepared, "2").empty
    assert refusal_of(lambda: driver.run(prepared, "1", Step.EXPAND, owner_epoch=1)).code == "install_unfinished"
    assert refusal_of(lambda: driver.install(prepared, "1")).code == "install_unfinished"
    assert driver.install(prepared, "2") == ("e2", "e3", "c2")
    assert not driver.position(prepared, "2").empty


def test_a_revision_that_fails_half_way_leaves_nothing(shop: TreeWriter, prepared: Database) -> None:
    """As plain Alembic on SQLite does not: tables without a version row."""
    at_release_1(shop, prepared)
    file = shop.directory / "expand" / "e2.py"
    text = file.read_text().replace(
        'op.add_column("customers"',
        'op.create_table("half", sa.Column("id", sa.Integer))\n    op.add_column("nowhere"',
    )
    file.write_text(text)
    driver = shop.driver()

    with pytest.raises(StepFailed) as failure:
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert failure.value.code == "revision_failed"
    assert (failure.value.fields["file"], failure.value.fields["line"]) == (str(file), 13)
    assert columns(prepared, "half") == set()
    assert versions(prepared) == {"e1"}

    # Nothing of it remains, so the file may be mended.
    file.write_text(text.replace('"nowhere"', '"customers"'))
    assert shop.driver().run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")


def test_a_revision_whose_effect_is_not_in_the_catalog_is_not_marked_done(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = at_release_1(shop, prepared)
    driver.plan(prepared, "2", Step.EXPAND)
    module = driver.tree.module("e2")
    upgrade = module.upgrade

    def upgrade_and_undo() -> None:
        upgrade()
        module.op.get_bind().execute(sa.text("ALTER TABLE customers DROP COLUMN full_name"))

    monkeypatch.setattr(module, "upgrade", upgrade_and_undo)
    with pytest.raises(StepFailed, match=r"column customers\.full_name is missing") as failure:
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert failure.value.code == "effect_missing"
    assert versions(prepared) == {"e1"}
    assert states(prepared)["e2"] == "intent"


def test_an_owner_whose_epoch_was_passed_changes_nothing(shop: TreeWriter, prepared: Database) -> None:
    driver = at_release_1(shop, prepared)
    entry = JournalEntry("shop", "e2", "expand", "0" * 64, JournalState.INTENT, 7, 0.0)
    with prepared.writing() as connection:
        journal.record(connection, [entry])

    with pytest.raises(Conflict) as refusal:
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=6)

    assert (refusal.value.code, refusal.value.fields["newest_epoch"]) == ("owner_epoch_passed", 7)
    assert columns(prepared, "customers") == {"id", "name"}
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=8) == ("e2", "e3")


def test_an_owner_that_is_passed_while_it_runs_commits_nothing(
    shop: TreeWriter, prepared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = at_release_1(shop, prepared)
    claim = journal.claim

    def claim_too_late(connection: sa.Connection, schema: str, revision: str, *, owner_epoch: int) -> None:
        connection.execute(sa.text("UPDATE orchestrator_steps SET owner_epoch = 9 WHERE revision = 'e2'"))
        claim(connection, schema, revision, owner_epoch=owner_epoch)

    monkeypatch.setattr(journal, "claim", claim_too_late)
    with pytest.raises(Conflict) as refusal:
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert (refusal.value.code, refusal.value.fields["newest_epoch"]) == ("owner_epoch_passed", 9)
    assert columns(prepared, "customers") == {"id", "name"}


# -- locks -----------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_do_not_meet(shop: TreeWriter, prepared: Database) -> None:
    """As several pods that run `alembic upgrade` do."""
    driver = at_release_1(shop, prepared)
    dialect = prepared.dialect
    with dialect.schema_connection(prepared.engine) as other, dialect.session_lock(other, "schema shop"):
        assert refusal_of(lambda: driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)).code == "lock_busy"
        assert columns(prepared, "customers") == {"id", "name"}

    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")


@pytest.fixture
def impatient(prepared: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """On SQLite too a lock is not waited for long: there a transaction waits before it begins."""
    monkeypatch.setattr("orchestrator.dialects.sqlite.BUSY_TIMEOUT_SECONDS", 0.2)
    prepared.engine.dispose()
    return prepared


def test_a_step_does_not_wait_for_locks_for_ever(
    shop: TreeWriter, impatient: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """As pgroll does. It says who is in the way, at once and when it gives up, and leaves nothing but its intent."""
    prepared = impatient
    at_release_1(shop, prepared)
    pauses: list[float] = []
    driver = shop.driver(sleep=pauses.append)
    with blocking_customers(prepared), pytest.raises(StepFailed) as failure:
        driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert failure.value.code == "lock_timeout"
    assert "in 3 attempts" in failure.value.message
    (warning,) = [record.getMessage() for record in caplog.records if "waits for its locks" in record.getMessage()]
    assert prepared.dialect.name != "postgresql" or "customers" in warning
    assert len(pauses) == 2
    if prepared.dialect.name == "postgresql":
        assert "customers" in str(failure.value.fields["holders"])
    assert columns(prepared, "customers") == {"id", "name"}
    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")


def test_a_step_goes_on_when_the_lock_comes_free(shop: TreeWriter, impatient: Database) -> None:
    prepared = impatient
    at_release_1(shop, prepared)
    blocker = blocking_customers(prepared)
    blocker.__enter__()
    driver = shop.driver(sleep=lambda seconds: blocker.close())

    assert driver.run(prepared, "2", Step.EXPAND, owner_epoch=1) == ("e2", "e3")


class blocking_customers:  # reads as a verb where it is used
    """A transaction that holds a lock on the customers table."""

    def __init__(self, database: Database) -> None:
        self._connection = database.engine.connect()

    def __enter__(self) -> None:
        self._connection.execute(sa.text("UPDATE customers SET name = name"))
        self._connection.execute(sa.text("INSERT INTO customers (id, name) VALUES (99, 'x')"))

    def close(self) -> None:
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def test_two_databases_are_migrated_at_the_same_time(
    shop: TreeWriter, new_database_url: Callable[[], str], open_database: Callable[[str, str], Database]
) -> None:
    """Alembic keeps one set of operations per process; each thread has its own here."""
    from orchestrator.schema_migrations.own_tables import prepare

    databases = [open_database(f"cell{number}", new_database_url()) for number in range(3)]
    driver = shop.driver()
    for database in databases:
        prepare(database)
        driver.install(database, "1")
    module = driver.tree.module("e2")
    upgrade = module.upgrade
    together = threading.Barrier(len(databases), timeout=30)
    driver.check("2")

    def upgrade_together() -> None:
        together.wait()
        upgrade()
        together.wait()

    module.upgrade = upgrade_together  # type: ignore[attr-defined]
    for database in databases:
        driver.position(database, "1")
    threads = [
        threading.Thread(target=driver.run, args=(database, "2", Step.EXPAND), kwargs={"owner_epoch": 1})
        for database in databases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [columns(database, "customers") for database in databases] == [{"id", "name", "full_name"}] * 3


def test_a_table_that_is_rebuilt_keeps_the_rows_that_refer_to_it(tree: TreeWriter, prepared: Database) -> None:
    """SQLite drops the old table on the way; with foreign keys enforced that would delete the children too."""
    tree.revision("expand", "e1", 'op.create_table("parents", sa.Column("id", sa.Integer, primary_key=True))')
    body = """
    op.create_table(
        "children",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("parent", sa.Integer, sa.ForeignKey("parents.id", ondelete="CASCADE")),
    )
    """
    tree.revision("expand", "e2", body, after="e1")
    body = """
    with op.batch_alter_table("parents") as parents:
        parents.add_column(sa.Column("a", sa.Integer))
        parents.alter_column("id", existing_type=sa.Integer, comment="the key")
    """
    tree.revision("expand", "e3", body, after="e2")
    tree.manifest('[[release]]\nname = "1"\nexpand = "e2"\n[[release]]\nname = "2"\nexpand = "e3"\n')
    driver = tree.driver()
    driver.install(prepared, "1")
    execute(prepared, "INSERT INTO parents (id) VALUES (1)")
    execute(prepared, "INSERT INTO children (id, parent) VALUES (1, 1)")

    driver.run(prepared, "2", Step.EXPAND, owner_epoch=1)

    assert scalar(prepared, "SELECT count(*) FROM children") == 1
