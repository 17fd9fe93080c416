"""Claims: whose turn a batch is, and whether it is time for it. Refused in the transaction that would move rows."""

from __future__ import annotations

from sqlalchemy import Connection

from orchestrator.bookkeeping import ledger
from orchestrator.bookkeeping.copies import read_copy
from orchestrator.bookkeeping.ledger import LedgerEntry
from orchestrator.dialects import Database
from orchestrator.domain.errors import Conflict, NotFound
from orchestrator.domain.pacing import LONGEST_REST_SECONDS
from orchestrator.domain.upgrades import Moving
from orchestrator.domain.view import MigrationState


class Claims:
    """On the data migrations of one schema in one database."""

    def __init__(self, database: Database, schema: str) -> None:
        self.database = database
        self.schema = schema

    def claim(self, connection: Connection, name: str, upgrade_id: int) -> LedgerEntry:
        """The entry, locked, in a database that is in backfill with this upgrade as far as it knows itself.

        Raises as `locked` and `require_phase` do.
        """
        entry = self.locked(connection, name)
        self.require_phase(connection, entry, upgrade_id)
        return entry

    def locked(self, connection: Connection, name: str, *, waits: bool = False) -> LedgerEntry:
        """The entry, locked. Raises `Conflict` (code `batch_claimed`) where somebody else has it, and `NotFound`.

        With `waits` whoever has it is waited for first.
        """
        entry = ledger.claim(connection, self.schema, name, waits=waits)
        if entry is not None:
            return entry
        if ledger.find(connection, self.schema, name) is None:
            raise self.unknown(name)
        raise self.taken(name)

    def taken(self, name: str) -> Conflict:
        """Somebody else has it just now."""
        return Conflict(
            "batch_claimed",
            f"another worker is at data migration {name} in database {self.database.name} just now",
            remedy="Nothing to do: it goes on there.",
            schema=self.schema,
            data_migration=name,
        )

    def unknown(self, name: str) -> NotFound:
        """The ledger has none of that name."""
        return NotFound(
            "data_migration_unknown",
            f"the ledger of database {self.database.name} has no data migration {name} of {self.schema}",
            remedy="Look at the names in releases.toml; those of an upgrade are entered when it begins.",
            schema=self.schema,
            data_migration=name,
        )

    def require_phase(self, connection: Connection, entry: LedgerEntry, upgrade_id: int | None) -> None:
        """Refuse where the copy, in this transaction, does not let its rows be moved, or proven, now.

        Raises `Conflict` (code `not_in_backfill`).
        """
        copy = read_copy(connection, self.schema)
        if (
            copy is not None
            and _lets_run(copy.moving, entry)
            and copy.upgrade_id == upgrade_id == entry.upgrade_id
            and copy.incarnation == self.database.dialect.incarnation(connection)
        ):
            return
        knows = "nothing" if copy is None else f"upgrade {copy.upgrade_id}, {copy.phase.word}, fence {copy.fence.word}"
        when = "at read_new on the way back" if entry.is_reverse else "in backfill"
        raise Conflict(
            "not_in_backfill",
            f"data migration {entry.name} runs {when} of upgrade {upgrade_id} only; "
            f"database {self.database.name} holds {knows}",
            remedy="It goes on by itself when the upgrade is there again.",
            schema=self.schema,
            data_migration=entry.name,
        )

    def require_pause(
        self, connection: Connection, name: str, batch_at: float | None, pause_seconds: float, nice_ratio: float = 0.0
    ) -> None:
        """Refuse a batch too soon after the last one, which another worker may have run and which ended then.

        Raises `Conflict` (code `batch_too_soon`), with `wait_seconds` until it is not.
        """
        if not (pause_seconds or nice_ratio) or batch_at is None:
            return
        since = self.database.dialect.now(connection) - batch_at
        longest_rest = LONGEST_REST_SECONDS if nice_ratio else 0.0
        if -longest_rest <= since < pause_seconds:
            raise Conflict(
                "batch_too_soon",
                f"the last batch of data migration {name} in database {self.database.name} ended a moment ago",
                remedy="Nothing to do: it goes on after the pause.",
                schema=self.schema,
                data_migration=name,
                wait_seconds=pause_seconds - since,
            )


def _lets_run(moving: Moving, entry: LedgerEntry) -> bool:
    if entry.is_reverse:
        return moving is Moving.BACK
    return moving is Moving.FORWARD or (moving is Moving.PROOF and entry.state is MigrationState.VERIFYING)
