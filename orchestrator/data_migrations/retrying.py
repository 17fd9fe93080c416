"""Retrying: a data migration that failed, or has to be proven anew, gets another try in one database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger, quarantine
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations import repairing
from orchestrator.data_migrations.claims import Claims
from orchestrator.data_migrations.enrolling import UNDER_WAY
from orchestrator.data_migrations.loading import file_of, hash_of
from orchestrator.data_migrations.turns import Turns
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import MigrationState

_UNPROVEN = (MigrationState.PENDING, MigrationState.RUNNING, MigrationState.FAILED)


def retry(
    connection: Connection,
    claims: Claims,
    turns: Turns,
    directory: Path,
    name: str,
    followers: Sequence[str],
) -> LedgerEntry:
    """As `DataMigrationRunner.retry`, in this transaction."""
    schema = claims.schema
    entry = claims.locked(connection, name)
    copy = read_copy(connection, schema)
    if copy is not None and copy.phase is Phase.READ_NEW and entry.state in _UNPROVEN and not entry.is_reverse:
        return ledger.begin_anew(connection, entry.before_its_proof())
    if entry.state is MigrationState.PENDING:
        return entry
    if entry.state in (*UNDER_WAY, MigrationState.ASSUMED):
        raise Conflict(
            "data_migration_not_stopped",
            f"data migration {name} of {schema} is {entry.state.value} in {claims.database.name}",
            remedy="There is nothing to retry.",
            schema=schema,
            data_migration=name,
        )
    if entry.state is MigrationState.COMPLETE:
        claims.require_phase(connection, entry, entry.upgrade_id)
    if copy is not None and copy.moving is Moving.PROOF and not entry.is_reverse:
        return ledger.begin_anew(connection, entry.before_its_proof())
    ledger.reset(connection, schema, entry.upgrade_id, followers)
    file_hash = hash_of(file_of(directory, name), name)
    if _may_go_on(entry, file_hash):
        quarantine.try_again(connection, schema, name)
        turns.reclaim(connection, name)
        unproven = entry.before_its_proof()
        going_on = replace(unproven, state=MigrationState.RUNNING, is_split=entry.is_split, repairs=entry.repairs)
        return ledger.save(connection, going_on)
    if entry.parts_to_repair and file_hash == entry.file_hash:
        turns.reclaim(connection, name)
        return ledger.begin_anew(connection, repairing.begun(entry))
    return ledger.begin_anew(connection, entry.at_start(upgrade_id=entry.upgrade_id, file_hash=file_hash))


def _may_go_on(entry: LedgerEntry, file_hash: str) -> bool:
    """Whether all that it passed was moved as its file says, or is in quarantine."""
    has_begun = entry.state is MigrationState.FAILED and entry.started_at is not None
    return has_begun and not entry.differences and file_hash == entry.file_hash
