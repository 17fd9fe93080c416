"""A managed database as a service finds it: the orchestrator's tables, and a copy that says whom it admits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from orchestrator.bookkeeping import registrations
from orchestrator.bookkeeping.copies import write_copy
from orchestrator.bookkeeping.tables import instances, metadata, sessions
from orchestrator.client import Member
from orchestrator.client.sqlalchemy import FenceTable
from orchestrator.dialects import Database
from orchestrator.domain.admission import Admitted, Stance
from orchestrator.domain.fleets import Instance, InstanceState, Registration, Sessions
from orchestrator.domain.ladder import Behaviour, Phase
from orchestrator.domain.view import Copy
from tests.client.daemon_stand_in import DirectTransport, StandIn, unreachable

SCHEMA, FLEET = "inventory", "inventory-api"

on_servers = pytest.mark.parametrize("new_database_url", ["postgresql", "mysql"], indirect=True)
on_every_database = pytest.mark.parametrize("new_database_url", ["sqlite", "postgresql", "mysql"], indirect=True)


def admitted(release: str, publication: int, *, joins: bool = True, behaviour: Behaviour = Behaviour.A1) -> Admitted:
    """What the copy tells one release."""
    return Admitted(release, Stance(3, publication, Phase.EXPANDED, behaviour), joins)


class Managed:
    """One managed database, and a daemon's hand in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        metadata.create_all(database.engine)
        self.held = Copy(
            3, Phase.EXPANDED, Phase.EXPANDED, 17, incarnation="", admits=(admitted("1", 17), admitted("2", 17))
        )
        with database.writing() as connection:
            connection.execute(sa.text("CREATE TABLE things (name VARCHAR(50))"))
        self.write(self.held)

    def write(self, copy: Copy) -> None:
        """The daemon writes the copy whole."""
        with self.database.writing() as connection:
            dialect = self.database.dialect
            filled = replace(copy, incarnation=copy.incarnation or dialect.incarnation(connection))
            write_copy(connection, SCHEMA, filled, now=dialect.now(connection))
        self.held = copy

    def fence(self, *lives_on: str) -> None:
        """The next phase is fenced: only these releases may join from now on."""
        admits = tuple(replace(each, joins=each.release in lives_on) for each in self.held.admits)
        self.write(replace(self.held, fence=Phase.BACKFILL, revision=self.held.revision + 1, admits=admits))

    def news(self) -> tuple[Registration, ...]:
        """What a returning daemon finds."""
        with self.database.reading() as connection:
            return registrations.news(connection, SCHEMA)

    def settle(self) -> None:
        """A returning daemon takes it over."""
        found = self.news()
        with self.database.writing() as connection:
            registrations.settle(connection, SCHEMA, found)

    def evict(self, member: Member) -> None:
        """The daemon lets this database refuse the instance from now on."""
        shown = member.last_credentials
        assert shown is not None
        instance = Instance(
            SCHEMA, FLEET, shown.identity.id, shown.tag, "", shown.identity.release, None, InstanceState.EVICTING, 0,
            0.0, 0.0, 0.0, sessions=Sessions.TAGGED,
        )  # fmt: skip
        with self.database.writing() as connection:
            registrations.evict(connection, instance, now=0.0)

    def rows(self) -> list[Any]:
        """The instances that are written down."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(instances).order_by(instances.c.instance_id)))

    def sessions(self) -> list[Any]:
        """The sessions that are written down."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.select(sessions)))

    def things(self) -> list[str]:
        """What was committed."""
        with self.database.reading() as connection:
            return list(connection.execute(sa.text("SELECT name FROM things ORDER BY name")).scalars())


class Daemon:
    """The stand-in behind a transport that a test can silence."""

    def __init__(self) -> None:
        self.stand_in = StandIn()
        self.is_away = False
        self.transport = DirectTransport(self.stand_in, on_request=self._arrives)

    def _arrives(self, asked: object) -> None:
        if self.is_away:
            raise unreachable()


def a_member(daemon: Daemon, engine: Engine | None = None, *, release: str = "2", **more: Any) -> Member:
    """A member of the fleet; with the copy behind that engine where one is given."""
    copy = None if engine is None else FenceTable(engine, schema=SCHEMA)
    return Member(
        "http://not.used", schema=SCHEMA, fleet=FLEET, release=release, transport=daemon.transport, copy=copy, **more
    )
