"""Counting: rows that tell how often they were moved, and runs that go on whatever comes between.

The database counts: a trigger adds one for each time that somebody but the service itself has written the row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.bookkeeping import ledger, ranges
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.ranges import RangeEntry
from orchestrator.data_migrations import DataMigrationRunner
from orchestrator.dialects import open_database
from orchestrator.domain.errors import Conflict, LostCursor, Unavailable
from orchestrator.domain.view import MigrationFacts, MigrationState
from tests.data_migrations.conftest import SCHEMA, UPGRADE, Site
from tests.faults.points import install_from

ROWS = 40
PATIENCE_SECONDS = 60.0
ENDED = (MigrationState.COMPLETE, MigrationState.FAILED)
KINDS = ("expression", "transform")

IN_SQL = """
    table = "things"
    expressions = {"new": "old + 1"}
    """
IN_PYTHON = """
    table = "things"
    reads = ("old",)
    writes = ("new",)

    def transform(self, row):
        return {"new": row["old"] + 1}
    """
TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER counting AFTER UPDATE OF new ON things BEGIN"
        " UPDATE things SET times = times + 1 WHERE id = NEW.id; END",
    ),
    "postgresql": (
        "CREATE FUNCTION counting() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.times := OLD.times + 1; RETURN NEW; END $$",
        "CREATE TRIGGER counting BEFORE UPDATE OF new ON things FOR EACH ROW EXECUTE FUNCTION counting()",
    ),
    "mysql": (
        "CREATE TRIGGER counting BEFORE UPDATE ON things FOR EACH ROW"
        " SET NEW.times = NEW.times + (OLD.note <=> NEW.note)",
    ),
}


def counted(site: Site, kind: str, rows: int = ROWS) -> Site:
    """Rows of which none has moved, and their data migration begun. Services write `note`, and nothing else."""
    site.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER, times INTEGER, note INTEGER)")
    site.execute("INSERT INTO things VALUES " + ", ".join(f"({3 * n}, {n}, NULL, 0, 0)" for n in range(1, rows + 1)))
    site.execute(*TRIGGERS[site.database.dialect.name])
    site.start("walk", IN_SQL if kind == "expression" else IN_PYTHON)
    return site


def entry(site: Site) -> LedgerEntry:
    """The ledger's entry."""
    with site.database.reading() as connection:
        found = ledger.find(connection, SCHEMA, "walk")
    assert found is not None
    return found


def cut_off(site: Site) -> tuple[RangeEntry, ...]:
    """The ranges, where there are any."""
    with site.database.reading() as connection:
        return ranges.of(connection, SCHEMA, "walk")


class Persistent:
    """Goes on with a data migration whatever comes between, as a daemon does; `refusals` is what came between."""

    def __init__(self, site: Site, runner: DataMigrationRunner | None = None, batch_rows: int = 10) -> None:
        self.refusals: list[str] = []
        self._site = site
        self._runner = site.runner if runner is None else runner
        self._batch_rows = batch_rows
        self._told: list[MigrationFacts] = []

    def step(self) -> MigrationFacts:
        """One try of one batch, and where it stands then."""
        try:
            self._runner.run_batch("walk", UPGRADE, self._batch_rows)
        except (Conflict, LostCursor, Unavailable) as error:
            self.refusals.append(error.code)
        facts = self._site.facts("walk")  # over a connection that is well
        self._told.append(facts)
        progress = [(each.rows_done, each.rows_verified) for each in self._told]
        assert progress == sorted(progress), f"it goes back: {progress}"
        return facts

    def until(self, holds: Callable[[MigrationFacts], bool]) -> MigrationFacts:
        """Step by step until that holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(facts := self.step()):
            assert time.monotonic() < deadline, (facts, self.refusals)
        return facts

    def to_the_end(self) -> None:
        """Step by step until it is complete, with every row moved once and proven."""
        assert_each_once(self._site, self.until(lambda facts: facts.state in ENDED))


def assert_each_once(site: Site, facts: MigrationFacts) -> None:
    """Nothing is lost, nothing was done twice, and all of it is counted and proven."""
    rows = site.rows("SELECT count(*) FROM things")[0][0]
    assert (facts.state, facts.error) == (MigrationState.COMPLETE, None)
    assert (facts.rows_done, facts.rows_verified, facts.differences) == (rows, rows, 0)
    assert site.rows("SELECT new - old, times, count(*) FROM things GROUP BY new - old, times") == [(1, 1, rows)]


def work(url: str, directory: str, workers: int, batch_rows: int, environment: Mapping[str, str]) -> None:
    """A daemon's worker in a process of its own, from wherever it stands to the end."""
    install_from(environment)
    database = open_database("main", url)
    options: dict[str, Any] = {"workers": workers}
    runner = DataMigrationRunner(database, SCHEMA, Path(directory), **options)
    while True:
        try:
            if runner.run_batch("walk", UPGRADE, batch_rows).state in ENDED:
                return
        except (Conflict, LostCursor, Unavailable):
            continue
