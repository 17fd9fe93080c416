"""After the upgrade: are the old columns gone, and is every row right?"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import column, select, table

from orchestrator.demo.content import Seed, seeded_name, seeded_status, seeded_title
from orchestrator.demo.example import OLD_COLUMNS
from orchestrator.demo.reports import OwnedRows

KEPT_FINDINGS = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What the database holds at the end. `wrong` are the first few differences, in words."""

    rows_checked: int
    rows_wrong: int
    wrong: tuple[str, ...]
    columns_dropped: tuple[str, ...]
    columns_left: tuple[str, ...]


def verify(engine: sqlalchemy.Engine, seed: Seed, owned: OwnedRows) -> Findings:
    """Compare every row with what it must hold: as seeded, or as its owner last wrote it."""
    names = {row_id: seeded_name(row_id) for row_id in range(1, seed.customers + 1)} | owned.customers
    items = {row_id: (seeded_title(row_id), seeded_status(row_id)) for row_id in range(1, seed.items + 1)} | owned.items
    customer = table("customers", column("id"), column("first_name"), column("last_name"))
    item = table("items", column("id"), column("title"), column("status_id"))
    status = table("statuses", column("id"), column("name"))
    every_item = select(item.c.id, item.c.title, status.c.name).outerjoin_from(
        item, status, item.c.status_id == status.c.id
    )
    with engine.connect() as connection:
        found_names = {row.id: (row.first_name, row.last_name) for row in connection.execute(select(customer))}
        found_items = {row.id: (row.title, row.name) for row in connection.execute(every_item)}
        inspector = sqlalchemy.inspect(connection)
        left = tuple(
            f"{in_table}.{name}"
            for in_table, name in OLD_COLUMNS
            if any(found["name"] == name for found in inspector.get_columns(in_table))
        )
    expected_names = {row_id: _split(name) for row_id, name in names.items()}
    wrong = [*_differences("customer", expected_names, found_names), *_differences("item", items, found_items)]
    return Findings(
        rows_checked=len(names) + len(items),
        rows_wrong=len(wrong),
        wrong=tuple(wrong[:KEPT_FINDINGS]),
        columns_dropped=tuple(name for name in map(".".join, OLD_COLUMNS) if name not in left),
        columns_left=left,
    )


def _split(name: str) -> tuple[str, str]:
    first_name, _, last_name = name.partition(" ")
    return first_name, last_name


def _differences(
    what: str, expected: dict[int, tuple[str, str]], found: dict[int, tuple[str | None, str | None]]
) -> list[str]:
    missing = [f"{what} {row_id} is lost" for row_id in expected.keys() - found.keys()]
    extra = [f"{what} {row_id} was written by nobody" for row_id in found.keys() - expected.keys()]
    other = [
        f"{what} {row_id}: expected {right}, found {found[row_id]}"
        for row_id, right in expected.items()
        if row_id in found and found[row_id] != right
    ]
    return [*missing, *extra, *other]
