"""Giving up: a data migration goes back to its start in one database. No row is touched: f is repeatable."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations.claims import Claims
from orchestrator.domain.errors import Conflict
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import MigrationState

_NOTHING_TO_GIVE_UP = (MigrationState.PENDING, MigrationState.COMPLETE, MigrationState.ASSUMED)


def give_up(connection: Connection, claims: Claims, name: str, followers: Sequence[str]) -> LedgerEntry:
    """Let its cursor, its counts and its error be forgotten, and those of `followers`. Repeatable.

    One that is complete stays so. Where rows are only proven, its proof alone begins anew. Waits for no batch. Raises
    `Conflict` where somebody is at it (code `batch_claimed`), or where rows are neither moved nor proven now
    (`not_in_backfill`): then leaving the phase is what sends it back.
    """
    schema = claims.schema
    entry = claims.locked(connection, name)
    if entry.state in _NOTHING_TO_GIVE_UP:
        return entry
    copy = read_copy(connection, schema)
    if copy is None or copy.moving is Moving.NOTHING or copy.upgrade_id != entry.upgrade_id:
        raise Conflict(
            "not_in_backfill",
            f"data migration {name} cannot go back to its start now: its rows are neither moved nor proven",
            remedy="Nothing to do: it goes back when the upgrade lets rows move again.",
            schema=schema,
            data_migration=name,
        )
    if copy.moving is Moving.PROOF and not entry.is_reverse:
        anew = entry.before_its_proof()
        return entry if anew == entry else ledger.begin_anew(connection, anew)
    ledger.reset(connection, schema, entry.upgrade_id, followers)
    return ledger.begin_anew(connection, entry.at_start(upgrade_id=entry.upgrade_id, file_hash=entry.file_hash))
