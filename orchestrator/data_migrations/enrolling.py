"""Enrolling: the data migrations of a release in the ledger of a database, to be run there or as having run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.data_migrations.loading import file_of, hash_of
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, MigrationRefused
from orchestrator.domain.releases import Release
from orchestrator.domain.view import MigrationState

UNDER_WAY = (MigrationState.RUNNING, MigrationState.VERIFYING)


def enrol(database: Database, schema: str, directory: Path, release: Release, upgrade_id: int) -> None:
    """Enter the release's data migrations in the ledger, for this upgrade. Repeatable.

    Raises `MigrationRefused` for a file that changed since its migration started, and for a name that another
    release has used; `Conflict` (code `upgrade_passed`) where a later upgrade has entered them already.
    """
    hashes = {name: hash_of(file_of(directory, name), name) for name in release.all_data_migrations}
    with database.writing() as connection:
        for name, file_hash in hashes.items():
            found = ledger.find(connection, schema, name)
            if found is None:
                is_reverse = name in release.reverse_data_migrations
                entry = LedgerEntry(schema, name, release.name, upgrade_id, file_hash, is_reverse=is_reverse)
                ledger.add(connection, entry)
            else:
                _enrol_again(connection, database, found, file_of(directory, name), release, file_hash, upgrade_id)


def assume(database: Database, schema: str, directory: Path, releases: Iterable[Release]) -> None:
    """Enter data migrations as having run before this program came: of an adopted or newly installed database.

    Leaves those alone that are in the ledger already.
    """
    with database.writing() as connection:
        now = database.dialect.now(connection)
        for release in releases:
            for name in release.data_migrations:
                if ledger.find(connection, schema, name) is None:
                    file_hash = hash_of(file_of(directory, name), name)
                    entry = LedgerEntry(schema, name, release.name, None, file_hash)
                    assumed = replace(entry, state=MigrationState.ASSUMED, finished_at=now)
                    ledger.add(connection, assumed)


def attest(database: Database, schema: str, directory: Path, release: Release, name: str) -> None:
    """Enter one of an earlier release as having run, on somebody's word. Repeatable; one that is complete stays so.

    Waits for no batch: of an earlier release none runs.
    """
    with database.writing() as connection:
        now = database.dialect.now(connection)
        found = ledger.find(connection, schema, name)
        if found is not None and found.state in (MigrationState.COMPLETE, MigrationState.ASSUMED):
            return
        blank = LedgerEntry(schema, name, release.name, None, hash_of(file_of(directory, name), name))
        assumed = replace(blank, state=MigrationState.ASSUMED, finished_at=now)
        if found is None:
            ledger.add(connection, assumed)
        else:
            ledger.begin_anew(connection, replace(assumed, revision=found.revision))


def changed(path: Path, name: str) -> MigrationRefused:
    """The refusal of a file that is not the one that a data migration started with."""
    return MigrationRefused(
        "data_migration_changed",
        f"data migration {name} ({path}) has started, and its file has changed since",
        remedy="Put the file back as it was, or keep the new one, with which it starts again from the first row.",
        file=str(path),
        data_migration=name,
    )


def _enrol_again(
    connection: Connection,
    database: Database,
    found: LedgerEntry,
    path: Path,
    release: Release,
    file_hash: str,
    upgrade_id: int,
) -> None:
    name = found.name
    if found.release != release.name:
        raise MigrationRefused(
            "data_migration_name_taken",
            f"data migration {name} ({path}) of release {release.name} has the name of one that release "
            f"{found.release} brought",
            remedy="Give it another name: the ledger knows data migrations by name.",
            file=str(path),
            data_migration=name,
        )
    if found.upgrade_id is not None and found.upgrade_id > upgrade_id:
        raise Conflict(
            "upgrade_passed",
            f"upgrade {found.upgrade_id} has data migration {name} in database {database.name} now, "
            f"after upgrade {upgrade_id}",
            remedy="Nothing to do here: the later upgrade goes on.",
            schema=found.schema_name,
            data_migration=name,
        )
    if found.upgrade_id != upgrade_id:
        ledger.begin_anew(connection, found.at_start(upgrade_id=upgrade_id, file_hash=file_hash))
    elif found.file_hash != file_hash:
        if found.state in (*UNDER_WAY, MigrationState.COMPLETE):
            raise changed(path, name)
        if found.state is MigrationState.PENDING:
            ledger.save(connection, replace(found, file_hash=file_hash))
