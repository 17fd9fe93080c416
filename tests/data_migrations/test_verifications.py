"""Verifications: rows compared because somebody asked, in any phase, and nothing changes by it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator.data_migrations import batches, verifying
from orchestrator.data_migrations.faults import CutOff
from orchestrator.data_migrations.pauses import Pauses
from orchestrator.domain.errors import Conflict, MigrationRefused, NotFound
from orchestrator.domain.ladder import Phase
from orchestrator.domain.pacing import BatchSizes
from orchestrator.domain.verifications import Verification, VerificationState
from orchestrator.domain.view import MigrationState
from tests.dying import dying, when_free

from .conftest import UPGRADE, Site
from .test_moving import SPLIT, split_in_sql

AT_ONCE = Pauses(0.0, 0.0)
KINDS = pytest.mark.parametrize("kind", ["expression", "transform"])


def complete(site: Site, kind: str = "transform") -> Site:
    site.start("split_name", SPLIT if kind == "transform" else split_in_sql(site.database))
    assert site.run("split_name").state is MigrationState.COMPLETE
    return site


def ask(site: Site, reason: str | None = None) -> bool:
    return site.runner.verifications.ask("split_name", actor="alice", reason=reason)


def batch(site: Site, rows: int = 10, **more: Any) -> Verification:
    found = site.runner.verifications.run_batch("split_name", BatchSizes.fixed(rows), AT_ONCE, **more)
    assert found is not None
    return found


def compared(site: Site, rows: int = 10) -> Verification:
    """Asked for, and run to its end."""
    assert ask(site)
    while (found := batch(site, rows)).is_running:
        pass
    return found


def books(site: Site) -> list[Any]:
    """All that a verification must leave as it is."""
    return [
        site.rows("SELECT * FROM customers ORDER BY id"),
        site.rows("SELECT * FROM orchestrator_data_migrations"),
        site.rows("SELECT * FROM orchestrator_ranges"),
        site.rows("SELECT * FROM orchestrator_copies"),
    ]


@KINDS
@pytest.mark.parametrize("phase", [Phase.BACKFILL, Phase.READ_NEW, Phase.WRITE_NEW, Phase.EXPANDED])
def test_rows_are_compared_in_every_phase_and_neither_they_nor_the_ledger_change(
    customers: Site, kind: str, phase: Phase
) -> None:
    complete(customers, kind).enter(phase)
    customers.execute("UPDATE customers SET last_name = 'Other' WHERE id IN (9, 42)")
    before = books(customers)
    found = compared(customers)
    assert (found.state, found.rows, found.differences) == (VerificationState.DONE, 25, 2)
    assert (found.first_differences, found.actor) == ("id=9; id=42", "alice")
    assert found.finished_at is not None
    assert (found.expected is None) == (phase in (Phase.BACKFILL, Phase.READ_NEW))
    assert books(customers) == before
    assert customers.facts("split_name").state is MigrationState.COMPLETE


@KINDS
def test_rows_that_are_not_moved_yet_are_no_alarm(customers: Site, kind: str) -> None:
    customers.start("split_name", SPLIT if kind == "transform" else split_in_sql(customers.database))
    customers.runner.run_batch("split_name", UPGRADE, 10)
    found = compared(customers)
    assert found.differences
    assert found.expected == "not all of its rows are moved yet"
    assert "That is to be expected" in found.sentence
    assert customers.run("split_name").rows_verified == 25


def test_asked_again_while_under_way_it_is_the_same_one_and_later_a_new_one(customers: Site) -> None:
    complete(customers)
    assert ask(customers)
    assert batch(customers).rows == 10
    assert not ask(customers)
    assert batch(customers).rows == 20
    assert not batch(customers).is_running
    assert batch(customers).rows == 25, "one that is over stays as it is"
    assert ask(customers, "once more")
    (found,) = customers.runner.verifications.all()
    assert (found.rows, found.state, found.reason) == (0, VerificationState.RUNNING, "once more")


@pytest.mark.parametrize("was_asked_before", [False, True])
def test_of_many_who_ask_at_once_one_begins_it(served_customers: Site, was_asked_before: bool) -> None:
    site = complete(served_customers)
    ask(site)
    for _ in range(10):
        if was_asked_before:
            site.execute("UPDATE orchestrator_verifications SET state = 'done'")
        else:
            site.execute("DELETE FROM orchestrator_verifications")
        with ThreadPoolExecutor(6) as pool:
            begun = [each.result() for each in [pool.submit(ask, site) for _ in range(6)]]
        assert sorted(begun) == [False] * 5 + [True]


def test_stopped_it_keeps_what_it_found_and_runs_no_further(customers: Site) -> None:
    complete(customers)
    assert not customers.runner.verifications.stop("split_name")
    ask(customers)
    batch(customers)
    assert customers.runner.verifications.stop("split_name")
    assert not customers.runner.verifications.stop("split_name")
    assert batch(customers).rows == 10
    assert batch(customers).state is VerificationState.STOPPED


def test_another_daemon_goes_on_where_one_was_killed(customers: Site) -> None:
    complete(customers)
    for moment in range(1, 40, 3):
        with dying(customers.database, moment) as life:
            when_free(lambda: customers.runner.verifications.stop("split_name"))
            when_free(lambda: ask(customers))
            while when_free(lambda: batch(customers)).is_running:
                pass
        customers.runner = customers.another_runner()
        when_free(lambda: ask(customers))
        while (found := when_free(lambda: batch(customers))).is_running:
            pass
        assert (found.rows, found.differences) == (25, 0), (moment, life.died)
        if life.died is None:
            break


def test_a_batch_that_somebody_is_at_is_left_to_them(served_customers: Site) -> None:
    complete(served_customers)
    ask(served_customers)
    with served_customers.database.writing() as connection:
        connection.exec_driver_sql("SELECT name FROM orchestrator_verifications FOR UPDATE")
        with pytest.raises(Conflict) as refused:
            batch(served_customers)
    assert refused.value.code == "batch_claimed"
    assert batch(served_customers).rows == 10


def test_it_rests_after_a_batch_as_rows_that_move_do(customers: Site) -> None:
    complete(customers)
    ask(customers)
    patient = Pauses(3600.0, 0.0)
    assert customers.runner.verifications.run_batch("split_name", BatchSizes.fixed(10), patient) is not None
    with pytest.raises(Conflict) as refused:
        customers.runner.verifications.run_batch("split_name", BatchSizes.fixed(10), patient)
    assert refused.value.code == "batch_too_soon"


def test_nobody_knows_one_that_was_never_enrolled(customers: Site) -> None:
    with pytest.raises(NotFound):
        ask(customers)


def drop_column(site: Site) -> None:
    site.execute("ALTER TABLE customers DROP COLUMN name")


def drop_table(site: Site) -> None:
    site.execute("DROP TABLE customers")


def change_file(site: Site) -> None:
    site.write("split_name", SPLIT + "\n# changed\n")


def wrap_a_function(site: Site) -> None:
    site.write("split_name", 'function = "shop.rows:move"')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_column, "columns that table customers does not have: name"),
        (drop_table, "table customers, which database"),
        (change_file, "its file has changed since"),
        (wrap_a_function, "is a function of the service, which alone knows"),
    ],
)
def test_where_there_is_nothing_to_compare_it_is_refused(
    customers: Site, change: Callable[[Site], None], words: str
) -> None:
    complete(customers)
    change(customers)
    with pytest.raises(Conflict) as refused:
        ask(customers)
    assert refused.value.code == "verification_refused"
    assert "cannot be compared in database" in refused.value.message
    assert words in refused.value.message
    assert refused.value.remedy
    assert customers.runner.verifications.all() == ()


def test_contract_in_the_middle_ends_it_with_a_sentence(customers: Site) -> None:
    complete(customers)
    ask(customers)
    batch(customers)
    drop_column(customers)
    found = batch(customers)
    assert found.state is VerificationState.FAILED
    assert found.error is not None
    assert "customers" in found.error
    assert "then it failed" in found.sentence


def test_changed_file_in_the_middle_is_judged_by_the_daemon_that_leads(customers: Site) -> None:
    complete(customers)
    ask(customers)
    change_file(customers)
    with pytest.raises(MigrationRefused) as refused:
        batch(customers, leads=False)
    assert refused.value.code == "data_migration_changed"
    assert batch(customers).state is VerificationState.FAILED


def test_row_for_which_the_transform_raises_is_named(customers: Site) -> None:
    complete(customers)
    customers.execute("UPDATE customers SET name = NULL WHERE id = 42")
    found = compared(customers)
    assert found.state is VerificationState.FAILED
    assert found.error is not None
    assert "for the row id=42 of customers" in found.error


@pytest.mark.parametrize("most", [3, 0])
def test_batches_that_are_cut_off_become_as_small_as_it_takes(
    customers: Site, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Also smaller than batches are meant to be; where a single row takes too long, it fails."""
    site = complete(customers)
    usual = batches.compare

    def impatient(*given: Any) -> Any:
        found = usual(*given)
        if found.rows > most:
            raise CutOff("batch_cut_off", "the server lets no statement run for so long", remedy="Give it longer.")
        return found

    monkeypatch.setattr(verifying, "compare", impatient)
    assert ask(site)
    for _ in range(200):
        if not (found := batch(site, 10)).is_running:
            break
    assert found.state is (VerificationState.DONE if most else VerificationState.FAILED)
    assert found.rows == (25 if most else 0)


def test_an_excuse_is_only_one_for_the_rows_that_differed_while_it_held(customers: Site) -> None:
    """Asked for while rows are moved, which excuses nothing of what differs when they are."""
    site = customers
    site.start("split_name", split_in_sql(site.database))
    site.runner.run_batch("split_name", UPGRADE, 10)
    assert ask(site)
    assert batch(site, 5).differences == 0
    assert site.run("split_name").state is MigrationState.COMPLETE
    site.execute("UPDATE customers SET first_name = 'broken' WHERE id > 60")
    while (found := batch(site, 5)).is_running:
        pass
    assert found.differences > 0
    assert found.is_alarm
