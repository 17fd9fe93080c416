"""The copy: what a managed database knows of the upgrade's state, so that it can fence by itself."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from orchestrator.bookkeeping.tables import copies as table
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Phase
from orchestrator.domain.view import Copy


def read_copy(connection: Connection, schema: str) -> Copy | None:
    """The copy that this database holds, or None when none was ever written."""
    query = select(table.c.upgrade_id, table.c.phase, table.c.fence, table.c.revision, table.c.incarnation)
    row = connection.execute(query.where(table.c.schema_name == schema)).first()
    if row is None:
        return None
    return Copy(row.upgrade_id, Phase.from_word(row.phase), Phase.from_word(row.fence), row.revision, row.incarnation)


def write_copy(connection: Connection, schema: str, copy: Copy, *, now: float) -> None:
    """Write the copy whole, and only forward: the same revision again is harmless, an older one is refused.

    Raises `Conflict` (code `copy_ahead`). `copy.incarnation` is that of the database on this connection.
    """
    values = {
        "upgrade_id": copy.upgrade_id,
        "phase": copy.phase.word,
        "fence": copy.fence.word,
        "revision": copy.revision,
        "incarnation": copy.incarnation,
        "admits": "{}",
        "ttl_seconds": 60.0,
        "renew_seconds": 20.0,
        "written_at": now,
    }
    forward = update(table).where(table.c.schema_name == schema, table.c.revision <= copy.revision).values(values)
    if connection.execute(forward).rowcount == 1:
        return
    found = read_copy(connection, schema)
    if found is None:
        connection.execute(insert(table).values(schema_name=schema, joins=0, **values))
        return
    raise Conflict(
        "copy_ahead",
        f"this database holds revision {found.revision} of {schema}, newer than revision {copy.revision}",
        remedy="The state database lost commits, or another orchestrator manages this database: find out which.",
        schema=schema,
        expected=copy.revision,
        found=found.revision,
    )
