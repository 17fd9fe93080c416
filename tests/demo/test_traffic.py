"""The traffic of the demo: who owns which rows, what counts as failed, and what processes tell each other."""

import random
from pathlib import Path

from orchestrator.demo.content import STATUSES, Seed, seeded_name, seeded_status, seeded_title
from orchestrator.demo.reports import OwnedRows, State, TrafficReport
from orchestrator.demo.traffic import TrafficOptions
from orchestrator.demo.workload import Workload

SEED = Seed.of(200, 4)


class Tables:
    """The example service in memory."""

    def __init__(self, seed: Seed) -> None:
        self.customers = dict(enumerate(seed.customer_names(), start=1))
        self.items = dict(enumerate(seed.item_contents(), start=1))

    def add_customer(self, name: str) -> int:
        self.customers[len(self.customers) + 1] = name
        return len(self.customers)

    def rename_customer(self, customer_id: int, name: str) -> None:
        self.customers[customer_id] = name

    def customer_name(self, customer_id: int) -> str | None:
        return self.customers.get(customer_id)

    def add_item(self, title: str, status: str) -> int:
        self.items[len(self.items) + 1] = (title, status)
        return len(self.items)

    def set_status(self, item_id: int, status: str) -> None:
        self.items[item_id] = (self.items[item_id][0], status)

    def item_status(self, item_id: int) -> str | None:
        return self.items[item_id][1] if item_id in self.items else None


class Forgetful(Tables):
    """Loses every write to a row that exists."""

    def rename_customer(self, customer_id: int, name: str) -> None:
        pass

    def set_status(self, item_id: int, status: str) -> None:
        pass


class Broken(Tables):
    """Cannot read."""

    def customer_name(self, customer_id: int) -> str | None:
        raise RuntimeError("no such column: name\n[SQL: SELECT customers.name]")

    def item_status(self, item_id: int) -> str | None:
        raise RuntimeError("no such column: status")


def worked(tables: Tables, *, slot: int = 0, requests: int = 400) -> Workload:
    workload = Workload(tables, SEED, f"slot-{slot}", customers=0.5, chance=random.Random(7))
    workload.own_seeded(slot)
    for _ in range(requests):
        workload.request()
    return workload


def test_slots_own_different_rows_and_leave_some_to_nobody() -> None:
    owned = [set(SEED.owned(slot)) for slot in range(SEED.slots)]
    assert set.union(*owned) == set(range(1, SEED.untouched_from))
    assert sum(map(len, owned)) == SEED.untouched_from - 1
    assert SEED.untouched_from <= min(SEED.customers, SEED.items)


def test_even_the_smallest_seed_has_rows_for_everybody() -> None:
    seed = Seed.of(0, 6)
    assert all(seed.owned(slot) for slot in range(6))
    assert seed.untouched_from <= min(seed.customers, seed.items)


def test_seed_has_the_rows_that_were_asked_for() -> None:
    assert Seed.of(200_001, 6).rows == 200_001


def test_seeded_names_come_in_one_two_and_more_words() -> None:
    assert {len(seeded_name(customer_id).split()) for customer_id in range(1, 400)} == {1, 2, 4}
    assert all(name == " ".join(name.split()) for name in map(seeded_name, range(1, 400)))
    assert {seeded_status(item_id) for item_id in range(1, 9)} == set(STATUSES)


def test_correct_service_fails_no_request() -> None:
    tables = Tables(SEED)
    workload = worked(tables)
    assert (workload.requests, workload.failed, workload.first_errors) == (400, 0, [])
    assert workload.checked_reads > 200
    assert all(tables.customers[row_id] == name for row_id, name in workload.owned.customers.items())
    assert all(tables.items[row_id] == content for row_id, content in workload.owned.items.items())


def test_lost_write_is_a_failed_request() -> None:
    workload = worked(Forgetful(SEED))
    assert workload.failed > 0
    assert "expected" in workload.first_errors[0]


def test_error_is_counted_and_told_in_one_line() -> None:
    workload = worked(Broken(SEED))
    assert workload.failed > 0
    assert workload.first_errors[0] in {"slot-0: no such column: name", "slot-0: no such column: status"}


def test_rows_of_others_are_never_written() -> None:
    tables = Tables(SEED)
    worked(tables, slot=1)
    mine = set(SEED.owned(1))
    assert all(
        tables.customers[row_id] == seeded_name(row_id) for row_id in range(1, SEED.customers) if row_id not in mine
    )
    assert all(
        tables.items[row_id][1] == seeded_status(row_id) for row_id in range(1, SEED.items) if row_id not in mine
    )


def test_successor_checks_what_its_predecessor_wrote() -> None:
    tables = Tables(SEED)
    first = worked(tables)
    tables.customers |= dict.fromkeys(first.owned.customers, "Somebody Else")
    successor = Workload(tables, SEED, "successor", customers=1.0, chance=random.Random(7))
    successor.inherit(first.owned)
    for _ in range(50):
        successor.request()
    assert successor.failed > 0


def test_owned_rows_survive_the_file(tmp_path: Path) -> None:
    rows = OwnedRows(customers={3: "Ada Lovelace"}, items={4: (seeded_title(4), "sold")})
    assert OwnedRows.read(tmp_path / "rows.json") is None
    rows.write(tmp_path / "rows.json")
    assert OwnedRows.read(tmp_path / "rows.json") == rows


def test_report_survives_the_file(tmp_path: Path) -> None:
    report = TrafficReport(State.WORKING, 12, 1, 7, "reads old, writes both", ("first", "second"))
    assert TrafficReport.read(tmp_path / "report.json") == TrafficReport()
    report.write(tmp_path / "report.json")
    assert TrafficReport.read(tmp_path / "report.json") == report


def test_options_survive_the_command_line() -> None:
    options = TrafficOptions(
        release="2",
        database="sqlite:////tmp/a b.sqlite",
        orchestrator=None,
        fleet="inventory-api",
        instance="inventory-api-1-release-2",
        slot=0,
        customers=100,
        items=100,
        slots=4,
        pause_seconds=0.01,
        report=Path("/tmp/a.report.json"),
        rows=Path("/tmp/a.rows.json"),
        inherit=Path("/tmp/b.rows.json"),
    )
    assert TrafficOptions.parse(options.arguments()) == options
