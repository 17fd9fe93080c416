"""A row that cannot be moved is put in quarantine and named; the others go on, and nothing is complete without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import ledger, quarantine
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.dying import dying, when_free

from .conftest import SCHEMA, UPGRADE, Site, new_site

TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)"
NULLS = "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER NOT NULL DEFAULT 0)"
CHECKED = "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER, CHECK (new <> 16))"
UNIQUE = "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER UNIQUE)"
ROWS = 25
BAD = 15

EXCEPT = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        return {{"new": row["old"] + 1}} if row["old"] not in {bad} else {result}
    """


def in_python(result: str, *bad: int) -> str:
    return EXCEPT.format(bad=(*bad, -1), result=result)


def in_sql(expression: str) -> str:
    return f'table = "things"\nexpressions = {{"new": "{expression}"}}'


def add_rows(site: Site, table: str = TABLE, rows: int = ROWS) -> None:
    columns = "(id, old)"
    site.execute(table, f"INSERT INTO things {columns} VALUES " + ", ".join(f"({n}, {n})" for n in range(1, rows + 1)))


def entry(site: Site) -> LedgerEntry:
    with site.database.reading() as connection:
        found = ledger.find(connection, SCHEMA, "walk")
    assert found is not None
    return found


def keys(site: Site) -> list[str]:
    """The rows in quarantine."""
    return [row.key for row in site.runner.quarantined("walk")]


def unmoved(site: Site) -> list[int]:
    return [row[0] for row in site.rows("SELECT id FROM things WHERE new IS NULL OR new <> old + 1 ORDER BY id")]


def end(site: Site, batch_rows: int = 10) -> MigrationFacts:
    return site.run("walk", batch_rows=batch_rows)


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
@pytest.mark.parametrize(
    ("table", "body", "words"),
    [
        pytest.param(
            TABLE, in_python("1 / 0", BAD), "raised ZeroDivisionError at line 10 for the row id=15", id="raises"
        ),
        pytest.param(
            TABLE,
            in_python('__import__("sys").exit(3)', BAD),
            "raised SystemExit at line 10 for the row id=15 of things: 3",
            id="exits",
        ),
        pytest.param(TABLE, in_python('{"new": object()}', BAD), "failed on things, the row id=15", id="object"),
        pytest.param(TABLE, in_python('{"new": 2**70}', BAD), "failed on things, the row id=15", id="out of range"),
        pytest.param(CHECKED, in_python('{"new": 16}', BAD), "failed on things, the row id=15", id="check"),
        pytest.param(NULLS, in_python('{"new": None}', BAD), "failed on things, the row id=15", id="null"),
        pytest.param(UNIQUE, in_python('{"new": 4}', BAD), "failed on things, the row id=15", id="unique"),
        pytest.param(CHECKED, in_sql("old + 1"), "failed on things, the row id=15", id="check in SQL"),
        pytest.param(
            NULLS, in_sql("CASE WHEN old <> 15 THEN old + 1 END"), "failed on things, the row id=15", id="null in SQL"
        ),
        pytest.param(TABLE, in_sql("old + 1 + 0 / (old - 15)"), "failed on things, the row id=15", id="by zero in SQL"),
    ],
)
def test_row_that_cannot_be_moved_is_named_and_the_others_are_moved(
    site: Site, table: str, body: str, words: str, batch_rows: int
) -> None:
    if site.database.dialect.name == "sqlite" and "/ (old" in body:
        return  # there, it is NULL
    add_rows(site, table)
    site.start("walk", body)
    facts = end(site, batch_rows)
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.FAILED, ROWS - 1, 1)
    assert facts.error is not None
    assert facts.error.startswith("1 row of things could not be moved (id=15), all others are. data migration walk")
    assert "\n" not in facts.error
    assert unmoved(site) == [BAD]
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=15"
    assert words in row.error
    with site.database.reading() as connection:
        assert abs(site.database.dialect.now(connection) - row.failed_at) < 3600
    assert site.runner.run_batch("walk", UPGRADE, batch_rows) == facts  # nothing goes on by itself


