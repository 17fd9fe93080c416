"""The verdict of the demo: it says no whenever something is not as it must be."""

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator.demo.board import PhaseClock, PhaseTime
from orchestrator.demo.content import Seed
from orchestrator.demo.control import ControlResult
from orchestrator.demo.example import service_module
from orchestrator.demo.fleet import Totals
from orchestrator.demo.plain_alembic import CONTRACT_REVISION, NEW_SHAPE_REVISION, run_revisions
from orchestrator.demo.reports import OwnedRows
from orchestrator.demo.verdict import Outcome, Verdict
from orchestrator.demo.verification import Findings, verify

GOOD = Outcome(
    totals=Totals(requests=1000, failed=0, checked_reads=700),
    rows_seeded=200,
    rows_migrated=210,
    rows_verified=210,
    findings=Findings(rows_checked=220, rows_wrong=0, wrong=(), columns_dropped=("customers.name",), columns_left=()),
    phases=(PhaseTime("base", 0.5), PhaseTime("expanded", 4.0)),
    refused_for=("inventory-api-1-release-1",),
    ended_badly=(),
    turned_back=False,
)
CONTROL = ControlResult(requests=500, requests_failed=100, rows_wrong=2, seconds=9.0, first_error="no such column")


def verdict(outcome: Outcome | None, error: str | None = None) -> Verdict:
    return Verdict("sqlite", CONTROL, outcome, 60.0, error)


def test_good_outcome_is_ok_although_the_control_failed() -> None:
    assert verdict(GOOD).ok


@pytest.mark.parametrize(
    "change",
    [
        {"totals": Totals(requests=1000, failed=1, first_errors=("wrong",))},
        {"totals": Totals()},
        {"rows_migrated": 199},
        {"rows_verified": 199},
        {"findings": dataclasses.replace(GOOD.findings, rows_wrong=1, wrong=("customer 1 is lost",))},
        {"findings": dataclasses.replace(GOOD.findings, columns_left=("items.status",))},
        {"refused_for": ()},
        {"ended_badly": ("inventory-api-1-release-2",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_flaw_is_a_failure(change: dict[str, object]) -> None:
    flawed = verdict(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert not flawed.ok
    assert len(flawed.failures) == 1


def test_old_columns_stay_when_the_demo_turned_back() -> None:
    kept = dataclasses.replace(GOOD.findings, columns_dropped=(), columns_left=("customers.name",))
    assert verdict(dataclasses.replace(GOOD, findings=kept, turned_back=True)).ok


def test_early_end_is_a_failure() -> None:
    assert not verdict(None).ok
    assert verdict(None, "the daemon ended").failures == ("the daemon ended",)


def test_json_says_what_is_promised(tmp_path: Path) -> None:
    verdict(GOOD).write(tmp_path / "verdict.json")
    content = json.loads((tmp_path / "verdict.json").read_text())
    promised = {"ok": True, "database": "sqlite", "requests": 1000, "requests_failed": 0}
    assert content | promised | {"rows_migrated": 210, "rows_verified": 210} == content
    assert content["phases"] == [{"phase": "base", "seconds": 0.5}, {"phase": "expanded", "seconds": 4.0}]


def test_json_of_an_early_end_has_the_same_keys(tmp_path: Path) -> None:
    keys = []
    for outcome in (GOOD, None):
        verdict(outcome).write(tmp_path / "verdict.json")
        keys.append(list(json.loads((tmp_path / "verdict.json").read_text())))
    assert keys[0] == keys[1]


def test_phase_clock_measures_each_phase() -> None:
    clock = PhaseClock()
    assert [clock.observe(phase, now) for phase, now in (("base", 10.0), ("base", 11.0), ("expanded", 12.5))] == [
        True,
        False,
        True,
    ]
    assert clock.times(13.0) == (PhaseTime("base", 2.5), PhaseTime("expanded", 0.5))
    clock.end(14.0)
    assert clock.times(99.0)[-1] == PhaseTime("expanded", 1.5)


def test_verification_finds_lost_wrong_and_foreign_rows(database_url: str) -> None:
    engine = service_module("service").connect(database_url)
    with engine.begin() as connection:
        run_revisions(connection, CONTRACT_REVISION)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO customers (first_name, last_name) VALUES ('Alan', 'Allen-1')")
        connection.exec_driver_sql("INSERT INTO customers (first_name, last_name) VALUES ('Ada', 'Lovelace')")
        connection.exec_driver_sql("INSERT INTO items (title, status_id) VALUES ('item 1', NULL)")
        connection.exec_driver_sql("INSERT INTO items (title, status_id) VALUES ('nobody''s', 3)")
    findings = verify(engine, Seed(customers=1, items=1, slots=1), OwnedRows({2: "Ada Turing", 7: "Jean"}, {}))
    engine.dispose()
    assert findings.rows_checked == 4
    assert sorted(findings.wrong) == [
        "customer 2: expected ('Ada', 'Turing'), found ('Ada', 'Lovelace')",
        "customer 7 is lost",
        "item 1: expected ('item 1', 'retired'), found ('item 1', None)",
        "item 2 was written by nobody",
    ]
    assert findings.columns_dropped == ("customers.name", "items.status")


def test_verification_finds_columns_that_are_still_there(database_url: str) -> None:
    engine = service_module("service").connect(database_url)
    with engine.begin() as connection:
        run_revisions(connection, NEW_SHAPE_REVISION)
    findings = verify(engine, Seed(customers=0, items=0, slots=1), OwnedRows({}, {}))
    engine.dispose()
    assert findings.columns_left == ("customers.name", "items.status")
