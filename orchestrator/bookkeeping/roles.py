"""Roles: which ones we locked in this database's server, so that we unlock no other."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, and_, delete, insert, select, update

from orchestrator.bookkeeping.tables import roles as table


class RoleLock(StrEnum):
    """What we are about to do to a role, or have done: a row is written before the role is changed."""

    LOCKED = "locked"
    UNLOCKING = "unlocking"


def locks(connection: Connection, schema: str) -> dict[str, RoleLock]:
    """The roles that we locked, or are about to."""
    query = select(table.c.role, table.c.state).where(table.c.schema_name == schema)
    return {row.role: RoleLock(row.state) for row in connection.execute(query)}


def note(connection: Connection, schema: str, role: str, state: RoleLock) -> None:
    """Write down what is going to be done. Repeatable."""
    of_role = and_(table.c.schema_name == schema, table.c.role == role)
    if connection.execute(update(table).where(of_role).values(state=state.value)).rowcount != 1:
        connection.execute(insert(table).values(schema_name=schema, role=role, state=state.value))


def forget(connection: Connection, schema: str, role: str) -> None:
    """It is unlocked again."""
    connection.execute(delete(table).where(table.c.schema_name == schema, table.c.role == role))
