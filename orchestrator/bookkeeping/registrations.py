"""Registrations: the processes that use this database, as they wrote themselves down in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from orchestrator.bookkeeping.tables import instances as table
from orchestrator.domain.fleets import Instance, InstanceState, Registration, Sessions


def news(connection: Connection, schema: str) -> tuple[Registration, ...]:
    """What instances wrote down because they found no daemon, and no leader has taken over yet."""
    unread = select(table).where(table.c.schema_name == schema, table.c.news)
    rows = connection.execute(unread.order_by(table.c.fleet, table.c.instance_id))
    return tuple(_registration(row) for row in rows)


def find(connection: Connection, schema: str, fleet: str, instance_id: str) -> Registration | None:
    """What that instance wrote down, whether it is news or not; None where it never did."""
    query = select(table).where(
        table.c.schema_name == schema, table.c.fleet == fleet, table.c.instance_id == instance_id
    )
    row = connection.execute(query).first()
    return None if row is None else _registration(row)


def settle(connection: Connection, schema: str, known: Sequence[Registration]) -> None:
    """These are in the state now: they are news no more, and rows of those that left are not needed any longer.

    What was written since they were read stays news.
    """
    for each in known:
        as_read = and_(
            table.c.schema_name == schema,
            table.c.fleet == each.fleet,
            table.c.instance_id == each.id,
            table.c.tag == each.tag,
            table.c.state == each.state.value,
            table.c.acked == each.acked,
            table.c.renewed_at == each.renewed_at,
        )
        if each.state is InstanceState.LEFT:
            connection.execute(delete(table).where(as_read))
        else:
            connection.execute(update(table).where(as_read).values(news=False))


def evict(connection: Connection, instance: Instance, *, now: float) -> frozenset[str]:
    """From the commit of this on, no new session of the instance gets to work here. Repeatable.

    Returns the tags under which it may have sessions: one whose join was not answered works under another than we know.
    The row is written where there is none, so that an instance that was never here cannot write it alive.
    """
    of_instance = and_(
        table.c.schema_name == instance.schema, table.c.fleet == instance.fleet, table.c.instance_id == instance.id
    )
    ended: dict[str, Any] = {"state": InstanceState.EVICTED.value, "ended_at": now, "news": False}
    if connection.execute(update(table).where(of_instance).values(ended)).rowcount == 1:
        return frozenset({instance.tag, connection.execute(select(table.c.tag).where(of_instance)).scalar_one()})
    connection.execute(
        insert(table).values(
            schema_name=instance.schema,
            fleet=instance.fleet,
            instance_id=instance.id,
            tag=instance.tag,
            nonce="",
            release=instance.release,
            host=instance.host,
            acked=instance.acked,
            joined_at=now,
            renewed_at=now,
            expires_at=now,
            **ended,
        )
    )
    return frozenset({instance.tag})


def _registration(row: Row[Any]) -> Registration:
    return Registration(
        fleet=row.fleet,
        id=row.instance_id,
        tag=row.tag,
        nonce=row.nonce,
        release=row.release,
        host=row.host,
        state=InstanceState(row.state),
        acked=row.acked,
        renewed_at=row.renewed_at,
        sessions=None if row.sessions is None else Sessions(row.sessions),
    )
