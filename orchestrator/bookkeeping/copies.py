"""The copy: what a managed database knows of the upgrade's state, so that it can fence by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from orchestrator.bookkeeping.tables import copies as table
from orchestrator.domain.admission import Admitted, Stance
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.upgrades import Move
from orchestrator.domain.view import Copy

_FIND = select(table).where(table.c.schema_name == bindparam("its_schema"))


def read_copy(connection: Connection, schema: str) -> Copy | None:
    """The copy that this database holds, or None when none was ever written."""
    row = connection.execute(_FIND, {"its_schema": schema}).first()
    if row is None:
        return None
    return Copy(
        row.upgrade_id,
        Phase.from_word(row.phase),
        Phase.from_word(row.fence),
        row.revision,
        row.incarnation,
        _read(row.admits),
        row.ttl_seconds,
        row.renew_seconds,
        Move(row.move),
        row.reversing,
        row.frozen,
        row.written_at,
    )


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
        "admits": _written(copy.admits),
        "ttl_seconds": copy.ttl_seconds,
        "renew_seconds": copy.renew_seconds,
        "move": copy.move.value,
        "reversing": copy.reversing,
        "frozen": copy.frozen,
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


def _written(admits: Sequence[Admitted]) -> str:
    """In the words that a client reads, which knows no more of us than these."""
    return json.dumps(
        {
            each.release: {
                "joins": each.joins,
                "publication": each.stance.publication,
                "upgrade": each.stance.upgrade_id,
                "phase": each.stance.phase.word,
                "reads": each.stance.behaviour.reads,
                "writes": each.stance.behaviour.writes,
            }
            for each in admits
        }
    )


_BEHAVIOURS = {(each.reads, each.writes): each for each in Behaviour}


def _read(text: str) -> tuple[Admitted, ...]:
    return tuple(
        Admitted(
            release,
            Stance(
                told["upgrade"],
                told["publication"],
                Phase.from_word(told["phase"]),
                _BEHAVIOURS[told["reads"], told["writes"]],
            ),
            told["joins"],
        )
        for release, told in json.loads(text).items()
    )
