"""Repairing: which rows a data migration moves next where only some parts of the table are moved again.

The cursor goes through the parts, each to its end, and then to the end of the table, behind which only rows are that
came meanwhile. From there all goes on as ever: every row is compared, also those that were not moved again.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from orchestrator.bookkeeping import repairs
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.bookkeeping.repairs import Part
from orchestrator.data_migrations.batches import Compared
from orchestrator.data_migrations.keyset import Key, decode, encode
from orchestrator.data_migrations.target import Target
from orchestrator.domain.view import MigrationState


def begun(entry: LedgerEntry) -> LedgerEntry:
    """The entry before the first batch of the parts in which rows differ, of which there are some."""
    parts = entry.parts_to_repair
    return replace(
        entry.before_its_proof(),
        state=MigrationState.RUNNING,
        cursor=parts[0].low,
        rows_done=max(0, entry.rows_done - sum(part.rows for part in parts)),
        repairs=repairs.to_move(parts, entry.started_at),
    )


def up_to(entry: LedgerEntry) -> Key | None:
    """How far the next batches go at the most; None: to the end of the table."""
    parts = entry.parts_left
    return decode(parts[0].high) if parts and parts[0].high is not None else None


def passed(connection: Connection, entry: LedgerEntry, target: Target, last: str | None) -> LedgerEntry:
    """The entry, whose rows up to that key are moved, or cut off. None is the end of the table."""
    parts = entry.parts_left
    if not parts or last != parts[0].high:
        return entry if last is None else replace(entry, cursor=last)
    if len(parts) > 1:
        return replace(entry, cursor=parts[1].low, repairs=repairs.to_move(parts[1:], entry.started_at))
    if last is None:
        return replace(entry, repairs=None)
    end = target.keyset.last(connection)
    return replace(entry, cursor=None if end is None else encode(end), repairs=None)


def noted(text: str | None, run_at: float | None, known: int, compared: Compared) -> str | None:
    """What is known to differ in that run, with what a batch found; `known` differences were found before."""
    if not compared.differences:
        return text
    low, high = (None if key is None else encode(key) for key in (compared.range.after, compared.range.last))
    return repairs.noted(text, run_at, known, Part(low, high, compared.rows), compared.differences)
