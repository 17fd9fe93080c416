"""The row of one instance in a managed database: who it is, and whether it may work there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select

from orchestrator.client.errors import Conflict, Never
from orchestrator.client.registry import Identity, hashed
from orchestrator.client.sqlalchemy.tables import instances
from orchestrator.client.sqlalchemy.wire import Wire

REMEDY = "Stop using the database and start this process anew."


def is_own(identity: Identity, tag: str | None = None, *, state: str | None = None) -> list[ColumnElement[bool]]:
    """The conditions that the row of this instance meets, with this tag and in this state where they are given."""
    found: list[ColumnElement[bool]] = [
        instances.c.schema_name == identity.schema,
        instances.c.fleet == identity.fleet,
        instances.c.instance_id == identity.id,
    ]
    if tag is not None:
        found.append(instances.c.tag == tag)
    if state is not None:
        found.append(instances.c.state == state)
    return found


def own_values(identity: Identity, tag: str, *, acked: int, now: float) -> dict[str, Any]:
    """A new row of this instance, which a daemon knows of."""
    return {
        "schema_name": identity.schema,
        "fleet": identity.fleet,
        "instance_id": identity.id,
        "tag": tag,
        "nonce": hashed(identity.nonce),
        "release": identity.release,
        "host": identity.host,
        "state": "alive",
        "sessions": identity.sessions,
        "news": False,
        "acked": acked,
        "joined_at": now,
        "renewed_at": now,
        "expires_at": now,
    }


def check_own(wire: Wire, identity: Identity, tag: str) -> bool:
    """Whether the row is there, and alive. Raises `Never` or `Conflict` where it says that it may work no more."""
    found = wire.rows(select(instances.c.tag, instances.c.state).where(*is_own(identity)))
    if not found:
        return False
    held, state = found[0]
    if state == "evicted":  # under whatever tag: it is the id that was counted out
        message = f"instance {identity.id} of {identity.fleet} was evicted"
        raise Never("instance_evicted", message, remedy=REMEDY, status=409)
    if held != tag:
        message = f"the id {identity.id} of {identity.fleet} is another process's in this database"
        raise Conflict("epoch_foreign", message, remedy=REMEDY, status=409)
    if state != "alive":
        raise Never("instance_left", f"instance {identity.id} of {identity.fleet} has left", remedy=REMEDY, status=409)
    return True
