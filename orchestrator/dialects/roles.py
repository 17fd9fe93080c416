"""Roles: the users of a database server that services work under, who is connected under each, and their locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection

from orchestrator.domain.errors import Invalid, Unavailable
from orchestrator.domain.roles import RoleSession

if TYPE_CHECKING:
    from orchestrator.dialects.database import Database


@dataclass(frozen=True, slots=True)
class SeenRole:
    """One role as the server shows it. `problem` says what we may not see of it, or not do to it, with `remedy`."""

    name: str
    is_locked: bool
    sessions: tuple[RoleSession, ...] = ()
    problem: str | None = None
    remedy: str | None = None


class Roles(Protocol):
    """What one kind of database knows of roles."""

    def read(self, connection: Connection, names: Sequence[str]) -> tuple[SeenRole, ...]:
        """Those roles, in that order, with their sessions on this server. What cannot be seen is a role's problem."""
        ...

    def lock(self, connection: Connection, name: str) -> None:
        """Let no new session begin under this role; those that are there go on. Repeatable.

        The connection commits each statement. Raises `Invalid` (code `role_own`) for the role that we work under.
        """
        ...

    def unlock(self, connection: Connection, name: str) -> None:
        """Let sessions begin under it again. Repeatable."""
        ...

    def servers(self, connection: Connection) -> int:
        """How many servers sessions of this database may live on."""
        ...


class NoRoles:
    """A database that has none."""

    def read(self, connection: Connection, names: Sequence[str]) -> tuple[SeenRole, ...]:
        return ()

    def lock(self, connection: Connection, name: str) -> None:
        raise Invalid("roles_unknown", "this database has no roles", remedy="Remove the option roles.")

    def unlock(self, connection: Connection, name: str) -> None:
        self.lock(connection, name)

    def servers(self, connection: Connection) -> int:
        return 1


def own_role(name: str) -> Invalid:
    """The refusal to lock ourselves out."""
    return Invalid(
        "role_own",
        f"the orchestrator itself works under {name}, which is never locked",
        remedy="Give the orchestrator a role of its own.",
        role=name,
    )


def read_roles(database: Database, names: Sequence[str], members: Sequence[Database] = ()) -> tuple[SeenRole, ...]:
    """The roles with their sessions on every server of a cluster. One that cannot be asked is each role's problem."""
    with database.reading() as connection:
        found = database.dialect.roles.read(connection, names)
        wanted = database.dialect.roles.servers(connection)
        asked = {database.dialect.tagged.member(connection)}
    silent = ""
    for member in members if wanted > 1 else ():
        try:
            with member.reading() as connection:
                name = member.dialect.tagged.member(connection)
                if name not in asked:
                    asked.add(name)
                    there = {role.name: role for role in member.dialect.roles.read(connection, names)}
                    found = tuple(_merged(role, there[role.name]) for role in found)
        except Unavailable as error:
            silent = f": {error.message}"
    if len(asked) >= wanted:
        return found
    problem = f"only {len(asked)} of the {wanted} servers of the cluster can be asked who is connected{silent}"
    remedy = "Name every node in the option members of that database."
    return tuple(replace(role, problem=role.problem or problem, remedy=role.remedy or remedy) for role in found)


def _merged(role: SeenRole, other: SeenRole) -> SeenRole:
    return replace(
        role,
        sessions=(*role.sessions, *other.sessions),
        is_locked=role.is_locked and other.is_locked,
        problem=role.problem or other.problem,
        remedy=role.remedy or other.remedy,
    )
