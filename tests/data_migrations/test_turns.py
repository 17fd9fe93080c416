"""Turns: which data migration may begin, or go on, beside which, refused by the database that holds their rows."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import ledger, ranges
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.bookkeeping.tables import data_migrations
from orchestrator.daemon import live_schema
from orchestrator.daemon.live_schema import LiveSchema
from orchestrator.data_migrations.runner import DataMigrationRunner
from orchestrator.domain.errors import Conflict, LostCursor, MigrationRefused, OrchestratorError
from orchestrator.domain.ladder import Phase
from orchestrator.domain.overlay import Option, Overlay, Setting
from orchestrator.domain.releases import Release, Releases
from orchestrator.domain.view import MigrationState
from tests.data_migrations import test_order
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site, add_customers
from tests.data_migrations.test_order import live

NAMES = ("first", "second")
FIRST, SECOND = (dedent(body).strip() + "\n" for body in (test_order.FIRST, test_order.SECOND))
FREE = "after = ()\n"
OTHERS = 'table = "others"\nexpressions = {"copy": "id"}\n'


def entered(site: Site, first: str, second: str, *, workers: int = 1) -> DataMigrationRunner:
    """Both are in the ledger, and a runner knows that they are of one release."""
    site.execute("CREATE TABLE others (id INTEGER PRIMARY KEY, copy INTEGER)", "INSERT INTO others (id) VALUES (1)")
    for name, body in zip(NAMES, (first, second), strict=True):
        site.write(name, body)
    site.runner = DataMigrationRunner(site.database, SCHEMA, site.directory, beside=lambda name: NAMES, workers=workers)
    site.runner.enrol(site.release(*NAMES), UPGRADE)
    return site.runner


def code_of(site: Site, name: str) -> str:
    with pytest.raises(OrchestratorError) as refused:
        site.runner.run_batch(name, UPGRADE, 10)
    return refused.value.code


def revision(site: Site, name: str) -> int:
    with site.database.reading() as connection:
        found = ledger.find(connection, SCHEMA, name)
    assert found is not None
    return found.revision


def ranges_of(site: Site, name: str) -> tuple[RangeEntry, ...]:
    with site.database.reading() as connection:
        return ranges.of(connection, SCHEMA, name)


def test_without_a_word_the_second_begins_when_the_first_is_complete(customers: Site) -> None:
    entered(customers, FIRST, SECOND)
    assert code_of(customers, "second") == "data_migration_waits"
    customers.runner.run_batch("first", UPGRADE, 10)
    assert code_of(customers, "second") == "data_migration_waits"
    assert customers.run("first").state is MigrationState.COMPLETE
    assert customers.run("second").state is MigrationState.COMPLETE


def test_one_that_follows_nothing_runs_beside_one_that_failed(customers: Site) -> None:
    entered(customers, FIRST.replace("lower(name)", "no_such(name)"), FREE + OTHERS)
    assert customers.run("first").state is MigrationState.FAILED
    assert customers.run("second").state is MigrationState.COMPLETE


def test_an_author_may_turn_the_order_round(customers: Site) -> None:
    entered(customers, 'after = ("second",)\n' + FIRST, FREE + OTHERS)
    assert code_of(customers, "first") == "data_migration_waits"
    assert customers.run("second").state is MigrationState.COMPLETE
    assert customers.run("first").state is MigrationState.COMPLETE


def test_no_two_work_on_one_table(customers: Site) -> None:
    entered(customers, FIRST, FREE + FIRST.replace("first_name", "last_name"))
    customers.runner.run_batch("second", UPGRADE, 10)
    assert code_of(customers, "first") == "data_migration_waits"
    assert customers.run("second").state is MigrationState.COMPLETE
    assert customers.run("first").state is MigrationState.COMPLETE


def test_two_on_two_tables_run_side_by_side(customers: Site) -> None:
    entered(customers, FIRST, FREE + OTHERS)
    for name in NAMES * 2:
        assert customers.runner.run_batch(name, UPGRADE, 10).state is not MigrationState.FAILED
    assert customers.facts("first").rows_done == 10


@pytest.mark.parametrize("says", [0, 1, 2])
def test_two_share_a_table_where_both_say_so(customers: Site, says: int) -> None:
    bodies = [FIRST, FREE + FIRST.replace("first_name", "last_name")]
    bodies = ["shares_table = True\n" + body if number < says else body for number, body in enumerate(bodies)]
    entered(customers, bodies[0], bodies[1])
    customers.runner.run_batch("first", UPGRADE, 10)
    if says == 2:
        assert customers.run("second").state is MigrationState.COMPLETE
    else:
        assert code_of(customers, "second") == "data_migration_waits"


def test_of_two_that_begin_at_once_on_one_table_one_does(served_site: Site) -> None:
    """Each has looked before the other one wrote: the rows that both write decide."""
    customers = add_customers(served_site)
    entered(customers, FIRST, FREE + FIRST.replace("first_name", "last_name"))
    with customers.database.writing() as other:
        ledger.claim(other, SCHEMA, "first")  # as its own daemon does that is about to begin it
        assert code_of(customers, "second") == "batch_claimed"
    assert customers.facts("second").state is MigrationState.PENDING
    before = revision(customers, "first")
    customers.runner.run_batch("second", UPGRADE, 10)
    assert revision(customers, "first") > before, "whoever saw it as it was before cannot begin it"


def test_one_that_looked_before_the_other_began_finds_it_under_way(customers: Site) -> None:
    entered(customers, FIRST, FREE + FIRST.replace("first_name", "last_name"))
    with customers.database.reading() as connection:
        seen = ledger.find(connection, SCHEMA, "first")
    customers.runner.run_batch("second", UPGRADE, 10)
    assert seen is not None
    with pytest.raises(LostCursor), customers.database.writing() as connection:
        ledger.save(connection, seen)


@pytest.mark.parametrize("workers", [1, 2])
def test_quarantined_rows_that_are_tried_again_do_not_meet_the_other_one(customers: Site, workers: int) -> None:
    fails = 'table = "customers"\nreads = ("name",)\nwrites = ("first_name",)\n\n\n'
    fails += 'def transform(self, row):\n    if row["name"].startswith("First7 "):\n        raise ValueError("no")\n'
    fails += '    return {"first_name": row["name"][:20]}\n'
    entered(customers, fails, FREE + FIRST.replace("first_name", "last_name"), workers=workers)
    assert customers.run("first").state is MigrationState.FAILED
    for _ in range(workers):  # the second time it is at a range of it
        customers.runner.run_batch("second", UPGRADE, 10)
    held = ranges_of(customers, "second")
    assert bool(held) == (workers > 1)
    before = revision(customers, "second")
    customers.runner.retry("first")
    assert customers.facts("first").state is MigrationState.RUNNING
    assert revision(customers, "second") > before, "a batch of the second that is under way is lost"
    for earlier, each in zip(held, ranges_of(customers, "second"), strict=True):
        assert each.revision > earlier.revision, "and one that is under way in a range"
    assert code_of(customers, "second") == "data_migration_waits"


def test_one_that_was_proven_is_not_begun_by_those_that_follow_before_it_is_again(customers: Site) -> None:
    entered(customers, FIRST, SECOND)
    for name in NAMES:
        customers.run(name)
    customers.enter(Phase.READ_NEW)
    with customers.database.writing() as connection:
        ledger.doubt(connection, SCHEMA, UPGRADE)
    assert code_of(customers, "second") == "data_migration_waits"
    assert customers.run("first").state is MigrationState.COMPLETE
    assert customers.run("second").state is MigrationState.COMPLETE


# -- what is refused early ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "file"),
    [
        (FIRST, 'after = ("third",)\n' + SECOND, "second"),
        ('after = ("first",)\n' + FIRST, SECOND, "first"),
        ('after = ("second",)\n' + FIRST, SECOND, "first"),
        (FIRST, FREE + SECOND, "second"),
        (SECOND, FIRST, "first"),
        (FIRST, FIRST, "second"),
        (FIRST.replace("lower(name)", "(SELECT max(copy) FROM others)"), OTHERS, "first"),
    ],
    ids=["unknown", "itself", "circle", "reads too early", "written too late", "both write", "of another table"],
)
def test_an_order_that_is_none_is_refused_before_anything_runs(
    customers: Site, first: str, second: str, file: str
) -> None:
    runner = entered(customers, first, second)
    with pytest.raises(MigrationRefused) as refused:
        runner.check(customers.release(*NAMES))
    assert refused.value.code == "data_migration_order"
    assert refused.value.fields["file"] == str(customers.file(file))


def test_an_order_that_became_none_stops_what_would_begin(customers: Site) -> None:
    entered(customers, 'after = ("second",)\n' + FIRST, SECOND)
    facts = customers.run("first")
    assert facts.state is MigrationState.FAILED
    assert "follows itself" in (facts.error or "")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('after = "first"', "data_migration_after"),
        ('after = ["first"]', "data_migration_after"),
        ('after = ("",)', "data_migration_after"),
        ('shares_table = "yes"', "data_migration_shares"),
    ],
)
def test_what_cannot_be_understood_is_refused(customers: Site, line: str, code: str) -> None:
    customers.write("first", f"{line}\n{FIRST}")
    with pytest.raises(MigrationRefused) as refused:
        customers.runner.check(customers.release("first"))
    assert refused.value.code == code


# -- retrying ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_schema, "prepare", lambda database, **_: None)  # the site has our tables


@pytest.mark.usefixtures("prepared")
def test_retrying_one_leaves_those_alone_that_do_not_follow_it(customers: Site) -> None:
    entered(customers, FIRST, FREE + OTHERS)
    for name in NAMES:
        assert customers.run(name).state is MigrationState.COMPLETE
    live(customers).retry_migration("test", "first")
    assert customers.facts("first").state is MigrationState.PENDING
    assert customers.facts("second").state is MigrationState.COMPLETE


@pytest.mark.usefixtures("prepared")
def test_retrying_one_sends_one_back_that_stands_before_it_and_follows_it(customers: Site) -> None:
    entered(customers, 'after = ("second",)\n' + FIRST, FREE + OTHERS)
    for name in reversed(NAMES):
        assert customers.run(name).state is MigrationState.COMPLETE
    live(customers).retry_migration("test", "second")
    assert customers.facts("first").state is MigrationState.PENDING


# -- giving up ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(customers: Site) -> Site:
    """Ten rows are moved."""
    customers.start("first", FIRST)
    assert customers.runner.run_batch("first", UPGRADE, 10).rows_done == 10
    return customers


def test_giving_up_forgets_where_it_was_and_touches_no_row(begun: Site) -> None:
    before = begun.rows("SELECT id, first_name FROM customers ORDER BY id")
    facts = begun.runner.give_up("first")
    assert (facts.state, facts.rows_done) == (MigrationState.PENDING, 0)
    assert begun.rows("SELECT id, first_name FROM customers ORDER BY id") == before
    assert begun.runner.give_up("first") == facts
    assert begun.run("first").state is MigrationState.COMPLETE


def test_one_that_is_complete_is_not_given_up(begun: Site) -> None:
    assert begun.run("first").state is MigrationState.COMPLETE
    assert begun.runner.give_up("first").state is MigrationState.COMPLETE


def test_giving_up_forgets_why_it_failed(customers: Site) -> None:
    customers.start("first", FIRST.replace("lower(name)", "name"))
    with customers.database.writing() as connection:
        connection.execute(sa.update(data_migrations).values(state="failed", error="it stopped"))
    facts = customers.runner.give_up("first")
    assert (facts.state, facts.error) == (MigrationState.PENDING, None)


def test_where_rows_are_only_proven_its_proof_begins_anew(begun: Site) -> None:
    begun.run("first")
    begun.enter(Phase.READ_NEW)
    with begun.database.writing() as connection:
        ledger.doubt(connection, SCHEMA, UPGRADE)
    assert begun.runner.run_batch("first", UPGRADE, 10).rows_verified == 10
    facts = begun.runner.give_up("first")
    assert (facts.state, facts.rows_verified) == (MigrationState.VERIFYING, 0)
    before = revision(begun, "first")
    begun.runner.give_up("first")
    assert revision(begun, "first") == before, "nothing was left to be given up"
    assert begun.run("first").state is MigrationState.COMPLETE


def test_nothing_is_given_up_where_no_rows_move(begun: Site) -> None:
    begun.enter(Phase.BACKFILL, fence=Phase.READ_NEW)
    with pytest.raises(Conflict) as refused:
        begun.runner.give_up("first")
    assert refused.value.code == "not_in_backfill"


def test_a_batch_that_is_under_way_ends_before(served_customers: Site) -> None:
    site = served_customers
    site.start("first", FIRST)
    with site.database.writing() as connection:
        ledger.claim(connection, SCHEMA, "first")
        with pytest.raises(Conflict) as refused:
            site.runner.give_up("first")
    assert refused.value.code == "batch_claimed"


def test_another_file_may_be_given_before_it_is_resumed(begun: Site, tmp_path: Path) -> None:
    begun.runner.give_up("first")
    begun.write("first", FIRST.replace("lower", "upper"))
    assert begun.run("first").state is MigrationState.COMPLETE
    assert begun.rows("SELECT count(*) FROM customers WHERE first_name <> upper(name)") == [(0,)]


# -- the pace ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prepared")
def test_what_is_set_of_the_pace_holds_from_the_next_batch_on(customers: Site) -> None:
    entered(customers, FIRST, FREE + OTHERS)
    names = ("pause_seconds", "nice_ratio", "batch_rows")
    options = tuple(Option(name, 0.0, 0.0, None, is_whole=False, help="") for name in names)
    releases = Releases(SCHEMA, (Release("1"), customers.release(*NAMES)))
    driver = cast(Any, SimpleNamespace(releases=releases))
    schema = LiveSchema(
        SCHEMA, driver, {"test": customers.database}, {"test": customers.runner}, batches=10, options={"test": options}
    )

    def moved(**given: float) -> int:
        over = Overlay({name: Setting("s", "", "", name, value, "alice", None, 0.0) for name, value in given.items()})
        return schema.run_batch("test", "first", UPGRADE, leads=True, over=over).rows_done

    assert [moved(), moved(), moved(batch_rows=3), moved(batch_rows=3, pause_seconds=1e6)] == [0, 10, 13, 16]
    with pytest.raises(Conflict) as refused:
        moved(pause_seconds=1e6)
    assert refused.value.code == "batch_too_soon"
    assert moved() == 25
