"""The requests that one traffic process makes, each checked against what it knows to be true."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from orchestrator.demo.content import STATUSES, Seed, seeded_name, seeded_status, seeded_title
from orchestrator.demo.reports import OwnedRows

KEPT_ERRORS = 3


class Inventory(Protocol):
    """What both releases of the example service offer."""

    def add_customer(self, name: str) -> int: ...
    def rename_customer(self, customer_id: int, name: str) -> None: ...
    def customer_name(self, customer_id: int) -> str | None: ...
    def add_item(self, title: str, status: str) -> int: ...
    def set_status(self, item_id: int, status: str) -> None: ...
    def item_status(self, item_id: int) -> str | None: ...


class WrongRead(Exception):
    """A read returned something else than what was last written."""

    def __init__(self, what: str, *, expected: str, found: str | None) -> None:
        super().__init__(f"{what}: expected {expected!r}, read {found!r}")


class Workload:
    """Reads and writes of one process, and the counts of them.

    Only this process changes the rows that it owns, so a read of one has one right answer: what it wrote last. Rows
    that nobody changes have their seeded content. `inherit` takes over the rows of a process that has ended.
    """

    def __init__(
        self, inventory: Inventory, seed: Seed, owner: str, *, customers: float, chance: random.Random
    ) -> None:
        self._inventory = inventory
        self._seed = seed
        self._owner = owner
        self._customers = customers
        self._chance = chance
        self._written = 0
        self.owned = OwnedRows(customers={}, items={})
        self.requests = 0
        self.failed = 0
        self.checked_reads = 0
        self.first_errors: list[str] = []

    def own_seeded(self, slot: int) -> None:
        """Take the seeded rows of that slot, which nobody has changed yet."""
        for row_id in self._seed.owned(slot):
            self.owned.customers[row_id] = seeded_name(row_id)
            self.owned.items[row_id] = (seeded_title(row_id), seeded_status(row_id))

    def inherit(self, rows: OwnedRows) -> None:
        """Take over what a predecessor owned, as it left it."""
        self.owned.customers.update(rows.customers)
        self.owned.items.update(rows.items)

    def request(self) -> None:
        """Make one request. A failure is counted and remembered, never raised."""
        self.requests += 1
        try:
            self._choose()()
        except Exception as error:
            self.failed += 1
            if len(self.first_errors) < KEPT_ERRORS:
                self.first_errors.append(f"{self._owner}: {_one_line(error)}")

    def _choose(self) -> Callable[[], None]:
        on_customers = self._chance.random() < self._customers
        reads, writes = (
            ((self._read_own_customer, self._read_seeded_customer), (self._rename_customer, self._add_customer))
            if on_customers
            else ((self._read_own_item, self._read_seeded_item), (self._set_status, self._add_item))
        )
        return self._chance.choice(reads if self._chance.random() < 0.6 else writes)

    def _read_own_customer(self) -> None:
        if self.owned.customers:
            customer_id = self._chance.choice(list(self.owned.customers))
            self._check_customer(customer_id, self.owned.customers[customer_id])
        else:
            self._read_seeded_customer()

    def _read_seeded_customer(self) -> None:
        customer_id = self._chance.randint(self._seed.untouched_from, self._seed.customers)
        self._check_customer(customer_id, seeded_name(customer_id))

    def _check_customer(self, customer_id: int, expected: str) -> None:
        found = self._inventory.customer_name(customer_id)
        self.checked_reads += 1
        if found != expected:
            raise WrongRead(f"customer {customer_id}", expected=expected, found=found)

    def _rename_customer(self) -> None:
        if not self.owned.customers:
            return self._add_customer()
        customer_id = self._chance.choice(list(self.owned.customers))
        name = self._new_name()
        self._inventory.rename_customer(customer_id, name)
        self.owned.customers[customer_id] = name
        self._check_customer(customer_id, name)

    def _add_customer(self) -> None:
        name = self._new_name()
        self.owned.customers[self._inventory.add_customer(name)] = name

    def _read_own_item(self) -> None:
        if self.owned.items:
            item_id = self._chance.choice(list(self.owned.items))
            self._check_item(item_id, self.owned.items[item_id][1])
        else:
            self._read_seeded_item()

    def _read_seeded_item(self) -> None:
        item_id = self._chance.randint(self._seed.untouched_from, self._seed.items)
        self._check_item(item_id, seeded_status(item_id))

    def _check_item(self, item_id: int, expected: str) -> None:
        found = self._inventory.item_status(item_id)
        self.checked_reads += 1
        if found != expected:
            raise WrongRead(f"item {item_id}", expected=expected, found=found)

    def _set_status(self) -> None:
        if not self.owned.items:
            return self._add_item()
        item_id = self._chance.choice(list(self.owned.items))
        title, status = self.owned.items[item_id][0], self._chance.choice(STATUSES)
        self._inventory.set_status(item_id, status)
        self.owned.items[item_id] = (title, status)
        self._check_item(item_id, status)

    def _add_item(self) -> None:
        self._written += 1
        title, status = f"item {self._owner}/{self._written}", self._chance.choice(STATUSES)
        self.owned.items[self._inventory.add_item(title, status)] = (title, status)

    def _new_name(self) -> str:
        self._written += 1
        return f"{self._chance.choice(('Ada', 'Alan', 'Mary Ann'))} {self._owner}-{self._written}"


def _one_line(error: Exception) -> str:
    """What happened, without the SQL that SQLAlchemy appends."""
    return " ".join(str(error).partition("[SQL:")[0].split())[:300]
