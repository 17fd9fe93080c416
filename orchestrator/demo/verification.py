"""After the upgrade: are the old columns gone, or there again, and is every row right?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy
from sqlalchemy import column, select, table

from orchestrator.demo.content import Seed, seeded_name, seeded_status, seeded_title
from orchestrator.demo.example import OLD_COLUMNS
from orchestrator.demo.reports import OwnedRows

KEPT_FINDINGS = 5

_CUSTOMER = table("customers", column("id"), column("name"), column("first_name"), column("last_name"))
_ITEM = table("items", column("id"), column("title"), column("status"), column("status_id"))
_STATUS = table("statuses", column("id"), column("name"))
_OLD_SHAPE = (select(_CUSTOMER.c.id, _CUSTOMER.c.name), select(_ITEM.c.id, _ITEM.c.title, _ITEM.c.status))
_NEW_SHAPE = (
    select(_CUSTOMER.c.id, _CUSTOMER.c.first_name, _CUSTOMER.c.last_name),
    select(_ITEM.c.id, _ITEM.c.title, _STATUS.c.name).outerjoin_from(_ITEM, _STATUS, _ITEM.c.status_id == _STATUS.c.id),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the database holds at the end. `wrong` are the first few differences, in words."""

    rows_checked: int
    rows_wrong: int
    wrong: tuple[str, ...]
    columns_dropped: tuple[str, ...]
    columns_left: tuple[str, ...]


def verify(engine: sqlalchemy.Engine, seed: Seed, owned: OwnedRows, *, release: str = "2") -> Findings:
    """Compare every row, in the shape that this release reads, with what it must hold: as seeded, or as its owner last
    wrote it."""
    names = {row_id: seeded_name(row_id) for row_id in range(1, seed.customers + 1)} | owned.customers
    items = {row_id: (seeded_title(row_id), seeded_status(row_id)) for row_id in range(1, seed.items + 1)} | owned.items
    every_customer, every_item = _NEW_SHAPE if release == "2" else _OLD_SHAPE
    with engine.connect() as connection:
        found_names = {row[0]: tuple(row[1:]) for row in connection.execute(every_customer)}
        found_items = {row[0]: tuple(row[1:]) for row in connection.execute(every_item)}
        inspector = sqlalchemy.inspect(connection)
        left = tuple(
            f"{in_table}.{name}"
            for in_table, name in OLD_COLUMNS
            if any(found["name"] == name for found in inspector.get_columns(in_table))
        )
    expected_names = {row_id: _split(name) if release == "2" else (name,) for row_id, name in names.items()}
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
    what: str, expected: Mapping[int, tuple[str, ...]], found: Mapping[int, tuple[str | None, ...]]
) -> list[str]:
    missing = [f"{what} {row_id} is lost" for row_id in expected.keys() - found.keys()]
    extra = [f"{what} {row_id} was written by nobody" for row_id in found.keys() - expected.keys()]
    other = [
        f"{what} {row_id}: expected {right}, found {found[row_id]}"
        for row_id, right in expected.items()
        if row_id in found and found[row_id] != right
    ]
    return [*missing, *extra, *other]
