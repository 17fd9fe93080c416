"""The example service at work in a test: instances of both releases with real leases, writing and reading real rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import sqlalchemy as sa

from orchestrator.client import Member
from orchestrator.demo.content import Seed
from orchestrator.demo.example import SCHEMA, service_module
from orchestrator.demo.servers import insert_seed

API, WORKER = FLEETS = ("inventory-api", "inventory-worker")
PAUSE_SECONDS = 0.02

_numbers = count(1)


class Stock:
    """One database of the service, and what was committed to it: what every read must find."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.names: dict[int, str] = {}
        self.statuses: dict[int, str] = {}
        self.engine: sa.Engine = service_module("service").connect(url)

    def fill(self, rows: int) -> None:
        """Insert that many customers and items of release 1."""
        seed = Seed.of(rows, 1)
        insert_seed(self.engine, seed)
        self.names |= dict(enumerate(seed.customer_names(), 1))
        self.statuses |= {number: status for number, (_, status) in enumerate(seed.item_contents(), 1)}

    def columns(self, table: str) -> set[str]:
        """The columns that the table has now."""
        return {column["name"] for column in sa.inspect(self.engine).get_columns(table)}

    def tables(self) -> set[str]:
        """The tables that there are."""
        return set(sa.inspect(self.engine).get_table_names())

    def execute(self, *statements: str) -> None:
        """Do something by hand, behind everybody's back."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def scalar(self, query: str) -> object:
        """The one value that the query finds."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar()

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()


class Instance:
    """One instance of one release: it joins, works in a thread until it is stopped, and leaves."""

    def __init__(self, url: str, fleet: str, release: str, stock: Stock) -> None:
        self.member = Member(url, schema=SCHEMA, fleet=fleet, release=release, host="test")
        self.stock = stock
        self.rounds = 0
        self.failures: list[str] = []
        self._service = service_module(f"inventory_v{release}").Inventory(stock.engine, self.member)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> Instance:
        """Join, and begin to work."""
        self.member.join(wait_seconds=60)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the round under way, and leave. Fails if any round failed."""
        self._stop.set()
        self._thread.join()
        self.member.leave()
        assert not self.failures, self.failures

    def _work(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                self._round()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return
            self.rounds += 1

    def _round(self) -> None:
        number = next(_numbers)
        names, statuses = self.stock.names, self.stock.statuses
        customer = self._service.add_customer(f"First{number} Last {number}")
        self._service.rename_customer(customer, f"Given{number} Family {number}")
        names[customer] = f"Given{number} Family {number}"
        item = self._service.add_item(f"thing {number}", "available")
        self._service.set_status(item, "sold")
        statuses[item] = "sold"
        older = next(iter(names.copy()))  # of all at once: the others add to it
        for found, expected in (
            (self._service.customer_name(customer), names[customer]),
            (self._service.customer_name(older), names[older]),
            (self._service.item_status(item), statuses[item]),
        ):
            if found != expected:
                self.failures.append(f"read {found!r} instead of {expected!r}")


@contextmanager
def stocks(*urls: str) -> Iterator[tuple[Stock, ...]]:
    """The databases of the service."""
    opened = tuple(Stock(url) for url in urls)
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def assert_migrated(stock: Stock) -> None:
    """Every row that was ever committed is there in the new shape, and the old shape is gone."""
    assert stock.columns("customers") == {"id", "first_name", "last_name"}
    assert stock.columns("items") == {"id", "title", "status_id"}
    with stock.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, first_name, last_name FROM customers").all()
        statuses = connection.exec_driver_sql(
            "SELECT items.id, statuses.name FROM items JOIN statuses ON statuses.id = items.status_id"
        ).all()
    names = {(number, f"{first} {last}".rstrip()) for number, first, last in rows}
    assert names ^ set(stock.names.items()) == set()
    assert set(map(tuple, statuses)) ^ set(stock.statuses.items()) == set()
