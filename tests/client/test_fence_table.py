"""Joining, renewing and leaving in a managed database while no daemon answers."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from orchestrator.bookkeeping import tables as own
from orchestrator.client import (
    Conflict,
    Evicted,
    Forbidden,
    LeaseLost,
    NotYet,
    Unreachable,
    ask_readiness,
)
from orchestrator.client.registry import Identity, hashed
from orchestrator.client.sqlalchemy import FenceTable, tables
from orchestrator.domain.fleets import InstanceState
from orchestrator.domain.ladder import Behaviour
from tests.client.daemon_stand_in import Timeline, problem
from tests.client.managed import FLEET, SCHEMA, Daemon, Managed, a_member, admitted, on_every_database


def an_identity(name: str = "web-1", release: str = "2") -> Identity:
    return Identity(SCHEMA, FLEET, name, release, "rack7").born()


def test_the_client_knows_the_tables_by_their_right_names() -> None:
    for name, known in (("copies", tables.copies), ("instances", tables.instances), ("sessions", tables.sessions)):
        real = getattr(own, name)
        assert known.name == real.name
        for column in known.columns:
            assert type(column.type) is type(real.c[column.name].type), column
    columns = own.instances.columns
    required = {each.name for each in columns if not each.nullable}
    assert required <= {each.name for each in tables.instances.columns}


@on_every_database
def test_life_without_a_daemon(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    """Join, follow, ack, and leave; a daemon that returns finds all of it."""
    daemon.is_away = True
    member = a_member(daemon, service, instance_id="web-1")
    standing = member.join(wait_seconds=0, in_background=False)
    assert (standing.publication, str(standing.behaviour)) == (17, "reads old, writes both")
    (news,) = managed.news()
    assert (news.fleet, news.id, news.release, news.state, news.acked) == (
        FLEET, "web-1", "2", InstanceState.ALIVE, 17
    )  # fmt: skip
    shown = member.last_credentials
    assert shown is not None
    assert (news.tag, news.nonce) == (shown.tag, hashed(shown.identity.nonce))
    managed.settle()
    assert managed.news() == ()

    told = (admitted("1", 18), admitted("2", 18, behaviour=Behaviour.A2))
    with member.transaction():
        managed.write(replace(managed.held, revision=18, admits=told))
        assert member.renew()
        assert managed.news()[0].acked == 17, "what began earlier has not ended"
    assert str(member.standing.behaviour) == "reads new, writes both"
    assert member.renew()
    assert managed.news()[0].acked == 18
    managed.settle()
    member.leave()
    assert managed.news()[0].state is InstanceState.LEFT
    managed.settle()
    assert managed.rows() == []


def test_a_daemon_that_returns_is_asked_first_again(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    member = a_member(daemon, service)
    member.join(wait_seconds=0, in_background=False)
    assert managed.rows() == []
    daemon.is_away = True
    assert member.renew()
    (row,) = managed.rows()
    assert (row.state, row.news) == ("alive", True)
    daemon.is_away = False
    assert member.renew()
    assert daemon.stand_in.acks == [17]


@pytest.mark.parametrize("code", ["not_yet_admitted", "role_forbidden"])
def test_a_daemon_that_refuses_is_obeyed(managed: Managed, service: sa.Engine, daemon: Daemon, code: str) -> None:
    status, kind = (503, NotYet) if code == "not_yet_admitted" else (403, Forbidden)
    daemon.stand_in.next_answers = [problem(status, code, retry_after=2)]
    with pytest.raises(kind):
        a_member(daemon, service).join(wait_seconds=0)
    assert managed.rows() == []


def test_a_daemon_whose_database_is_away_has_not_refused(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    daemon.stand_in.next_answers = [problem(503, "database_unreachable", kind="unavailable")]
    a_member(daemon, service).join(wait_seconds=0, in_background=False)
    assert len(managed.rows()) == 1


@on_every_database
def test_the_fence_is_closed_to_whom_it_does_not_name(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    daemon.is_away = True
    early = a_member(daemon, service, release="1")
    early.join(wait_seconds=0, in_background=False)
    managed.fence("2")
    for release in ("1", "7"):
        with pytest.raises(Unreachable, match=f"does not admit release {release} now"):
            a_member(daemon, service, release=release).join(wait_seconds=0)
    assert early.renew(), "who is in goes on until it is told otherwise"
    a_member(daemon, service, release="2").join(wait_seconds=0, in_background=False)
    assert len(managed.rows()) == 2


@pytest.mark.parametrize("is_written_down", [True, False])
def test_a_lease_that_lapsed_comes_back_under_the_fence(
    managed: Managed, service: sa.Engine, daemon: Daemon, is_written_down: bool
) -> None:
    time = Timeline()
    member = a_member(daemon, service, clock=time.clock)
    member.join(wait_seconds=0, in_background=False)
    daemon.is_away = True
    assert member.renew()
    if not is_written_down:  # a standby took over that had not heard of it
        with managed.database.writing() as connection:
            connection.execute(sa.delete(own.instances))
    told = tuple(replace(each, joins=False) for each in managed.held.admits)
    managed.write(replace(managed.held, revision=managed.held.revision + 1, admits=told))
    assert member.renew(), "its lease holds, and nobody has gone on without it"
    managed.settle()
    time.now += 48.1
    assert not member.renew()
    assert not managed.news(), "nobody counts it"
    daemon.is_away = False
    assert member.renew()


@on_every_database
def test_a_copy_of_another_incarnation_admits_nobody(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    daemon.is_away = True
    member = a_member(daemon, service)
    member.join(wait_seconds=0, in_background=False)
    managed.write(replace(managed.held, incarnation="of a server that is gone"))
    with pytest.raises(Unreachable, match="another one than when its copy was written"):
        a_member(daemon, service).join(wait_seconds=0)
    assert not member.renew()
    assert member.is_live, "until its deadline"


def test_where_there_is_no_copy_nobody_joins(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    daemon.is_away = True
    with managed.database.writing() as connection:
        connection.execute(sa.delete(own.copies))
    with pytest.raises(Unreachable, match="has none"):
        a_member(daemon, service).join(wait_seconds=0)


def test_an_evicted_instance_does_not_renew(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    member = a_member(daemon, service)
    member.join(wait_seconds=0, in_background=False)
    managed.evict(member)
    daemon.is_away = True
    assert not member.renew()
    with pytest.raises(Evicted) as lost, member.transaction():
        pass
    assert lost.value.final


def test_an_id_belongs_to_one_process(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    table = FenceTable(service, schema=SCHEMA)
    first = an_identity()
    assert table.join(first).is_first
    assert not table.join(first).is_first, "its answer was lost"
    daemon.is_away = True
    with pytest.raises(Conflict):
        a_member(daemon, service, instance_id="web-1").join(wait_seconds=0)
    assert [row.tag for row in managed.rows()] == [hashed(first.epoch)]


def test_if_nobody_answers_the_lease_ends_at_its_deadline(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    time = Timeline()
    daemon.is_away = True
    member = a_member(daemon, service, clock=time.clock, pause=time.pause, chance=lambda: 0.5)
    member.join(wait_seconds=0, in_background=False)
    with managed.database.writing() as connection:
        connection.execute(sa.text("ALTER TABLE orchestrator_copies RENAME TO gone"))
    assert not member.renew()
    time.now += 47.9
    with member.transaction():
        pass
    time.now += 0.2
    with pytest.raises(LeaseLost) as lost, member.transaction():
        pass
    assert not lost.value.final


def test_readiness_without_a_daemon(managed: Managed, service: sa.Engine, daemon: Daemon) -> None:
    daemon.is_away = True
    table = FenceTable(service, schema=SCHEMA)
    ask_readiness(daemon.transport, schema=SCHEMA, fleet=FLEET, release="1", copy=table)
    managed.fence("2")
    with pytest.raises(Unreachable, match="does not admit release 1 now"):
        ask_readiness(daemon.transport, schema=SCHEMA, fleet=FLEET, release="1", copy=table)
    ask_readiness(daemon.transport, schema=SCHEMA, fleet=FLEET, release="2", copy=table)


@on_every_database
def test_no_join_slips_past_a_fence(managed: Managed, service: sa.Engine) -> None:
    """Whoever was admitted under the copy before is seen by whoever reads after the fence was written."""
    table = FenceTable(service, schema=SCHEMA)
    admissions = refusals = 0
    for number in range(12):
        told = tuple(replace(each, joins=True) for each in managed.held.admits)
        managed.write(replace(managed.held, revision=managed.held.revision + 1, admits=told))
        start = threading.Barrier(2)
        outcomes: list[str] = []

        def join(name: str, start: threading.Barrier = start, outcomes: list[str] = outcomes) -> None:
            start.wait(60)
            try:
                table.join(an_identity(name, "1"))
            except NotYet:
                outcomes.append("refused")
            else:
                outcomes.append("joined")

        name = f"old-{number}"
        thread = threading.Thread(target=join, args=(name,))
        thread.start()
        start.wait(60)
        managed.fence("2")
        seen = {news.id for news in managed.news()}
        thread.join(60)
        assert outcomes == (["joined"] if name in seen else ["refused"])
        admissions, refusals = admissions + (name in seen), refusals + (name not in seen)
    assert admissions + refusals == 12
