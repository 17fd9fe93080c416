"""The control: the same upgrade done the usual way, under the same traffic, and how many requests it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy

from orchestrator.demo.content import Seed
from orchestrator.demo.example import FLEETS
from orchestrator.demo.fleet import Fleets
from orchestrator.demo.plain_alembic import CONTRACT_REVISION, NEW_SHAPE_REVISION, run_revisions
from orchestrator.demo.verification import verify

STEADY_SECONDS = 1.0

MOVE_ROWS = {
    "sqlite": (
        "UPDATE customers SET first_name = CASE instr(name, ' ') WHEN 0 THEN name"
        " ELSE substr(name, 1, instr(name, ' ') - 1) END,"
        " last_name = CASE instr(name, ' ') WHEN 0 THEN '' ELSE substr(name, instr(name, ' ') + 1) END",
        "UPDATE items SET status_id = (SELECT id FROM statuses WHERE statuses.name = items.status)",
    ),
    "postgresql": (
        "UPDATE customers SET first_name = split_part(name, ' ', 1),"
        " last_name = CASE strpos(name, ' ') WHEN 0 THEN '' ELSE substr(name, strpos(name, ' ') + 1) END",
        "UPDATE items SET status_id = (SELECT id FROM statuses WHERE statuses.name = items.status)",
    ),
    "mysql": (
        "UPDATE customers SET first_name = SUBSTRING_INDEX(name, ' ', 1),"
        " last_name = IF(INSTR(name, ' ') = 0, '', SUBSTR(name, INSTR(name, ' ') + 1))",
        "UPDATE items SET status_id = (SELECT id FROM statuses WHERE statuses.name = items.status)",
    ),
}


@dataclass(frozen=True, slots=True)
class ControlResult:
    """What the usual way cost."""

    requests: int
    requests_failed: int
    rows_wrong: int
    seconds: float
    first_error: str


def upgrade_the_usual_way(fleets: Fleets, engine: sqlalchemy.Engine, seed: Seed) -> ControlResult:
    """Migrate the schema in one go, then restart the processes with the new release, one by one."""
    fleets.start("1")
    began = time.monotonic()
    time.sleep(STEADY_SECONDS)
    with engine.begin() as connection:
        run_revisions(connection, NEW_SHAPE_REVISION)
    with engine.begin() as connection:
        for statement in MOVE_ROWS[connection.dialect.name]:
            connection.exec_driver_sql(statement)
    with engine.begin() as connection:
        run_revisions(connection, CONTRACT_REVISION)
    for fleet in FLEETS:
        fleets.roll(fleet, "2")
    time.sleep(STEADY_SECONDS)
    fleets.stop()
    seconds = time.monotonic() - began
    totals = fleets.totals()
    return ControlResult(
        requests=totals.requests,
        requests_failed=totals.failed,
        rows_wrong=verify(engine, seed, fleets.owned_rows()).rows_wrong,
        seconds=seconds,
        first_error=totals.first_errors[0] if totals.first_errors else "",
    )