def test_error_that_cannot_say_what_it_is_names_its_row(site: Site) -> None:
    add_rows(site)
    body = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    class Wordless(Exception):
        def __str__(self):
            return 1 / 0

    def transform(self, row):
        if row["old"] == 15:
            raise self.Wordless
        return {"new": row["old"] + 1}
    """
    site.start("walk", body)
    end(site)
    (row,) = site.runner.quarantined("walk")
    assert "raised Wordless at line 15 for the row id=15 of things: its words raise ZeroDivisionError" in row.error


def test_value_of_another_type_is_refused_where_the_database_looks(served_site: Site) -> None:
    add_rows(served_site)
    served_site.start("walk", in_python('{"new": "no number"}', 3, 4))
    assert end(served_site).rows_quarantined == 2
    assert keys(served_site) == ["id=3", "id=4"]


@pytest.fixture(params=["sqlite", "postgresql"])
def deferring_site(
    request: pytest.FixtureRequest, open_database: Callable[[str, str], Database], tmp_path: Path
) -> Site:
    """On a database with constraints that wait for the commit."""
    return new_site(open_database("main", request.getfixturevalue(f"{request.param}_url")), tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("body", [in_sql("old + 1"), in_python("None")], ids=["sql", "python"])
def test_constraint_that_waits_for_the_commit_refuses_its_row(deferring_site: Site, body: str, workers: int) -> None:
    site = deferring_site
    site.execute("CREATE TABLE known (id INTEGER PRIMARY KEY)", "INSERT INTO known VALUES (2), (4), (5)")
    deferred = "new INTEGER REFERENCES known (id) DEFERRABLE INITIALLY DEFERRED"
    add_rows(site, f"CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, {deferred})", rows=4)
    site.runner.workers = workers
    site.start("walk", body)
    assert end(site).rows_quarantined == 1
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=2"
    assert "failed on things, the row id=2: " in row.error
    site.execute("INSERT INTO known VALUES (3)")
    site.runner.retry("walk")
    assert end(site).state is MigrationState.COMPLETE


def test_rule_of_the_sites_own_refuses_its_row(served_site: Site) -> None:
    site = served_site
    add_rows(site)
    if site.database.dialect.name == "postgresql":
        site.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$",
            "CREATE TRIGGER refuse BEFORE UPDATE ON things FOR EACH ROW WHEN (OLD.id = 15) EXECUTE FUNCTION refuse()",
        )
    else:
        site.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON things FOR EACH ROW "
            "IF OLD.id = 15 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
        )
    site.start("walk", in_sql("old + 1"))
    assert end(site).rows_quarantined == 1
    (row,) = site.runner.quarantined("walk")
    assert "not this one" in row.error


def test_text_that_the_driver_cannot_send_is_of_its_row(site: Site) -> None:
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new VARCHAR(9))")
    site.execute("INSERT INTO things (id, old) VALUES (1, 1), (2, 2), (3, 3)")
    site.start("walk", in_python('{"new": "\\ud800"}', 2).replace('row["old"] + 1', '"fine"'))
    assert end(site).rows_quarantined == 1
    assert keys(site) == ["id=2"]


def test_sentence_is_kept_in_one_line_whatever_the_row_puts_into_it(site: Site) -> None:
    add_rows(site)
    words = "chr(0) + chr(10) + chr(0xd800) + 5000 * 'x'"
    site.start("walk", in_python(f"(_ for _ in ()).throw(ValueError({words}))", BAD))
    assert end(site).state is MigrationState.FAILED
    (row,) = site.runner.quarantined("walk")
    assert "\n" not in row.error
    assert "\0" not in row.error
    assert len(row.error) == 1000


@pytest.mark.parametrize("bad", [(1,), (25,), (1, 2, 3), (9, 10, 11), (24, 25), tuple(range(1, 26))])
def test_every_faulty_row_is_found_and_counted_once(site: Site, bad: tuple[int, ...]) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", *bad))
    facts = end(site)
    assert (facts.rows_done, facts.rows_quarantined) == (ROWS - len(bad), len(bad))
    assert keys(site) == [f"id={n}" for n in bad]
    assert unmoved(site) == list(bad)
    assert facts.error is not None
    assert f"{len(bad)} row" in facts.error
    assert facts.error.count("id=") == min(len(bad), 10) + 1


def test_row_that_is_mended_is_moved_at_the_retry_and_no_other_is_moved_again(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 3, BAD))
    end(site)
    site.execute("UPDATE things SET old = 40 WHERE id = 3", "UPDATE things SET new = -1 WHERE id = 5")
    site.runner.retry("walk")
    facts = end(site)
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.FAILED, ROWS - 1, 1)
    assert keys(site) == ["id=15"]
    assert unmoved(site) == [5, BAD]
    site.execute("UPDATE things SET new = 6 WHERE id = 5", "UPDATE things SET old = 41 WHERE id = 15")
    site.runner.retry("walk")
    facts = end(site)
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, ROWS, ROWS)
    assert (unmoved(site), keys(site), facts.rows_quarantined) == ([], [], 0)


def test_row_that_was_moved_by_hand_or_deleted_leaves_the_quarantine_at_the_retry(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 3, BAD))
    end(site)
    site.execute("DELETE FROM things WHERE id IN (3, 15)")
    site.runner.retry("walk")
    facts = end(site)
    assert (facts.state, facts.rows_done, facts.rows_verified) == (MigrationState.COMPLETE, ROWS - 2, ROWS - 2)


def test_table_of_which_only_quarantined_rows_were_left_comes_to_its_end(site: Site) -> None:
    add_rows(site, rows=2)
    site.start("walk", in_python("1 / 0", 1, 2))
    assert end(site).rows_quarantined == 2
    site.execute("DELETE FROM things")
    site.runner.retry("walk")
    assert end(site).state is MigrationState.COMPLETE


def test_difference_left_behind_is_still_found_after_a_retry_of_single_rows(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", BAD))
    end(site)
    site.execute("UPDATE things SET old = 40 WHERE id = 15", "UPDATE things SET new = -1 WHERE id = 5")
    site.runner.retry("walk")
    facts = end(site)
    assert (facts.state, facts.differences, facts.first_differences) == (MigrationState.FAILED, 1, "id=5")
    site.runner.retry("walk")  # nothing is in quarantine any more: from the first row
    assert end(site).state is MigrationState.COMPLETE


def test_other_file_begins_at_the_first_row_with_nothing_in_quarantine(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 3, BAD))
    end(site)
    site.write("walk", in_sql("old + 1"))
    assert site.runner.retry("walk").state is MigrationState.PENDING
    facts = site.facts("walk")
    assert (facts.rows_done, facts.rows_quarantined, keys(site)) == (0, 0, [])
    facts = end(site)
    assert (facts.state, facts.rows_done) == (MigrationState.COMPLETE, ROWS)
    assert site.rows("SELECT * FROM orchestrator_quarantine") == []


def test_phase_below_backfill_and_the_next_upgrade_begin_with_nothing_in_quarantine(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", BAD))
    end(site)
    with site.database.writing() as connection:
        ledger.fence(connection, SCHEMA)
        ledger.reset(connection, SCHEMA, UPGRADE)
    assert (site.facts("walk").rows_quarantined, keys(site)) == (0, [])
    assert end(site).rows_quarantined == 1
    assert keys(site) == ["id=15"]
    site.runner.enrol(site.release("walk"), UPGRADE + 1)
    assert (site.facts("walk").rows_quarantined, keys(site)) == (0, [])


def test_fault_of_every_row_ends_the_data_migration(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST_ROWS", 20)
    add_rows(site, rows=40)
    site.start("walk", in_python("row['unread']", *range(10, 200)))
    facts = end(site)
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.FAILED, 9, 20)
    assert facts.error is not None
    assert "more than 20 rows of things could not be moved, so the fault is not one of single rows" in facts.error
    assert "for the row id=30 of things: 'unread'" in facts.error
    site.execute("UPDATE things SET old = -old WHERE id >= 10")
    site.runner.retry("walk")  # those first, and then the rows that were never reached
    facts = end(site)
    assert (facts.state, facts.rows_done) == (MigrationState.COMPLETE, 40)


def test_fault_of_the_table_puts_no_row_in_quarantine(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_sql("old + 1"))
    site.runner.run_batch("walk", UPGRADE, 5)
    site.execute("ALTER TABLE things DROP COLUMN old")
    facts = end(site)
    assert (facts.state, facts.rows_done, facts.rows_quarantined) == (MigrationState.FAILED, 5, 0)


def test_row_that_becomes_faulty_before_it_is_proven_ends_the_proof(site: Site) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 100))
    while site.runner.run_batch("walk", UPGRADE, 10).state is MigrationState.RUNNING:
        pass
    site.execute("UPDATE things SET old = 100 WHERE id = 15")
    facts = end(site)
    assert (facts.state, facts.rows_quarantined) == (MigrationState.FAILED, 0)
    assert facts.error is not None
    assert "ZeroDivisionError" in facts.error


@pytest.mark.parametrize("is_tried_again", [False, True])
def test_no_row_is_put_in_quarantine_outside_backfill(site: Site, is_tried_again: bool) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 1, 2))
    if is_tried_again:
        end(site)
        site.runner.retry("walk")
    found = [site.rows("SELECT * FROM orchestrator_quarantine"), entry(site)]
    site.enter(Phase.BACKFILL, fence=Phase.READ_NEW)
    with pytest.raises(Conflict):
        site.runner.run_batch("walk", UPGRADE, 1)
    assert [site.rows("SELECT * FROM orchestrator_quarantine"), entry(site)] == found


def test_fence_between_the_fault_and_the_quarantine_leaves_the_row_to_the_next_batch(
    site: Site, before: Callable[[str, Callable[[Any], None]], None]
) -> None:
    add_rows(site)
    site.start("walk", in_python("1 / 0", 1))
    before(
        "INSERT INTO orchestrator_quarantine",
        lambda cursor: cursor.execute("UPDATE orchestrator_data_migrations SET revision = revision + 1"),
    )
    with pytest.raises(Conflict):
        site.runner.run_batch("walk", UPGRADE, 1)
    assert (keys(site), entry(site).cursor) == ([], None)
    assert end(site).rows_quarantined == 1


def test_reverse_data_migration_has_its_quarantine_too(site: Site) -> None:
    add_rows(site)
    site.write("walk", in_python("1 / 0", BAD))
    site.runner.enrol(replace(site.release(), reverse_data_migrations=("walk",)), UPGRADE)
    site.enter(Phase.READ_NEW, reversing=True)
    assert end(site).rows_quarantined == 1
    site.execute("UPDATE things SET old = 40 WHERE id = 15")
    site.runner.retry("walk")
    assert end(site).state is MigrationState.COMPLETE


def test_older_daemon_that_proves_every_row_leaves_nothing_that_holds_up(site: Site) -> None:
    """It knows no quarantine: it goes on, proves all rows, and the rows that it left there mean nothing."""
    add_rows(site)
    site.start("walk", in_python("1 / 0", BAD))
    end(site)
    site.runner.retry("walk")
    site.execute("UPDATE things SET old = 40, new = 41 WHERE id = 15")
    with site.database.writing() as connection:
        found = ledger.find(connection, SCHEMA, "walk")
        assert found is not None
        ledger.save(connection, replace(found, state=MigrationState.VERIFYING))
    assert end(site).state is MigrationState.COMPLETE
    assert (entry(site).rows_quarantined, site.rows("SELECT * FROM orchestrator_quarantine")) == (0, [])


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.kill)], ids=["few", "all"])
def test_every_row_is_moved_or_in_quarantine_once_whenever_it_is_killed(site: Site, every: bool) -> None:
    add_rows(site, rows=9)
    body = in_python("1 / 0", 2, 9)
    site.write("walk", body)

    def from_the_start() -> None:
        site.execute("DELETE FROM orchestrator_data_migrations", "DELETE FROM orchestrator_quarantine")
        site.execute("UPDATE things SET new = NULL, old = id")

    def whole() -> MigrationFacts:
        """To its end, with one of the two rows mended on the way."""
        site.runner = site.another_runner()
        site.runner.enrol(site.release("walk"), UPGRADE)
        when_free(lambda: end(site, 4))
        site.execute("UPDATE things SET old = 40 WHERE id = 9")
        site.runner.retry("walk")
        return end(site, 4)

    moment = 0
    while True:
        moment += 1 if every else 4
        from_the_start()
        with dying(site.database, moment, every=every) as life:
            whole()
        if entry_state(site) is not MigrationState.FAILED or keys(site) != ["id=2"]:
            whole_again(site)
        facts = site.facts("walk")
        assert (facts.rows_done, facts.rows_quarantined, keys(site)) == (8, 1, ["id=2"]), (moment, life.died)
        assert unmoved(site) == [2], (moment, life.died)
        if life.died is None:
            assert moment > 10
            return


def entry_state(site: Site) -> MigrationState | None:
    return next((facts.state for facts in site.runner.progress()), None)


def whole_again(site: Site) -> None:
    """As a daemon goes on after its start, and an operator who retries until only one row is left."""
    site.runner = site.another_runner()
    site.runner.enrol(site.release("walk"), UPGRADE)
    when_free(lambda: end(site, 4))
    if keys(site) != ["id=2"]:
        site.execute("UPDATE things SET old = 40 WHERE id = 9")
        site.runner.retry("walk")
        end(site, 4)


def test_what_a_row_holds_steers_no_terminal(customers_with_hostile_keys: Site) -> None:
    site = customers_with_hostile_keys
    facts = end(site)
    (row,) = site.runner.quarantined("walk")
    assert row.key == "id=a\\u001b[2J"
    for said in (row.error, facts.error or ""):
        assert "the row id=a\\u001b[2J of named: cannot parse '\\u001b]0;owned\\u0007\\u202e'" in said
        assert not any(character in said for character in "\x1b\x07\u202e")


@pytest.fixture
def customers_with_hostile_keys(database: Database, tmp_path: Path) -> Site:
    site = new_site(database, tmp_path)
    site.execute("CREATE TABLE named (id VARCHAR(40) NOT NULL PRIMARY KEY, old VARCHAR(40), new VARCHAR(40))")
    with site.database.writing() as connection:
        connection.execute(
            sa.text("INSERT INTO named VALUES (:id, :old, NULL)"), {"id": "a\x1b[2J", "old": "\x1b]0;owned\x07\u202e"}
        )
    body = """
        table = "named"
        reads = ("old",)
        writes = ("new",)

        def transform(self, row):
            raise ValueError("cannot parse '" + row["old"] + "'")
        """
    site.start("walk", body)
    return site
