"""What the processes of the service did to their rows, in a form that outlives a SIGKILL.

Each process writes down what it is about to do and what was done, in a journal of its own; those of one slot follow
one another as a chain. Whatever a killed process had only begun may have been done or not: both are right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orchestrator.demo.content import Seed, seeded_name, seeded_status, seeded_title
from orchestrator.demo.reports import OwnedRows
from orchestrator.demo.workload import Inventory

Content = str | tuple[str, str]


@dataclass
class Rows:
    """Rows of one slot by table and id: what is in them, and what may be in those that a kill left open.

    `maybe_added` are rows that were being added, of which nobody knows the id.
    """

    certain: dict[tuple[str, int], Content] = field(default_factory=dict)
    open: dict[tuple[str, int], set[Content]] = field(default_factory=dict)
    maybe_added: dict[str, set[Content]] = field(default_factory=lambda: {"customers": set(), "items": set()})
    failures: list[str] = field(default_factory=list)
    requests: int = 0

    def owned(self) -> OwnedRows:
        """The certain ones, as the workload wants them."""
        customers: dict[int, str] = {}
        items: dict[int, tuple[str, str]] = {}
        for (table, row_id), content in self.certain.items():
            if isinstance(content, str):
                customers[row_id] = content
            else:
                items[row_id] = content
            assert (table == "customers") == isinstance(content, str)
        return OwnedRows(customers=customers, items=items)

    def read(self, journal: Path) -> None:
        """Go through what one process did."""
        begun: dict[str, Any] | None = None
        for line in journal.read_text().splitlines() if journal.exists() else ():
            entry = json.loads(line)
            if "do" in entry:
                begun = entry
            elif "done" in entry and begun is not None:
                self._settle(begun, entry["done"])
                begun = None
            elif "failed" in entry:
                self.failures.append(f"{journal.stem}: {entry['failed']}")
            self.requests = self.requests + 1 if "request" in entry else self.requests
        if begun is not None:
            self._leave_open(begun)

    def _settle(self, begun: dict[str, Any], row_id: int) -> None:
        self.open.pop((begun["table"], row_id), None)
        self.certain[begun["table"], row_id] = _content(begun["to"])

    def _leave_open(self, begun: dict[str, Any]) -> None:
        table, new = begun["table"], _content(begun["to"])
        if begun["do"] == "add":
            self.maybe_added[table].add(new)
            return
        place = (table, begun["id"])
        before = {self.certain.pop(place)} if place in self.certain else self.open.pop(place, set())
        self.open[place] = before | {new}


def _content(written: Any) -> Content:
    return written if isinstance(written, str) else (written[0], written[1])


def seeded_rows(seed: Seed, slot: int) -> Rows:
    """What the first owner of a slot finds."""
    rows = Rows()
    for row_id in seed.owned(slot):
        rows.certain["customers", row_id] = seeded_name(row_id)
        rows.certain["items", row_id] = (seeded_title(row_id), seeded_status(row_id))
    return rows


def chain(seed: Seed, slot: int, journals: Iterable[Path]) -> Rows:
    """What the owners of a slot have made of it, one after the other."""
    rows = seeded_rows(seed, slot)
    for journal in journals:
        rows.read(journal)
    return rows


class Journal:
    """The journal of one process. What was written is there for everybody, however the process ends."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **entry: object) -> None:
        """Write one line at once."""
        os.write(self._file, (json.dumps(entry) + "\n").encode())


class JournalledInventory:
    """The service, with a line in the journal before and after each change of a row."""

    def __init__(self, inventory: Inventory, journal: Journal) -> None:
        self._inventory = inventory
        self._journal = journal
        self.titles: dict[int, str] = {}

    def add_customer(self, name: str) -> int:
        self._journal.write(do="add", table="customers", to=name)
        row_id = self._inventory.add_customer(name)
        self._journal.write(done=row_id)
        return row_id

    def rename_customer(self, customer_id: int, name: str) -> None:
        self._journal.write(do="change", table="customers", id=customer_id, to=name)
        self._inventory.rename_customer(customer_id, name)
        self._journal.write(done=customer_id)

    def customer_name(self, customer_id: int) -> str | None:
        return self._inventory.customer_name(customer_id)

    def add_item(self, title: str, status: str) -> int:
        self._journal.write(do="add", table="items", to=(title, status))
        row_id = self._inventory.add_item(title, status)
        self.titles[row_id] = title
        self._journal.write(done=row_id)
        return row_id

    def set_status(self, item_id: int, status: str) -> None:
        self._journal.write(do="change", table="items", id=item_id, to=(self.titles[item_id], status))
        self._inventory.set_status(item_id, status)
        self._journal.write(done=item_id)

    def item_status(self, item_id: int) -> str | None:
        return self._inventory.item_status(item_id)


def settled(engine: sa.Engine, slots: Iterable[Rows]) -> OwnedRows:
    """What every slot must hold at the end. What kills left open is as found, if that is one of the right ones."""
    owned = OwnedRows(customers={}, items={})
    found: dict[tuple[str, int], Content] = {}
    with engine.connect() as connection:
        for row in connection.exec_driver_sql("SELECT id, first_name, last_name FROM customers"):
            found["customers", row.id] = f"{row.first_name} {row.last_name}".rstrip()
        query = "SELECT items.id, title, name FROM items LEFT JOIN statuses ON statuses.id = items.status_id"
        for row in connection.exec_driver_sql(query):
            found["items", row.id] = (row.title, row.name)
    for rows in slots:
        certain = dict(rows.certain)
        for place, candidates in rows.open.items():
            right = found.get(place)
            certain[place] = right if right in candidates and right is not None else sorted(candidates, key=str)[0]
        for (table, row_id), content in found.items():
            if content in rows.maybe_added[table]:
                rows.maybe_added[table].discard(content)  # a second one of the same content is one too many
                certain[table, row_id] = content
        mine = Rows(certain=certain).owned()
        owned.customers.update(mine.customers)
        owned.items.update(mine.items)
    return owned
