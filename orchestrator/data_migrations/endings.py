"""Endings: what becomes of a data migration whose rows were all walked, be it to move them or to prove them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from orchestrator.bookkeeping import quarantine
from orchestrator.bookkeeping.ledger import FIRST_DIFFERENCES, LedgerEntry
from orchestrator.data_migrations.keyset import encode
from orchestrator.data_migrations.loading import Definition
from orchestrator.data_migrations.target import Target
from orchestrator.data_migrations.turns import Turns
from orchestrator.dialects import Database
from orchestrator.domain.view import MigrationState


def ended(
    database: Database, connection: Connection, entry: LedgerEntry, definition: Definition, target: Target, turns: Turns
) -> LedgerEntry:
    """The entry, all of whose rows were moved, or compared, in its present state. To be saved in this transaction."""
    if entry.state is MigrationState.RUNNING:
        walked = _walked(connection, entry, definition, target)
        if walked.state is MigrationState.VERIFYING:
            turns.doubt_others(connection, entry)
        return walked
    return _concluded(database, connection, entry, definition)


def _walked(connection: Connection, entry: LedgerEntry, definition: Definition, target: Target) -> LedgerEntry:
    """The entry at the end of the table: to be proven, unless rows are left in quarantine."""
    found = quarantine.rows(connection, entry.schema_name, entry.name) if entry.rows_quarantined else ()
    if not found:
        return replace(entry, state=MigrationState.VERIFYING, rows_quarantined=0, repairs=None)
    last = target.keyset.last(connection)
    count = "1 row" if len(found) == 1 else f"{len(found)} rows"
    more = ", ..." if len(found) > FIRST_DIFFERENCES else ""
    keys = "; ".join(row.key for row in found[:FIRST_DIFFERENCES]) + more
    return replace(
        entry,
        state=MigrationState.FAILED,
        rows_quarantined=len(found),
        repairs=None,
        cursor=entry.cursor if last is None else encode(last),
        error=f"{count} of {definition.table} could not be moved ({keys}), all others are. {found[0].error}",
    )


def _concluded(database: Database, connection: Connection, entry: LedgerEntry, definition: Definition) -> LedgerEntry:
    if entry.differences == 0:
        if entry.rows_quarantined:  # an older daemon moved on in spite of them: proven they are, one and all
            quarantine.clear(connection, entry.schema_name, entry.name)
        return replace(
            entry,
            rows_quarantined=0,
            repairs=None,
            state=MigrationState.COMPLETE,
            witness_incarnation=database.dialect.incarnation(connection),
            finished_at=database.dialect.now(connection),
        )
    return replace(
        entry,
        state=MigrationState.FAILED,
        error=f"{entry.differences} of {entry.rows_verified} rows of {definition.table} do not hold what "
        f"{definition.path} computes, which has to be the same whenever it is asked; the first: "
        f"{entry.first_differences}",
    )
